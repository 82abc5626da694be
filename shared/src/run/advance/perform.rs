//! What a turn does in the world: ask the model, the policy, a tool, a person.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;
use tracing::{error, info, warn};

use super::{
    Advanced,
    spending::{Funds, spend_of},
    switches::{Hindrance, May},
    turn::{Interrupted, Turn},
};
use crate::{
    agent::{
        history::History,
        model::{ANSWER_BYTES_MAX, Answer, CALLS_PER_PLAN_MAX, Lost, ModelError, Proposal, Question, Usage},
        policy::{PolicyQuestion, Ruling, tightened},
        tool::{CallContext, NotNow, Tool, ToolSpec},
    },
    approval::{Action, ApprovalRequest, Evidence, Subject, Verdict},
    clock::{Timestamp, before},
    ids::{ApprovalId, CallId, FlagName, Role, ToolName},
    json, json_bounds,
    retry::Rests,
    run::{
        entry::{Decision, Event, Plan, PlannedCall, StopReason},
        next,
        state::{Call, Denial, Phase},
    },
    windows::WindowTotals,
};

/// How long a run rests whose model cannot answer now: the first rests are sat out in the invocation, and after a dozen failures there
/// are ten minutes between two questions, so that a week of outage is a thousand entries and not more.
const BUSY_RESTS: Rests = Rests { base: Duration::from_millis(250), cap: Duration::from_secs(600) };

/// How long a run rests whose question was not answered: each of them is paid for.
const SILENCE_RESTS: Rests = Rests { base: Duration::from_secs(1), cap: Duration::from_secs(600) };

/// Answers in a row that may be unusable before a run rests: what was a slip is mended when the model is told of it.
const UNUSABLE_WITHOUT_REST: u32 = 2;

/// How long a run rests whose model goes on saying what cannot be used.
const UNUSABLE_RESTS: Rests = Rests { base: Duration::from_secs(2), cap: Duration::from_secs(600) };

/// How the reason begins why a run is held that its provider will not serve.
const MISCONFIGURED: &str = "held until the provider answers again: ";

/// What a question holds besides the run's own data.
struct Asking<'q> {
    instructions: &'q str,
    tools: &'q [&'q ToolSpec],
    model: Option<&'q str>,
    flags: &'q BTreeSet<FlagName>,
}

/// How long a tool is asked whether it may be called now: a list of tools and a token, or an answer that there are none.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

