//! What a journal holds: entries, each one or more events in the past tense.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    limits::Limits,
    request::{RunRequest, Source},
    screen,
};
use crate::{
    agent::{
        model::{Echo, Usage},
        redaction::Redaction,
        tool::Effect,
    },
    approval::{ApprovalRequest, CallResult, Verdict, signature::DecisionSignature},
    clock::Timestamp,
    ids::{Actor, ApprovalId, CallId, Release, Role, ToolName, TraceId},
};

mod bounded;

pub use bounded::{POINTER_BYTES_MAX, SUSPECTED_MAX, TEXT_CHARS_MAX};

/// The place of an entry in its journal: 1, 2, 3 … without gaps.
pub type Seq = u32;

/// The number of a claim on a run: it rises by one with each.
pub type Epoch = u64;

/// Who appended an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The holder of the lease with this epoch.
    Holder(Epoch),
    /// Somebody outside the loop (intake, an approver, an operator), under a one-time mark that tells a
    /// repeated write from a lost race.
    Outside(String),
}

/// One write to the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was appended, by its writer's clock.
    pub at: Timestamp,
    /// Who appended it.
    pub writer: Writer,
    /// The release that appended it.
    pub release: Release,
    /// What happened, in order. Never empty.
    pub events: Vec<Event>,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The request was taken on; always and only the first event.
    Accepted(Box<Accepted>),
    /// The model said what to do next.
    Planned {
        /// What it said.
        plan: Plan,
        /// What asking it took.
        usage: Usage,
        /// Which model answered.
        model: String,
        /// The version of the prompt that it was asked with.
        prompt_version: String,
    },
    /// Questions were sent to the model and not answered. They count as answers do, at their worst case.
    Unanswered {
        /// How many.
        questions: u32,
        /// What they took at most.
        usage: Usage,
        /// Which model was asked.
        model: String,
        /// What was seen.
        reason: String,
    },
    /// The policy judged a planned call.
    PolicyDecided {
        /// The call.
        call: CallId,
        /// The decision.
        decision: Decision,
        /// The version of the policy that decided.
        policy_version: String,
        /// The names of the rules that decided.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
    },
    /// A person was asked.
    ApprovalRequested(Box<ApprovalRequest>),
    /// A person answered, or nobody did in time.
    ApprovalDecided {
        /// Which question.
        approval: ApprovalId,
        /// The answer.
        verdict: Verdict,
        /// Who answered; `None` when time did.
        by: Option<Actor>,
        /// What they wrote with it.
        note: Option<String>,
        /// What the call came to, as they say, when the question was whether it took effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<CallResult>,
        /// The approval function's signature; none where time decided. The step function acts on no other decision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Box<DecisionSignature>>,
    },
    /// A question will soon count as denied; whoever it is escalated to may answer it from now on.
    ApprovalReminded {
        /// Which question.
        approval: ApprovalId,
    },
    /// The intent: a call is about to be made.
    ToolAttempted {
        /// The call.
        call: CallId,
        /// 1 for the first attempt, then 2, 3 …
        attempt: u32,
        /// What repeating it would do.
        effect: Effect,
        /// Whether the tool says how to undo it.
        compensable: bool,
        /// When the process that makes the call is dead for certain.
        deadline: Timestamp,
    },
    /// The outcome: what came of an attempt.
    ToolReturned {
        /// The call.
        call: CallId,
        /// Which attempt.
        attempt: u32,
        /// What came of it.
        outcome: ToolOutcome,
        /// Where in it a text addresses the model, as JSON pointers: it is data all the same, and the model is told.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suspected: Vec<String>,
    },
    /// A call was not made, because an answer to the same question is still good.
    AnsweredFromCache {
        /// The call.
        call: CallId,
        /// The answer.
        value: Value,
        /// When the tool gave it.
        given_at: Timestamp,
        /// As in `tool_returned`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suspected: Vec<String>,
    },
    /// The run rests: the model cannot answer now, or there is nothing to pay it with.
    Waited {
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: String,
        /// How many failures in a row are behind it, with which rests grow; 0 when nothing was tried.
        #[serde(default, skip_serializing_if = "is_zero")]
        failures: u32,
    },
    /// The run is held where it is. Recorded once for each thing that holds it, however often it is looked at again.
    Held {
        /// What holds it, in words.
        reason: String,
        /// The version of the controls.
        controls: u64,
        /// What holds it.
        #[serde(default, skip_serializing_if = "HeldBy::is_switch")]
        by: HeldBy,
    },
    /// A person ended the run.
    Cancelled {
        /// Who.
        by: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// The run cannot go on; what it did is being undone.
    Abandoned {
        /// Why.
        reason: StopReason,
    },
    /// The intent to undo a completed call.
    CompensationAttempted {
        /// The call to undo.
        call: CallId,
        /// 1 for the first attempt, then 2, 3 …
        attempt: u32,
        /// When the process that undoes it is dead for certain.
        deadline: Timestamp,
    },
    /// What came of undoing a call.
    Compensated {
        /// The call.
        call: CallId,
        /// Which attempt.
        attempt: u32,
        /// What came of it.
        outcome: ToolOutcome,
    },
    /// Undoing a call, or finding out whether there is something to undo, was given up.
    CompensationGivenUp {
        /// The call.
        call: CallId,
        /// What stood in the way last.
        cause: String,
    },
    /// The final answer.
    Responded {
        /// The answer.
        response: Value,
    },
    /// A finished run was judged.
    Evaluated {
        /// Which case or rule judged it.
        case: String,
        /// 0.0 to 1.0.
        score: f64,
        /// Whether that was enough.
        passed: bool,
    },
    /// The run is over.
    Stopped {
        /// Why.
        reason: StopReason,
        /// Calls whose effect stands although the run was abandoned.
        standing: Vec<CallId>,
        /// Calls of which nobody knows whether they took effect.
        in_doubt: Vec<CallId>,
    },
    /// A dead run was set going again.
    Replayed {
        /// Who did it.
        by: Actor,
        /// The replay plan that it belongs to.
        plan: String,
    },
}

