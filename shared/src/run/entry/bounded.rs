//! Texts of events, held to a bound where they enter a journal: tools, providers and stores write as much as they like.

use serde_json::{Value, json};

use super::{Decision, Event, Plan, StopReason, ToolOutcome};
use crate::redaction::cut;

/// The most characters of one text in an event: what a person reads of an error. An entry has at most a few dozen of them, so that no
/// text makes an entry too large.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// The most places in one answer that are pointed out to the model.
pub const SUSPECTED_MAX: usize = 32;

/// The most bytes of a pointer to such a place. A longer one is left out: cut, it would point elsewhere.
pub const POINTER_BYTES_MAX: usize = 512;

fn bound(text: &mut String) {
    // A character has at least a byte.
    if text.len() > TEXT_CHARS_MAX {
        *text = cut(text, TEXT_CHARS_MAX).to_owned();
    }
}

fn bound_pointers(pointers: &mut Vec<String>) {
    pointers.retain(|pointer| pointer.len() <= POINTER_BYTES_MAX);
    pointers.truncate(SUSPECTED_MAX);
}

impl Event {
    /// The event with every text cut to [`TEXT_CHARS_MAX`].
    #[must_use]
    pub(crate) fn bounded(mut self) -> Event {
        match &mut self {
            Event::Planned { plan, model, prompt_version, .. } => {
                bound(model);
                bound(prompt_version);
                match plan {
                    Plan::Wait { reason: text, .. } | Plan::Malformed { problem: text } => bound(text),
                    Plan::Call { .. } | Plan::Answer { .. } => {}
                }
            }
            Event::PolicyDecided { decision, policy_version, policies, .. } => {
                bound(policy_version);
                policies.iter_mut().for_each(bound);
                match decision {
                    Decision::Allow { reason }
                    | Decision::RequireApproval { reason, .. }
                    | Decision::Deny { reason } => bound(reason),
                }
            }
            Event::Unanswered { model, reason, .. } => {
                bound(model);
                bound(reason);
            }
            Event::ApprovalRequested(request) => bound(&mut request.reason),
            Event::ApprovalDecided { note: Some(text), .. } | Event::Cancelled { reason: Some(text), .. } => {
                bound(text)
            }
            Event::ToolReturned { outcome, suspected, .. } => {
                outcome.bound();
                bound_pointers(suspected);
            }
            Event::Compensated { outcome, .. } => outcome.bound(),
            Event::AnsweredFromCache { suspected, .. } => bound_pointers(suspected),
            Event::Waited { reason, .. } | Event::Held { reason, .. } => bound(reason),
            Event::Abandoned { reason } | Event::Stopped { reason, .. } => reason.bound(),
            Event::Evaluated { case: text, .. } | Event::CompensationGivenUp { cause: text, .. } => bound(text),
            Event::Replayed { plan, .. } => bound(plan),
            Event::Accepted(accepted) => bound_pointers(&mut accepted.suspected),
            Event::ApprovalDecided { .. }
            | Event::ApprovalReminded { .. }
            | Event::ToolAttempted { .. }
            | Event::Cancelled { .. }
            | Event::CompensationAttempted { .. }
            | Event::Responded { .. } => {}
        }
        self
    }
}

impl Event {
    /// An outcome without what the tool answered, which took `bytes`; `None` for anything else.
    pub(crate) fn without_answer(mut self, bytes: usize) -> Option<Event> {
        match &mut self {
            Event::ToolReturned { outcome: ToolOutcome::Succeeded { value }, suspected, .. } => {
                *value = omitted(bytes);
                suspected.clear();
            }
            Event::Compensated { outcome: ToolOutcome::Succeeded { value }, .. } => *value = omitted(bytes),
            _ => return None,
        }
        Some(self)
    }
}

fn omitted(bytes: usize) -> Value {
    json!({ "omitted": format!("an answer of {bytes} bytes; no entry holds as many") })
}

impl ToolOutcome {
    fn bound(&mut self) {
        match self {
            ToolOutcome::Refused { message }
            | ToolOutcome::Unavailable { message, .. }
            | ToolOutcome::Unknown { message, .. } => bound(message),
            ToolOutcome::Succeeded { .. } | ToolOutcome::Absent => {}
        }
    }
}

impl StopReason {
    fn bound(&mut self) {
        match self {
            StopReason::LimitReached { limit: text, .. }
            | StopReason::Failed { message: text }
            | StopReason::Dead { cause: text, .. } => bound(text),
            StopReason::Completed | StopReason::Cancelled | StopReason::DoubtExpired { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CallId;

    #[test]
    fn a_megabyte_of_an_error_is_recorded_as_its_beginning() {
        // Seen: a tool's own message of more than 350 KB, deflated, lost the outcome and repeated the call.
        let message = "é".repeat(1 << 20);
        let outcome = ToolOutcome::Refused { message };
        let event = Event::ToolReturned { call: CallId(1), attempt: 1, outcome, suspected: vec!["/a".repeat(400); 99] };
        let Event::ToolReturned { outcome: ToolOutcome::Refused { message }, suspected, .. } = event.bounded() else {
            panic!("another event");
        };
        assert!(message.starts_with("éé") && message.chars().count() <= TEXT_CHARS_MAX, "{}", message.len());
        assert_eq!(suspected, Vec::<String>::new(), "a pointer that is cut would point elsewhere");
    }
}