impl Turn<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    pub(super) fn call_of(&self, id: CallId) -> Result<Call, Interrupted> {
        let found = self.state.call(id).cloned();
        found.ok_or_else(|| self.illegal(format!("there is no call {id}")))
    }

    /// Asks the model, once. What it says is recorded, and so is that it says nothing, with how long the run rests then.
    pub(super) async fn plan(&mut self) -> Result<Option<Advanced>, Interrupted> {
        let model = Arc::clone(&self.engine.agent.model);
        if let Some(ended) = self.make_room_for(model.timeout()).await? {
            return Ok(ended);
        }
        if let May::Not(advanced) = self.may_ask().await? {
            return Ok(advanced);
        }
        let engine = self.engine;
        let tools: Vec<&ToolSpec> = engine.agent.tools.values().map(|tool| tool.spec()).collect();
        let (prompt, routed, flags) = (Arc::clone(&self.prompt), self.routed_to(), self.flags());
        let asking = Asking { instructions: &prompt.text, tools: &tools, model: routed.as_deref(), flags: &flags };
        let worst = || model.worst_case(&self.question(&asking));
        if self.asked_in_vain > 0 {
            let lost = Lost { questions: self.asked_in_vain, usage: worst().times(self.asked_in_vain) };
            self.asked_in_vain = 0;
            self.record_lost(lost, "the worker died or ran out of time while it asked the model")?;
            return Ok(None);
        }
        let reservation = if engine.live.allowance.is_bounded() {
            match self.reserve(worst()).await? {
                Funds::There(held_back) => Some(held_back),
                Funds::Not(advanced) => return Ok(advanced),
            }
        } else {
            None
        };
        let question = self.question(&asking);
        let until = self.now() + model.timeout();
        let answered = before(engine.clock.as_ref(), until, model.answer(question)).await.unwrap_or_else(|| {
            let lost = Lost::one(model.worst_case(&question));
            Err(ModelError::Unanswered { message: "no answer in time".to_owned(), lost })
        });
        let paid = paid_for(&answered, || model.worst_case(&question));
        self.settle(reservation, spend_of(paid)).await;
        self.record_answer(answered, paid).await
    }

    fn question<'q>(&'q self, asking: &Asking<'q>) -> Question<'q> {
        Question {
            run: self.run,
            trace: self.state.trace,
            instructions: asking.instructions,
            tools: asking.tools,
            model: asking.model,
            flags: asking.flags,
            request: &self.state.request,
            calls: &self.state.calls,
            steps: self.state.totals.steps,
            problem: self.state.problem.as_deref(),
            failures: self.state.trouble.failures,
            now: self.now(),
        }
    }

    async fn record_answer(
        &mut self,
        answered: Result<Answer, ModelError>,
        paid: Usage,
    ) -> Result<Option<Advanced>, Interrupted> {
        let error = match answered {
            Ok(Answer { proposal: Proposal::Decline { message }, usage, model, lost }) => {
                self.record_lost(lost, "another model answered")?;
                self.record_plan(Plan::Malformed { problem: message.clone() }, usage, model)?;
                ModelError::Refused { message }
            }
            Ok(Answer { proposal, usage, model, lost }) => {
                self.record_lost(lost, "another model answered")?;
                let plan = self.plan_of(proposal);
                return self.record_plan(plan, usage, model).map(|()| None);
            }
            Err(error) => error,
        };
        let words = error.to_string();
        let failures = self.state.trouble.failures.saturating_add(1);
        match error {
            ModelError::Malformed { message } => {
                let asked = self.engine.agent.model.name().to_owned();
                self.record_plan(Plan::Malformed { problem: message }, paid, asked)?;
            }
            ModelError::Refused { .. } => {
                self.record(Event::Abandoned { reason: StopReason::Failed { message: words } })?;
            }
            ModelError::Misconfigured { .. } => {
                // One hold is one event, however the provider words it the next time.
                let known = self.state.held.as_ref().filter(|held| held.reason.starts_with(MISCONFIGURED));
                let reason = known.map_or_else(|| format!("{MISCONFIGURED}{words}"), |held| held.reason.clone());
                return self.hold(Hindrance::model(reason)).await.map(May::advanced);
            }
            ModelError::Unanswered { lost, .. } => {
                self.record_lost(lost, &words)?;
                self.rest(SILENCE_RESTS, failures, Duration::ZERO, words)?;
            }
            ModelError::Unavailable { retry_after, .. } => self.rest(BUSY_RESTS, failures, retry_after, words)?,
            ModelError::Unreachable { .. } => self.rest(BUSY_RESTS, failures, Duration::ZERO, words)?,
            ModelError::TurnedAway { retry_after, .. } => {
                let until = self.now() + BUSY_RESTS.after(1, retry_after, self.engine.random.as_ref());
                self.record(Event::Waited { until, reason: words, failures: self.state.trouble.failures })?;
            }
        }
        Ok(None)
    }

    fn record_plan(&mut self, plan: Plan, usage: Usage, model: String) -> Result<(), Interrupted> {
        let prompt_version = self.prompt.version.clone();
        self.record(Event::Planned { plan, usage, model, prompt_version })?;
        let unusable = self.state.trouble.unusable;
        if unusable > UNUSABLE_WITHOUT_REST {
            let reason = format!("{unusable} answers in a row could not be used");
            let until = self.now()
                + UNUSABLE_RESTS.after(unusable - UNUSABLE_WITHOUT_REST, Duration::ZERO, self.engine.random.as_ref());
            self.record(Event::Waited { until, reason, failures: 0 })?;
        }
        Ok(())
    }

    fn record_lost(&mut self, lost: Lost, reason: &str) -> Result<(), Interrupted> {
        let Lost { questions, usage } = lost;
        if questions == 0 {
            return Ok(());
        }
        warn!(questions, cost_micro_usd = usage.cost_micro_usd, %reason, "the model did not answer");
        let model = self.engine.agent.model.name().to_owned();
        self.record(Event::Unanswered { questions, usage, model, reason: reason.to_owned() })
    }

    /// Rests before the model is asked again: the longer the more failures are behind it.
    fn rest(&mut self, rests: Rests, failures: u32, asked: Duration, reason: String) -> Result<(), Interrupted> {
        let until = self.now() + rests.after(failures, asked, self.engine.random.as_ref());
        warn!(%reason, failures, %until, "the run rests");
        self.record(Event::Waited { until, reason, failures })
    }

    fn plan_of(&self, proposal: Proposal) -> Plan {
        let too_large = |value: &Value| value.to_string().len() > ANSWER_BYTES_MAX;
        let dense = |values: &[&Value]| json_bounds::check_each(values.iter().copied()).err();
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
            Proposal::Call(calls)
                if let Some(error) = dense(&calls.iter().map(|call| &call.arguments).collect::<Vec<_>>()) =>
            {
                Plan::Malformed { problem: format!("the arguments of one plan: {error}") }
            }
            Proposal::Respond(response) if let Some(error) = dense(&[&response]) => {
                Plan::Malformed { problem: format!("the response: {error}") }
            }
            Proposal::Call(calls) => {
                let first = self.state.calls.len() as u32 + 1;
                let rule = |tool: &ToolName| self.engine.agent.tool(tool).map(|tool| tool.spec().redaction.clone());
                let numbered = calls.into_iter().zip(first..).map(|(call, id)| PlannedCall {
                    id: CallId(id),
                    redaction: rule(&call.tool).unwrap_or_default(),
                    tool: call.tool,
                    arguments: json::normalised(call.arguments),
                    echo: call.echo,
                });
                Plan::Call { calls: numbered.collect() }
            }
            Proposal::Wait { until, reason } => Plan::Wait { until, reason },
            Proposal::Respond(response) => Plan::Answer { response },
            Proposal::Unusable { problem } | Proposal::Decline { message: problem } => Plan::Malformed { problem },
        }
    }

    /// Asks the policy, and a person when the policy says so.
    pub(super) async fn judge(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        if let May::Not(advanced) = self.may_judge(id).await? {
            return Ok(advanced);
        }
        let call = self.call_of(id)?;
        if let Some(tool) = self.engine.agent.tool(&call.tool).cloned()
            && let May::Not(advanced) = self.is_known(id, tool.as_ref()).await?
        {
            return Ok(advanced);
        }
        self.judge_by_policy(id).await
    }

    async fn judge_by_policy(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let context = self.context(id);
        let denied = |reason| Ruling { decision: Decision::Deny { reason }, policies: Vec::new() };
        let ruling = match self.engine.agent.tool(&call.tool).cloned() {
            None => denied(format!("there is no tool `{}`", call.tool)),
            Some(tool) => match tool.check_for(&context, &call.arguments) {
                Err(problem) => denied(format!("the arguments do not fit: {problem}")),
                Ok(()) => match self.window_totals(&call).await {
                    Ok(totals) => {
                        let Ruling { decision, policies } = self.ruling(&call, tool.spec(), &totals);
                        let policy = self.engine.agent.policy.as_ref();
                        let decision = tightened(policy, self.tightening(), tool.spec().effect, decision);
                        let decision = self.not_denied_before(&call, decision);
                        Ruling { decision, policies }
                    }
                    Err(reason) => return Ok(self.hold(reason).await?.advanced()),
                },
            },
        };
        self.decided(&call, ruling).map(|()| None)
    }

    /// What policy and tool say of a call, apart from what the controls add.
    pub(super) fn ruling(&self, call: &Call, spec: &ToolSpec, windows: &WindowTotals) -> Ruling {
        let question = PolicyQuestion {
            request: &self.state.request,
            tool: &call.tool,
            arguments: &call.arguments,
            effect: spec.effect,
            totals: &self.state.totals,
            history: &History::of(&self.state, call.id),
            windows,
            tightening: self.tightening(),
        };
        let ruling = self.engine.agent.policy.decide(&question);
        Ruling { decision: with_own_rule(ruling.decision, spec), ..ruling }
    }

    /// Records what was decided of a call, and asks a person when it says so.
    pub(super) fn decided(&mut self, call: &Call, ruling: Ruling) -> Result<(), Interrupted> {
        let Ruling { decision, policies } = ruling;
        let ask = match &decision {
            Decision::RequireApproval { role, reason } => Some((role.clone(), reason.clone())),
            Decision::Allow { .. } | Decision::Deny { .. } => None,
        };
        let policy_version = self.engine.agent.policy.version().to_owned();
        self.record(Event::PolicyDecided { call: call.id, decision, policy_version, policies })?;
        match ask {
            Some((role, reason)) => self.ask(call, Subject::Permission, role, reason),
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
        self.record(Event::ApprovalDecided {
            approval,
            verdict: Verdict::Expired,
            by: None,
            note: None,
            result: None,
            signature: None,
        })
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

    /// Whether a tool's arguments are known. What is not known is neither judged nor called: the run is held with the reason.
    pub(super) async fn is_known(&mut self, id: CallId, tool: &dyn Tool) -> Result<May, Interrupted> {
        if tool.spec().schema.is_known() {
            return Ok(May::Go);
        }
        let reason = match self.in_the_way(id, tool).await {
            Some(reason) => reason,
            None => format!("`{}` is known again and about to be taken on", tool.spec().name),
        };
        self.hold(reason).await
    }

    /// Whether a call may be tried now; otherwise the run is held with the reason, without an attempt.
    pub(super) async fn is_ready(&mut self, id: CallId, tool: &dyn Tool) -> Result<May, Interrupted> {
        if let Some(ended) = self.make_room_for(looking_takes(tool.spec())).await? {
            return Ok(May::Not(ended));
        }
        match self.in_the_way(id, tool).await {
            Some(reason) => self.hold(reason).await,
            None => Ok(May::Go),
        }
    }

    /// What is in the way of a call, if anything is.
    pub(super) async fn in_the_way(&self, id: CallId, tool: &dyn Tool) -> Option<String> {
        let (context, spec) = (self.context(id), tool.spec());
        let until = self.now() + looking_takes(spec);
        match before(self.engine.clock.as_ref(), until, tool.ready(&context)).await {
            Some(asked) => asked.err().map(|NotNow { reason }| reason),
            None => Some(format!("`{}` did not say within {:?} that it may be called", spec.name, looking_takes(spec))),
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

/// What is paid for of what came of a question: everything that was sent and did not say otherwise.
fn paid_for(answered: &Result<Answer, ModelError>, worst: impl FnOnce() -> Usage) -> Usage {
    match answered {
        Ok(Answer { usage, lost, .. }) => usage.plus(lost.usage),
        Err(ModelError::Unanswered { lost, .. }) => lost.usage,
        Err(ModelError::Malformed { .. }) => worst(),
        Err(
            ModelError::TurnedAway { .. }
            | ModelError::Unreachable { .. }
            | ModelError::Unavailable { .. }
            | ModelError::Misconfigured { .. }
            | ModelError::Refused { .. },
        ) => Usage::default(),
    }
}

/// How long asking a tool whether it may be called now may take.
pub(super) fn looking_takes(spec: &ToolSpec) -> Duration {
    spec.timeout.min(READY_TIMEOUT)
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
