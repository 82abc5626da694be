//! How long things took, until they are told.

use std::{collections::BTreeMap, time::Duration};

use super::narrative::{Timed, Timings};
use crate::ids::RunId;

/// The most runs of which times wait to be told: more than one invocation works on. What took its time and was never recorded is
/// forgotten with the run that was begun first.
const RUNS_MAX: usize = 64;

/// The most times of one run: more than calls are made side by side.
const TIMES_MAX: usize = 64;

/// Times by run.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<RunId, Timings>);

impl Kept {
    /// Adds to how long something took.
    pub(super) fn add(&mut self, run: RunId, what: Timed, span: Duration) {
        if !self.0.contains_key(&run) && self.0.len() >= RUNS_MAX {
            self.0.pop_first();
        }
        let timings = self.0.entry(run).or_default();
        if !timings.contains_key(&what) && timings.len() >= TIMES_MAX {
            timings.pop_first();
        }
        *timings.entry(what).or_default() += span;
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// The times of a run.
    pub(super) fn take(&mut self, run: RunId) -> Timings {
        self.0.remove(&run).unwrap_or_default()
    }

    /// What of them was not told.
    pub(super) fn put_back(&mut self, run: RunId, timings: Timings) {
        if !timings.is_empty() {
            self.0.insert(run, timings);
        }
    }
}
