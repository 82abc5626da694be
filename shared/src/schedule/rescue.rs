//! Wakes the runs that are due. Everything that was lost on the way (a message, a process, a timer) is found here, since
//! every unfinished run has a due time.

use std::time::Duration;

use futures::future::join_all;

use crate::{
    clock::{CLOCK_SKEW_MAX, Clock, Timestamp},
    ids::{Random, RunId},
    journal::{DUE_SHARDS, Due, DueQueue, Heads, Postponed},
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

/// How many batches of a page are postponed and woken at once. With the shards side by side some 160 writes are under way.
const BATCHES_AT_ONCE: usize = 4;

/// How long a sweep goes on while more runs are due: well within the lock of the job
/// ([`LOCK_FOR`](super::run_job::LOCK_FOR)) and the function's timeout (29 s). What is left keeps its due time, is told as
/// [`Sweep::behind`], and is the first of the next sweep.
pub const SWEEP_FOR: Duration = Duration::from_secs(20);

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
    /// For how long the first run that is left has been due, if time ran out before all were woken.
    pub behind: Option<Duration>,
}

impl Sweep {
    /// Counts what another part of the same sweep did.
    fn add(&mut self, other: Sweep) {
        self.woken += other.woken;
        self.moved_on += other.moved_on;
        self.unsent.extend(other.unsent);
        self.errors += other.errors;
        let room = ERRORS_MAX.saturating_sub(self.first_errors.len());
        self.first_errors.extend(other.first_errors.into_iter().take(room));
        self.behind = self.behind.max(other.behind);
    }

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

/// What a sweep works with.
#[derive(Clone, Copy)]
pub struct Sweeper<'a> {
    /// Where due runs are found.
    pub heads: &'a dyn Heads,
    /// How they are woken.
    pub wake_ups: &'a dyn WakeUps,
    /// For spans that keep runs apart.
    pub random: &'a dyn Random,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl Sweeper<'_> {
    /// Wakes every run that is due before the next sweep, each when it is due: first those whose worker died or whose message was lost,
    /// then those whose time has come, as many as [`SWEEP_FOR`] allows. An error with one run or one shard does not keep the others
    /// from being woken.
    ///
    /// A run that is held is due when its lease is over, so its wake-up arrives when a dead holder can be taken over; a living one has
    /// renewed its lease by then, and the wake-up comes to nothing. Runs that were claimed in vain time and again are woken apart from
    /// each other: one of them may be what kills the worker.
    ///
    /// ```text
    /// A: 10:00:00, due index ── run 1 due 10:00:20 ── postpone IF due = 10:00:20 to 10:01:21 ── done ── send, delayed by 21 s
    /// B: 10:00:00, due index ── run 1 due 10:00:20 ── postpone IF due = 10:00:20 to 10:01:21 ── refused ── (nothing)
    /// A: …dies before it sends…
    /// C: 10:01:00, due index ── run 1 due 10:01:21 ── …
    /// ```
    pub async fn sweep(&self) -> Sweep {
        let started = self.clock.now();
        let mut sweep = Sweep::default();
        for queue in DueQueue::ALL {
            let shards = (0..DUE_SHARDS).map(|shard| self.sweep_shard(queue, shard, started));
            for shard in join_all(shards).await {
                sweep.add(shard);
            }
        }
        sweep
    }

    async fn sweep_shard(&self, queue: DueQueue, shard: u8, started: Timestamp) -> Sweep {
        let mut sweep = Sweep::default();
        let mut after = None;
        loop {
            let page = match self.heads.due(queue, shard, started + LOOK_AHEAD, after, PAGE_RUNS).await {
                Ok(page) => page,
                Err(error) => {
                    sweep.note(error);
                    return sweep;
                }
            };
            let now = self.clock.now();
            if let Some(first) = page.first()
                && started + SWEEP_FOR <= now
            {
                sweep.behind = Some(now.since(first.due));
                return sweep;
            }
            for batches in page.chunks(BATCH_MESSAGES_MAX * BATCHES_AT_ONCE) {
                let woken = join_all(batches.chunks(BATCH_MESSAGES_MAX).map(|batch| self.wake(batch))).await;
                woken.into_iter().for_each(|batch| sweep.add(batch));
            }
            // The index lags behind the table, so that the first rows may be runs that have moved on: the next page is behind them.
            after = page.last().copied().filter(|_| page.len() >= PAGE_RUNS);
            if after.is_none() {
                return sweep;
            }
        }
    }

    async fn wake(&self, batch: &[Due]) -> Sweep {
        let mut sweep = Sweep::default();
        let sleepers = self.postpone(batch, &mut sweep).await;
        if sleepers.is_empty() {
            return sweep;
        }
        let unsent = match self.wake_ups.send_batch(&sleepers).await {
            Ok(unsent) => unsent,
            Err(error) => {
                sweep.note(error);
                sleepers.iter().map(|sleeper| sleeper.run).collect()
            }
        };
        sweep.woken += (sleepers.len() - unsent.len().min(sleepers.len())) as u64;
        sweep.unsent.extend(unsent);
        sweep
    }

    async fn postpone(&self, batch: &[Due], sweep: &mut Sweep) -> Vec<Sleeper> {
        let now = self.clock.now();
        let again = |due: &Due| due.due.max(now) + DUE_AGAIN_AFTER;
        let results = join_all(batch.iter().map(|due| self.heads.postpone_due(due.run, due.due, again(due)))).await;
        let mut postponed = Vec::with_capacity(batch.len());
        for (due, result) in batch.iter().zip(results) {
            match result {
                Ok(Some(Postponed { tenant, strikes })) => {
                    // The woken worker may have a slower clock, by which the run would still be parked or held.
                    let delay = (due.due + CLOCK_SKEW_MAX).since(now);
                    let apart =
                        if strikes >= APART_FROM_STRIKES { self.random.below(APART_SECONDS_MAX + 1) } else { 0 };
                    postponed.push(Sleeper { run: due.run, tenant, delay: delay + Duration::from_secs(apart) });
                }
                Ok(None) => sweep.moved_on += 1,
                Err(error) => sweep.note(error),
            }
        }
        postponed
    }
}
