//! Whether a request among the dead letters is known by its key if it was taken on before.
//!
//! ```text
//! sender: START (key import-7) ── sent ── taken on: run A, record of the key for a day ──────────── record expires
//! queue:                              └── another delivery fails ten times ── dead letter
//! replay:                                        within a day: START ──► run A     a day later: START ──► run B, a second one
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, Timestamp},
    door::{KeyMemory, Requests},
    idempotency::Key,
    journal::JournalError,
    queue::{DeadMessage, Message},
    run::{accept::KEY_SCOPE, tasks::Tasks},
};

/// What sending a message again means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repetition {
    /// It starts nothing: it is a wake-up, or not ours.
    StartsNothing,
    /// If it was taken on before, its key says so.
    Recognised,
    /// If it was taken on before, nothing says so any more: a second run would start.
    OutsideMemory,
}

/// What is known of requests: their keys, and what they may ask.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Their records.
    pub requests: &'a dyn Requests,
    /// How long a record is kept.
    pub kept_for: Duration,
    /// The tasks that the release knows.
    pub tasks: &'a Tasks,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl Keys<'_> {
    /// What sending `message` again means now.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn repetition(&self, message: &DeadMessage) -> Result<Repetition, JournalError> {
        let Ok(Message::Start { idempotency_key, request, .. }) = Message::parse(&message.body) else {
            return Ok(Repetition::StartsNothing);
        };
        let Ok(key) = Key::of(KEY_SCOPE, &request.tenant, &request.actor, &idempotency_key) else {
            return Ok(Repetition::StartsNothing);
        };
        // Whatever was taken on after it was sent has a record for so long at least.
        let remembered_until = Timestamp::from_millis(message.sent_millis) + self.kept_for;
        Ok(match self.requests.memory(&key).await? {
            KeyMemory::Remembered => Repetition::Recognised,
            KeyMemory::Blank if self.clock.now() < remembered_until => Repetition::Recognised,
            KeyMemory::Blank | KeyMemory::Expired => Repetition::OutsideMemory,
        })
    }
}
