//! Replays a plan: at a bounded rate, each item at most once, until too many have failed again.
//!
//! ```text
//! A: item pending → replayed IF pending ── moved ── audit ── act ── watch ── replayed → recovered or failed
//! B: item pending → replayed IF pending ── refused ──► somebody else's
//! A: item pending → replayed ── …dies…                ──► stays `replayed`; a new plan may take the letter up again
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    ItemStatus, Plan, PlanError, PlanItem,
    audit::{Action, Trail},
    keys::{Keys, Repetition},
    list,
    revive::ReviveError,
    watch::{Judgement, OTHERS_TURN, Watched, judge},
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

/// The most replayed runs whose end is not known yet: a replay that outran its failures could not be stopped by them.
pub const UNDECIDED_MAX: usize = 25;

/// How often replayed runs are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

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

/// Where one replay of a plan is.
struct Session {
    plan: Plan,
    pace: Pace,
    failures: u32,
    acted_on: usize,
    next_turn: Timestamp,
    next_look: Timestamp,
    watched: Vec<Watched>,
    outside_memory: BTreeSet<String>,
    stopped: Option<String>,
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
        let mut session = self.session(found, pace);
        self.replay_runs(&mut session).await?;
        self.replay_messages(&mut session).await?;
        while !session.watched.is_empty() {
            self.trail.clock.sleep_until(session.next_look).await;
            self.look(&mut session).await?;
        }
        let plan = self.trail.plans.plan(plan).await?.ok_or_else(missing)?;
        Ok(report(plan, &session))
    }

    fn session(&self, plan: Plan, pace: Pace) -> Session {
        let now = self.trail.clock.now();
        let failures = plan.items.iter().filter(|item| matches!(item.status, ItemStatus::Failed { .. })).count();
        // What an earlier replay of this plan began and did not see the end of is watched, and not begun again.
        let begun = plan.items.iter().filter_map(|item| match item.status {
            ItemStatus::Replayed { at } if at + OTHERS_TURN <= now => {
                let run = run_of(&item.key)?;
                Some(Watched { key: item.key.clone(), run, status: item.status.clone(), until: now + pace.watch_for })
            }
            _ => None,
        });
        let watched = begun.collect();
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        Session {
            plan,
            pace,
            failures,
            acted_on: 0,
            next_turn: now,
            next_look: now,
            watched,
            outside_memory: BTreeSet::new(),
            stopped: None,
        }
    }

    async fn replay_runs(&self, session: &mut Session) -> Result<(), ReplayError> {
        let pending: Vec<(String, RunId)> =
            session.pending().filter_map(|key| Some((key.to_owned(), run_of(key)?))).collect();
        for (key, run) in pending {
            if !self.turn(session).await? {
                break;
            }
            let Some(status) = self.begin(session, &key).await? else { continue };
            match self.revive_run(run, &session.plan.id).await {
                Ok(()) => session.watch(key, run, status, self.trail.clock.now()),
                Err(error) => self.failed(session, &key, &status, &error).await?,
            }
        }
        Ok(())
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
            if !self.turn(session).await? || self.trail.clock.now() > fresh_until {
                break;
            }
            let Some(status) = self.begin(session, &key).await? else { continue };
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

    /// Waits until the next replay may begin; false when there is to be none.
    async fn turn(&self, session: &mut Session) -> Result<bool, ReplayError> {
        let clock = self.trail.clock;
        loop {
            let now = clock.now();
            if session.next_look <= now {
                self.look(session).await?;
            }
            if session.failures >= session.pace.failures_max {
                self.stop(session).await?;
                return Ok(false);
            }
            let full = session.watched.len() >= UNDECIDED_MAX;
            if !full && session.next_turn <= now {
                session.next_turn = now + Duration::from_secs(1) / session.pace.per_second;
                return Ok(true);
            }
            clock
                .sleep_until(match session.watched.is_empty() {
                    true => session.next_turn,
                    false if full => session.next_look,
                    false => session.next_turn.min(session.next_look),
                })
                .await;
        }
    }

    /// Moves an item from pending to replayed; `None` when somebody else has.
    async fn begin(&self, session: &mut Session, key: &str) -> Result<Option<ItemStatus>, ReplayError> {
        let status = ItemStatus::Replayed { at: self.trail.clock.now() };
        let moved = self.trail.plans.advance(&session.plan.id, key, &ItemStatus::Pending, &status).await?;
        session.set(key, &status);
        if !moved {
            return Ok(None);
        }
        session.acted_on += 1;
        let detail = format!("plan {}: {}", session.plan.id, session.plan.reason);
        self.trail.note(Action::Replay, key, &detail).await?;
        (self.observe)(key, &status);
        Ok(Some(status))
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
        session.failures += u32::from(matches!(to, ItemStatus::Failed { .. }));
        session.set(key, &to);
        Ok(())
    }

    /// Looks at every run whose end is not known yet.
    async fn look(&self, session: &mut Session) -> Result<(), ReplayError> {
        let now = self.trail.clock.now();
        session.next_look = now + LOOK_EVERY;
        for watched in std::mem::take(&mut session.watched) {
            let judgement = match self.heads.head(watched.run).await {
                Ok(head) => judge(head.as_ref()),
                Err(error) if error.retry() != Retry::Terminal => Judgement::NotYet,
                Err(error) => Judgement::Failed(error.to_string()),
            };
            let to = match judgement {
                Judgement::Recovered => ItemStatus::Recovered,
                Judgement::Failed(message) => ItemStatus::Failed { message },
                Judgement::NotYet if watched.until <= now => continue,
                Judgement::NotYet => {
                    session.watched.push(watched);
                    continue;
                }
            };
            self.decide(session, &watched.key, &watched.status, to).await?;
        }
        Ok(())
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

impl Session {
    fn pending(&self) -> impl Iterator<Item = &str> {
        self.plan.items.iter().filter(|item| item.status == ItemStatus::Pending).map(|item| item.key.as_str())
    }

    fn set(&mut self, key: &str, status: &ItemStatus) {
        if let Some(item) = self.plan.items.iter_mut().find(|item| item.key == key) {
            item.status = status.clone();
        }
    }

    fn watch(&mut self, key: String, run: RunId, status: ItemStatus, now: Timestamp) {
        self.watched.push(Watched { key, run, status, until: now + self.pace.watch_for });
    }
}

fn run_of(key: &str) -> Option<RunId> {
    key.strip_prefix("run/")?.parse().ok()
}

fn report(plan: Plan, session: &Session) -> Report {
    let count = |wanted: fn(&ItemStatus) -> bool| plan.items.iter().filter(|item| wanted(&item.status)).count();
    Report {
        acted_on: session.acted_on,
        pending: count(|status| *status == ItemStatus::Pending),
        undecided: count(|status| matches!(status, ItemStatus::Replayed { .. })),
        recovered: count(|status| *status == ItemStatus::Recovered),
        failed: count(|status| matches!(status, ItemStatus::Failed { .. })),
        outside_memory: session.outside_memory.len(),
        stopped: session.stopped.clone(),
        plan: plan.id,
        items: plan.items,
    }
}
