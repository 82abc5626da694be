//! What a person is shown of a call in doubt, and what they may say of its outcome.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::tool::Effect,
    clock::Timestamp,
    ids::ToolName,
    redaction::cut,
    run::{entry::UnknownCause, state::Call},
};

/// The most characters of what was seen last.
pub const SEEN_CHARS_MAX: usize = 1_000;

/// The most bytes of a result that a person gives, as JSON: half of what a decision may have in all.
pub const RESULT_BYTES_MAX: usize = 8 * 1024;

/// What is known of a call of which nobody knows whether it took effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Under which key it went out: what to search the tool's own records for.
    pub idempotency_key: String,
    /// What repeating it does, as its last attempt said.
    pub effect: Effect,
    /// Attempts so far.
    pub attempts: u32,
    /// When the last one was made.
    pub attempted_at: Timestamp,
    /// How its outcome came to be unknown.
    pub cause: UnknownCause,
    /// What was seen last, at most [`SEEN_CHARS_MAX`] characters; `None` when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

impl Evidence {
    /// What `call` tells, which went out under `idempotency_key`; `asked_at` stands in for a time that was not recorded.
    pub fn of(call: &Call, idempotency_key: String, asked_at: Timestamp) -> Evidence {
        let failing = call.failing.as_ref().filter(|failing| failing.attempt == call.attempts);
        let known = failing.and_then(|failing| Some((failing.cause?, failing.message.as_str())));
        Evidence {
            idempotency_key,
            effect: call.effect,
            attempts: call.attempts,
            attempted_at: call.attempted_at.unwrap_or(asked_at),
            cause: known.map_or(UnknownCause::WorkerEnded, |(cause, _)| cause),
            seen: known.map(|(_, message)| cut(message, SEEN_CHARS_MAX).to_owned()),
        }
    }

    /// Why a person has to say, in one sentence.
    pub fn reason(&self, tool: &ToolName) -> String {
        let attempt = format!("attempt {} of `{tool}`", self.attempts);
        let known = match self.cause {
            UnknownCause::WorkerEnded => format!("the worker ended before the outcome of {attempt} was recorded"),
            UnknownCause::NoAnswer => format!("{attempt} was sent and not answered"),
            UnknownCause::AnsweredError => {
                format!("{attempt} answered an error, which does not say that nothing happened")
            }
            UnknownCause::NotRepeated => {
                format!("an earlier attempt of `{tool}` has no outcome, and it cannot be repeated under its key")
            }
            UnknownCause::NotAsked => format!("`{tool}` does not say whether attempt {} took effect", self.attempts),
        };
        match self.effect {
            Effect::Irreversible => format!("{known}; repeating it may do it twice"),
            Effect::Read | Effect::Idempotent | Effect::Queryable => known,
        }
    }
}

/// What a person says that a call in doubt came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// What it answered.
    Value(Value),
    /// Why it failed.
    Message(String),
}

impl CallResult {
    /// What it answered, at most [`RESULT_BYTES_MAX`] bytes of it.
    ///
    /// # Errors
    /// How large it is.
    pub fn value(value: Value) -> Result<CallResult, ResultTooLarge> {
        let bytes = value.to_string().len();
        if bytes > RESULT_BYTES_MAX { Err(ResultTooLarge { bytes }) } else { Ok(CallResult::Value(value)) }
    }

    /// Why it failed, cut to [`SEEN_CHARS_MAX`] characters.
    pub fn message(text: &str) -> CallResult {
        CallResult::Message(cut(text, SEEN_CHARS_MAX).to_owned())
    }
}

/// A result is too large to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a result of {bytes} bytes; at most {RESULT_BYTES_MAX}")]
pub struct ResultTooLarge {
    /// Its size as JSON.
    pub bytes: usize,
}
