//! What each event makes of a run. Every function refuses what does not follow, in words.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Abandonment, Call, CallStatus, Denial, Detail, Failing, Phase, RunState, Trouble};
use crate::{
    agent::{policy::Authorization, tool::Effect},
    approval::{ApprovalRequest, CallResult, Subject, Verdict},
    clock::Timestamp,
    ids::{Actor, ApprovalId, CallId},
    run::entry::{Decision, Plan, StopReason, ToolOutcome},
};

/// What came with a person's answer.
pub(super) struct Said<'a> {
    pub(super) by: Option<&'a Actor>,
    pub(super) note: Option<&'a String>,
    pub(super) result: Option<&'a CallResult>,
}

impl Said<'_> {
    /// What the call answered, as they say.
    fn value(&self) -> Value {
        match (self.result, self.note) {
            (Some(CallResult::Value(value)), _) => value.clone(),
            (_, Some(note)) => json!({ "confirmed_by": "a person", "note": note }),
            (_, None) => json!({ "confirmed_by": "a person" }),
        }
    }

    /// Why the call failed, as they say.
    fn failure(&self) -> String {
        let why = match self.result {
            Some(CallResult::Message(message)) => Some(message),
            _ => self.note,
        };
        why.map_or_else(|| "it failed, says a person".to_owned(), |why| format!("it failed, says a person: {why}"))
    }
}

impl RunState {
    pub(super) fn planned(&mut self, plan: &Plan, at: Timestamp) -> Result<(), String> {
        match &self.phase {
            Phase::Planning => {}
            Phase::Waiting { until } if *until <= at => {}
            _ => return Err("a plan while another is under way".to_owned()),
        }
        if self.abandoned.is_some() {
            return Err("a plan in an abandoned run".to_owned());
        }
        self.problem = None;
        self.trouble = match plan {
            Plan::Malformed { problem } => {
                let unusable = self.trouble.unusable.saturating_add(1);
                Trouble { unusable, reason: problem.clone(), ..Trouble::default() }
            }
            _ => Trouble::default(),
        };
        self.phase = match plan {
            Plan::Call { calls } => {
                for planned in calls {
                    let id = CallId(u32::try_from(self.calls.len() + 1).map_err(|_| "too many calls")?);
                    if planned.id != id {
                        return Err(format!("call {} where {id} was due", planned.id));
                    }
                    self.calls.push(Call {
                        id,
                        step: self.totals.steps,
                        tool: planned.tool.clone(),
                        arguments: planned.arguments.clone(),
                        redaction: planned.redaction.clone(),
                        echo: planned.echo.clone(),
                        status: CallStatus::Proposed,
                        effect: Effect::Read,
                        compensable: false,
                        attempts: 0,
                        failures: 0,
                        approvals: 0,
                        suspected: Vec::new(),
                        reminded: 0,
                        attempted_at: None,
                        failing: None,
                        denied: None,
                        approved_as: BTreeSet::new(),
                        authorization: Authorization::None,
                        detail: Detail::Whole,
                    });
                }
                Phase::Acting
            }
            Plan::Wait { until, .. } => Phase::Waiting { until: *until },
            Plan::Answer { response } => Phase::Answering { response: response.clone() },
            Plan::Malformed { problem } => {
                self.problem = Some(problem.clone());
                Phase::Planning
            }
        };
        Ok(())
    }

    pub(super) fn judged(&mut self, id: CallId, decision: &Decision, at: Timestamp) -> Result<(), String> {
        let before = self.call(id).and_then(|call| self.denied_before(call)).map(|(_, denial)| denial.told());
        let call = self.call_mut(id)?;
        match (&call.status, decision) {
            (CallStatus::Proposed, _) => {}
            // The policy was tightened since.
            (CallStatus::Allowed { .. }, Decision::RequireApproval { .. } | Decision::Deny { .. }) => {}
            _ => return Err(format!("call {id} is judged twice")),
        }
        match decision {
            Decision::Allow { .. } => {
                call.status = CallStatus::Allowed { from: at };
            }
            // Still proposed: `approval_requested` follows in the same entry.
            Decision::RequireApproval { .. } => {}
            Decision::Deny { reason } => {
                let message = before.map_or_else(
                    || format!("denied by policy: {reason}"),
                    |told| format!("not asked again, the same call was {told}"),
                );
                call.status = CallStatus::Failed { message };
            }
        }
        self.plan_again_when_settled();
        Ok(())
    }

