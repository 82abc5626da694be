//! From journal entries to events: what has to be remembered of a run to tell its next entry.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    SpanId,
    event::{
        ApprovalAction, ApprovalEvent, Authorization, Body, Envelope, EvalEvent, ModelEvent, PolicyEvent, RunEvent,
        RunTotals, SCHEMA, TelemetryEvent, ToolEvent,
    },
};
use crate::{
    agent::{model::Usage, redaction::Redaction as OwnRule, tool::Effect},
    approval::{ApprovalRequest, Verdict},
    clock::Timestamp,
    ids::{ApprovalId, CallId, RunId, ToolName},
    redaction::{Redaction, Redactions},
    run::{
        entry::{Accepted, Decision, Entry, Event, Plan, Seq, StopReason, ToolOutcome},
        state::Totals,
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

/// A run as its telling needs it.
#[derive(Debug, Clone)]
pub struct Narrative {
    run: RunId,
    /// The last entry that is in it.
    pub(super) seq: Seq,
    accepted: Accepted,
    accepted_at: Timestamp,
    totals: Totals,
    calls: BTreeMap<CallId, ToldCall>,
    open: BTreeMap<CallId, ApprovalRequest>,
}

#[derive(Debug, Clone)]
struct ToldCall {
    tool: ToolName,
    arguments: Value,
    rule: OwnRule,
    authorization: Authorization,
    effect: Option<Effect>,
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

impl Narrative {
    /// From a run's first entry; `None` when it is none.
    pub fn begin(run: RunId, first: &Entry) -> Option<Narrative> {
        let [Event::Accepted(accepted)] = first.events.as_slice() else { return None };
        Some(Narrative {
            run,
            seq: 1,
            accepted: accepted.as_ref().clone(),
            accepted_at: first.at,
            totals: Totals::default(),
            calls: BTreeMap::new(),
            open: BTreeMap::new(),
        })
    }

    /// From all of a run's entries; `None` when they are none.
    pub fn of(run: RunId, entries: &[Entry]) -> Option<Narrative> {
        let (first, rest) = entries.split_first()?;
        let mut narrative = Narrative::begin(run, first)?;
        rest.iter().for_each(|entry| narrative.note(entry));
        Some(narrative)
    }

    /// Every event of a run, from all of its entries. How long things took is not in a journal.
    pub fn tell_all(run: RunId, entries: &[Entry], narrator: &Narrator) -> Vec<TelemetryEvent> {
        let Some((first, rest)) = entries.split_first() else { return Vec::new() };
        let Some(mut narrative) = Narrative::begin(run, first) else { return Vec::new() };
        let mut told = narrative.tell_first(first, narrator);
        for entry in rest {
            told.extend(narrative.tell(entry, narrator, &mut Timings::new()));
        }
        told
    }

    /// Takes in the next entry without telling it.
    pub(super) fn note(&mut self, entry: &Entry) {
        self.seq += 1;
        entry.events.iter().for_each(|event| self.note_event(event));
    }

    /// Tells the first entry.
    pub(super) fn tell_first(&self, first: &Entry, narrator: &Narrator) -> Vec<TelemetryEvent> {
        let body = Body::Run(RunEvent {
            source: Some(self.accepted.source),
            content_ref: Some(self.entry_ref(1)),
            ..self.run_event("accepted")
        });
        vec![self.event(first, 0, SpanId::of_run(self.run), body, narrator)]
    }

    /// Takes in the next entry and tells it.
    pub(super) fn tell(&mut self, entry: &Entry, narrator: &Narrator, timings: &mut Timings) -> Vec<TelemetryEvent> {
        self.seq += 1;
        let mut told = Vec::new();
        for event in &entry.events {
            for (span, body) in self.bodies(event, entry.at, narrator, timings) {
                told.push(self.event(entry, told.len() as u32, span, body, narrator));
            }
            self.note_event(event);
        }
        told
    }

    fn event(&self, entry: &Entry, index: u32, span: SpanId, body: Body, narrator: &Narrator) -> TelemetryEvent {
        let envelope = Envelope {
            schema: SCHEMA.to_owned(),
            at: entry.at,
            run_id: self.run,
            trace_id: self.accepted.trace,
            span_id: span.to_string(),
            tenant: self.accepted.request.tenant.clone(),
            environment: narrator.environment.to_owned(),
            release: entry.release.clone(),
            seq: self.seq,
            index,
        };
        TelemetryEvent { envelope, body }
    }

    fn note_event(&mut self, event: &Event) {
        match event {
            Event::Planned { plan, usage, .. } => {
                self.totals.steps += 1;
                self.totals.spent(usage);
                if let Plan::Call { calls } = plan {
                    self.calls.extend(calls.iter().map(|call| {
                        let (tool, arguments, rule) =
                            (call.tool.clone(), call.arguments.clone(), call.redaction.clone());
                        (call.id, ToldCall { tool, arguments, rule, authorization: Authorization::None, effect: None })
                    }));
                }
            }
            Event::Unanswered { questions, usage, .. } => {
                self.totals.steps = self.totals.steps.saturating_add(*questions);
                self.totals.spent(usage);
            }
            Event::PolicyDecided { call, decision: Decision::Allow { .. }, policy_version, .. } => {
                self.authorize(*call, Authorization::Policy { version: policy_version.clone() });
            }
            Event::ApprovalRequested(request) => {
                self.open.insert(request.id.call, request.as_ref().clone());
            }
            Event::ApprovalDecided { approval, verdict, .. } => {
                self.open.remove(&approval.call);
                if *verdict == Verdict::Approved {
                    self.authorize(approval.call, Authorization::Approval { id: *approval });
                }
            }
            Event::ToolAttempted { call, effect, .. } => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.effect = Some(*effect);
                }
            }
            Event::Cancelled { .. } | Event::Abandoned { .. } | Event::Stopped { .. } => self.open.clear(),
            _ => {}
        }
    }

    fn authorize(&mut self, call: CallId, authorization: Authorization) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.authorization = authorization;
        }
    }

    /// What to tell of an event, from what was noted before it.
    fn bodies(&self, event: &Event, at: Timestamp, narrator: &Narrator, timings: &mut Timings) -> Vec<(SpanId, Body)> {
        let run = |event: RunEvent| vec![(SpanId::of_run(self.run), Body::Run(event))];
        let ending = |event: RunEvent| {
            let closed = self.open.values().map(|request| self.approval(request, "closed", None, Some(at), narrator));
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
                vec![self.model(status, usage, model, prompt_version, took)]
            }
            Event::Unanswered { usage, model, .. } => {
                let took = timings.remove(&Timed::Model);
                vec![self.model("unanswered", usage, model, "", took)]
            }
            Event::PolicyDecided { call, decision, policy_version, policies } => {
                self.policy(*call, decision, policy_version, policies).into_iter().collect()
            }
            Event::ApprovalRequested(request) => vec![self.approval(request, "requested", None, None, narrator)],
            Event::ApprovalDecided { approval, verdict, by, .. } => {
                let by = by.as_ref().map(|by| self.pseudonym(by.as_str()));
                let request = self.open.get(&approval.call).filter(|request| request.id == *approval);
                request
                    .map(|request| self.approval(request, word(*verdict), by, Some(at), narrator))
                    .into_iter()
                    .collect()
            }
            Event::ApprovalReminded { approval } => {
                let request = self.open.get(&approval.call).filter(|request| request.id == *approval);
                request.map(|request| self.approval(request, "reminded", None, None, narrator)).into_iter().collect()
            }
            Event::ToolAttempted { call, attempt, effect, .. } => {
                let step = Step { attempt: *attempt, status: "attempted", effect: Some(*effect), ..Step::default() };
                self.tool(*call, &step, narrator)
            }
            Event::CompensationAttempted { call, attempt, .. } => {
                self.tool(*call, &Step { attempt: *attempt, status: "undoing", ..Step::default() }, narrator)
            }
            Event::ToolReturned { call, attempt, outcome, .. } => {
                let (status, message) = outcome_words(outcome);
                let took = timings.remove(&Timed::Call(*call));
                self.tool(*call, &Step { attempt: *attempt, status, message, took, effect: None }, narrator)
            }
            Event::AnsweredFromCache { call, .. } => {
                self.tool(*call, &Step { status: "cached", ..Step::default() }, narrator)
            }
            Event::Compensated { call, attempt, outcome } => {
                let (status, message) = outcome_words(outcome);
                let (status, took) = (format!("undo_{status}"), timings.remove(&Timed::Call(*call)));
                let step = Step { attempt: *attempt, status: &status, message, took, effect: None };
                self.tool(*call, &step, narrator)
            }
            Event::CompensationGivenUp { call, cause } => {
                let step = Step { status: "undo_given_up", message: Some(cause), ..Step::default() };
                self.tool(*call, &step, narrator)
            }
            Event::Waited { reason, .. } => run(RunEvent { reason: Some(plain(reason)), ..self.run_event("waited") }),
            Event::Held { reason, .. } => run(RunEvent { reason: Some(plain(reason)), ..self.run_event("held") }),
            Event::Responded { .. } => {
                run(RunEvent { content_ref: Some(self.entry_ref(self.seq)), ..self.run_event("responded") })
            }
            Event::Replayed { .. } => run(self.run_event("replayed")),
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
                    steps: self.totals.steps,
                    tokens: self.totals.tokens,
                    cost_micro_usd: self.totals.cost_micro_usd,
                    duration_ms: millis(at.since(self.accepted_at)),
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

    fn run_event(&self, status: &str) -> RunEvent {
        RunEvent {
            operation: "invoke_agent".to_owned(),
            actor: self.pseudonym(self.accepted.request.actor.as_str()),
            task: Redactions::default().task(&self.accepted.request.task),
            status: status.to_owned(),
            source: None,
            outcome: None,
            reason: None,
            content_ref: None,
            totals: None,
        }
    }

    fn model(&self, status: &str, usage: &Usage, model: &str, prompt: &str, took: Option<Duration>) -> (SpanId, Body) {
        let body = ModelEvent {
            operation: "chat".to_owned(),
            provider: model.split_once(':').map(|(provider, _)| provider.to_owned()),
            model: model.split_once(':').map_or(model, |(_, name)| name).to_owned(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            prompt_version: prompt.to_owned(),
            input_ref: format!("run/{}/entries/1-{}", self.run, self.seq.saturating_sub(1)),
            output_status: status.to_owned(),
            cost_micro_usd: usage.cost_micro_usd,
            duration_ms: took.map(millis),
        };
        (SpanId::of_step(self.run, self.totals.steps), Body::Model(body))
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
            tool: self.calls.get(&id)?.tool.clone(),
            call: id.0,
        };
        Some((SpanId::of_call(self.run, id), Body::Policy(body)))
    }

    fn tool(&self, id: CallId, step: &Step<'_>, narrator: &Narrator) -> Vec<(SpanId, Body)> {
        let Some(call) = self.calls.get(&id) else { return Vec::new() };
        let body = ToolEvent {
            operation: "execute_tool".to_owned(),
            tool: call.tool.clone(),
            call: id.to_string(),
            arguments: bounded(&call.arguments, |all| narrator.redactions.arguments(&call.tool, &call.rule, all)),
            authorization: call.authorization.clone(),
            status: step.status.to_owned(),
            retry_count: step.attempt.saturating_sub(1),
            idempotency_key: format!("{}-{id}", self.run),
            effect: step.effect.or(call.effect),
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
        narrator: &Narrator,
    ) -> (SpanId, Body) {
        let ApprovalId { call, .. } = request.id;
        let (tool, arguments) = (&request.action.tool, &request.action.arguments);
        let rule = self.calls.get(&call).map(|call| call.rule.clone()).unwrap_or_default();
        let action = ApprovalAction {
            tool: tool.clone(),
            arguments: bounded(arguments, |all| narrator.redactions.arguments(tool, &rule, all)),
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

    fn entry_ref(&self, seq: Seq) -> String {
        format!("run/{}/entries/{seq}", self.run)
    }

    /// A name, unless it is an e-mail address or the like: then a digest that is the same wherever this tenant's actor appears.
    fn pseudonym(&self, name: &str) -> String {
        if Redaction::STRICT.text(name) == name {
            return name.to_owned();
        }
        let digest = Sha256::digest(format!("{}#{name}", self.accepted.request.tenant).as_bytes());
        digest.iter().take(8).fold("actor:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }
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
