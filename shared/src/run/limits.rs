//! What one run may use before it is stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::journal::ENTRIES_MAX;

/// Questions in a row that may be sent without an answer before a run ends. With rests that grow to ten minutes that is about half an hour
/// of silence; each of them is paid for at its worst case.
pub const UNANSWERED_MAX: u32 = 12;

/// The limits of one run, fixed when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How often the model may be asked.
    pub steps_max: u32,
    /// Tokens in and out, over all answers.
    pub tokens_max: u64,
    /// Millionths of a US dollar, over all answers.
    pub cost_max_micro_usd: u64,
    /// Seconds from acceptance to the end, waiting included.
    pub wall_time_max_seconds: u64,
    /// Entries of its journal, from acceptance to the end. At most [`ENTRIES_MAX`](crate::journal::ENTRIES_MAX) are ever read.
    #[serde(default = "most_entries", skip_serializing_if = "is_most_entries")]
    pub entries_max: u32,
}

/// The most entries of a run's journal, unless its limits say less: as many as a load reads.
pub const JOURNAL_ENTRIES_MAX: u32 = ENTRIES_MAX as u32;

const fn most_entries() -> u32 {
    JOURNAL_ENTRIES_MAX
}

const fn is_most_entries(entries_max: &u32) -> bool {
    *entries_max == JOURNAL_ENTRIES_MAX
}

impl Limits {
    /// The wall time as a span.
    pub const fn wall_time_max(&self) -> Duration {
        Duration::from_secs(self.wall_time_max_seconds)
    }
}

impl Default for Limits {
    /// 64 steps, 500,000 tokens, 5 US dollars, 7 days, 10,000 entries: more than a sound run needs, little enough to lose.
    fn default() -> Self {
        Self {
            steps_max: 64,
            tokens_max: 500_000,
            cost_max_micro_usd: 5_000_000,
            wall_time_max_seconds: 7 * 24 * 3600,
            entries_max: JOURNAL_ENTRIES_MAX,
        }
    }
}
