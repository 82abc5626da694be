//! What holds a run, and what of it has been recorded.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    redaction::cut,
    run::entry::{HeldBy, TEXT_CHARS_MAX},
};

/// How often a run that is held is told why, until it goes on. Faults that take turns must not grow its journal.
pub const HOLD_ENTRIES_MAX: usize = 8;

/// What holds a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What was recorded of it last, in words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// What has been recorded of it: of a switch its words, of a fault its kind.
    pub told: Vec<String>,
}

impl Hold {
    pub(super) fn since(since: Timestamp) -> Hold {
        Hold { reason: String::new(), since, told: Vec::new() }
    }

    pub(super) fn tell(&mut self, by: HeldBy, reason: &str) {
        reason.clone_into(&mut self.reason);
        self.told.push(told_of(by, reason));
    }

    /// Whether something that holds the run is worth an entry: it is another than was recorded, and not many were.
    pub fn is_news(&self, by: HeldBy, reason: &str) -> bool {
        self.told.len() < HOLD_ENTRIES_MAX && !self.told.contains(&told_of(by, reason))
    }
}

fn told_of(by: HeldBy, reason: &str) -> String {
    match by {
        HeldBy::Switch => cut(reason, TEXT_CHARS_MAX).to_owned(),
        fault => format!("{fault:?}"),
    }
}
