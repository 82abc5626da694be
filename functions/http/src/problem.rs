//! Problem documents (<https://www.rfc-editor.org/rfc/rfc9457>).

use std::time::Duration;

use serde_json::{Map, Value, json};
use windlass::redaction::Redaction;

/// What kinds of problem there are: each with its own URN, title and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body, or something beside it, is not of the wanted form.
    Malformed,
    /// The path names something that cannot exist.
    InvalidId,
    /// The `Idempotency-Key` is missing or not one.
    InvalidKey,
    /// Nobody has been authenticated.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// The approval token is not good for this.
    TokenRefused,
    /// There is nothing of that name that whoever asks may see.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// A request with the same key is under way.
    KeyInProgress,
    /// The approval was decided before.
    AlreadyDecided,
    /// The run is over, or ending.
    RunOver,
    /// The time for it is over.
    Expired,
    /// There is too much of it.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The key was used for another request.
    KeyReused,
    /// The release knows no such task.
    UnknownTask,
    /// A run's journal or head cannot be read. It is left as it is.
    Unreadable,
    /// Something is wrong on this side.
    Internal,
    /// What the actor may spend today is spent.
    BudgetExhausted,
    /// The actor's or the tenant's limit is used up for the moment.
    RateLimited,
    /// Too much waits to be worked on.
    Overloaded,
    /// Something that is needed cannot be reached, by a look at everything.
    NotReady,
    /// No runs are taken on now.
    NewRunsPaused,
    /// Something that is needed does not answer.
    Unavailable,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 24] = [
        Kind::Malformed,
        Kind::InvalidId,
        Kind::InvalidKey,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::TokenRefused,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::KeyInProgress,
        Kind::AlreadyDecided,
        Kind::RunOver,
        Kind::Expired,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::KeyReused,
        Kind::UnknownTask,
        Kind::Unreadable,
        Kind::Internal,
        Kind::BudgetExhausted,
        Kind::NewRunsPaused,
        Kind::RateLimited,
        Kind::Overloaded,
        Kind::NotReady,
        Kind::Unavailable,
    ];

    /// Status, last part of the URN, and title.
    pub const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Kind::Malformed => (400, "malformed-request", "The request is malformed"),
            Kind::InvalidId => (400, "invalid-id", "The path does not hold an id"),
            Kind::InvalidKey => (400, "invalid-idempotency-key", "The idempotency key is missing or invalid"),
            Kind::Unauthenticated => (401, "unauthenticated", "Authentication is required"),
            Kind::Forbidden => (403, "forbidden", "This is not yours to do"),
            Kind::TokenRefused => (403, "token-refused", "The approval token is refused"),
            Kind::NotFound => (404, "not-found", "There is no such thing"),
            Kind::MethodNotAllowed => (405, "method-not-allowed", "The method is not allowed here"),
            Kind::KeyInProgress => (409, "idempotency-key-in-progress", "The same request is under way"),
            Kind::AlreadyDecided => (409, "already-decided", "It has been decided"),
            Kind::RunOver => (409, "run-over", "The run is over"),
            Kind::Expired => (410, "expired", "The time for this is over"),
            Kind::TooLarge => (413, "too-large", "The request is too large"),
            Kind::UnsupportedMediaType => (415, "unsupported-media-type", "The body must be JSON"),
            Kind::KeyReused => (422, "idempotency-key-reused", "The idempotency key was used for another request"),
            Kind::UnknownTask => (422, "unknown-task", "There is no such task"),
            Kind::Unreadable => (500, "run-unreadable", "The run cannot be read"),
            Kind::Internal => (500, "internal-error", "Something is wrong on our side"),
            Kind::BudgetExhausted => (429, "budget-exhausted", "The budget for today is used up"),
            Kind::NewRunsPaused => (503, "new-runs-paused", "No new runs are taken on at the moment"),
            Kind::RateLimited => (429, "rate-limited", "Too many requests"),
            Kind::Overloaded => (503, "overloaded", "Too much waits to be worked on"),
            Kind::NotReady => (503, "not-ready", "Something we need cannot be reached"),
            Kind::Unavailable => (503, "unavailable", "Something we need does not answer"),
        }
    }

    /// The URN that names it in a problem document.
    pub fn urn(self) -> String {
        format!("urn:windlass:problem:{}", self.parts().1)
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.parts().0
    }
}

/// A request that cannot be met, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    extensions: Box<Map<String, Value>>,
    retry_after: Option<Duration>,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    /// A problem with what is wrong this time, in words for whoever asked.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), extensions: Box::default(), retry_after: None, headers: Vec::new() }
    }

    /// With one more member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// With a `Retry-After` of `span`, rounded up to a whole second.
    pub fn retry_after(mut self, span: Duration) -> Problem {
        self.retry_after = Some(span);
        self
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// Which kind it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = self.headers.clone();
        if let Some(span) = self.retry_after {
            headers.push(("retry-after", span.as_millis().div_ceil(1_000).max(1).to_string()));
        }
        headers
    }

    /// The document about the request to `path`.
    pub(crate) fn document(&self, path: &str) -> Value {
        let (status, _, title) = self.kind.parts();
        // A pointer into a payload holds the payload's own keys.
        let redacted = |(name, value): (&String, &Value)| (name.clone(), Redaction::STRICT.value(value));
        let mut document: Map<String, Value> = self.extensions.iter().map(redacted).collect();
        for (name, value) in [
            ("type", json!(self.kind.urn())),
            ("title", json!(title)),
            ("status", json!(status)),
            ("detail", json!(Redaction::STRICT.text(&self.detail))),
            ("instance", json!(Redaction::STRICT.text(path))),
        ] {
            document.insert(name.to_owned(), value);
        }
        Value::Object(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_an_error_status() {
        let slugs: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.parts().1).collect();
        assert_eq!(slugs.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }

    #[test]
    fn no_extension_replaces_a_member_of_the_standard() {
        let document = Problem::new(Kind::NotFound, "no run").with("status", 200).with("run", "x").document("/runs/x");
        assert_eq!(document["status"], 404);
        assert_eq!(document["type"], "urn:windlass:problem:not-found");
        assert_eq!((&document["instance"], &document["run"]), (&json!("/runs/x"), &json!("x")));
    }
}
