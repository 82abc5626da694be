//! From journal entries to events: each is told from the state that it met. Nothing of a run is kept for that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    SpanId,
    event::{
        ApprovalAction, ApprovalEvent, Body, Envelope, EvalEvent, ModelEvent, PolicyEvent, RunEvent, RunTotals, SCHEMA,
        TelemetryEvent, ToolEvent,
    },
};
use crate::{
    agent::{model::Usage, tool::Effect},
    approval::{ApprovalRequest, Subject, Verdict},
    clock::Timestamp,
    ids::{ApprovalId, CallId, RunId},
    redaction::{Redaction, Redactions},
    run::{
        entry::{Decision, Entry, Event, Plan, Seq, StopReason, ToolOutcome},
        request::RunRequest,
        state::{CallStatus, RunState},
    },
};

/// The most bytes of arguments in an event: CloudWatch cuts an event at 1 MB
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>), and readers well before.
pub const ARGUMENT_BYTES_MAX: usize = 8 * 1024;

/// The reason code of a decision that no rule of the policy made: there is no such tool, the arguments do not fit, or nothing
/// permits the call.
pub const NO_RULE: &str = "none";

/// Who tells.
#[derive(Debug, Clone)]
pub struct Narrator {
    /// `dev`, `staging` or `production`.
    pub environment: &'static str,
    /// What may be shown.
    pub redactions: Arc<Redactions>,
}

/// What was timed of a run: a question to the model or a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timed {
    Model,
    Call(CallId),
}

/// How long things took, as far as this process did them.
pub(super) type Timings = BTreeMap<Timed, Duration>;

/// What is told of an event, once its entry is written: its span, and what it says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Observed(Vec<(SpanId, Body)>);

/// A run that an event is about to happen to.
pub struct Narrative<'a> {
    run: RunId,
    before: &'a RunState,
    narrator: &'a Narrator,
}

/// What a tool's event says besides the call that it is about.
#[derive(Debug, Default)]
struct Step<'a> {
    attempt: u32,
    status: &'a str,
    message: Option<&'a str>,
    effect: Option<Effect>,
    took: Option<Duration>,
}

