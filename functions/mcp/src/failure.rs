//! What a failed request says of whether it was worked on.

use std::{fmt, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use windlass::redaction;

use crate::bounded::Unreadable;

/// How much of what a server says about a failure is kept.
const MESSAGE_CHARS_MAX: usize = 500;

/// JSON-RPC's codes for what was not understood (<https://www.jsonrpc.org/specification#error_object>).
const NOT_UNDERSTOOD: [i64; 4] = [-32700, -32600, -32601, -32602];

/// The codes that servers give for a session they do not know; the protocol leaves them to the server.
const SESSION_CODES: [i64; 2] = [-32000, -32001];

/// Why a request has no answer. What matters is whether the server may have worked on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It was not worked on; it may be the next time.
    #[error("{message}")]
    NotDone {
        /// What was seen.
        message: String,
        /// What the server asked us to wait.
        retry_after: Duration,
    },
    /// It was not worked on and never will be.
    #[error("{message}")]
    Rejected {
        /// What the server said.
        message: String,
    },
    /// It may have been worked on.
    #[error("{message}")]
    Unknown {
        /// What was seen.
        message: String,
        /// What the server asked us to wait.
        retry_after: Duration,
    },
    /// It was worked on, and what came of it is more than is read.
    #[error("{message}")]
    TooLarge {
        /// How large is too large.
        message: String,
    },
}

impl RequestError {
    pub(crate) fn not_done(message: impl fmt::Display) -> Self {
        RequestError::NotDone { message: cut(&message.to_string()), retry_after: Duration::ZERO }
    }

    pub(crate) fn unknown(message: impl fmt::Display) -> Self {
        RequestError::Unknown { message: cut(&message.to_string()), retry_after: Duration::ZERO }
    }
}

impl From<Unreadable> for RequestError {
    fn from(problem: Unreadable) -> Self {
        match problem {
            Unreadable::TooLong(_) | Unreadable::TooMany => RequestError::TooLarge { message: problem.to_string() },
            Unreadable::Malformed(_) | Unreadable::Broken(_) => RequestError::unknown(problem),
        }
    }
}

/// What came of one exchange that brought no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The server refused the request because it does not know its session: it was not worked on.
    Session(String),
    /// The server does not accept the token: it was not worked on.
    Token,
    /// The server answered that something went wrong with a session, and perhaps with the request.
    SessionPerhaps(RequestError),
    /// Anything else.
    Request(RequestError),
}

impl From<RequestError> for Failed {
    fn from(error: RequestError) -> Self {
        Failed::Request(error)
    }
}

impl From<Failed> for RequestError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Session(message) => {
                RequestError::not_done(format!("the server has forgotten the session: {message}"))
            }
            Failed::Token => RequestError::not_done("the server does not accept the token"),
            Failed::SessionPerhaps(error) | Failed::Request(error) => error,
        }
    }
}

fn cut(text: &str) -> String {
    redaction::cut(text, MESSAGE_CHARS_MAX).to_owned()
}

/// Nothing was sent, or nothing came back.
pub(crate) fn unsent(error: reqwest::Error) -> RequestError {
    let connecting = error.is_connect();
    let cause = innermost(&error.without_url());
    if connecting {
        RequestError::not_done(format!("no connection: {cause}"))
    } else {
        RequestError::unknown(format!("the connection broke: {cause}"))
    }
}

/// The cause, which says more than the layers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What a status that is no success says. Only what is certain not to have been worked on counts as not done.
pub(crate) fn of_status(status: StatusCode, body: &[u8], retry_after: Duration, in_session: bool) -> Failed {
    let parsed: Option<Value> = crate::bounded::json(body).ok();
    let error = parsed.as_ref().map(|message| &message["error"]).filter(|error| error.is_object());
    let text = error.and_then(|error| error["message"].as_str()).map_or_else(|| shown(body), str::to_owned);
    let said = cut(&format!("HTTP {status}: {text}"));
    match status.as_u16() {
        401 | 403 => Failed::Token,
        404 | 410 if in_session => Failed::Session(said),
        400 if in_session && names_a_session(error, &text) => Failed::Session(said),
        429 => RequestError::NotDone { message: "the server is busy (HTTP 429)".to_owned(), retry_after }.into(),
        408 => RequestError::Unknown { message: said, retry_after }.into(),
        400..=499 => RequestError::Rejected { message: said }.into(),
        _ => RequestError::Unknown { message: said, retry_after }.into(),
    }
}

