//! Answers.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use windlass::ids::TraceId;

use crate::{Kind, Problem, Request, Response};

/// An answer to a request that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    trace: Option<TraceId>,
    waited: Duration,
}

impl Reply {
    /// JSON under a status.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Reply, Problem> {
        let body = serde_json::to_string(body).map_err(|error| {
            tracing::error!(%error, "an answer has no JSON");
            Problem::new(Kind::Internal, "the answer could not be written")
        })?;
        Ok(Reply { status, headers: Vec::new(), body, trace: None, waited: Duration::ZERO })
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// After waiting for so long because the caller asked to.
    pub fn waited(mut self, span: Duration) -> Reply {
        self.waited = span;
        self
    }

    /// As part of this trace rather than the request's own.
    pub fn in_trace(mut self, trace: TraceId) -> Reply {
        self.trace = Some(trace);
        self
    }
}

/// How long answering a request may take, what its caller asked to wait apart. An alarm tells when one in twenty takes longer.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// What goes back through API Gateway after `took`. Nothing of it may be stored on the way, and it names its trace.
pub fn respond(request: &Request, took: Duration, result: Result<Reply, Problem>) -> Response {
    observe(took, result.as_ref());
    let (status, content_type, headers, body, trace) = match result {
        Ok(reply) => (reply.status, "application/json", reply.headers, reply.body, reply.trace),
        Err(problem) => {
            let document = problem.document(request.path()).to_string();
            (problem.kind().status(), "application/problem+json", problem.headers(), document, None)
        }
    };
    let trace = trace.unwrap_or(request.trace()).to_string();
    let fixed = [("content-type", content_type), ("cache-control", "no-store"), ("x-trace-id", trace.as_str())];
    let mut map = HeaderMap::new();
    for (name, value) in fixed.into_iter().chain(headers.iter().map(|(name, value)| (*name, value.as_str()))) {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(map.insert(HeaderName::from_static(name), value)),
            Err(error) => tracing::warn!(name, %error, "a header was left out"),
        }
    }
    let mut response = Response::default();
    response.status_code = i64::from(status);
    response.headers = map;
    response.body = Some(body.into());
    response
}

/// Logs what alarms count. A request that the kit turns away on purpose is no failure of the API, and neither is a wait that was asked for;
/// API Gateway's own metrics know of neither.
fn observe(took: Duration, result: Result<&Reply, &Problem>) {
    if let Err(problem) = result
        && matches!(problem.kind(), Kind::NewRunsPaused | Kind::Overloaded)
    {
        tracing::info!(reason = problem.kind().parts().1, "a request is shed");
    }
    let took = took.saturating_sub(result.map_or(Duration::ZERO, |reply| reply.waited));
    if took > SLOW_AFTER {
        tracing::warn!(took_ms = took.as_millis(), "a request took long");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::written::lines_of;

    const SECOND: Duration = Duration::from_secs(1);

    fn messages(took: Duration, result: Result<&Reply, &Problem>) -> Vec<String> {
        let lines = lines_of(|| observe(took, result));
        lines.iter().map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
    }

    #[test]
    fn a_wait_that_was_asked_for_is_not_slow_and_a_request_that_is_turned_away_on_purpose_is_counted_apart() {
        let reply = Reply::json(200, &json!({})).expect("JSON");
        let waited = reply.clone().waited(25 * SECOND);
        assert!(messages(2 * SECOND, Ok(&reply)).is_empty());
        assert!(messages(27 * SECOND, Ok(&waited)).is_empty());
        assert_eq!(messages(28 * SECOND, Ok(&waited)), ["a request took long"], "longer than it waited");
        assert_eq!(messages(3 * SECOND, Ok(&reply)), ["a request took long"]);
        for (kind, wanted) in [
            (Kind::Overloaded, &["a request is shed"][..]),
            (Kind::NewRunsPaused, &["a request is shed"]),
            (Kind::Unavailable, &[]),
            (Kind::Internal, &[]),
            (Kind::RateLimited, &[]),
        ] {
            assert_eq!(messages(SECOND, Err(&Problem::new(kind, "no"))), wanted, "{kind:?}");
        }
    }
}
