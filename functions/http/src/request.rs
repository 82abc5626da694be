//! Requests as API Gateway passes them on.

use std::{borrow::Cow, collections::HashMap};

use aws_lambda_events::query_map::QueryMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde_json::json;
use windlass::{
    ids::{Random, TraceId},
    json::{self, ReadError},
    json_bounds,
};

use crate::{Event, Kind, Problem};

/// A request.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: QueryMap,
    headers: HeaderMap,
    claims: HashMap<String, String>,
    body: Option<String>,
    is_base64: bool,
    trace: TraceId,
    client_trace: Option<TraceId>,
}

/// Method and path, for routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The method, as on the request line: no header or parameter overrides it.
    pub method: &'a str,
    /// The path's segments.
    pub segments: [&'a str; 3],
    /// How many there are; more than three match nothing.
    pub count: usize,
}

impl Request {
    /// Reads what API Gateway passes on. Each request starts a trace of its own: a client that could choose it could write into
    /// another tenant's.
    pub fn read(event: Event, random: &dyn Random) -> Request {
        let context = event.request_context;
        let path = event.raw_path.or(context.http.path).unwrap_or_default();
        let stage = context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}"));
        let path = match stage.as_deref().and_then(|stage| path.strip_prefix(stage)) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.to_owned(),
            _ => path,
        };
        let route = event.route_key.or(context.route_key).unwrap_or_default();
        let path = below_mapping(&path, &route).map_or_else(|| path.clone(), str::to_owned);
        let traceparent = event.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let client_trace = traceparent.and_then(TraceId::from_traceparent);
        Request {
            method: context.http.method,
            path,
            query: event.query_string_parameters,
            claims: context.authorizer.and_then(|authorizer| authorizer.jwt).unwrap_or_default().claims,
            headers: event.headers,
            body: event.body.filter(|body| !body.is_empty()),
            is_base64: event.is_base64_encoded,
            trace: TraceId::generate(random),
            client_trace,
        }
    }

    /// Method and path, for routing.
    pub fn target(&self) -> Target<'_> {
        let mut target = Target { method: self.method.as_str(), segments: [""; 3], count: 0 };
        for segment in self.path.trim_start_matches('/').split('/') {
            if let Some(place) = target.segments.get_mut(target.count) {
                *place = segment;
            }
            target.count += 1;
        }
        target
    }

    /// The path, without the stage and without the key under which a custom domain maps the API.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The trace that the request belongs to.
    pub const fn trace(&self) -> TraceId {
        self.trace
    }

    /// The trace that the client named, if it named one: for a link to it, and nothing else.
    pub const fn client_trace(&self) -> Option<TraceId> {
        self.client_trace
    }

    /// A header's value, if it is visible ASCII. API Gateway joins repeated headers with commas.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter, decoded; one that is given twice has both values, with a comma, which nothing takes. (Walking over all of them
    /// panics at one that has none.)
    pub fn query(&self, name: &str) -> Option<String> {
        let values = self.query.all(name).filter(|values| !values.is_empty())?;
        Some(values.join(","))
    }

    /// What the authorizer has verified.
    pub(crate) const fn claims(&self) -> &HashMap<String, String> {
        &self.claims
    }

    /// Whether there is a body.
    pub const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// The body, read as JSON of a known shape.
    ///
    /// # Errors
    /// A 413 for more than `bytes_max` bytes or [`JSON_NODES_MAX`](json_bounds::JSON_NODES_MAX) values, a 415 for anything but JSON, a 400
    /// with line and column for JSON of another shape, and for a number with more digits than can be kept.
    pub fn json<T: DeserializeOwned>(&self, bytes_max: usize) -> Result<T, Problem> {
        let body = self.body_of(bytes_max)?;
        let content_type = self.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let detail = "send the body as `content-type: application/json`";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail).header("accept", "application/json"));
        }
        // Before anything is built: a few bytes of JSON can be a thousand of memory.
        json_bounds::check_text(&body).map_err(|error| Problem::new(Kind::TooLarge, format!("the body: {error}")))?;
        let text = std::str::from_utf8(&body).map_err(|error| not_text(&body[..error.valid_up_to()]))?;
        json::read(text).map_err(|error| match error {
            ReadError::Json(error) => malformed(&error),
            ReadError::Inexact(inexact) => Problem::new(Kind::Malformed, format!("the body: {inexact}")),
        })
    }

    fn body_of(&self, bytes_max: usize) -> Result<Cow<'_, [u8]>, Problem> {
        let body = self.body.as_deref().unwrap_or_default();
        let too_large = || Problem::new(Kind::TooLarge, format!("at most {bytes_max} bytes of body are read"));
        // Base64 is a third longer than what it stands for.
        let encoded_max = if self.is_base64 { bytes_max.div_ceil(3) * 4 } else { bytes_max };
        if body.len() > encoded_max {
            return Err(too_large());
        }
        if !self.is_base64 {
            return Ok(Cow::Borrowed(body.as_bytes()));
        }
        let decoded = STANDARD.decode(body).map_err(|_| Problem::new(Kind::Malformed, "the body is not base64"))?;
        if decoded.len() > bytes_max { Err(too_large()) } else { Ok(Cow::Owned(decoded)) }
    }
}

/// What is said of a body that is UTF-8 no further than `sound`.
fn not_text(sound: &[u8]) -> Problem {
    let line = sound.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = sound.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let errors = json!([{ "detail": "not UTF-8", "line": line, "column": column }]);
    Problem::new(Kind::Malformed, format!("the body is not UTF-8 (line {line}, column {column})"))
        .with("errors", errors)
}

/// The part of `path` that `route` (`POST /runs/{id}`) is about, where a custom domain's API mapping has put a key before it
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-mappings.html>): API Gateway leaves the key in the path.
/// `None` where the route does not say, and where the path is not of the route.
fn below_mapping<'a>(path: &'a str, route: &str) -> Option<&'a str> {
    let wanted = route.split_once(' ')?.1.trim_matches('/');
    let is_variable = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    if wanted.contains('+') {
        return None;
    }
    let mut rest = path.len();
    for segment in wanted.rsplit('/') {
        let start = path[..rest].rfind('/')?;
        if !is_variable(segment) && path[start + 1..rest] != *segment {
            return None;
        }
        rest = start;
    }
    (rest > 0).then_some(&path[rest..])
}

fn malformed(error: &serde_json::Error) -> Problem {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let errors = json!([{ "detail": what, "line": error.line(), "column": error.column() }]);
    let wrong = if error.is_data() { "is not of the wanted form" } else { "is not JSON" };
    let detail = format!("the body {wrong}: {what} (line {}, column {})", error.line(), error.column());
    Problem::new(Kind::Malformed, detail).with("errors", errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_api_mapping_is_not_part_of_the_path() {
        for (path, route, below) in [
            ("/agents/runs", "POST /runs", Some("/runs")),
            ("/eu/agents/runs/1/journal", "GET /runs/{id}/journal", Some("/runs/1/journal")),
            ("/agents/approvals/1", "GET /approvals/{id}", Some("/approvals/1")),
            ("/runs", "POST /runs", None),
            ("/runs/1", "GET /runs/{id}", None),
            ("/agents/runs", "$default", None),
            ("/agents/runs", "ANY /{proxy+}", None),
            ("/runs/1/x", "GET /runs/{id}", None),
            ("/x", "GET /runs/{id}", None),
            ("", "GET /runs", None),
        ] {
            assert_eq!(below_mapping(path, route), below, "{path} by {route}");
        }
    }
}
