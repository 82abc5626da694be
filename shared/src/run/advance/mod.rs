//! The loop: claim, load, then decide and perform until the run is parked, finished, or the time is spent.

use std::{sync::Arc, time::Duration};

use tracing::{
    Instrument as _, Span,
    field::{Empty, display},
    info, info_span, warn,
};

use self::{
    switches::May,
    turn::{Interrupted, Turn},
};
use super::{
    entry::{Event, StopReason},
    next::{Next, decide},
    snapshot::recall_and_save,
    state::RunState,
};
use crate::{
    agent::{Agent, answers::KeptAnswers},
    budgets::{Allowance, Budgets},
    clock::{Clock, Timestamp},
    controls::{Controls, Seen},
    dead_letter::cause::fingerprint,
    ids::{Random, Release, RunId},
    journal::{Head, HeadStatus, Journal, JournalError, Lease, RESCUE_AFTER},
    lease::{Claim, LEASE_FOR, Leases, Leave},
    prompts::PromptCache,
    queue::WakeUps,
    telemetry::Teller,
    windows::Windows,
};

mod counting;
mod effects;
mod outcomes;
mod perform;
mod read;
mod spending;
mod switches;
mod turn;

/// What is kept back of an invocation's time to record and leave in order: a few writes to the store, retried.
pub const LEAVE_MARGIN: Duration = Duration::from_millis(1_500);

/// A wait up to this is sat out; a longer one gives the lease back. Parking and being woken again costs about as much as
/// two seconds of a small function.
pub const INLINE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a run whose journal this release cannot read is left alone before it is looked at again.
pub const UNREADABLE_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Decisions in one turn, after which the run is handed over: far above what any run's limits allow.
pub const TURN_DECISIONS_MAX: u32 = 10_000;

/// Everything the loop stands on.
#[derive(Clone)]
pub struct Engine {
    /// Where journals are kept.
    pub journal: Arc<dyn Journal>,
    /// Where leases are kept.
    pub leases: Arc<dyn Leases>,
    /// Where wake-ups are sent.
    pub wake_ups: Arc<dyn WakeUps>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where answers of tools are kept that stay good for a while.
    pub answers: Arc<dyn KeptAnswers>,
    /// For marks and jitter.
    pub random: Arc<dyn Random>,
    /// What runs are decided and acted with.
    pub agent: Agent,
    /// What may change while they go on.
    pub live: Live,
    /// The release this code belongs to.
    pub release: Release,
    /// Claims without progress after which a run is dead.
    pub strikes_max: u32,
    /// Told what is written, if anybody is.
    pub telemetry: Option<Arc<Teller>>,
}

/// What is read anew while runs go on.
#[derive(Clone)]
pub struct Live {
    /// What may happen now.
    pub controls: Arc<dyn Controls>,
    /// What this process has read of that.
    pub seen: Arc<Seen>,
    /// What models are asked with.
    pub prompts: PromptCache,
    /// What actors have spent.
    pub budgets: Arc<dyn Budgets>,
    /// What an actor may spend in a day.
    pub allowance: Allowance,
    /// What windows have counted.
    pub windows: Arc<dyn Windows>,
}

/// What came of advancing a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Advanced {
    /// It is over.
    Finished {
        /// How it ended.
        outcome: &'static str,
    },
    /// It waits.
    Parked {
        /// Until when at most.
        until: Timestamp,
    },
    /// The time was spent; a new wake-up is on its way.
    HandedOver,
    /// Somebody else holds it: look again then.
    Held {
        /// Until when at most.
        until: Timestamp,
    },
    /// There is nothing to do: it is over, or parked until later.
    NothingToDo,
    /// There is no such run.
    Missing,
    /// Its journal cannot be read; nothing was changed but its due time.
    Unreadable {
        /// Why.
        problem: String,
    },
    /// The lease was lost to somebody who goes on with it.
    Lost,
}

impl Engine {
    /// Advances one run as far as it goes before `deadline`, when this process is dead for certain.
    ///
    /// # Errors
    /// When the store does not do as asked. The run is then taken up again when the lease is over.
    pub async fn advance(&self, run: RunId, deadline: Timestamp) -> Result<Advanced, JournalError> {
        let started = self.clock.now();
        let holder = format!("{:032x}", self.random.bits());
        match self.leases.claim(run, &holder, started, started + LEASE_FOR).await? {
            Claim::Won(head, lease) => {
                let tenant = &head.tenant;
                let span = info_span!("run", run = %run, trace = Empty, tenant = %tenant, release = %self.release);
                async {
                    match self.load(&head).await {
                        Ok(state) => {
                            Span::current().record("trace", display(state.trace));
                            let turn = Turn::new(self, &head, lease, state, deadline);
                            self.drive(turn).await
                        }
                        Err(error @ (JournalError::Unreadable { .. } | JournalError::Illegal { .. })) => {
                            self.set_aside(run, &lease, head.interjections, &error).await
                        }
                        Err(error @ JournalError::Unavailable { .. }) => {
                            let strikes = head.strikes.saturating_sub(1);
                            self.give_back(run, &lease, head.status, head.interjections, strikes).await;
                            Err(error)
                        }
                        Err(error) => Err(error),
                    }
                }
                .instrument(span)
                .await
            }
            Claim::Held { until } => Ok(Advanced::Held { until }),
            Claim::Parked { .. } | Claim::Over(_) => Ok(Advanced::NothingToDo),
            Claim::Missing => Ok(Advanced::Missing),
        }
    }