/// What holds a run. A fault's words differ each time it is met, a switch's do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// A switch that its words name.
    #[default]
    Switch,
    /// The controls cannot be read.
    Controls,
    /// A prompt cannot be read, or is not there.
    Prompt,
    /// The model cannot be asked, whatever it would be asked.
    Model,
}

impl HeldBy {
    /// The word for it in logs, from which alarms tell a switch from a fault.
    pub const fn word(self) -> &'static str {
        match self {
            HeldBy::Switch => "switch",
            HeldBy::Controls => "controls",
            HeldBy::Prompt => "prompt",
            HeldBy::Model => "model",
        }
    }

    const fn is_switch(&self) -> bool {
        matches!(self, HeldBy::Switch)
    }
}

/// What a run starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// What was asked.
    pub request: RunRequest,
    /// How it came in.
    pub source: Source,
    /// The trace that everything done for the run belongs to. It is the run's own.
    pub trace: TraceId,
    /// What the run may use.
    pub limits: Limits,
    /// The person behind the request's actor, where their token named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Actor>,
    /// The trace that the sender named, which the run's own is linked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_trace: Option<TraceId>,
    /// Where in the payload a text addresses the model, as JSON pointers: it is data all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspected: Vec<String>,
}

impl Accepted {
    /// What a run starts from, in a trace of its own.
    pub fn new(request: RunRequest, source: Source, trace: TraceId, limits: Limits) -> Accepted {
        let suspected = screen::suspected(&request.payload);
        Accepted { request, source, trace, limits, person: None, linked_trace: None, suspected }
    }
}

/// What the model wants next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Plan {
    /// Call tools; the engine has numbered the calls.
    Call {
        /// The calls, in order. Never empty.
        calls: Vec<PlannedCall>,
    },
    /// Wait until a moment, then ask again.
    Wait {
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// Finish with this answer.
    Answer {
        /// The answer.
        response: Value,
    },
    /// The model's answer could not be used; it will be told and asked again.
    Malformed {
        /// What was wrong with it.
        problem: String,
    },
}

/// A call the model wants made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCall {
    /// Its number within the run.
    pub id: CallId,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
    /// What of it is not shown, by the tool's rule when it was planned.
    #[serde(default, skip_serializing_if = "Redaction::is_empty")]
    pub redaction: Redaction,
    /// What its model's provider wants back with it. It is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
}

