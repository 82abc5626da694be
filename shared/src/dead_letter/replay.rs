//! Replays a plan: at a bounded rate, each item at most once, until too many have failed again.
//!
//! ```text
//! A: item pending → replayed IF pending ── moved ── audit ── act ── watch ── replayed → recovered or failed
//! B: item pending → replayed IF pending ── refused ──► somebody else's
//! A: item pending → replayed ── …dies…                ──► stays `replayed`; a new plan may take the letter up again
//! ```

use std::{collections::BTreeMap, time::Duration};

use futures::future::{join_all, try_join_all};
use serde::Serialize;

use super::{
    ItemStatus, Plan, PlanError, PlanItem,
    audit::{Action, Trail},
    keys::{Keys, Repetition},
    list,
    revive::ReviveError,
    session::{Session, run_of},
    watch::{Judgement, Watched, judge},
};
use crate::{
    clock::Timestamp,
    ids::{Release, RunId},
    journal::{Heads, Journal, JournalError},
    queue::{DeadMessage, DeadMessages, QueueError, WakeUps},
    retry::Retry,
};

/// Replays a second, unless said otherwise: slow enough to be watched.
pub const RATE_DEFAULT: u32 = 1;

/// The most replays a second.
pub const RATE_MAX: u32 = 50;

/// Failures after which a replay stops, unless said otherwise.
pub const FAILURES_DEFAULT: u32 = 3;

/// The most replayed runs whose end is not known yet while few have recovered: a replay that outran its failures could not be stopped by
/// them. Each recovery makes room for two more, so that ten thousand runs of a minute each take some ten minutes and a cause that is not
/// mended stops the replay after a handful.
pub const UNDECIDED_AT_FIRST: usize = 25;

/// The most of them at last: each is looked at every half minute or so ([`LOOKS_MAX`]).
pub const UNDECIDED_MAX: usize = 5_000;

/// How often replayed runs are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most of them in one look, those first that were not looked at for longest: a read unit each.
const LOOKS_MAX: usize = 200;

/// Items that are begun or looked at side by side: each takes some six requests, one after the other.
const AT_ONCE: usize = 10;

/// How long a replayed run is watched at most.
pub const WATCH_FOR: Duration = Duration::from_secs(300);

/// How long messages are hidden for one round of replays, and how much of that is used.
const ROUND_HIDDEN: Duration = Duration::from_secs(300);
const ROUND_USED: Duration = Duration::from_secs(240);

/// How fast, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Replays a second, 1 to [`RATE_MAX`].
    pub per_second: u32,
    /// Failed items of the plan at which it stops, at least 1.
    pub failures_max: u32,
    /// How long a replayed run is watched.
    pub watch_for: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_second: RATE_DEFAULT, failures_max: FAILURES_DEFAULT, watch_for: WATCH_FOR }
    }
}

/// What a replay does with a request that would start a second run if it was taken on before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideMemory {
    /// It stays on the dead-letter queue, and its item pending.
    Leave,
    /// It is sent: somebody knows that it was not taken on, or wants another run.
    Send,
}

/// How a plan stands after a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plan.
    pub plan: String,
    /// Items this replay acted on.
    pub acted_on: usize,
    /// Items that nothing has happened to.
    pub pending: usize,
    /// Items replayed whose end is not known.
    pub undecided: usize,
    /// Items that ended well.
    pub recovered: usize,
    /// Items that did not.
    pub failed: usize,
    /// Items left pending because their requests are outside the memory of keys.
    pub outside_memory: usize,
    /// Why it stopped before the end, if it did.
    pub stopped: Option<String>,
    /// Every item as it is now.
    pub items: Vec<PlanItem>,
}

