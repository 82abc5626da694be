//! What became of replayed runs.

use std::time::Duration;

use super::ItemStatus;
use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::{Head, HeadStatus},
};

/// How long after somebody else's replay began its run is judged: before, they may not have revived it yet.
pub(super) const OTHERS_TURN: Duration = Duration::from_secs(60);

/// A replayed item whose end is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) key: String,
    pub(super) run: RunId,
    /// As the plan has it.
    pub(super) status: ItemStatus,
    /// When watching ends.
    pub(super) until: Timestamp,
}

/// What a head says of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Recovered,
    Failed(String),
    NotYet,
}

/// A run that waits for a person got on; one that waits for a timer may be waiting for its next failure.
pub(super) fn judge(head: Option<&Head>) -> Judgement {
    let Some(head) = head else { return Judgement::Failed("the run is gone".to_owned()) };
    match &head.status {
        HeadStatus::Ready | HeadStatus::Waiting => Judgement::NotYet,
        HeadStatus::AwaitingApproval | HeadStatus::Held { .. } => Judgement::Recovered,
        HeadStatus::Finished { outcome } if matches!(outcome.as_str(), "completed" | "cancelled") => {
            Judgement::Recovered
        }
        HeadStatus::Finished { outcome } => Judgement::Failed(format!("the run ended as `{outcome}`")),
        HeadStatus::Dead { cause, .. } => Judgement::Failed(format!("the run is dead: {cause}")),
        HeadStatus::Unreadable { problem } => Judgement::Failed(format!("the run is unreadable: {problem}")),
    }
}
