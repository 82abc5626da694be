//! Runs as the API shows them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use windlass::{
    approval::{ApprovalRequest, Subject},
    clock::Timestamp,
    ids::{Actor, ApprovalId, CallId, Release, Role, RunId, Task, ToolName, TraceId},
    journal::Head,
    redaction::Redactions,
    run::{
        entry::{Seq, StopReason},
        limits::Limits,
        state::{Call, Phase, RunState},
    },
};

/// The answer to `POST /runs`.
#[derive(Serialize)]
pub(crate) struct Started {
    pub(crate) run_id: RunId,
    pub(crate) trace_id: TraceId,
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// Where a run stands: the part that every answer has.
#[derive(Serialize)]
pub(crate) struct Summary {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    escalation: Vec<Escalation>,
    /// Why the controls hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    /// What is in its way, or why it ended without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip)]
    is_over: bool,
}

/// A question that a person is to answer.
#[derive(Serialize)]
struct Escalation {
    id: ApprovalId,
    role: Role,
    subject: Subject,
    action: Value,
    digest: String,
    reason: String,
    expires_at: Timestamp,
}

/// The answer to `GET /runs/{id}`.
#[derive(Serialize)]
pub(crate) struct Shown {
    run_id: RunId,
    trace_id: TraceId,
    task: Task,
    actor: Actor,
    created: Timestamp,
    release: Release,
    seq: Seq,
    #[serde(flatten)]
    summary: Summary,
    usage: Usage,
    limits: Limits,
    calls: Vec<ShownCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<ShownOutcome>,
}

#[derive(Serialize)]
struct Usage {
    steps: u32,
    tokens: u64,
    cost_micro_usd: u64,
    /// Models whose cost is unknown and not in it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    no_price_for: BTreeSet<String>,
}

#[derive(Serialize)]
struct ShownCall {
    id: CallId,
    tool: ToolName,
    arguments: Value,
    status: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Serialize)]
struct ShownOutcome {
    #[serde(flatten)]
    reason: StopReason,
    at: Timestamp,
    standing: Vec<CallId>,
    in_doubt: Vec<CallId>,
}

/// The answer to `GET /runs/{id}/journal`.
#[derive(Serialize)]
pub(crate) struct Page {
    pub(crate) run_id: RunId,
    pub(crate) entries: Vec<ShownEntry>,
    /// Where the next page starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Seq>,
}

#[derive(Serialize)]
pub(crate) struct ShownEntry {
    pub(crate) seq: Seq,
    /// An entry, redacted.
    #[serde(flatten)]
    pub(crate) entry: Value,
}

impl Summary {
    /// Of a run that was taken on a moment ago.
    pub(crate) fn accepted() -> Summary {
        Summary { status: "ready", response: None, escalation: Vec::new(), held: None, cause: None, is_over: false }
    }

    pub(crate) fn of(state: &RunState, redactions: &Redactions) -> Summary {
        let ask = |request: &ApprovalRequest| Escalation::of(request, state.call(request.id.call), redactions);
        let escalation: Vec<Escalation> = state.open_approvals().map(ask).collect();
        let (status, response, is_over) = match &state.phase {
            Phase::Finished(outcome) => {
                let response = Some(redactions.response(&outcome.response)).filter(|response| !response.is_null());
                (outcome.reason.word(), response, true)
            }
            _ if state.abandoned.is_some() => ("stopping", None, false),
            _ if !escalation.is_empty() => ("awaiting_approval", None, false),
            _ if state.held.is_some() => ("held", None, false),
            Phase::Waiting { .. } => ("waiting", None, false),
            Phase::Planning | Phase::Acting | Phase::Answering { .. } => ("ready", None, false),
        };
        let held = state.held.as_ref().filter(|_| !is_over).map(|held| redactions.text(&held.reason));
        let cause = state.cause().map(|cause| redactions.text(&cause));
        Summary { status, response, escalation, held, cause, is_over }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Escalation {
    /// For whoever asked: whoever decides is shown the exact action by the approval function.
    fn of(request: &ApprovalRequest, call: Option<&Call>, redactions: &Redactions) -> Escalation {
        let tool = &request.action.tool;
        let rule = call.map(|call| call.redaction.clone()).unwrap_or_default();
        let arguments = redactions.arguments(tool, &rule, &request.action.arguments);
        let action = serde_json::json!({ "tool": tool, "arguments": arguments });
        Escalation {
            id: request.id,
            role: request.role.clone(),
            subject: request.subject,
            action,
            digest: request.digest.clone(),
            reason: redactions.text(&request.reason),
            expires_at: request.expires_at,
        }
    }
}

impl Shown {
    pub(crate) fn of(head: Head, state: &RunState, redactions: &Redactions) -> Shown {
        let totals = state.totals;
        Shown {
            run_id: head.run,
            trace_id: state.trace,
            task: redactions.task(&state.request.task),
            actor: state.request.actor.clone(),
            created: state.accepted_at,
            release: head.release,
            seq: state.seq,
            summary: Summary::of(state, redactions),
            usage: Usage {
                steps: totals.steps,
                tokens: totals.tokens,
                cost_micro_usd: totals.cost_micro_usd,
                no_price_for: state.unpriced.clone(),
            },
            limits: state.limits,
            calls: state.calls.iter().map(|call| ShownCall::of(call, redactions)).collect(),
            outcome: match &state.phase {
                Phase::Finished(outcome) => Some(ShownOutcome {
                    reason: redacted(&outcome.reason, redactions),
                    at: outcome.at,
                    standing: outcome.standing.clone(),
                    in_doubt: outcome.in_doubt.clone(),
                }),
                _ => None,
            },
        }
    }
}

impl ShownCall {
    fn of(call: &Call, redactions: &Redactions) -> ShownCall {
        ShownCall {
            id: call.id,
            tool: call.tool.clone(),
            arguments: redactions.arguments(&call.tool, &call.redaction, &call.arguments),
            status: call.status.word(),
            attempts: call.attempts,
            message: call.message().map(|message| redactions.text(message)),
        }
    }
}

fn redacted(reason: &StopReason, redactions: &Redactions) -> StopReason {
    match reason {
        StopReason::Failed { message } => StopReason::Failed { message: redactions.text(message) },
        StopReason::LimitReached { limit, renews_at } => {
            StopReason::LimitReached { limit: redactions.text(limit), renews_at: *renews_at }
        }
        StopReason::Dead { cause, fingerprint } => {
            StopReason::Dead { cause: redactions.text(cause), fingerprint: fingerprint.clone() }
        }
        other => other.clone(),
    }
}
