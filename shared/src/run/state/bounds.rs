//! How far a run's journal may grow, and in which order it ends when it comes near.
//!
//! ```text
//! 1 ────────────────────── abandoned ─────────────── stopped ─────── entries_max
//!   plans, calls, waits      │ undoing what can be     │ its end; outcomes that come late;
//!                            │ undone: 3 entries each  │ what is written from outside
//! ```
//!
//! So the end of a run is always recordable, what it did is undone or listed, and a load reads every journal whole.

use super::{Call, Phase, RunState};
use crate::run::entry::Seq;

/// Entries that are kept back for a run's end: its outcome, outcomes of holders that had lost their lease, replays, and evaluations.
pub const END_ENTRIES: Seq = 16;

/// Entries that are kept back for people and operators. They may append until so many are left.
pub const OUTSIDE_ENTRIES: Seq = 8;

/// Entries that are kept back for undoing one call: its intents and outcomes, with one repetition.
pub const UNDO_ENTRIES: Seq = 3;

/// The most bytes of a journal's entries as JSON. It holds 1,000 steps of 32 KB; a partition of DynamoDB reads it within seconds
/// (3,000 read units of 4 KB a second,
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>), and a fold never holds more of
/// it than a page. An abandoned run may write as much again before it is stopped.
pub const JOURNAL_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The most bytes of arguments, older than what the model is shown, that are remembered because they are needed: to undo a call with, or
/// to know one again that was denied.
pub const UNDO_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl RunState {
    /// What of the run's journal is used up, if anything is: the run is abandoned then. Room for undoing what it did is kept back, so
    /// this comes the earlier the more there is to undo.
    pub fn journal_limit(&self) -> Option<String> {
        let undoable = self.calls.iter().filter(|call| call.compensable).count();
        let to_undo = Seq::try_from(undoable).unwrap_or(Seq::MAX).saturating_mul(UNDO_ENTRIES);
        let abandon_from = self.stop_from().saturating_sub(OUTSIDE_ENTRIES).saturating_sub(to_undo);
        if self.seq >= abandon_from {
            Some(format!("journal of {} entries", self.seq))
        } else if self.journal_bytes >= JOURNAL_BYTES_MAX {
            Some(format!("journal of {} bytes", self.journal_bytes))
        } else if self.undo_bytes >= UNDO_BYTES_MAX {
            Some(format!("{} bytes of arguments of calls that can be undone or were denied", self.undo_bytes))
        } else {
            None
        }
    }

    /// Whether nothing but the run's end may be written, whatever is left to do. A planned answer is given all the same.
    pub fn must_stop(&self) -> bool {
        let answering = matches!(self.phase, Phase::Answering { .. }) && self.abandoned.is_none();
        !answering && (self.seq >= self.stop_from() || self.journal_bytes >= 2 * JOURNAL_BYTES_MAX)
    }

    /// Whether somebody outside the loop may still append. The loop ends the run before nobody may.
    pub fn takes_from_outside(&self) -> bool {
        self.seq < self.limits.entries_max.saturating_sub(OUTSIDE_ENTRIES)
    }

    fn stop_from(&self) -> Seq {
        self.limits.entries_max.saturating_sub(END_ENTRIES)
    }
}

impl Call {
    /// Whether the call's arguments are needed however old it is: to undo it with, or to know it when it is proposed again although a
    /// person has denied it.
    pub(super) const fn needs_its_arguments(&self) -> bool {
        self.compensable || self.denied.is_some()
    }
}