impl Narrative<'_> {
    /// Every event of a run, from all of its entries. How long things took is not in a journal. What does not follow from what was before
    /// is told as if it had.
    pub fn tell_all(run: RunId, entries: &[Entry], narrator: &Narrator) -> Vec<TelemetryEvent> {
        let Some((first, rest)) = entries.split_first() else { return Vec::new() };
        let Ok(mut state) = RunState::accept(first) else { return Vec::new() };
        let mut told = tell_first(run, first, narrator);
        for entry in rest {
            let mut observed = Vec::with_capacity(entry.events.len());
            for event in &entry.events {
                let narrative = Narrative { run, before: &state, narrator };
                observed.push(narrative.observe(event, entry.at, state.seq + 1, &mut Timings::new()));
                let _ = state.note(event, &entry.writer, entry.at);
            }
            state.seq += 1;
            told.extend(tell(Of { run, state: &state, seq: state.seq }, entry, observed, narrator));
        }
        told
    }

    /// What to tell of an event that happens to the run as it is, in its entry `seq`.
    fn observe(&self, event: &Event, at: Timestamp, seq: Seq, timings: &mut Timings) -> Observed {
        Observed(self.bodies(event, at, seq, timings))
    }

    fn bodies(&self, event: &Event, at: Timestamp, seq: Seq, timings: &mut Timings) -> Vec<(SpanId, Body)> {
        let run = |event: RunEvent| vec![(SpanId::of_run(self.run), Body::Run(event))];
        let ending = |event: RunEvent| {
            let closed = self.before.open_approvals().map(|request| self.approval(request, "closed", None, Some(at)));
            closed.chain([(SpanId::of_run(self.run), Body::Run(event))]).collect()
        };
        match event {
            Event::Planned { plan, usage, model, prompt_version } => {
                let took = timings.remove(&Timed::Model);
                let status = match plan {
                    Plan::Call { .. } => "call",
                    Plan::Wait { .. } => "wait",
                    Plan::Answer { .. } => "answer",
                    Plan::Malformed { .. } => "malformed",
                };
                vec![self.model(status, usage, (model, prompt_version), seq, took)]
            }
            Event::Unanswered { usage, model, .. } => {
                let took = timings.remove(&Timed::Model);
                vec![self.model("unanswered", usage, (model, ""), seq, took)]
            }
            Event::PolicyDecided { call, decision, policy_version, policies } => {
                self.policy(*call, decision, policy_version, policies).into_iter().collect()
            }
            Event::ApprovalRequested(request) => vec![self.approval(request, "requested", None, None)],
            Event::ApprovalDecided { approval, verdict, by, .. } => {
                let by = by.as_ref().map(|by| self.pseudonym(by.as_str()));
                self.decided(*approval, *verdict, by, at)
            }
            Event::ApprovalReminded { approval } => {
                let request = self.before.open_approval(*approval);
                request.map(|request| self.approval(request, "reminded", None, None)).into_iter().collect()
            }
            Event::ToolAttempted { call, attempt, effect, .. } => {
                let step = Step { attempt: *attempt, status: "attempted", effect: Some(*effect), ..Step::default() };
                self.tool(*call, &step)
            }
            Event::CompensationAttempted { call, attempt, .. } => {
                self.tool(*call, &Step { attempt: *attempt, status: "undoing", ..Step::default() })
            }
            Event::ToolReturned { call, attempt, outcome, .. } => {
                let (status, message) = outcome_words(outcome);
                let took = timings.remove(&Timed::Call(*call));
                self.tool(*call, &Step { attempt: *attempt, status, message, took, effect: None })
            }
            Event::AnsweredFromCache { call, .. } => self.tool(*call, &Step { status: "cached", ..Step::default() }),
            Event::Compensated { call, attempt, outcome } => {
                let (status, message) = outcome_words(outcome);
                let (status, took) = (format!("undo_{status}"), timings.remove(&Timed::Call(*call)));
                let step = Step { attempt: *attempt, status: &status, message, took, effect: None };
                self.tool(*call, &step)
            }
            Event::CompensationGivenUp { call, cause } => {
                let step = Step { status: "undo_given_up", message: Some(cause), ..Step::default() };
                self.tool(*call, &step)
            }
            Event::Waited { reason, .. } => run(RunEvent { reason: Some(plain(reason)), ..self.run_event("waited") }),
            Event::Held { reason, .. } => run(RunEvent { reason: Some(plain(reason)), ..self.run_event("held") }),
            Event::Responded { .. } => {
                run(RunEvent { content_ref: Some(entry_ref(self.run, seq)), ..self.run_event("responded") })
            }
            Event::Replayed { .. } => self.replayed(),
            Event::Cancelled { reason, .. } => {
                ending(RunEvent { reason: reason.as_deref().map(plain), ..self.run_event("cancelled") })
            }
            Event::Abandoned { reason } => {
                ending(RunEvent { reason: Some(stop_words(reason)), ..self.run_event("abandoned") })
            }
            Event::Stopped { reason, .. } => ending(RunEvent {
                outcome: Some(reason.word().to_owned()),
                reason: Some(stop_words(reason)),
                totals: Some(RunTotals {
                    steps: self.before.totals.steps,
                    tokens: self.before.totals.tokens,
                    cost_micro_usd: self.before.totals.cost_micro_usd,
                    duration_ms: millis(at.since(self.before.accepted_at)),
                }),
                ..self.run_event("ended")
            }),
            Event::Evaluated { case, score, passed } => {
                let (case_id, score, passed) = (plain(case), *score, *passed);
                let body = EvalEvent { case_id, score, passed, threshold: None, evaluator_version: None };
                vec![(SpanId::of_run(self.run), Body::Eval(body))]
            }
            Event::Accepted(_) => Vec::new(),
            // What a later version records is told once somebody says how.
            #[allow(unreachable_patterns)]
            _ => Vec::new(),
        }
    }

    /// An answer; a question about an effect that nobody answered ends the run, and with it every other question.
    fn decided(&self, id: ApprovalId, verdict: Verdict, by: Option<String>, at: Timestamp) -> Vec<(SpanId, Body)> {
        let Some(request) = self.before.open_approval(id) else { return Vec::new() };
        let ends_the_run = verdict == Verdict::Expired && request.subject == Subject::Doubt;
        let others = self.before.open_approvals().filter(|other| ends_the_run && other.id != id);
        let closed = others.map(|other| self.approval(other, "closed", None, Some(at)));
        [self.approval(request, word(verdict), by, Some(at))].into_iter().chain(closed).collect()
    }

    /// What a dead run was asked, which was told to be closed when it died, is asked again.
    fn replayed(&self) -> Vec<(SpanId, Body)> {
        let asked = self.before.calls.iter().filter_map(|call| match &call.status {
            CallStatus::AwaitingApproval(request) | CallStatus::InDoubt(request) => Some(request),
            _ => None,
        });
        let asked = asked.filter(|_| self.before.abandoned.is_none());
        let asked = asked.map(|request| self.approval(request, "requested", None, None));
        [(SpanId::of_run(self.run), Body::Run(self.run_event("replayed")))].into_iter().chain(asked).collect()
    }

    fn run_event(&self, status: &str) -> RunEvent {
        run_event(&self.before.request, status)
    }

    fn model(
        &self,
        status: &str,
        usage: &Usage,
        (model, prompt): (&str, &str),
        seq: Seq,
        took: Option<Duration>,
    ) -> (SpanId, Body) {
        let body = ModelEvent {
            operation: "chat".to_owned(),
            provider: model.split_once(':').map(|(provider, _)| provider.to_owned()),
            model: model.split_once(':').map_or(model, |(_, name)| name).to_owned(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            prompt_version: prompt.to_owned(),
            input_ref: format!("run/{}/entries/1-{}", self.run, seq.saturating_sub(1)),
            output_status: status.to_owned(),
            cost_micro_usd: usage.cost_micro_usd,
            duration_ms: took.map(millis),
        };
        (SpanId::of_step(self.run, self.before.totals.steps), Body::Model(body))
    }

    fn policy(&self, id: CallId, decision: &Decision, version: &str, rules: &[String]) -> Option<(SpanId, Body)> {
        let (word, reason, enforcement) = match decision {
            Decision::Allow { reason } => ("allow", reason, "proceed"),
            Decision::RequireApproval { reason, .. } => ("require_approval", reason, "hold"),
            Decision::Deny { reason } => ("deny", reason, "block"),
        };
        let body = PolicyEvent {
            policy_version: version.to_owned(),
            decision: word.to_owned(),
            reason_code: if rules.is_empty() { NO_RULE.to_owned() } else { plain(&rules.join(",")) },
            reason: plain(reason),
            enforcement: enforcement.to_owned(),
            tool: self.before.call(id)?.tool.clone(),
            call: id.0,
        };
        Some((SpanId::of_call(self.run, id), Body::Policy(body)))
    }

    fn tool(&self, id: CallId, step: &Step<'_>) -> Vec<(SpanId, Body)> {
        let Some(call) = self.before.call(id) else { return Vec::new() };
        let shown = |all: &Value| self.narrator.redactions.arguments(&call.tool, &call.redaction, all);
        let body = ToolEvent {
            operation: "execute_tool".to_owned(),
            tool: call.tool.clone(),
            call: id.to_string(),
            arguments: bounded(&call.arguments, shown),
            authorization: call.authorization.clone(),
            status: step.status.to_owned(),
            retry_count: step.attempt.saturating_sub(1),
            idempotency_key: format!("{}-{id}", self.run),
            effect: step.effect.or((call.attempts > 0).then_some(call.effect)),
            message: step.message.map(plain),
            duration_ms: step.took.map(millis),
        };
        vec![(SpanId::of_call(self.run, id), Body::Tool(body))]
    }

    fn approval(
        &self,
        request: &ApprovalRequest,
        result: &str,
        decided_by: Option<String>,
        ended: Option<Timestamp>,
    ) -> (SpanId, Body) {
        let ApprovalId { call, .. } = request.id;
        let (tool, arguments) = (&request.action.tool, &request.action.arguments);
        let rule = self.before.call(call).map(|call| call.redaction.clone()).unwrap_or_default();
        let action = ApprovalAction {
            tool: tool.clone(),
            arguments: bounded(arguments, |all| self.narrator.redactions.arguments(tool, &rule, all)),
            digest: request.digest.clone(),
        };
        let body = ApprovalEvent {
            approval_id: request.id,
            approver_role: request.role.clone(),
            action,
            expires_at: request.expires_at,
            result: result.to_owned(),
            decided_by,
            waited_ms: ended.map(|ended| millis(ended.since(request.requested_at))),
        };
        (SpanId::of_call(self.run, call), Body::Approval(body))
    }

    fn pseudonym(&self, name: &str) -> String {
        pseudonym(&self.before.request, name)
    }
}

