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
    is_traced: bool,
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
    /// Reads what API Gateway passes on. A request without a sound `traceparent` starts a trace.
    pub fn read(event: Event, random: &dyn Random) -> Request {
        let context = event.request_context;
        let path = event.raw_path.or(context.http.path).unwrap_or_default();
        let stage = context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}"));
        let path = match stage.as_deref().and_then(|stage| path.strip_prefix(stage)) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.to_owned(),
            _ => path,
        };
        let traceparent = event.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let trace = traceparent.and_then(TraceId::from_traceparent);
        Request {
            method: context.http.method,
            path,
            query: event.query_string_parameters,
            claims: context.authorizer.and_then(|authorizer| authorizer.jwt).unwrap_or_default().claims,
            headers: event.headers,
            body: event.body.filter(|body| !body.is_empty()),
            is_base64: event.is_base64_encoded,
            trace: trace.unwrap_or_else(|| TraceId::generate(random)),
            is_traced: trace.is_some(),
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

    /// The path, without the stage.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The trace that the request belongs to.
    pub const fn trace(&self) -> TraceId {
        self.trace
    }

    /// The trace that the client named, if it named one.
    pub const fn client_trace(&self) -> Option<TraceId> {
        if self.is_traced { Some(self.trace) } else { None }
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
    /// A 413 for more than `bytes_max` bytes, a 415 for anything but JSON, a 400 with line and column for JSON of another shape, and for a
    /// number with more digits than can be kept.
    pub fn json<T: DeserializeOwned>(&self, bytes_max: usize) -> Result<T, Problem> {
        let body = self.body_of(bytes_max)?;
        let content_type = self.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let detail = "send the body as `content-type: application/json`";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail).header("accept", "application/json"));
        }
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

fn malformed(error: &serde_json::Error) -> Problem {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let errors = json!([{ "detail": what, "line": error.line(), "column": error.column() }]);
    let wrong = if error.is_data() { "is not of the wanted form" } else { "is not JSON" };
    let detail = format!("the body {wrong}: {what} (line {}, column {})", error.line(), error.column());
    Problem::new(Kind::Malformed, detail).with("errors", errors)
}
