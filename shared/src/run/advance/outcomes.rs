//! What came of a call, as it is recorded.

use serde_json::{Value, json};
use tracing::warn;

use crate::{
    agent::tool::{TOOL_ANSWER_BYTES_MAX, ToolError, ToolSpec},
    clock::Timestamp,
    ids::CallId,
    run::{
        entry::{Event, ToolOutcome},
        screen::suspected,
    },
};

/// The event of an outcome, screened: what a tool says is data, and a text in it that addresses the model is pointed out.
pub(super) fn returned(call: CallId, attempt: u32, outcome: ToolOutcome) -> Event {
    let suspected = match &outcome {
        ToolOutcome::Succeeded { value } => suspected(value),
        ToolOutcome::Refused { message }
        | ToolOutcome::Unavailable { message, .. }
        | ToolOutcome::Unknown { message, .. } => suspected(&Value::String(message.clone())),
        ToolOutcome::Absent => Vec::new(),
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
        return value;
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
        true => ToolOutcome::Unknown { message: format!("not repeated: {why}"), retry_at: Some(now) },
    }
}

/// What a repetition's outcome says of the call. An earlier attempt has no outcome and may have taken effect; that this one did not
/// says nothing about that.
pub(super) fn of_repetition(outcome: ToolOutcome) -> ToolOutcome {
    match outcome {
        ToolOutcome::Refused { message } => ToolOutcome::Unknown { message, retry_at: None },
        ToolOutcome::Unavailable { message, retry_at } => ToolOutcome::Unknown { message, retry_at },
        outcome => outcome,
    }
}
