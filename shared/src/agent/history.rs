//! What a run did before a call, and what else its plan holds: what a policy with a memory looks at.

use serde_json::Value;

use crate::{
    ids::{CallId, ToolName},
    run::state::{CallStatus, Detail, RunState},
};

/// A call beside the one that is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OtherCall<'a> {
    /// Its tool.
    pub tool: &'a ToolName,
    /// Its arguments, as far as they are remembered.
    pub arguments: &'a Value,
    /// How far that is: a number that was left out counts as much as can be.
    pub detail: Detail,
}

/// The other calls of a run, as one of its calls is judged. Pure: it follows from the journal.
///
/// Calls of one plan are judged in order, each after those that stand before it. So of four calls in one plan the fourth is judged with
/// three before it, and whoever looks at what is planned as well judges the first with three after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History<'a> {
    /// Calls before it that may be made, wait for a person, are under way, took effect, or may have: all but those that certainly
    /// did not happen and those that were undone.
    pub before: Vec<OtherCall<'a>>,
    /// Calls after it in the same plan that have not failed.
    pub planned: Vec<OtherCall<'a>>,
}

impl<'a> History<'a> {
    /// Of the call with this number.
    pub fn of(state: &'a RunState, call: CallId) -> History<'a> {
        let mut history = History::default();
        for other in state.calls.iter().filter(|other| other.id != call) {
            let gone = matches!(other.status, CallStatus::Failed { .. } | CallStatus::Compensated);
            let seen = OtherCall { tool: &other.tool, arguments: &other.arguments, detail: other.detail };
            match other.id < call {
                _ if gone => {}
                true => history.before.push(seen),
                false => history.planned.push(seen),
            }
        }
        history
    }
}
