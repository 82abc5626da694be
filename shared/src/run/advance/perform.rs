//! What a turn does in the world: ask the model, the policy, a tool, a person.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tracing::{info, warn};

use super::{
    Advanced,
    outcomes::{bounded, not_made, of_repetition, outcome_word, ran_out_of_time, returned},
    spending::{Funds, spend_of},
    switches::May,
    turn::{Flushed, Interrupted, Turn},
};
use crate::{
    agent::{
        model::{ANSWER_BYTES_MAX, Answer, CALLS_PER_PLAN_MAX, ModelError, Proposal, Question, Usage},
        policy::{PolicyQuestion, Ruling, judge},
        tool::{CallContext, Effect, ToolError, ToolSpec},
    },
    approval::{Action, ApprovalRequest, Subject, Verdict},
    budgets::Spend,
    clock::{Timestamp, before},
    ids::{ApprovalId, CallId, Role, ToolName},
    json,
    retry::{Backoff, Retry},
    run::{
        entry::{Decision, Event, Plan, PlannedCall, StopReason, ToolOutcome},
        next,
        state::{Call, CallStatus, Phase},
    },
};

/// How a model that is unavailable is asked again within a turn.
const MODEL_RETRY: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(4), attempts_max: 4 };

/// How long a run rests when its model stays unavailable.
const MODEL_REST: Duration = Duration::from_secs(30);

/// How long a run rests when it meets a release that lacks one of its tools: a weighted alias serves both releases for a while.
const TOOL_MISSING_REST: Duration = Duration::from_secs(30);

impl Turn<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    fn call_of(&self, id: CallId) -> Result<Call, Interrupted> {
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
                    Ruling { decision: with_own_rule(ruling.decision, tool.spec()), ..ruling }
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

    /// Asks a person whether a call took effect.
    pub(super) fn doubt(&mut self, id: CallId) -> Result<(), Interrupted> {
        let call = self.call_of(id)?;
        let reason =
            format!("attempt {} of `{}` has no outcome, and repeating it is not safe", call.attempts, call.tool);
        self.ask(&call, Subject::Doubt, self.engine.agent.policy.doubt_role(), reason)
    }

    pub(super) fn ask(&mut self, call: &Call, subject: Subject, role: Role, reason: String) -> Result<(), Interrupted> {
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
        self.record(Event::ApprovalDecided { approval, verdict: Verdict::Expired, by: None, note: None })
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
        self.record(Event::Stopped { reason, standing, in_doubt })
    }

    /// Makes a call: the intent first, then the call, then its outcome.
    pub(super) async fn call(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.tool_of(&call.tool) else { return self.rest_for_tool(&call).await };
        let spec = tool.spec();
        if let May::Not(advanced) = self.may_call(&call, spec.effect).await? {
            return Ok(advanced);
        }
        if spec.effect == Effect::Read {
            return self.read(id).await;
        }
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        let attempt = call.attempts + 1;
        self.record(Event::ToolAttempted {
            call: id,
            attempt,
            effect: spec.effect,
            compensable: spec.compensable,
            deadline: self.deadline,
        })?;
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let mut held = None;
        let repeated = matches!(call.status, CallStatus::Attempted { .. });
        let outcome = match self.stopped_at_the_last_moment(&call, spec.effect).await {
            Some(stopped) => {
                held = stopped.hold;
                stopped.outcome
            }
            None if self.may_act_for(spec.timeout) => {
                let context = self.context(id);
                let until = self.now() + spec.timeout;
                let result = before(self.engine.clock.as_ref(), until, tool.call(&context, &call.arguments)).await;
                let outcome =
                    self.outcome_of(spec, call.failures + 1, result.unwrap_or_else(|| Err(ran_out_of_time(spec))));
                if repeated { of_repetition(outcome) } else { outcome }
            }
            None => not_made(repeated, "the lease ran low", self.now()),
        };
        // The event says the same once it is in the journal; should that write fail, nothing else tells of the effect.
        info!(call = %id, tool = %spec.name, attempt, outcome = outcome_word(&outcome), "called");
        self.record(returned(id, attempt, outcome))?;
        self.read_controls_before_asking();
        if spec.effect == Effect::Irreversible {
            // An outcome that nobody can find out again does not wait for the next write.
            self.flush().await?;
        }
        match held {
            Some(reason) => Ok(self.hold(reason).await?.advanced()),
            None => Ok(None),
        }
    }