/// Where an entry belongs.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) run: RunId,
    /// Of which only what never changes is told.
    pub(super) state: &'a RunState,
    pub(super) seq: Seq,
}

/// What is to be told of an event that happens to a run in the state `before`.
pub(super) fn observe(
    (run, before): (RunId, &RunState),
    event: &Event,
    at: Timestamp,
    narrator: &Narrator,
    timings: &mut Timings,
) -> Observed {
    Narrative { run, before, narrator }.observe(event, at, before.seq + 1, timings)
}

/// Tells the first entry; nothing, when it is none.
pub(super) fn tell_first(run: RunId, first: &Entry, narrator: &Narrator) -> Vec<TelemetryEvent> {
    let [Event::Accepted(accepted)] = first.events.as_slice() else { return Vec::new() };
    let body = Body::Run(RunEvent {
        source: Some(accepted.source),
        content_ref: Some(entry_ref(run, 1)),
        ..run_event(&accepted.request, "accepted")
    });
    let envelope = Envelope {
        schema: SCHEMA.to_owned(),
        at: first.at,
        run_id: run,
        trace_id: accepted.trace,
        span_id: SpanId::of_run(run).to_string(),
        tenant: accepted.request.tenant.clone(),
        environment: narrator.environment.to_owned(),
        release: first.release.clone(),
        seq: 1,
        index: 0,
    };
    vec![TelemetryEvent { envelope, body }]
}