    pub(super) fn asked(&mut self, request: &ApprovalRequest) -> Result<(), String> {
        let call = self.call_mut(request.id.call)?;
        if request.id.round != call.approvals + 1 {
            return Err(format!("question {} after {}", request.id, call.approvals));
        }
        call.approvals = request.id.round;
        call.status = match (request.subject, &call.status) {
            (Subject::Permission, CallStatus::Proposed | CallStatus::Allowed { .. }) => {
                CallStatus::AwaitingApproval(Box::new(request.clone()))
            }
            (Subject::Doubt, CallStatus::Attempted { .. } | CallStatus::Uncertain) => {
                CallStatus::InDoubt(Box::new(request.clone()))
            }
            _ => return Err(format!("nothing to ask about call {}", call.id)),
        };
        Ok(())
    }

    pub(super) fn answered(
        &mut self,
        id: ApprovalId,
        verdict: Verdict,
        said: Said<'_>,
        at: Timestamp,
    ) -> Result<(), String> {
        let open = self.open_approval(id).ok_or_else(|| format!("question {id} is not open"))?;
        let (subject, expires_at, role) = (open.subject, open.expires_at, open.role.clone());
        if verdict != Verdict::Expired && !verdict.answers(subject) {
            return Err(format!("question {id} cannot be answered so"));
        }
        if (verdict == Verdict::Expired) != (expires_at <= at) {
            return Err(format!("question {id} expires at {expires_at}"));
        }
        let call = self.call_mut(id.call)?;
        if verdict == Verdict::Approved {
            call.approved_as.insert(role);
        }
        call.status = match verdict {
            Verdict::Approved => CallStatus::Allowed { from: at },
            Verdict::NotHappened => {
                // It starts anew.
                (call.failures, call.failing) = (0, None);
                CallStatus::Allowed { from: at }
            }
            Verdict::Denied => {
                let denial = Denial { by: said.by.cloned(), at, note: said.note.cloned() };
                let message = denial.told();
                call.denied = Some(denial);
                CallStatus::Failed { message }
            }
            Verdict::Happened => CallStatus::Succeeded { value: said.value() },
            Verdict::HappenedAndFailed => CallStatus::Failed { message: said.failure() },
            Verdict::Expired if subject == Subject::Permission => {
                CallStatus::Failed { message: "nobody approved it in time".to_owned() }
            }
            Verdict::Expired => {
                CallStatus::Doubtful { message: "nobody said in time whether it took effect".to_owned() }
            }
        };
        if verdict == Verdict::Expired && subject == Subject::Doubt {
            self.abandon(StopReason::DoubtExpired { call: id.call }, at)?;
        }
        self.plan_again_when_settled();
        Ok(())
    }

    pub(super) fn returned(
        &mut self,
        id: CallId,
        attempt: u32,
        outcome: &ToolOutcome,
        at: Timestamp,
    ) -> Result<(), String> {
        let call = self.call_mut(id)?;
        if !matches!(call.status, CallStatus::Attempted { .. }) || attempt != call.attempts {
            return Err(format!("attempt {attempt} of call {id} is not open"));
        }
        call.note_failure(outcome, at);
        call.status = match outcome {
            ToolOutcome::Succeeded { value } => CallStatus::Succeeded { value: value.clone() },
            ToolOutcome::Refused { message } | ToolOutcome::Unavailable { message, retry_at: None } => {
                CallStatus::Failed { message: message.clone() }
            }
            ToolOutcome::Unavailable { retry_at: Some(retry_at), .. } => CallStatus::Allowed { from: *retry_at },
            // Epoch 0 holds no lease: from now on nobody is the attempt's holder.
            ToolOutcome::Unknown { retry_at: Some(retry_at), .. } => {
                CallStatus::Attempted { deadline: *retry_at, epoch: 0 }
            }
            ToolOutcome::Unknown { retry_at: None, .. } => CallStatus::Uncertain,
            ToolOutcome::Absent => CallStatus::Allowed { from: at },
        };
        self.plan_again_when_settled();
        Ok(())
    }

