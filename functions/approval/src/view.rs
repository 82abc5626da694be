//! Approvals as the API shows them.

use serde::Serialize;
use serde_json::Value;
use windlass::{
    approval::{
        Evidence, Subject, Verdict,
        decide::{Earlier, Question, Standing},
    },
    clock::Timestamp,
    ids::{Actor, ApprovalId, Role, RunId, ToolName},
    redaction::Redaction,
    run::state::RunState,
};

/// One approval.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: ApprovalId,
    run_id: RunId,
    status: &'static str,
    subject: Subject,
    action: ShownAction,
    digest: String,
    role: Role,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    /// What was decided before in the run about calls of the same tool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Earlier>,
    requested_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<Timestamp>,
    may_decide: bool,
    /// Why the caller may not decide an open one.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    /// With which the caller may.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Serialize)]
struct ShownAction {
    tool: ToolName,
    arguments: Value,
}

impl Shown {
    pub(crate) fn of(question: Question, state: &RunState) -> Shown {
        let Question { request, standing, earlier } = question;
        let plain = |text: String| Redaction::STRICT.text(&text).into_owned();
        let rule = state.call(request.id.call).map(|call| call.redaction.clone()).unwrap_or_default();
        let (decided_by, decided_at) = match &standing {
            Standing::Decided { by, at, .. } => (by.clone(), Some(*at)),
            Standing::Open | Standing::Late | Standing::Closed => (None, None),
        };
        Shown {
            id: request.id,
            run_id: request.id.run,
            status: word(&standing),
            subject: request.subject,
            action: ShownAction {
                tool: request.action.tool,
                arguments: Redaction::CREDENTIALS.value(&rule.of_arguments(&request.action.arguments)),
            },
            digest: request.digest,
            role: request.role,
            reason: plain(request.reason),
            evidence: request.evidence.map(|known| Evidence { seen: known.seen.clone().map(plain), ..*known }),
            earlier: earlier.into_iter().map(|one| Earlier { note: one.note.clone().map(plain), ..one }).collect(),
            requested_at: request.requested_at,
            expires_at: request.expires_at,
            decided_by,
            decided_at,
            may_decide: false,
            why_not: None,
            token: None,
        }
    }

    /// For somebody who may decide it, with a token when it is shown alone. They see the exact action, personal data included:
    /// nobody can answer for what they were not shown. Only credentials are not shown, since reading one decides nothing, and
    /// what the tool's own rule leaves out; the digest that the decision is bound to covers them.
    pub(crate) fn for_decision(self, token: String) -> Shown {
        Shown { may_decide: true, token: Some(token), ..self }
    }

    /// For somebody who may not, and why.
    pub(crate) fn for_information(self, why_not: String) -> Shown {
        Shown { why_not: Some(why_not), ..self }.for_the_record()
    }

    /// For whoever looks at it without deciding: without personal data.
    pub(crate) fn for_the_record(mut self) -> Shown {
        self.action.arguments = Redaction::STRICT.value(&self.action.arguments);
        self
    }
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Open => "open",
        Standing::Decided { verdict, .. } => verdict_word(*verdict),
        Standing::Late => "expired",
        Standing::Closed => "closed",
    }
}

/// The word for a verdict.
pub(crate) const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Denied => "denied",
        Verdict::Happened => "happened",
        Verdict::HappenedAndFailed => "happened_and_failed",
        Verdict::NotHappened => "not_happened",
        Verdict::Expired => "expired",
    }
}
