//! Whether a new run is taken on now: before anything is written.

use super::{Controls, ControlsError, Switch};
use crate::{
    budgets::{Account, Allowance, BudgetError, Budgets},
    clock::{Clock, Timestamp},
    ids::{Actor, Tenant},
    retry::Retry,
};

/// When to ask again while no runs are taken on: a person has to lift the switch.
pub const PAUSED_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Why a request is not taken on now. Nothing has been written; the same request may be sent again under its key.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The controls say that no runs are taken on.
    #[error("no new runs are taken on at the moment")]
    Paused,
    /// The actor's budget for the day is used up.
    #[error("the budget of `{actor}` for {date} ({allowance}) is used up; it renews at {renews_at}")]
    Exhausted {
        /// Whose.
        actor: Actor,
        /// Of which day.
        date: String,
        /// How much it was.
        allowance: Allowance,
        /// When the next one begins.
        renews_at: Timestamp,
    },
    /// The controls cannot be read.
    #[error(transparent)]
    Controls(#[from] ControlsError),
    /// The account cannot be read.
    #[error(transparent)]
    Budgets(#[from] BudgetError),
}

impl NotAdmitted {
    /// Whether asking again may help, and when.
    pub fn retry(&self, now: Timestamp) -> Retry {
        match self {
            NotAdmitted::Paused => Retry::Transient { after: PAUSED_RETRY_AFTER },
            NotAdmitted::Exhausted { renews_at, .. } => Retry::Transient { after: renews_at.since(now) },
            NotAdmitted::Controls(error) => error.retry(),
            NotAdmitted::Budgets(error) => error.retry(),
        }
    }
}

/// By which controls a run was let in: whoever works on it a moment later and knows that version need not read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Their version.
    pub controls: u64,
    /// When they were asked for.
    pub at: Timestamp,
}

/// What decides whether a run is taken on.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    /// The live controls.
    pub controls: &'a dyn Controls,
    /// The accounts.
    pub budgets: &'a dyn Budgets,
    /// What an actor may spend in a day.
    pub allowance: Allowance,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl Admission<'_> {
    /// Whether a run of `actor` is taken on now; by which controls, if it is.
    ///
    /// A change that is acknowledged between this look and the write that takes the run on lets one more run in. It can do no
    /// harm: what a run may do is asked again before each step.
    ///
    /// # Errors
    /// Why not.
    pub async fn admit(&self, tenant: &Tenant, actor: &Actor) -> Result<Admitted, NotAdmitted> {
        let at = self.clock.now();
        let document = self.controls.read().await?;
        let admitted = Admitted { controls: document.version, at };
        if document.settings.new_runs == Switch::Off {
            return Err(NotAdmitted::Paused);
        }
        if !self.allowance.is_bounded() {
            return Ok(admitted);
        }
        let account = Account::at(self.clock.now(), tenant, actor);
        let balance = self.budgets.balance(&account).await?;
        match self.allowance.is_used_up(balance.settled) {
            false => Ok(admitted),
            true => Err(NotAdmitted::Exhausted {
                actor: actor.clone(),
                date: account.date(),
                allowance: self.allowance,
                renews_at: account.renews_at(),
            }),
        }
    }
}
