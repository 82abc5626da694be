//! What came of a call, as it is recorded.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;

use super::turn::Turn;
use crate::{
    agent::tool::{Effect, ErrorsMean, TOOL_ANSWER_BYTES_MAX, ToolError, ToolSpec},
    clock::Timestamp,
    ids::CallId,
    json_bounds,
    redaction::cut,
    retry::RetryPolicy,
    run::{
        entry::{Event, ToolOutcome, UnknownCause},
        screen::suspected,
        state::{Call, CallStatus},
    },
};

/// For how long a call that may have taken effect is repeated under its key, or asked about, before a person is asked. A day: what is away
/// for an hour or a night comes back, and a person asked later than that would not find out more.
pub const FIND_OUT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The most characters of what a tool says of its failure: it becomes part of an entry, and models read it.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// The event of an outcome, screened: what a tool says is data, and a text in it that addresses the model is pointed out.
pub(super) fn returned(call: CallId, attempt: u32, outcome: ToolOutcome) -> Event {
    let suspected = match (&outcome, outcome.message()) {
        (ToolOutcome::Succeeded { value }, _) => suspected(value),
        (_, Some(message)) => suspected(&Value::String(message.to_owned())),
        (_, None) => Vec::new(),
    };
    if !suspected.is_empty() {
        warn!(%call, ?suspected, "the answer holds texts that address the model");
    }
    Event::ToolReturned { call, attempt, outcome, suspected }
}

pub(super) fn ran_out_of_time(spec: &ToolSpec) -> ToolError {
    ToolError::Unknown { message: format!("no answer within {:?}", spec.timeout) }
}

/// An answer that is too large to keep is replaced by a note: what it reports has happened all the same.
pub(super) fn bounded(value: Value) -> Value {
    let bytes = value.to_string().len();
    if bytes <= TOOL_ANSWER_BYTES_MAX {
        return match json_bounds::check(&value) {
            Ok(()) => value,
            Err(error) => json!({ "omitted": format!("an answer of {bytes} bytes: {error}") }),
        };
    }
    json!({ "omitted": format!("an answer of {bytes} bytes; at most {TOOL_ANSWER_BYTES_MAX} are kept") })
}

pub(super) const fn outcome_word(outcome: &ToolOutcome) -> &'static str {
    match outcome {
        ToolOutcome::Succeeded { .. } => "succeeded",
        ToolOutcome::Refused { .. } => "refused",
        ToolOutcome::Unavailable { .. } => "unavailable",
        ToolOutcome::Unknown { .. } => "unknown",
        ToolOutcome::Absent => "absent",
    }
}

/// What an attempt is recorded as that was not made. When an earlier attempt of the same call may have taken effect, that it
/// did not happen now says nothing about the call.
pub(super) fn not_made(repeated: bool, why: &str, now: Timestamp) -> ToolOutcome {
    match repeated {
        false => ToolOutcome::Absent,
        true => {
            let (message, cause) = (format!("not repeated: {why}"), UnknownCause::NotRepeated);
            ToolOutcome::Unknown { message, retry_at: Some(now), cause }
        }
    }
}