/// A plan could not be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is no such plan.
    #[error("there is no replay plan `{plan}`")]
    MissingPlan {
        /// Its id.
        plan: String,
    },
    /// The pace is out of bounds.
    #[error("a replay takes a rate of 1 to {RATE_MAX} a second and stops at 1 failure or more")]
    Pace,
    /// Plans or audit records could not be read or written; items that were begun stay begun.
    #[error(transparent)]
    Plans(#[from] PlanError),
    /// The dead-letter queue did not do as asked.
    #[error("the dead-letter queue: {0}")]
    Queue(#[from] QueueError),
    /// The records of keys could not be read.
    #[error(transparent)]
    Keys(#[from] JournalError),
}

impl ReplayError {
    /// Whether asking again may help. It is safe: no item is begun twice.
    pub const fn retry(&self) -> Retry {
        match self {
            ReplayError::Plans(error) => error.retry(),
            ReplayError::Queue(error) => error.retry(),
            ReplayError::Keys(error) => error.retry(),
            ReplayError::MissingPlan { .. } | ReplayError::Pace => Retry::Terminal,
        }
    }
}

/// What a replay needs.
pub struct Replay<'a> {
    /// Plans, audit trail, time and who does it.
    pub trail: Trail<'a>,
    /// The dead-letter queue.
    pub messages: &'a dyn DeadMessages,
    /// The step queue.
    pub wake_ups: &'a dyn WakeUps,
    /// Journals.
    pub journal: &'a dyn Journal,
    /// Heads.
    pub heads: &'a dyn Heads,
    /// What is known of the keys of requests.
    pub keys: Keys<'a>,
    /// What becomes of requests that are outside the memory of keys.
    pub outside_memory: OutsideMemory,
    /// The release that writes.
    pub release: &'a Release,
    /// Told of each item's new status.
    pub observe: &'a (dyn Fn(&str, &ItemStatus) + Sync),
}

/// An item whose replay was begun, by this replay if it says what came of reviving its run.
struct Begun {
    key: String,
    run: RunId,
    status: ItemStatus,
    revived: Option<Result<(), ReviveError>>,
}

/// What came of a look at a replayed run.
enum Looked {
    GoesOn(Watched),
    /// It has been watched for long enough.
    GivenUp,
    /// The item and how it ended.
    Ended(String, ItemStatus),
}

impl Replay<'_> {
    /// Replays what is pending of a plan: runs first, in the plan's order, then messages as the queue hands them out. A message that
    /// is not on the queue any more stays pending.
    ///
    /// # Errors
    /// When plan, audit trail or dead-letter queue fail. What fails with one item is that item's failure.
    pub async fn replay(&self, plan: &str, pace: Pace) -> Result<Report, ReplayError> {
        if !(1..=RATE_MAX).contains(&pace.per_second) || pace.failures_max == 0 {
            return Err(ReplayError::Pace);
        }
        let missing = || ReplayError::MissingPlan { plan: plan.to_owned() };
        let found = self.trail.plans.plan(plan).await?.ok_or_else(missing)?;
        let mut session = Session::of(found, pace, self.trail.clock.now());
        self.replay_runs(&mut session).await?;
        self.replay_messages(&mut session).await?;
        while !session.watched.is_empty() {
            self.trail.clock.sleep_until(session.next_look).await;
            self.look(&mut session).await?;
        }
        let plan = self.trail.plans.plan(plan).await?.ok_or_else(missing)?;
        Ok(session.report(plan))
    }

    async fn replay_runs(&self, session: &mut Session) -> Result<(), ReplayError> {
        let pending: Vec<(String, RunId)> =
            session.pending().filter_map(|key| Some((key.to_owned(), run_of(key)?))).collect();
        let mut pending = pending.into_iter();
        while !pending.as_slice().is_empty() {
            let turns = self.turns(session).await?;
            if turns == 0 {
                break;
            }
            let some: Vec<(String, RunId)> = pending.by_ref().take(turns).collect();
            let plan = session.plan.clone_without_items();
            let begun = join_all(some.into_iter().map(|(key, run)| self.begin_run(&plan, key, run))).await;
            for begun in begun {
                let Begun { key, run, status, revived } = begun?;
                session.set(&key, &status);
                let Some(revived) = revived else { continue };
                session.acted_on += 1;
                match revived {
                    Ok(()) => session.watch(key, run, status, self.trail.clock.now()),
                    Err(error) => self.failed(session, &key, &status, &error).await?,
                }
            }
        }
        Ok(())
    }

    /// Begins one run's replay and revives it, unless somebody else has begun it.
    async fn begin_run(&self, plan: &Plan, key: String, run: RunId) -> Result<Begun, ReplayError> {
        let (status, moved) = self.begin(plan, &key).await?;
        let revived = if moved { Some(self.revive_run(run, &plan.id).await) } else { None };
        Ok(Begun { key, run, status, revived })
    }

    /// Goes through the queue in rounds, each well within the time for which its messages are hidden.
    async fn replay_messages(&self, session: &mut Session) -> Result<(), ReplayError> {
        let is_message = |key: &str| key.starts_with("message/");
        while session.stopped.is_none() && session.pending().any(is_message) {
            let (held, outcome) = list::hold(self.messages, ROUND_HIDDEN).await;
            let mut left: BTreeMap<&str, &DeadMessage> = held.iter().map(|held| (held.id.as_str(), held)).collect();
            let acted_on = session.acted_on;
            let result = self.replay_round(session, &held, &mut left).await;
            list::release(self.messages, left.into_values()).await;
            result?;
            outcome?;
            if session.acted_on == acted_on {
                break;
            }
        }
        Ok(())
    }

    async fn replay_round<'m>(
        &self,
        session: &mut Session,
        held: &'m [DeadMessage],
        left: &mut BTreeMap<&'m str, &'m DeadMessage>,
    ) -> Result<(), ReplayError> {
        let fresh_until = self.trail.clock.now() + ROUND_USED;
        for message in held {
            let key = format!("message/{}", message.id);
            if !session.pending().any(|pending| pending == key) {
                continue;
            }
            // Asked right before it is sent: the plan may be some days old.
            if self.outside_memory == OutsideMemory::Leave
                && self.keys.repetition(message).await? == Repetition::OutsideMemory
            {
                session.outside_memory.insert(key);
                continue;
            }
            if self.turns(session).await? == 0 || self.trail.clock.now() > fresh_until {
                break;
            }
            let (status, moved) = self.begin(&session.plan.clone_without_items(), &key).await?;
            session.set(&key, &status);
            if !moved {
                continue;
            }
            session.acted_on += 1;
            match self.send_again(message).await {
                Ok(run) => {
                    left.remove(message.id.as_str());
                    if let Some(run) = run {
                        session.watch(key, run, status, self.trail.clock.now());
                    }
                }
                Err(error) => self.failed(session, &key, &status, &error).await?,
            }
        }
        Ok(())
    }

    /// Waits until the next replay may begin; how many may begin now, which is none when there is to be no other. More than one may to make
    /// up for the time that the last ones took.
    async fn turns(&self, session: &mut Session) -> Result<usize, ReplayError> {
        let clock = self.trail.clock;
        let interval = Duration::from_secs(1) / session.pace.per_second;
        loop {
            let now = clock.now();
            if session.next_look <= now {
                self.look(session).await?;
            }
            if session.failures >= session.pace.failures_max {
                self.stop(session).await?;
                return Ok(0);
            }
            let room = session.room();
            if room > 0 && session.next_turn <= now {
                let late = now.since(session.next_turn).as_nanos() / interval.as_nanos().max(1);
                let turns = usize::try_from(late).unwrap_or(AT_ONCE).saturating_add(1).min(AT_ONCE).min(room);
                let step = interval * u32::try_from(turns).unwrap_or(1);
                // What is later than that is not made up for.
                session.next_turn = (session.next_turn + step).max(now - interval * AT_ONCE as u32);
                return Ok(turns);
            }
            if room == 0 {
                clock.sleep_until(session.next_look).await;
                session.next_turn = session.next_turn.max(clock.now());
            } else if session.watched.is_empty() {
                clock.sleep_until(session.next_turn).await;
            } else {
                clock.sleep_until(session.next_turn.min(session.next_look)).await;
            }
        }
    }

    /// Moves an item from pending to replayed; false when somebody else has.
    async fn begin(&self, plan: &Plan, key: &str) -> Result<(ItemStatus, bool), ReplayError> {
        let status = ItemStatus::Replayed { at: self.trail.clock.now() };
        let moved = self.trail.plans.advance(&plan.id, key, &ItemStatus::Pending, &status).await?;
        if moved {
            let detail = format!("plan {}: {}", plan.id, plan.reason);
            self.trail.note(Action::Replay, key, &detail).await?;
            (self.observe)(key, &status);
        }
        Ok((status, moved))
    }

    async fn failed(
        &self,
        session: &mut Session,
        key: &str,
        seen: &ItemStatus,
        error: &ReviveError,
    ) -> Result<(), ReplayError> {
        self.decide(session, key, seen, ItemStatus::Failed { message: error.to_string() }).await
    }

    async fn decide(
        &self,
        session: &mut Session,
        key: &str,
        seen: &ItemStatus,
        to: ItemStatus,
    ) -> Result<(), ReplayError> {
        if self.trail.plans.advance(&session.plan.id, key, seen, &to).await? {
            (self.observe)(key, &to);
        }
        session.ended(key, &to);
        Ok(())
    }

    /// Looks at the runs whose end is not known yet, [`LOOKS_MAX`] of them.
    async fn look(&self, session: &mut Session) -> Result<(), ReplayError> {
        let now = self.trail.clock.now();
        session.next_look = now + LOOK_EVERY;
        let looked_at = session.watched.len().min(LOOKS_MAX);
        let mut watched: Vec<Watched> = session.watched.drain(..looked_at).collect();
        while !watched.is_empty() {
            let some = watched.drain(..watched.len().min(AT_ONCE));
            let plan = session.plan.id.as_str();
            let looked = try_join_all(some.map(|one| self.look_at(plan, one, now))).await?;
            for looked in looked {
                match looked {
                    Looked::GoesOn(watched) => session.watched.push_back(watched),
                    Looked::GivenUp => {}
                    Looked::Ended(key, status) => session.ended(&key, &status),
                }
            }
        }
        Ok(())
    }

    async fn look_at(&self, plan: &str, watched: Watched, now: Timestamp) -> Result<Looked, ReplayError> {
        let judgement = match self.heads.head(watched.run).await {
            Ok(head) => judge(head.as_ref()),
            Err(error) if error.retry() != Retry::Terminal => Judgement::NotYet,
            Err(error) => Judgement::Failed(error.to_string()),
        };
        let to = match judgement {
            Judgement::Recovered => ItemStatus::Recovered,
            Judgement::Failed(message) => ItemStatus::Failed { message },
            Judgement::NotYet if watched.until <= now => return Ok(Looked::GivenUp),
            Judgement::NotYet => return Ok(Looked::GoesOn(watched)),
        };
        if self.trail.plans.advance(plan, &watched.key, &watched.status, &to).await? {
            (self.observe)(&watched.key, &to);
        }
        Ok(Looked::Ended(watched.key, to))
    }

    async fn stop(&self, session: &mut Session) -> Result<(), ReplayError> {
        if session.stopped.is_none() {
            let why = format!("failed replays of the plan: {}", session.failures);
            self.trail.note(Action::Stop, &session.plan.id, &why).await?;
            session.stopped = Some(why);
        }
        Ok(())
    }
}