/// What the policy said of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// It may be made.
    Allow {
        /// Why.
        reason: String,
    },
    /// It may be made once somebody with this role approves it.
    RequireApproval {
        /// The role.
        role: Role,
        /// Why.
        reason: String,
    },
    /// It may not be made.
    Deny {
        /// Why.
        reason: String,
    },
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ToolOutcome {
    /// It took effect.
    Succeeded {
        /// What the tool answered.
        value: Value,
    },
    /// It did not take effect and never will.
    Refused {
        /// Why.
        message: String,
    },
    /// It did not take effect; it may the next time.
    Unavailable {
        /// Why.
        message: String,
        /// When to try again; `None` when the attempts are used up.
        retry_at: Option<Timestamp>,
    },
    /// Nobody knows whether it took effect.
    Unknown {
        /// Why.
        message: String,
        /// When to resolve it by its effect class; `None` when only a person can.
        retry_at: Option<Timestamp>,
        /// How it came to be unknown.
        #[serde(default)]
        cause: UnknownCause,
    },
    /// The tool was asked afterwards: it did not take effect.
    Absent,
}

/// How a call's outcome came to be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCause {
    /// No answer came in time, or the connection broke.
    #[default]
    NoAnswer,
    /// The tool answered an error that does not say that nothing happened.
    AnsweredError,
    /// An earlier attempt has no outcome, and the call could not be repeated under its key.
    NotRepeated,
    /// The tool did not say whether the call took effect.
    NotAsked,
    /// The worker ended between the intent and the outcome.
    WorkerEnded,
}

/// Why a run is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StopReason {
    /// It answered.
    Completed,
    /// A person ended it.
    Cancelled,
    /// It used up one of its limits.
    LimitReached {
        /// Which, and how much it was.
        limit: String,
        /// When there is more of it; `None` when there never is for this run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renews_at: Option<Timestamp>,
    },
    /// It met an error that no retry mends.
    Failed {
        /// What.
        message: String,
    },
    /// Nobody said in time whether a call in doubt took effect.
    DoubtExpired {
        /// The call.
        call: CallId,
    },
    /// It was claimed too often without getting on. It can be replayed.
    Dead {
        /// What was seen last.
        cause: String,
        /// Equal for equal causes, to group them.
        fingerprint: String,
    },
}

impl ToolOutcome {
    /// What was seen, in the tool's words or the kit's; `None` when nothing went wrong.
    pub fn message(&self) -> Option<&str> {
        match self {
            ToolOutcome::Refused { message }
            | ToolOutcome::Unavailable { message, .. }
            | ToolOutcome::Unknown { message, .. } => Some(message),
            ToolOutcome::Succeeded { .. } | ToolOutcome::Absent => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StopReason {
    /// The word under which runs with this end are counted and listed.
    pub const fn word(&self) -> &'static str {
        match self {
            StopReason::Completed => "completed",
            StopReason::Cancelled => "cancelled",
            StopReason::LimitReached { .. } => "limit_reached",
            StopReason::Failed { .. } => "failed",
            StopReason::DoubtExpired { .. } => "doubt_expired",
            StopReason::Dead { .. } => "dead",
        }
    }
}

impl Event {
    /// Whether the event moves the run on, so that a claim which recorded it was not in vain. Intents do not: a process
    /// that dies in every call records one every time. Neither does being held, nor a question without an answer.
    pub const fn is_progress(&self) -> bool {
        !matches!(
            self,
            Event::ToolAttempted { .. }
                | Event::CompensationAttempted { .. }
                | Event::Held { .. }
                | Event::Unanswered { .. }
        )
    }

    /// Whether a run that was held is not, once it says so.
    pub const fn ends_a_hold(&self) -> bool {
        matches!(
            self,
            Event::Planned { .. }
                | Event::PolicyDecided { .. }
                | Event::ToolAttempted { .. }
                | Event::CompensationAttempted { .. }
                | Event::CompensationGivenUp { .. }
                | Event::Abandoned { .. }
                | Event::Cancelled { .. }
                | Event::Stopped { .. }
        )
    }

    /// Whether the event says what happened in the world, so that a lost race for a sequence number must not lose it.
    pub const fn is_fact(&self) -> bool {
        matches!(self, Event::ToolReturned { .. } | Event::Compensated { .. })
    }
}