/// A body as text; a page for browsers says nothing.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') { String::new() } else { text.chars().take(MESSAGE_CHARS_MAX).collect() }
}

/// Whether a refusal is about the session, by the codes and words that servers in use have for it.
fn names_a_session(error: Option<&Value>, text: &str) -> bool {
    match error.and_then(|error| error["code"].as_i64()) {
        Some(code) => SESSION_CODES.contains(&code),
        None => {
            let text = text.to_lowercase();
            text.contains("session") || text.contains("not initialized")
        }
    }
}

/// What a JSON-RPC error says. A server that does not understand a request has not worked on it; one that fails in the middle may have.
pub(crate) fn of_error(error: &Value, in_session: bool) -> Failed {
    let code = error["code"].as_i64().unwrap_or_default();
    let text = error["message"].as_str().unwrap_or("no message");
    let message = cut(&format!("{text} ({code})"));
    if NOT_UNDERSTOOD.contains(&code) {
        return RequestError::Rejected { message }.into();
    }
    let unknown = RequestError::Unknown { message, retry_after: Duration::ZERO };
    // Told within an answer, so that the server may have worked on it before.
    if in_session && SESSION_CODES.contains(&code) && text.to_lowercase().contains("session") {
        return Failed::SessionPerhaps(unknown);
    }
    unknown.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn word(failed: Failed) -> &'static str {
        match failed {
            Failed::Session(_) => "session",
            Failed::Token => "token",
            Failed::SessionPerhaps(_) => "perhaps",
            Failed::Request(RequestError::NotDone { .. }) => "not done",
            Failed::Request(RequestError::Rejected { .. }) => "rejected",
            Failed::Request(RequestError::Unknown { .. }) => "unknown",
            Failed::Request(RequestError::TooLarge { .. }) => "too large",
        }
    }

    #[test]
    fn a_forgotten_session_is_known_in_whatever_clothes_it_comes() {
        let of = |status: u16, body: &str, in_session| {
            word(of_status(
                StatusCode::from_u16(status).expect("a status"),
                body.as_bytes(),
                Duration::ZERO,
                in_session,
            ))
        };
        let rpc = |code: i64, message: &str| {
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } }).to_string()
        };
        assert_eq!(of(404, "", true), "session");
        assert_eq!(of(404, "", false), "rejected");
        assert_eq!(of(400, "Session not found", true), "session");
        assert_eq!(of(400, &rpc(-32000, "no valid session"), true), "session");
        assert_eq!(of(400, &rpc(-32000, "Bad Request: Server not initialized"), true), "session");
        assert_eq!(of(400, &rpc(-32001, "Session expired"), true), "session");
        assert_eq!(of(400, &rpc(-32602, "`session` is no such argument"), true), "rejected");
        assert_eq!(of(400, "Session not found", false), "rejected");
        assert_eq!(of(400, "no such order", true), "rejected");
        assert_eq!(of(503, "Session not found", true), "unknown");
    }

    #[test]
    fn an_error_within_an_answer_is_never_certain_to_come_from_before_the_work() {
        let of = |code: i64, message: &str| word(of_error(&json!({ "code": code, "message": message }), true));
        assert_eq!(of(-32001, "Session not found"), "perhaps");
        assert_eq!(of(-32001, "out of paper"), "unknown");
        assert_eq!(of(-32603, "something broke"), "unknown");
        assert_eq!(of(-32602, "not these"), "rejected");
    }
}
