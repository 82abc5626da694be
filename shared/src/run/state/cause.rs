//! Why a run does not go on, or ended as it did, in words.

use super::{Call, CallStatus, Phase, RunState, Trouble};
use crate::run::entry::StopReason;

impl CallStatus {
    /// The word for it, where runs are shown.
    pub const fn word(&self) -> &'static str {
        match self {
            CallStatus::Proposed => "proposed",
            CallStatus::Allowed { .. } => "allowed",
            CallStatus::AwaitingApproval(_) => "awaiting_approval",
            CallStatus::Attempted { .. } => "attempted",
            CallStatus::Uncertain => "uncertain",
            CallStatus::InDoubt(_) => "in_doubt",
            CallStatus::Succeeded { .. } => "succeeded",
            CallStatus::Failed { .. } => "failed",
            CallStatus::Doubtful { .. } => "doubtful",
            CallStatus::Compensating { .. } => "compensating",
            CallStatus::Compensated => "compensated",
            CallStatus::Standing { .. } => "standing",
        }
    }
}

impl RunState {
    /// What is in the run's way, or why it ended without an answer; `None` while nothing is, and of a run that ended as it should. The words
    /// are whole: who shows them redacts and cuts them.
    pub fn cause(&self) -> Option<String> {
        match &self.phase {
            Phase::Finished(outcome) => self.cause_of_end(&outcome.reason),
            _ => self.cause_of_rest(),
        }
    }

    fn cause_of_end(&self, reason: &StopReason) -> Option<String> {
        match reason {
            StopReason::Completed | StopReason::Cancelled => None,
            StopReason::LimitReached { limit, .. } => Some(format!("limit reached, {limit}")),
            StopReason::Failed { message } => Some(message.clone()),
            StopReason::DoubtExpired { call } => {
                let tool = self.call(*call).map_or("?", |call| call.tool.as_str());
                Some(format!("nobody said whether call {call} of `{tool}` took effect"))
            }
            StopReason::Dead { cause, .. } => Some(cause.clone()),
        }
    }

    fn cause_of_rest(&self) -> Option<String> {
        let abandoned = self.abandoned.as_ref().map(|abandoned| match self.cause_of_end(&abandoned.reason) {
            Some(cause) => format!("{}: {cause}", abandoned.reason.word()),
            None => abandoned.reason.word().to_owned(),
        });
        let held = self.held.as_ref().map(|held| format!("held: {}", held.reason));
        let model = self.trouble.cause();
        let failing = self.calls.iter().filter(|call| !call.status.is_settled()).find_map(Call::cause);
        let causes: Vec<String> = [abandoned, held, model, failing].into_iter().flatten().collect();
        (!causes.is_empty()).then(|| causes.join("; "))
    }

    /// Calls whose effect stands although the run was given up, and those of which nobody knows.
    pub fn left(&self) -> impl Iterator<Item = &Call> {
        let outcome = match &self.phase {
            Phase::Finished(outcome) => Some(outcome),
            _ => None,
        };
        let left = outcome.into_iter().flat_map(|outcome| outcome.standing.iter().chain(&outcome.in_doubt));
        left.filter_map(|id| self.call(*id))
    }
}

impl Trouble {
    /// What is wrong with the model, if anything is.
    fn cause(&self) -> Option<String> {
        let Trouble { failures, unanswered, unusable, reason } = self;
        match (*unanswered, *failures, *unusable) {
            (0, 0, 0) => None,
            (0, 0, times) => Some(format!("the model's answer cannot be used, {times} times in a row: {reason}")),
            (0, times, _) => Some(format!("the model does not answer, {times} times in a row: {reason}")),
            (times, _, _) => Some(format!("the model was asked {times} times in a row without an answer: {reason}")),
        }
    }
}

impl Call {
    /// What is wrong with the call, if anything is: how it fails, or why it is as it is.
    pub fn cause(&self) -> Option<String> {
        let said = self.message()?;
        Some(format!("call {} of `{}`: {said}", self.id, self.tool))
    }

    /// What was seen of a call that fails, has failed, or left something behind.
    pub fn message(&self) -> Option<&str> {
        match &self.status {
            CallStatus::Failed { message } | CallStatus::Doubtful { message } | CallStatus::Standing { message } => {
                Some(message)
            }
            CallStatus::Succeeded { .. } | CallStatus::Compensated => None,
            _ => self.failing.as_ref().map(|failing| failing.message.as_str()),
        }
    }
}
