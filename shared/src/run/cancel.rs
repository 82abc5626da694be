//! Ending a run from outside, at any point: what it did is undone where its tools say how.

use super::{
    entry::{Event, StopReason},
    outside::{InterjectError, Outside, Proposal},
    state::Phase,
};
use crate::{
    ids::{Actor, RunId},
    redaction::cut,
};

/// The most characters of a reason.
pub const REASON_CHARS_MAX: usize = 1_000;

/// What came of a cancellation.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancellation {
    /// It is in the journal; the run is woken to undo and to stop.
    Requested,
    /// The run was ending already, for this reason, which stands.
    AlreadyEnding {
        /// Why.
        reason: StopReason,
    },
    /// The run was over.
    AlreadyOver {
        /// How it had ended.
        reason: StopReason,
    },
}

/// Cancels a run. Repeating it is harmless.
///
/// Whether `by` may is for the caller to know. A `reason` is cut to [`REASON_CHARS_MAX`].
///
/// # Errors
/// When the run does not exist or cannot be read, or the store fails.
pub async fn cancel(
    outside: &Outside<'_>,
    run: RunId,
    by: &Actor,
    reason: Option<&str>,
) -> Result<Cancellation, InterjectError> {
    let reason: Option<String> = reason.map(|text| cut(text, REASON_CHARS_MAX).to_owned());
    outside
        .interject(run, |history, _now| match (&history.state.phase, &history.state.abandoned) {
            (Phase::Finished(outcome), _) => {
                Proposal::Leave(Cancellation::AlreadyOver { reason: outcome.reason.clone() })
            }
            (_, Some(ending)) => Proposal::Leave(Cancellation::AlreadyEnding { reason: ending.reason.clone() }),
            _ => {
                let event = Event::Cancelled { by: by.clone(), reason: reason.clone() };
                Proposal::Append(event, Cancellation::Requested)
            }
        })
        .await
}

#[cfg(test)]
mod tests;
