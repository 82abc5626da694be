//! What a turn does in the world: ask the model, the policy, a tool, a person.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tracing::{error, info, warn};

use super::{
    Advanced,
    spending::{Funds, spend_of},
    switches::May,
    turn::{Interrupted, Turn},
};
use crate::{
    agent::{
        model::{ANSWER_BYTES_MAX, Answer, CALLS_PER_PLAN_MAX, ModelError, Proposal, Question, Usage},
        policy::{PolicyQuestion, Ruling, judge},
        tool::{CallContext, ToolSpec},
    },
    approval::{Action, ApprovalRequest, Evidence, Subject, Verdict},
    budgets::Spend,
    clock::{Timestamp, before},
    ids::{ApprovalId, CallId, Role, ToolName},
    json,
    retry::{Backoff, Retry},
    run::{
        entry::{Decision, Event, Plan, PlannedCall, StopReason},
        next,
        state::{Call, Denial, Phase},
    },
};

/// How a model that is unavailable is asked again within a turn.
const MODEL_RETRY: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(4), attempts_max: 4 };

/// How long a run rests when its model stays unavailable.
const MODEL_REST: Duration = Duration::from_secs(30);

impl Turn<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    pub(super) fn call_of(&self, id: CallId) -> Result<Call, Interrupted> {
        let found = self.state.call(id).cloned();
        found.ok_or_else(|| self.illegal(format!("there is no call {id}")))
    }

    /// Asks the model.
    pub(super) async fn plan(&mut self) -> Result<Option<Advanced>, Interrupted> {
        let model = Arc::clone(&self.engine.agent.model);
        if let Some(ended) = self.make_room_for(model.timeout()).await? {
            return Ok(ended);
        }
        let mut attempt = 1;
        let engine = self.engine;
        let tools: Vec<&ToolSpec> = engine.agent.tools.values().map(|tool| tool.spec()).collect();
        let mut reservation = None;
        let answer = loop {
            if let May::Not(advanced) = self.may_ask().await? {
                self.settle(reservation, Spend::default()).await;
                return Ok(advanced);
            }
            if reservation.is_none() {
                match self.reserve(attempt).await? {
                    Funds::There(held_back) => reservation = held_back,
                    Funds::Not(advanced) => return Ok(advanced),
                }
            }
            let (prompt, routed, flags) = (Arc::clone(&self.prompt), self.routed_to(), self.flags());
            let question = Question {
                run: self.run,
                trace: self.state.trace,
                instructions: &prompt.text,
                tools: &tools,
                model: routed.as_deref(),
                flags: &flags,
                request: &self.state.request,
                calls: &self.state.calls,
                steps: self.state.totals.steps,
                problem: self.state.problem.as_deref(),
                now: self.now(),
            };
            let until = self.now() + model.timeout();
            let late = || ModelError::Unavailable { message: "no answer in time".into(), retry_after: Duration::ZERO };
            let error = match before(self.engine.clock.as_ref(), until, model.answer(question)).await {
                Some(Ok(answer)) => break Ok(answer),
                Some(Err(error)) => error,
                None => {
                    // Nobody knows what it took.
                    let worst = reservation.as_ref().map_or_else(Spend::default, |reservation| reservation.worst);
                    self.settle(reservation.take(), worst).await;
                    late()
                }
            };
            let Retry::Transient { after } = error.retry() else { break Err(error) };
            if matches!(error, ModelError::Malformed { .. }) {
                break Err(error);
            }
            let wait = MODEL_RETRY.wait(attempt, after, self.engine.random.as_ref());
            match wait.filter(|wait| self.has_time_for(*wait + model.timeout())) {
                Some(wait) => {
                    self.hold_for(wait + model.timeout()).await?;
                    self.engine.clock.sleep_until(self.now() + wait).await;
                }
                None => break Err(error),
            }
            attempt += 1;
        };
        let used = match &answer {
            Ok(answer) => spend_of(answer.usage),
            // Nothing was answered, and providers do not charge for that.
            Err(ModelError::Unavailable { .. }) => Spend::default(),
            Err(ModelError::Refused { .. } | ModelError::Malformed { .. }) => {
                reservation.as_ref().map_or_else(Spend::default, |reservation| reservation.worst)
            }
        };
        self.settle(reservation, used).await;
        self.record_answer(answer)?;
        Ok(None)
    }

    fn record_answer(&mut self, answer: Result<Answer, ModelError>) -> Result<(), Interrupted> {
        let (plan, usage, model) = match answer {
            Ok(Answer { proposal, usage, model }) => (self.plan_of(proposal), usage, model),
            Err(ModelError::Malformed { message }) => {
                let asked = self.engine.agent.model.name().to_owned();
                (Plan::Malformed { problem: message }, Usage::default(), asked)
            }
            Err(error @ ModelError::Refused { .. }) => {
                return self.record(Event::Abandoned { reason: StopReason::Failed { message: error.to_string() } });
            }
            Err(error @ ModelError::Unavailable { .. }) => {
                warn!(%error, "the run rests");
                let asked_to_wait = match error.retry() {
                    Retry::Transient { after } => after,
                    Retry::Terminal => Duration::ZERO,
                };
                let until = self.now() + MODEL_REST.max(asked_to_wait);
                return self.record(Event::Waited { until, reason: error.to_string() });
            }
        };
        let prompt_version = self.prompt.version.clone();
        self.record(Event::Planned { plan, usage, model, prompt_version })
    }

    fn plan_of(&self, proposal: Proposal) -> Plan {
        let too_large = |value: &Value| value.to_string().len() > ANSWER_BYTES_MAX;
        match proposal {
            Proposal::Call(calls) if calls.is_empty() => Plan::Malformed { problem: "a plan without calls".into() },
            Proposal::Call(calls) if calls.len() > CALLS_PER_PLAN_MAX => {
                Plan::Malformed { problem: format!("{} calls in one plan; at most {CALLS_PER_PLAN_MAX}", calls.len()) }
            }
            Proposal::Call(calls)
                if calls.iter().map(|call| call.arguments.to_string().len()).sum::<usize>() > ANSWER_BYTES_MAX =>
            {
                Plan::Malformed { problem: format!("arguments of more than {ANSWER_BYTES_MAX} bytes in one plan") }
            }
            Proposal::Respond(response) if too_large(&response) => {
                Plan::Malformed { problem: format!("a response of more than {ANSWER_BYTES_MAX} bytes") }
            }
            Proposal::Call(calls) => {
                let first = self.state.calls.len() as u32 + 1;
                let rule = |tool: &ToolName| self.engine.agent.tool(tool).map(|tool| tool.spec().redaction.clone());
                let numbered = calls.into_iter().zip(first..).map(|(call, id)| PlannedCall {
                    id: CallId(id),
                    redaction: rule(&call.tool).unwrap_or_default(),
                    tool: call.tool,
                    arguments: json::normalised(call.arguments),
                });
                Plan::Call { calls: numbered.collect() }
            }
            Proposal::Wait { until, reason } => Plan::Wait { until, reason },
            Proposal::Respond(response) => Plan::Answer { response },
            Proposal::Unusable { problem } => Plan::Malformed { problem },
        }
    }

    /// Asks the policy, and a person when the policy says so.
    pub(super) async fn judge(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        match self.may_judge(id).await? {
            May::Go => self.judge_by_policy(id).map(|()| None),
            May::Not(advanced) => Ok(advanced),
        }
    }

    fn judge_by_policy(&mut self, id: CallId) -> Result<(), Interrupted> {
        let call = self.call_of(id)?;
        let policy = Arc::clone(&self.engine.agent.policy);
        let denied = |reason| Ruling { decision: Decision::Deny { reason }, policies: Vec::new() };
        let Ruling { decision, policies } = match self.engine.agent.tool(&call.tool) {
            None => denied(format!("there is no tool `{}`", call.tool)),
            Some(tool) => match tool.check(&call.arguments) {
                Err(problem) => denied(format!("the arguments do not fit: {problem}")),
                Ok(()) => {
                    let question = PolicyQuestion {
                        request: &self.state.request,
                        tool: &call.tool,
                        arguments: &call.arguments,
                        effect: tool.spec().effect,
                        totals: &self.state.totals,
                        tightening: self.tightening(),
                    };
                    let ruling = judge(policy.as_ref(), &question);
                    let decision = self.not_denied_before(&call, with_own_rule(ruling.decision, tool.spec()));
                    Ruling { decision, ..ruling }
                }
            },
        };
        let ask = match &decision {
            Decision::RequireApproval { role, reason } => Some((role.clone(), reason.clone())),
            Decision::Allow { .. } | Decision::Deny { .. } => None,
        };
        let policy_version = policy.version().to_owned();
        self.record(Event::PolicyDecided { call: id, decision, policy_version, policies })?;
        match ask {
            Some((role, reason)) => self.ask(&call, Subject::Permission, role, reason),
            None => Ok(()),
        }
    }

    /// Asks a person for permission.
    pub(super) fn ask(&mut self, call: &Call, subject: Subject, role: Role, reason: String) -> Result<(), Interrupted> {
        self.ask_with(call, subject, role, reason, None)
    }

    pub(super) fn ask_with(
        &mut self,
        call: &Call,
        subject: Subject,
        role: Role,
        reason: String,
        evidence: Option<Box<Evidence>>,
    ) -> Result<(), Interrupted> {
        let action = Action {
            tenant: self.state.request.tenant.clone(),
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
        };
        let (now, policy) = (self.now(), &self.engine.agent.policy);
        let expires_at = now + policy.approval_expires_after();
        let reminder = policy.reminder();
        info!(call = %call.id, tool = %call.tool, %role, ?subject, "a person is asked");
        self.record(Event::ApprovalRequested(Box::new(ApprovalRequest {
            id: ApprovalId { run: self.run, call: call.id, round: call.approvals + 1 },
            subject,
            digest: action.digest(),
            action,
            role,
            reason,
            evidence,
            requested_at: now,
            expires_at,
            remind_at: reminder.as_ref().map(|reminder| (expires_at - reminder.before).max(now)),
            escalate_to: reminder.and_then(|reminder| reminder.escalate_to),
        })))
    }

    /// Warns that a question is about to expire. The log line is what an alarm is made of.
    pub(super) fn remind(&mut self, approval: ApprovalId) -> Result<(), Interrupted> {
        warn!(%approval, "an approval is about to expire");
        self.record(Event::ApprovalReminded { approval })
    }

    /// Records that nobody answered in time.
    pub(super) fn expire(&mut self, approval: ApprovalId) -> Result<(), Interrupted> {
        info!(%approval, "nobody answered in time");
        self.record(Event::ApprovalDecided { approval, verdict: Verdict::Expired, by: None, note: None, result: None })
    }

    /// The decision, unless a person has denied the same call in this run: what was denied is not asked again.
    fn not_denied_before(&self, call: &Call, decision: Decision) -> Decision {
        match (decision, self.state.denied_before(call)) {
            (Decision::Allow { .. } | Decision::RequireApproval { .. }, Some((before, Denial { by, at, note }))) => {
                let by = by.as_ref().map_or("a person", |by| by.as_str());
                let note = note.as_ref().map_or(String::new(), |note| format!(": {note}"));
                Decision::Deny { reason: format!("the same call was denied as call {before} by {by} at {at}{note}") }
            }
            (decision, _) => decision,
        }
    }

    /// Gives the planned answer.
    pub(super) fn respond(&mut self) -> Result<(), Interrupted> {
        let Phase::Answering { response } = self.state.phase.clone() else { return Ok(()) };
        self.record(Event::Responded { response })?;
        let reason = StopReason::Completed;
        self.record(Event::Stopped { reason, standing: Vec::new(), in_doubt: Vec::new() })
    }

    /// Ends an abandoned run, listing what it leaves behind.
    pub(super) fn stop(&mut self, reason: StopReason) -> Result<(), Interrupted> {
        let (standing, in_doubt) = (next::standing(&self.state), next::in_doubt(&self.state));
        if !in_doubt.is_empty() {
            // An alarm is made of this line (`infra/template.yaml`).
            error!(?in_doubt, "an abandoned run leaves calls in doubt");
        }
        self.record(Event::Stopped { reason, standing, in_doubt })
    }

    /// Makes sure that something which may take `needed` fits into the invocation and the lease. `Some` when it does not:
    /// then the run was handed over, or somebody interjected and the turn decides anew.
    pub(super) async fn make_room_for(&mut self, needed: Duration) -> Result<Option<Option<Advanced>>, Interrupted> {
        if !self.has_time_for(needed) {
            return self.hand_over().await.map(Some);
        }
        self.hold_for(needed).await?;
        Ok(None)
    }

    /// The last look before acting: a holder that froze since it wrote its intent must not act on it.
    pub(super) fn may_act_for(&self, needed: Duration) -> bool {
        self.holds_for(needed) && self.has_time_for(needed)
    }

    pub(super) fn context(&self, call: CallId) -> CallContext {
        CallContext {
            tenant: self.state.request.tenant.clone(),
            actor: self.state.request.actor.clone(),
            run: self.run,
            trace: self.state.trace,
            call,
            idempotency_key: format!("{}-{call}", self.run),
            flags: self.flags(),
        }
    }
}

/// The policy's decision, or what the tool itself asks for when the policy would ask nobody.
fn with_own_rule(decision: Decision, spec: &ToolSpec) -> Decision {
    match (decision, &spec.approval) {
        (Decision::Allow { reason }, Some(role)) => {
            let reason = format!("`{}` always needs approval ({reason})", spec.name);
            Decision::RequireApproval { role: role.clone(), reason }
        }
        (decision, _) => decision,
    }
}
