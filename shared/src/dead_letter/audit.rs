//! The audit trail of what operators do to dead letters.

use super::{PlanError, ReplayPlans};
use crate::{
    audit::{AuditRecord, sortable_id},
    clock::Clock,
    ids::{Actor, Random},
};

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A plan was made.
    Plan,
    /// One item is about to be replayed.
    Replay,
    /// A replay was stopped.
    Stop,
    /// A foreign message is about to be deleted.
    Discard,
}

impl Action {
    /// As `area.verb`.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Plan => "dead_letters.plan",
            Action::Replay => "dead_letters.replay",
            Action::Stop => "dead_letters.stop",
            Action::Discard => "dead_letters.discard",
        }
    }
}

/// One operator's hand in the audit trail.
#[derive(Clone, Copy)]
pub struct Trail<'a> {
    /// Where it is kept.
    pub plans: &'a dyn ReplayPlans,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For ids.
    pub random: &'a dyn Random,
    /// Who acts.
    pub by: &'a Actor,
}

impl Trail<'_> {
    /// A new id that sorts by time.
    pub(super) fn sortable_id(&self) -> String {
        sortable_id(self.clock.now(), self.random)
    }

    /// Appends one record. Callers do this before they act, so that nothing is done that is not recorded.
    pub(super) async fn note(&self, action: Action, subject: &str, detail: &str) -> Result<(), PlanError> {
        let record = AuditRecord::new(self.clock.now(), self.random, self.by, action.name(), subject, detail);
        self.plans.audit(&record).await
    }
}
