//! Wakes the runs that are due. Everything that was lost on the way (a message, a process, a timer) is found here, since
//! every unfinished run has a due time.

use futures::future::join_all;

use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::{DUE_SHARDS, Due, Heads, RESCUE_AFTER},
    queue::{BATCH_MESSAGES_MAX, Sleeper, WakeUps},
};

/// Due runs asked for at once.
pub const PAGE_RUNS: usize = 100;

/// Pages of one shard in one sweep. Four shards of five pages make 2,000 runs a minute; what is left keeps its due time and is
/// the first of the next sweep.
pub const PAGES_MAX: usize = 5;

/// Errors that a sweep keeps; the rest are counted.
pub const ERRORS_MAX: usize = 5;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Runs that were sent a wake-up.
    pub woken: u64,
    /// Runs that somebody else woke or that moved on meanwhile.
    pub moved_on: u64,
    /// Runs whose wake-up could not be sent. They are due again after [`RESCUE_AFTER`].
    pub unsent: Vec<RunId>,
    /// How many errors were met.
    pub errors: u64,
    /// The first [`ERRORS_MAX`] of them.
    pub first_errors: Vec<String>,
    /// Whether more runs were due than one sweep wakes.
    pub more: bool,
}

impl Sweep {
    fn note(&mut self, error: impl std::fmt::Display) {
        self.errors += 1;
        if self.first_errors.len() < ERRORS_MAX {
            self.first_errors.push(error.to_string());
        }
    }

    /// What went wrong, in one line.
    pub fn problem(&self) -> Option<String> {
        if self.errors == 0 && self.unsent.is_empty() {
            return None;
        }
        let first = self.first_errors.join("; ");
        Some(format!("{} wake-ups not sent, {} errors: {first}", self.unsent.len(), self.errors))
    }
}

/// Wakes every run that is due at `now`, within the bounds above. An error with one run or one shard does not keep the others
/// from being woken.
///
/// ```text
/// A: due index ── run 1 due 10:00 ── postpone IF due = 10:00 to 10:01 ── done ── send
/// B: due index ── run 1 due 10:00 ── postpone IF due = 10:00 to 10:01 ── refused ── (nothing)
/// A: …dies before it sends…
/// C: 10:01, due index ── run 1 due 10:01 ── …
/// ```
pub async fn sweep(heads: &dyn Heads, wake_ups: &dyn WakeUps, now: Timestamp) -> Sweep {
    let mut sweep = Sweep::default();
    for shard in 0..DUE_SHARDS {
        sweep_shard(heads, wake_ups, now, shard, &mut sweep).await;
    }
    sweep
}

async fn sweep_shard(heads: &dyn Heads, wake_ups: &dyn WakeUps, now: Timestamp, shard: u8, sweep: &mut Sweep) {
    for _page in 0..PAGES_MAX {
        let due = match heads.due(shard, now, PAGE_RUNS).await {
            Ok(due) => due,
            Err(error) => return sweep.note(error),
        };
        let full = due.len() >= PAGE_RUNS;
        let mut postponed_any = false;
        for batch in due.chunks(BATCH_MESSAGES_MAX) {
            let postponed = postpone(heads, batch, now, sweep).await;
            postponed_any |= !postponed.is_empty();
            wake(wake_ups, &postponed, sweep).await;
        }
        // The index lags behind the table: a page of which nothing could be postponed would only come again.
        if !full || !postponed_any {
            return;
        }
    }
    sweep.more = true;
}

async fn postpone(heads: &dyn Heads, batch: &[Due], now: Timestamp, sweep: &mut Sweep) -> Vec<Sleeper> {
    let results = join_all(batch.iter().map(|due| heads.postpone_due(due.run, due.due, now + RESCUE_AFTER))).await;
    let mut postponed = Vec::with_capacity(batch.len());
    for (due, result) in batch.iter().zip(results) {
        match result {
            Ok(Some(tenant)) => postponed.push(Sleeper { run: due.run, tenant }),
            Ok(None) => sweep.moved_on += 1,
            Err(error) => sweep.note(error),
        }
    }
    postponed
}

async fn wake(wake_ups: &dyn WakeUps, sleepers: &[Sleeper], sweep: &mut Sweep) {
    if sleepers.is_empty() {
        return;
    }
    let unsent = match wake_ups.send_batch(sleepers).await {
        Ok(unsent) => unsent,
        Err(error) => {
            sweep.note(error);
            sleepers.iter().map(|sleeper| sleeper.run).collect()
        }
    };
    sweep.woken += (sleepers.len() - unsent.len().min(sleepers.len())) as u64;
    sweep.unsent.extend(unsent);
}
