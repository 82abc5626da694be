//! The audit trail of what operators do to dead letters.

use super::{AuditRecord, PlanError, ReplayPlans};
use crate::{
    clock::Clock,
    ids::{Actor, Random},
};

/// The most characters of a record's detail.
pub const DETAIL_CHARS_MAX: usize = 4_000;

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
    /// A new id that sorts by time: a ULID (<https://github.com/ulid/spec>).
    pub(super) fn sortable_id(&self) -> String {
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        ulid::Ulid::from_parts(millis, self.random.bits()).to_string()
    }

    /// Appends one record. Callers do this before they act, so that nothing is done that is not recorded.
    pub(super) async fn note(&self, action: Action, subject: &str, detail: &str) -> Result<(), PlanError> {
        let record = AuditRecord {
            id: self.sortable_id(),
            at: self.clock.now(),
            by: self.by.clone(),
            action: action.name().to_owned(),
            subject: subject.to_owned(),
            detail: detail.chars().take(DETAIL_CHARS_MAX).collect(),
        };
        self.plans.audit(&record).await
    }
}