    pub(super) fn answered_from_cache(
        &mut self,
        id: CallId,
        value: &Value,
        suspected: &[String],
    ) -> Result<(), String> {
        let abandoned = self.abandoned.is_some();
        let call = self.call_mut(id)?;
        if abandoned || !matches!(call.status, CallStatus::Allowed { .. }) {
            return Err(format!("call {id} may not be answered"));
        }
        call.effect = Effect::Read;
        call.suspected = suspected.to_vec();
        call.status = CallStatus::Succeeded { value: value.clone() };
        self.plan_again_when_settled();
        Ok(())
    }

    pub(super) fn compensated(
        &mut self,
        id: CallId,
        attempt: u32,
        outcome: &ToolOutcome,
        at: Timestamp,
    ) -> Result<(), String> {
        let call = self.call_mut(id)?;
        match &call.status {
            CallStatus::Compensating { attempts, .. } if *attempts == attempt => {}
            _ => return Err(format!("compensation attempt {attempt} of call {id} is not open")),
        }
        call.note_failure(outcome, at);
        call.status = match outcome {
            ToolOutcome::Succeeded { .. } | ToolOutcome::Absent => CallStatus::Compensated,
            ToolOutcome::Refused { message }
            | ToolOutcome::Unavailable { message, retry_at: None }
            | ToolOutcome::Unknown { message, retry_at: None, .. } => CallStatus::Standing { message: message.clone() },
            ToolOutcome::Unavailable { retry_at: Some(retry_at), .. }
            | ToolOutcome::Unknown { retry_at: Some(retry_at), .. } => {
                CallStatus::Compensating { from: *retry_at, attempts: attempt }
            }
        };
        Ok(())
    }

    pub(super) fn gave_up(&mut self, id: CallId, cause: &str) -> Result<(), String> {
        if self.abandoned.is_none() {
            return Err("given up in a run that is not abandoned".to_owned());
        }
        let (call, message) = (self.call_mut(id)?, cause.to_owned());
        call.status = match call.status {
            CallStatus::Succeeded { .. } | CallStatus::Compensating { .. } => CallStatus::Standing { message },
            CallStatus::Attempted { .. } | CallStatus::Uncertain => CallStatus::Doubtful { message },
            _ => return Err(format!("call {id} has nothing to undo")),
        };
        Ok(())
    }

    pub(super) fn abandon(&mut self, reason: StopReason, at: Timestamp) -> Result<(), String> {
        // The first reason stands: what is being undone for one reason need not be undone for another.
        self.abandoned.get_or_insert(Abandonment { reason, since: at });
        Ok(())
    }

    pub(super) fn plan_again_when_settled(&mut self) {
        if self.phase == Phase::Acting && self.calls.iter().all(|call| call.status.is_settled()) {
            self.phase = Phase::Planning;
        }
    }
}

impl Call {
    /// Counts an attempt that came back without success. One that was not made says nothing.
    fn note_failure(&mut self, outcome: &ToolOutcome, at: Timestamp) {
        let Some(message) = outcome.message() else { return };
        let cause = match outcome {
            ToolOutcome::Unknown { cause, .. } => Some(*cause),
            _ => None,
        };
        let before = self.failing.take();
        let unknown_before = before.as_ref().and_then(|before| before.unknown_since);
        self.failures += 1;
        self.failing = Some(Failing {
            since: before.map_or(at, |before| before.since),
            unknown_since: cause.map(|_| unknown_before.unwrap_or(at)),
            attempt: self.attempts,
            cause,
            message: message.to_owned(),
        });
    }
}