    /// Asks a tool whether its call took effect.
    pub(super) async fn query(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.engine.agent.tool(&call.tool).cloned() else { return self.rest_for_tool(&call).await };
        let spec = tool.spec();
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        let context = self.context(id);
        let until = self.now() + spec.timeout;
        let asked = before(self.engine.clock.as_ref(), until, tool.query(&context, &call.arguments)).await;
        let later = Some(self.now() + spec.retry.cap);
        let outcome = match asked {
            Some(Ok(Some(value))) => ToolOutcome::Succeeded { value: bounded(value) },
            Some(Ok(None)) if call.failures + 1 >= spec.retry.attempts_max => {
                ToolOutcome::Refused { message: format!("it did not take effect in {} attempts", call.attempts) }
            }
            Some(Ok(None)) => ToolOutcome::Absent,
            Some(Err(ToolError::Refused { message })) => ToolOutcome::Unknown { message, retry_at: None },
            Some(Err(error)) => ToolOutcome::Unknown { message: error.to_string(), retry_at: later },
            None => ToolOutcome::Unknown { message: ran_out_of_time(spec).to_string(), retry_at: later },
        };
        info!(call = %id, tool = %spec.name, outcome = outcome_word(&outcome), "asked whether it took effect");
        self.record(returned(id, call.attempts, outcome))?;
        Ok(None)
    }

    /// Undoes a completed call.
    pub(super) async fn compensate(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.engine.agent.tool(&call.tool).cloned() else { return self.rest_for_tool(&call).await };
        let spec = tool.spec();
        let attempt = call.status.compensation_attempts() + 1;
        if let Some(reason) = self.undo_is_held(&call.tool).await {
            return Ok(self.hold(reason).await?.advanced());
        }
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        self.record(Event::CompensationAttempted { call: id, attempt, deadline: self.deadline })?;
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let held = self.undo_is_held(&call.tool).await;
        let outcome = if let Some(reason) = &held {
            ToolOutcome::Unavailable { message: reason.clone(), retry_at: Some(self.now()) }
        } else if self.may_act_for(spec.timeout) {
            let context = self.context(id);
            let until = self.now() + spec.timeout;
            let result = before(self.engine.clock.as_ref(), until, tool.compensate(&context, &call.arguments)).await;
            self.outcome_of(spec, attempt, result.unwrap_or_else(|| Err(ran_out_of_time(spec))))
        } else {
            ToolOutcome::Unavailable { message: "the lease ran low".into(), retry_at: Some(self.now()) }
        };
        info!(call = %id, tool = %spec.name, attempt, outcome = outcome_word(&outcome), "undone");
        self.record(Event::Compensated { call: id, attempt, outcome })?;
        match held {
            Some(reason) => Ok(self.hold(reason).await?.advanced()),
            None => Ok(None),
        }
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

    async fn rest_for_tool(&mut self, call: &Call) -> Result<Option<Advanced>, Interrupted> {
        warn!(tool = %call.tool, "this release has no such tool; the run rests");
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        self.park(self.now() + TOOL_MISSING_REST).await
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

    pub(super) fn outcome_of(&self, spec: &ToolSpec, failures: u32, result: Result<Value, ToolError>) -> ToolOutcome {
        let retry_at =
            |after| spec.retry.wait(failures, after, self.engine.random.as_ref()).map(|wait| self.now() + wait);
        match result {
            Ok(value) => ToolOutcome::Succeeded { value: bounded(value) },
            Err(ToolError::Refused { message }) => ToolOutcome::Refused { message },
            Err(ToolError::Unavailable { message, retry_after }) => {
                ToolOutcome::Unavailable { message, retry_at: retry_at(retry_after) }
            }
            Err(ToolError::Unknown { message }) => match spec.effect {
                // Nothing can have happened.
                Effect::Read => ToolOutcome::Unavailable { message, retry_at: retry_at(Duration::ZERO) },
                Effect::Idempotent => ToolOutcome::Unknown { message, retry_at: retry_at(Duration::ZERO) },
                // What was sent may still arrive: ask once it cannot any more.
                Effect::Queryable => ToolOutcome::Unknown { message, retry_at: Some(self.now() + spec.timeout) },
                Effect::Irreversible => ToolOutcome::Unknown { message, retry_at: None },
            },
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
