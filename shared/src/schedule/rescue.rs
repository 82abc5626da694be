//! Wakes the runs that are due. Everything that was lost on the way (a message, a process, a timer) is found here, since
//! every unfinished run has a due time.

use std::time::Duration;

use futures::future::join_all;

use crate::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::{Random, RunId},
    journal::{DUE_SHARDS, Due, Heads, Postponed},
    queue::{BATCH_MESSAGES_MAX, Sleeper, WakeUps},
};

/// How far a sweep looks ahead: until the next one ([`Job::every`](super::Job::every)). A run that becomes due in between gets its
/// wake-up at that time and not up to a minute later.
pub const LOOK_AHEAD: Duration = Duration::from_secs(60);

/// How long after the time at which a run was to be woken it is due again. Beyond what a sweep sees, so that none meets a run twice.
pub const DUE_AGAIN_AFTER: Duration = Duration::from_secs(61);

/// Claims in vain from which on a run's wake-up is kept apart from others'. Runs that were in one batch with one that kills its worker are
/// due at the same moment: woken together they would be one batch again, time after time, and be dead with it. The first time costs
/// nobody a delay, since most workers die of nothing that is in a run.
pub const APART_FROM_STRIKES: u32 = 2;

/// By how much they are kept apart, in whole seconds as SQS counts: two runs of a batch meet again one time in eleven.
pub const APART_SECONDS_MAX: u64 = 10;

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
    /// Runs whose wake-up could not be sent. They are due again after [`DUE_AGAIN_AFTER`].
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

/// Wakes every run that is due before the next sweep, each when it is due, within the bounds above. An error with one run or one
/// shard does not keep the others from being woken.
///
/// A run that is held is due when its lease is over, so its wake-up arrives when a dead holder can be taken over; a living one has
/// renewed its lease by then, and the wake-up comes to nothing. Runs that were claimed in vain time and again are woken apart from each
/// other: one of them may be what kills the worker.
///
/// ```text
/// A: 10:00:00, due index ── run 1 due 10:00:20 ── postpone IF due = 10:00:20 to 10:01:21 ── done ── send, delayed by 21 s
/// B: 10:00:00, due index ── run 1 due 10:00:20 ── postpone IF due = 10:00:20 to 10:01:21 ── refused ── (nothing)
/// A: …dies before it sends…
/// C: 10:01:00, due index ── run 1 due 10:01:21 ── …
/// ```
pub async fn sweep(heads: &dyn Heads, wake_ups: &dyn WakeUps, random: &dyn Random, now: Timestamp) -> Sweep {
    let mut sweep = Sweep::default();
    for shard in 0..DUE_SHARDS {
        sweep_shard(heads, wake_ups, random, now, shard, &mut sweep).await;
    }
    sweep
}

async fn sweep_shard(
    heads: &dyn Heads,
    wake_ups: &dyn WakeUps,
    random: &dyn Random,
    now: Timestamp,
    shard: u8,
    sweep: &mut Sweep,
) {
    for _page in 0..PAGES_MAX {
        let due = match heads.due(shard, now + LOOK_AHEAD, PAGE_RUNS).await {
            Ok(due) => due,
            Err(error) => return sweep.note(error),
        };
        let full = due.len() >= PAGE_RUNS;
        let mut postponed_any = false;
        for batch in due.chunks(BATCH_MESSAGES_MAX) {
            let postponed = postpone(heads, random, batch, now, sweep).await;
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

async fn postpone(
    heads: &dyn Heads,
    random: &dyn Random,
    batch: &[Due],
    now: Timestamp,
    sweep: &mut Sweep,
) -> Vec<Sleeper> {
    let again = |due: &Due| due.due.max(now) + DUE_AGAIN_AFTER;
    let results = join_all(batch.iter().map(|due| heads.postpone_due(due.run, due.due, again(due)))).await;
    let mut postponed = Vec::with_capacity(batch.len());
    for (due, result) in batch.iter().zip(results) {
        match result {
            Ok(Some(Postponed { tenant, strikes })) => {
                // Whoever is woken may have a slower clock, by which the run would still be parked or held.
                let delay = (due.due + CLOCK_SKEW_MAX).since(now);
                let apart = if strikes >= APART_FROM_STRIKES { random.below(APART_SECONDS_MAX + 1) } else { 0 };
                postponed.push(Sleeper { run: due.run, tenant, delay: delay + Duration::from_secs(apart) });
            }
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
