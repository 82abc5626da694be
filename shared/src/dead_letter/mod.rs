//! Dead letters: messages the queue gave up on and runs that died; listed, grouped, planned and replayed.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    audit::AuditRecord,
    clock::Timestamp,
    ids::{Actor, RunId},
    retry::Retry,
};

pub use keys::Repetition;

pub mod audit;
pub mod cause;
pub mod discard;
pub mod group;
pub mod keys;
pub mod list;
pub mod plan;
pub mod replay;
mod revive;
mod session;
mod watch;

/// The most items of one plan: every run that one outage ended, some 2 MB of items.
pub const PLAN_ITEMS_MAX: usize = 10_000;

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What it is.
    pub origin: Origin,
    /// Why it is here, redacted.
    pub cause: String,
    /// Equal for equal causes.
    pub fingerprint: String,
    /// When the message was first sent, or the run accepted.
    pub at: Timestamp,
    /// Whether a replay can do anything with it.
    pub replayable: bool,
}

/// What a dead letter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum Origin {
    /// A message on the dead-letter queue.
    Message {
        /// The queue's id of it.
        id: String,
        /// Its first [`BODY_SHOWN_CHARS`] characters, redacted.
        body: String,
        /// How often it was received, looks at the dead-letter queue included.
        receive_count: u32,
        /// What sending it again means.
        repetition: Repetition,
    },
    /// A dead run.
    Run {
        /// The run.
        run: RunId,
        /// The release it died under.
        release: String,
    },
}

/// How long a plan is kept.
pub const PLAN_KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// How much of a message is shown and kept in plans.
pub const BODY_SHOWN_CHARS: usize = 2_000;

impl Origin {
    /// A name of it that is stable over listings.
    pub fn key(&self) -> String {
        match self {
            Origin::Message { id, .. } => format!("message/{id}"),
            Origin::Run { run, .. } => format!("run/{run}"),
        }
    }
}

/// What is to be replayed, fixed before anything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub by: Actor,
    /// When.
    pub created: Timestamp,
    /// Why.
    pub reason: String,
    /// What it covers.
    pub items: Vec<PlanItem>,
}

impl Plan {
    /// What the plan says beside its items.
    pub(crate) fn clone_without_items(&self) -> Plan {
        let Plan { id, by, created, reason, .. } = self;
        Plan { id: id.clone(), by: by.clone(), created: *created, reason: reason.clone(), items: Vec::new() }
    }
}

/// One dead letter of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// [`Origin::key`].
    pub key: String,
    /// Equal for equal causes.
    pub fingerprint: String,
    /// What has become of it.
    pub status: ItemStatus,
}

/// What has become of a plan's item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ItemStatus {
    /// Nothing yet.
    Pending,
    /// Its one replay has begun; it is not begun again, whatever came of it.
    Replayed {
        /// When.
        at: Timestamp,
    },
    /// Its replay ended well.
    Recovered,
    /// Its replay ended as it had before, or could not be made.
    Failed {
        /// Why.
        message: String,
    },
}

/// The plans' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It could not be reached or throttles.
    #[error("the replay plans are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or a plan cannot be read.
    #[error("the replay plans: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl PlanError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            PlanError::Unavailable { .. } => Retry::SOON,
            PlanError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Where plans and the audit trail are kept.
#[async_trait]
pub trait ReplayPlans: Send + Sync {
    /// Keeps a new plan: every item, then the plan itself, so that a plan that can be seen is whole. At most [`PLAN_ITEMS_MAX`] items.
    /// Repeating it changes nothing; another plan of the same id is refused.
    async fn create(&self, plan: &Plan) -> Result<(), PlanError>;

    /// A plan with its items as they are now.
    async fn plan(&self, id: &str) -> Result<Option<Plan>, PlanError>;

    /// Moves one item on, if it is still as `seen`; false when it is not. This is what makes a replay happen at most once
    /// per plan, however many operators run it.
    async fn advance(&self, plan: &str, key: &str, seen: &ItemStatus, to: &ItemStatus) -> Result<bool, PlanError>;

    /// Appends to the audit trail.
    async fn audit(&self, record: &AuditRecord) -> Result<(), PlanError>;

    /// The newest `limit` audit records, newest first.
    async fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRecord>, PlanError>;
}

#[cfg(test)]
mod tests;
