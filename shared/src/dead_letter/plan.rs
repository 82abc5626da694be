//! What is to be replayed, decided before anything is: a forecast first, then a plan that is kept.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    DeadLetter, ItemStatus, Origin, PLAN_ITEMS_MAX, Plan, PlanError, PlanItem, Repetition,
    audit::{Action, Trail},
};
use crate::retry::Retry;

/// The most characters of a plan's reason.
pub const REASON_CHARS_MAX: usize = 1_000;

/// Which dead letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that are listed.
    All,
    /// Those with this fingerprint.
    Fingerprint(String),
    /// Those with these keys ([`Origin::key`]).
    Keys(BTreeSet<String>),
}

/// What a replay would do to one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// [`Origin::key`].
    pub key: String,
    /// Equal for equal causes.
    pub fingerprint: String,
    /// Why it is dead.
    pub cause: String,
    /// What would happen.
    pub would: Would,
}

/// What a replay would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Would {
    /// Record in the run's journal that it goes on, and wake it.
    ReviveRun,
    /// Send the message to the step queue again, and delete it here.
    SendAgain,
    /// Start a run under a key that nothing is known of any more: a second one, if the request was taken on before. A replay sends it
    /// only if it is told to.
    StartAgain,
    /// Leave it alone: the message is not ours. It can be discarded.
    LeaveForeign,
    /// Leave it alone: a release that can read its journal takes it up by itself.
    LeaveUnreadable,
}

impl Would {
    /// Whether anything would be done.
    pub const fn acts(self) -> bool {
        matches!(self, Would::ReviveRun | Would::SendAgain | Would::StartAgain)
    }
}

/// A plan could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanningError {
    /// Keys that no dead letter has.
    #[error("no dead letter has the key {}", quoted(.keys))]
    UnknownKeys {
        /// The keys.
        keys: Vec<String>,
    },
    /// Nothing that was selected can be replayed.
    #[error("nothing that was selected can be replayed")]
    NothingToReplay,
    /// Too much was selected.
    #[error("{items} dead letters were selected; a plan has at most {PLAN_ITEMS_MAX}")]
    TooMany {
        /// How many.
        items: usize,
    },
    /// There is no reason.
    #[error("a plan needs a reason of 1 to {REASON_CHARS_MAX} characters")]
    NoReason,
    /// It could not be kept.
    #[error(transparent)]
    Plans(#[from] PlanError),
}

impl PlanningError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            PlanningError::Plans(error) => error.retry(),
            PlanningError::UnknownKeys { .. }
            | PlanningError::NothingToReplay
            | PlanningError::TooMany { .. }
            | PlanningError::NoReason => Retry::Terminal,
        }
    }
}

fn quoted(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// What a replay of the selected letters would do to each. Nothing is written.
///
/// # Errors
/// When a selected key is nobody's.
pub fn forecast(letters: &[DeadLetter], selection: &Selection) -> Result<Vec<Forecast>, PlanningError> {
    if let Selection::Keys(keys) = selection {
        let known: BTreeSet<String> = letters.iter().map(|letter| letter.origin.key()).collect();
        let unknown: Vec<String> = keys.difference(&known).cloned().collect();
        if !unknown.is_empty() {
            return Err(PlanningError::UnknownKeys { keys: unknown });
        }
    }
    let selected = letters.iter().filter(|letter| match selection {
        Selection::All => true,
        Selection::Fingerprint(fingerprint) => letter.fingerprint == *fingerprint,
        Selection::Keys(keys) => keys.contains(&letter.origin.key()),
    });
    let forecasts = selected.map(|letter| Forecast {
        key: letter.origin.key(),
        fingerprint: letter.fingerprint.clone(),
        cause: letter.cause.clone(),
        would: match (&letter.origin, letter.replayable) {
            (Origin::Run { .. }, true) => Would::ReviveRun,
            (Origin::Run { .. }, false) => Would::LeaveUnreadable,
            (Origin::Message { repetition: Repetition::OutsideMemory, .. }, true) => Would::StartAgain,
            (Origin::Message { .. }, true) => Would::SendAgain,
            (Origin::Message { .. }, false) => Would::LeaveForeign,
        },
    });
    Ok(forecasts.collect())
}

/// Keeps a plan of what `forecasts` say would be acted on.
///
/// # Errors
/// When there is nothing to act on, too much of it, no reason, or the plan cannot be kept.
pub async fn make(trail: Trail<'_>, forecasts: &[Forecast], reason: &str) -> Result<Plan, PlanningError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(PlanningError::NoReason);
    }
    let items: Vec<PlanItem> = forecasts
        .iter()
        .filter(|forecast| forecast.would.acts())
        .map(|forecast| PlanItem {
            key: forecast.key.clone(),
            fingerprint: forecast.fingerprint.clone(),
            status: ItemStatus::Pending,
        })
        .collect();
    match items.len() {
        0 => return Err(PlanningError::NothingToReplay),
        items if items > PLAN_ITEMS_MAX => return Err(PlanningError::TooMany { items }),
        _ => {}
    }
    let id = trail.sortable_id();
    let plan = Plan { id, by: trail.by.clone(), created: trail.clock.now(), reason: reason.to_owned(), items };
    trail.plans.create(&plan).await?;
    trail.note(Action::Plan, &plan.id, &format!("{} items: {reason}", plan.items.len())).await?;
    Ok(plan)
}