impl Turn<'_> {
    /// What an attempt says of its call, by the tool's effect class and by what its errors mean.
    pub(super) fn outcome_of(&self, spec: &ToolSpec, call: &Call, result: Result<Value, ToolError>) -> ToolOutcome {
        let error = match result {
            Ok(value) => return ToolOutcome::Succeeded { value: bounded(value) },
            Err(error) => error,
        };
        // An earlier attempt has no outcome and may have taken effect; only what is answered under its key tells of both.
        let repeated = spec.effect != Effect::Read && matches!(call.status, CallStatus::Attempted { .. });
        let unknown = |message, retry_at, cause| ToolOutcome::Unknown { message, retry_at, cause };
        let soon = Duration::ZERO;
        match (error, spec.effect) {
            (ToolError::Refused { message }, _) if repeated => unknown(kept(&message), None, UnknownCause::NotRepeated),
            (ToolError::Refused { message }, _) | (ToolError::Failed { message }, Effect::Read) => {
                ToolOutcome::Refused { message: kept(&message) }
            }
            (ToolError::Unavailable { message, retry_after }, _) if repeated => {
                unknown(kept(&message), self.find_out_at(spec, call, retry_after), UnknownCause::NotRepeated)
            }
            (ToolError::Unavailable { message, retry_after }, _) => {
                ToolOutcome::Unavailable { message: kept(&message), retry_at: self.again_at(spec, call, retry_after) }
            }
            (ToolError::Failed { message }, _) if repeated || spec.errors_mean == ErrorsMean::NotDone => {
                ToolOutcome::Refused { message: kept(&message) }
            }
            // Nothing can have happened.
            (ToolError::Unknown { message }, Effect::Read) => {
                ToolOutcome::Unavailable { message: kept(&message), retry_at: self.again_at(spec, call, soon) }
            }
            (error @ (ToolError::Failed { .. } | ToolError::Unknown { .. }), effect) => {
                let (message, cause) = match error {
                    ToolError::Failed { message } => (message, UnknownCause::AnsweredError),
                    other => (other.to_string(), UnknownCause::NoAnswer),
                };
                let retry_at = match effect {
                    Effect::Read | Effect::Idempotent => self.find_out_at(spec, call, soon),
                    // What was sent may still arrive: ask once it cannot any more.
                    Effect::Queryable => Some(self.now() + spec.timeout),
                    Effect::Irreversible => None,
                };
                unknown(kept(&message), retry_at, cause)
            }
        }
    }

    /// What a tool says of a call that it was asked about. That it did not take effect is a failure like another: it is made again later.
    pub(super) fn outcome_of_query(
        &self,
        spec: &ToolSpec,
        call: &Call,
        asked: Result<Option<Value>, ToolError>,
    ) -> ToolOutcome {
        let (message, retry_at) = match asked {
            Ok(Some(value)) => return ToolOutcome::Succeeded { value: bounded(value) },
            Ok(None) => {
                let message = "the tool was asked: it had not taken effect".to_owned();
                return ToolOutcome::Unavailable { message, retry_at: self.again_at(spec, call, Duration::ZERO) };
            }
            Err(ToolError::Refused { message }) => (message, None),
            Err(ToolError::Unavailable { message, retry_after }) => {
                (message, self.find_out_at(spec, call, retry_after))
            }
            Err(error) => (error.to_string(), self.find_out_at(spec, call, Duration::ZERO)),
        };
        ToolOutcome::Unknown { message: kept(&message), retry_at, cause: UnknownCause::NotAsked }
    }

    /// What an attempt to undo came to. Whatever it was, undoing again does no harm, until [`UNDO_FOR`](crate::run::next::UNDO_FOR) is over.
    pub(super) fn outcome_of_undoing(
        &self,
        spec: &ToolSpec,
        attempt: u32,
        result: Result<Value, ToolError>,
    ) -> ToolOutcome {
        let (message, asked) = match result {
            Ok(value) => return ToolOutcome::Succeeded { value: bounded(value) },
            Err(ToolError::Refused { message }) => return ToolOutcome::Refused { message: kept(&message) },
            Err(ToolError::Unavailable { message, retry_after }) => (message, retry_after),
            Err(error) => (error.to_string(), Duration::ZERO),
        };
        let since = self.state.abandoned.as_ref().map_or(self.now(), |abandonment| abandonment.since);
        let patient = RetryPolicy { give_up_after: None, ..spec.retry };
        let rest = patient.rest(attempt, self.now().since(since), asked, self.engine.random.as_ref());
        ToolOutcome::Unavailable { message: kept(&message), retry_at: rest.map(|rest| self.now() + rest) }
    }

    /// When a call is made again that did not take effect; `None` when its tool has been tried for as long as it says.
    fn again_at(&self, spec: &ToolSpec, call: &Call, asked: Duration) -> Option<Timestamp> {
        let rest = spec.retry.rest(call.failures + 1, self.failing_for(call), asked, self.engine.random.as_ref());
        rest.map(|rest| self.now() + rest)
    }

    /// The same for one that may have taken effect: then a person is asked at the latest after [`FIND_OUT_FOR`].
    fn find_out_at(&self, spec: &ToolSpec, call: &Call, asked: Duration) -> Option<Timestamp> {
        let since = call.failing.as_ref().and_then(|failing| failing.unknown_since);
        let over = since.is_some_and(|since| since + FIND_OUT_FOR <= self.now());
        if over { None } else { self.again_at(spec, call, asked) }
    }
}

/// What a tool says of its failure, as much of it as is kept.
fn kept(message: &str) -> String {
    cut(message, MESSAGE_CHARS_MAX).to_owned()
}
