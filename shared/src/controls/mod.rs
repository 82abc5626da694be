//! Live controls: one document that says what may happen now. It is changed without a deploy, by compare-and-set, and every
//! change says who made it and why.
//!
//! ```text
//! operator: read v7 ── put v8 IF version = 7 (and its history, and its audit line) ── acknowledged
//! worker:   intent written ── read (consistent) ── on  ── call                          ← began before v8 was there
//! worker:   intent written ─────────────────────────── read ── off ── "not made" ── held
//! ```
//!
//! A worker reads *after* its intent is durable and right before it acts. So once a change is acknowledged, an effect starts only
//! if its worker had already looked: within one round trip to the tool, not within the time that writing an intent, being
//! throttled or being frozen takes. What was switched off in between is recorded as not made. A worker that cannot read the
//! document starts nothing.

use async_trait::async_trait;

use crate::{audit::AuditRecord, retry::Retry};

pub mod admit;
pub mod change;
mod document;
mod flag;
pub mod gate;
mod seen;
pub mod setting;

pub use document::{AgentSwitch, Change, Document, PromptSwitch, Route, SCHEMA, Settings, Switch};
pub use flag::Flag;
pub use seen::Seen;

/// The most bytes of a stored document: far below DynamoDB's 400 KB, and one reading unit is 4 KB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// The controls could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlsError {
    /// They could not be reached, or the store throttles.
    #[error("the controls are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// The store refuses.
    #[error("the controls: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// The document is not one that this release understands. It is not guessed at: a switch may be in it.
    #[error("the controls cannot be read: {problem}")]
    Unreadable {
        /// What is wrong.
        problem: String,
    },
}

impl ControlsError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            ControlsError::Unavailable { .. } => Retry::SOON,
            ControlsError::Refused { .. } | ControlsError::Unreadable { .. } => Retry::Terminal,
        }
    }
}

/// What came of changing the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is in force.
    Done,
    /// Somebody else changed it first: read it again.
    Conflict,
}

/// Where the document is kept.
#[async_trait]
pub trait Controls: Send + Sync {
    /// The document in force, read consistently; the default (everything on) when there never was one.
    async fn read(&self) -> Result<Document, ControlsError>;

    /// Puts `document` in force, keeps it as history and appends `audit`, all or nothing, if the document in force has the version
    /// before it.
    ///
    /// ```text
    /// A: put v8 IF version = 7 ── done
    /// B: put v8 IF version = 7 ── conflict ──► read v8, decide again
    /// A: put v8 (a repeat, the first answer was lost) ── there, and equal ──► done
    /// ```
    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError>;

    /// The newest `limit` documents, newest first.
    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError>;

    /// One version, if it is there.
    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError>;
}
