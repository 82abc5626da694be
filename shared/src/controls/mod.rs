//! Live controls: one document that says what may happen now. It is changed without a deploy, by compare-and-set, and every
//! change says who made it and why.
//!
//! ```text
//! operator: newest is v7 ── put v8 IF v7 is there and v8 is not (with its audit line and every copy of the number) ── acknowledged
//! worker:   intent written ── read (consistent) ── on  ── call                          ← began before v8 was there
//! worker:   intent written ─────────────────────────── read ── off ── "not made" ── held
//! ```
//!
//! A worker reads *after* its intent is durable and right before it acts. So once a change is acknowledged, an effect starts only
//! if its worker had already looked: within one round trip to the tool, not within the time that writing an intent, being
//! throttled or being frozen takes. What was switched off in between is recorded as not made. A worker that cannot read the
//! document starts nothing, and a document that is not there cannot be read: version 0, which lets everything happen, is made when the
//! kit is deployed ([`Controls::init`]).
//!
//! Everything reads the controls, so a read is of the *number* of the version in force, which has copies; a document never changes,
//! and a process that knows it does not read it again. A change writes all copies with the document, all or nothing: there is no moment
//! at which two copies name different versions, and none at which a change is half made.
//!
//! ```text
//! reader:   copy 3 (consistent): 7 ── knows v7 ── goes by it
//! operator: ──────────────────────── v8, copies 0..15 := 8, audit ── acknowledged
//! reader:                              copy 9: 8 ── does not know it ── read v8 ── goes by it
//! operator: ── v8, copies := 8, audit ── …dies before the answer      ──► all of it is there or none; a repetition finds v8
//! somebody: deletes copies         ──► reader: none ── unreadable, nothing starts ──► `init`, or the next change, writes them again
//! ```

use std::sync::Arc;

use async_trait::async_trait;

use crate::{audit::AuditRecord, retry::Retry};

pub mod admit;
pub mod change;
mod document;
mod flag;
pub mod gate;
pub mod names;
mod seen;
pub mod setting;

pub use document::{
    AgentSwitch, Change, Document, PromptSwitch, RELEASED_MAX, Restored, Route, SCHEMA, Settings, Switch,
};
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
    /// There is no version in force: none was ever made, or its number was deleted.
    #[error("no version of the controls is in force; `windlass controls init` makes the first, or restores the newest")]
    Missing,
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
            ControlsError::Refused { .. } | ControlsError::Missing | ControlsError::Unreadable { .. } => {
                Retry::Terminal
            }
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

/// What came of making the controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialised {
    /// Version 0 was made.
    Made,
    /// The newest version of the history is in force again.
    Restored {
        /// Its number.
        version: u64,
    },
    /// There was nothing to do.
    There {
        /// The number of the version in force.
        version: u64,
    },
}

/// Where the document is kept.
#[async_trait]
pub trait Controls: Send + Sync {
    /// The document in force, as consistent as the read of its number.
    ///
    /// # Errors
    /// [`ControlsError::Missing`] when no version is in force. It is not taken for one that lets everything happen.
    async fn read(&self) -> Result<Arc<Document>, ControlsError>;

    /// Puts version 0 in force if there never was another; puts the newest version of the history in force if its number is missing or
    /// older somewhere. Repeating it changes nothing. `audit` is appended if something was written.
    ///
    /// ```text
    /// A: newest is v7, copy 3 is missing ── put copy 3 := 7 IF it is missing or older ── done
    /// B:        v8, copies := 8 ───────────┴─► A: refused (8 is newer) ──► looks again: there is nothing to do
    /// ```
    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError>;

    /// Puts `document` in force, keeps it as history and appends `audit`, all or nothing, if the newest document of the history has the
    /// version before it. Whatever number was said to be in force before is replaced: one that was lost does not stand in the way.
    ///
    /// ```text
    /// A: put v8 IF v7 is there and v8 is not ── done
    /// B: put v8 IF v7 is there and v8 is not ── conflict ──► read v8, decide again
    /// A: put v8 (a repeat, the first answer was lost) ── there, and equal ──► done
    /// ```
    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError>;

    /// The newest `limit` documents, newest first. The first is the one that the next change is made to.
    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError>;

    /// One version, if it is there.
    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError>;
}