    /// What the run is, from its claim, or from its last snapshot and the entries after it.
    async fn load(&self, head: &Head) -> Result<RunState, JournalError> {
        let run = head.run;
        let illegal = |source| JournalError::Illegal { run, source };
        if let Some(entry) = head.only_entry() {
            return RunState::accept(&entry).map_err(illegal);
        }
        match recall_and_save(self.journal.as_ref(), run, head.expires).await {
            Err(JournalError::Missing { .. }) => RunState::fold(&[]).map_err(illegal),
            recalled => recalled,
        }
    }

    async fn drive(&self, mut turn: Turn<'_>) -> Result<Advanced, JournalError> {
        match self.steps(&mut turn).await {
            Ok(advanced) => Ok(advanced),
            Err(Interrupted::Lost) => {
                info!("the lease was lost");
                Ok(Advanced::Lost)
            }
            Err(Interrupted::Store(error @ JournalError::Unavailable { .. })) => {
                let (interjections, strikes) = (turn.state.interjections, turn.strikes_before());
                self.give_back(turn.run, &turn.lease, HeadStatus::Ready, interjections, strikes).await;
                Err(error)
            }
            Err(Interrupted::Store(error)) => Err(error),
            // A first turn goes by the first entry, and meets what else there is when it appends.
            Err(Interrupted::Unreadable(error)) => {
                self.set_aside(turn.run, &turn.lease, turn.state.interjections, &error).await
            }
        }
    }

    async fn steps(&self, turn: &mut Turn<'_>) -> Result<Advanced, Interrupted> {
        let mut begun = false;
        for _ in 0..TURN_DECISIONS_MAX {
            if !begun {
                match turn.may_begin().await? {
                    May::Go => begun = true,
                    May::Not(Some(advanced)) => return Ok(advanced),
                    May::Not(None) => continue,
                }
                if let Some(event) = self.dead(turn) {
                    turn.record(event)?;
                }
            }
            let next = decide(&turn.state, self.clock.now(), turn.lease.epoch);
            let advanced = match next {
                Next::Nothing => turn.finish().await?,
                Next::Await { until } => turn.wait(until).await?,
                Next::Plan => turn.plan().await?,
                Next::Call(call) => turn.call(call).await?,
                Next::Query(call) => turn.query(call).await?,
                Next::Compensate(call) => turn.compensate(call).await?,
                Next::Judge(call) => turn.judge(call).await?,
                Next::GiveUp(call) => turn.give_up(call).await.map(|()| None)?,
                Next::Doubt(call) => turn.doubt(call).map(|()| None)?,
                Next::Expire(approval) => turn.expire(approval).map(|()| None)?,
                Next::Remind(approval) => turn.remind(approval).map(|()| None)?,
                Next::Respond => turn.respond().map(|()| None)?,
                Next::Abandon(reason) => turn.record(Event::Abandoned { reason }).map(|()| None)?,
                Next::Stop(reason) => turn.stop(reason).map(|()| None)?,
            };
            if let Some(advanced) = advanced {
                return Ok(advanced);
            }
        }
        warn!("a turn of {TURN_DECISIONS_MAX} decisions");
        turn.hand_over_now().await
    }

    /// The end of a run that was claimed too often without getting on. Claims count from the last one that moved the run
    /// on, and only while nobody left it in order.
    fn dead(&self, turn: &Turn<'_>) -> Option<Event> {
        let in_vain = turn.lease.epoch.saturating_sub(turn.state.progress_epoch);
        if u64::from(turn.strikes).min(in_vain) <= u64::from(self.strikes_max) || turn.is_over() {
            return None;
        }
        let cause = turn.state.last_seen_doing();
        let fingerprint = fingerprint(&format!("{} {cause}", turn.state.request.task));
        warn!(%cause, %fingerprint, "the run is dead");
        let reason = StopReason::Dead { cause, fingerprint };
        Some(Event::Stopped { reason, standing: Vec::new(), in_doubt: Vec::new() })
    }

    /// Gives a lease back after the store has failed, if the store does that much. Then nobody waits for the lease to end, and the claim
    /// is no strike: a store that throttles says nothing about the run.
    async fn give_back(&self, run: RunId, lease: &Lease, status: HeadStatus, interjections: u64, strikes: u32) {
        let now = self.clock.now();
        let (ready_from, due) = (Some(now), Some(now + RESCUE_AFTER));
        let leave = Leave { status, ready_from, due, now, interjections, strikes };
        if let Err(error) = self.leases.leave(run, lease, &leave).await {
            warn!(%error, "the lease is not given back; it ends by itself");
        }
    }

    async fn set_aside(
        &self,
        run: RunId,
        lease: &Lease,
        interjections: u64,
        error: &JournalError,
    ) -> Result<Advanced, JournalError> {
        let problem = error.to_string();
        warn!(%problem, "the journal cannot be read; the run is left alone");
        let now = self.clock.now();
        let later = now + UNREADABLE_RETRY_AFTER;
        let status = HeadStatus::Unreadable { problem: problem.clone() };
        let leave = Leave { status, ready_from: Some(later), due: Some(later), now, interjections, strikes: 0 };
        self.leases.leave(run, lease, &leave).await?;
        Ok(Advanced::Unreadable { problem })
    }
}