/// Tells an entry that was written.
pub(super) fn tell(of: Of<'_>, entry: &Entry, observed: Vec<Observed>, narrator: &Narrator) -> Vec<TelemetryEvent> {
    let bodies = observed.into_iter().flat_map(|Observed(bodies)| bodies);
    let told = (0..).zip(bodies).map(|(index, (span, body))| {
        let envelope = Envelope {
            schema: SCHEMA.to_owned(),
            at: entry.at,
            run_id: of.run,
            trace_id: of.state.trace,
            span_id: span.to_string(),
            tenant: of.state.request.tenant.clone(),
            environment: narrator.environment.to_owned(),
            release: entry.release.clone(),
            seq: of.seq,
            index,
        };
        TelemetryEvent { envelope, body }
    });
    told.collect()
}

fn run_event(request: &RunRequest, status: &str) -> RunEvent {
    RunEvent {
        operation: "invoke_agent".to_owned(),
        actor: pseudonym(request, request.actor.as_str()),
        task: Redactions::default().task(&request.task),
        status: status.to_owned(),
        source: None,
        outcome: None,
        reason: None,
        content_ref: None,
        totals: None,
    }
}

fn entry_ref(run: RunId, seq: Seq) -> String {
    format!("run/{run}/entries/{seq}")
}

/// A name, unless it is an e-mail address or the like: then a digest that is the same wherever this tenant's actor appears.
fn pseudonym(request: &RunRequest, name: &str) -> String {
    if Redaction::STRICT.text(name) == name {
        return name.to_owned();
    }
    let digest = Sha256::digest(format!("{}#{name}", request.tenant).as_bytes());
    digest.iter().take(8).fold("actor:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn plain(text: &str) -> String {
    Redaction::STRICT.text(text).into_owned()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Arguments as they are shown, or how large they are: what is too large is not even redacted.
fn bounded(arguments: &Value, shown: impl FnOnce(&Value) -> Value) -> Value {
    let omitted = |bytes: usize| json!({ "omitted": format!("{bytes} bytes") });
    let bytes = arguments.to_string().len();
    if bytes > ARGUMENT_BYTES_MAX {
        return omitted(bytes);
    }
    let shown = shown(arguments);
    let bytes = shown.to_string().len();
    if bytes <= ARGUMENT_BYTES_MAX { shown } else { omitted(bytes) }
}

fn stop_words(reason: &StopReason) -> String {
    match reason {
        StopReason::Completed | StopReason::Cancelled => reason.word().to_owned(),
        StopReason::LimitReached { limit, .. } => plain(limit),
        StopReason::Failed { message } => plain(message),
        StopReason::DoubtExpired { call } => format!("call {call}"),
        StopReason::Dead { cause, .. } => plain(cause),
        #[allow(unreachable_patterns)]
        other => other.word().to_owned(),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Denied => "denied",
        Verdict::Happened => "happened",
        Verdict::HappenedAndFailed => "happened_and_failed",
        Verdict::NotHappened => "not_happened",
        Verdict::Expired => "expired",
    }
}

fn outcome_words(outcome: &ToolOutcome) -> (&'static str, Option<&str>) {
    match outcome {
        ToolOutcome::Succeeded { .. } => ("succeeded", None),
        ToolOutcome::Refused { message } => ("refused", Some(message)),
        ToolOutcome::Unavailable { message, .. } => ("unavailable", Some(message)),
        ToolOutcome::Unknown { message, .. } => ("unknown", Some(message)),
        ToolOutcome::Absent => ("absent", None),
    }
}
