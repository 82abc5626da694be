//! What becomes of calls that fail, that may have happened, that cannot be undone, and that a person has denied.

use std::{
    cell::Cell,
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass::{
    agent::{
        Agent,
        model::{Answer, Lost, Model, ModelError, Proposal, ProposedCall, Question, Usage},
        policy::{Policy, PolicyQuestion, Ruling},
        redaction::Redaction,
        schema::ArgumentSchema,
        tool::{CallContext, Effect, ErrorsMean, Tool, ToolError, ToolSpec},
        tool_set::ToolSet,
    },
    approval::{ApprovalRequest, CallResult, Subject, Verdict},
    clock::{Clock as _, Timestamp},
    controls::{Settings, change::Hand},
    ids::{CallId, Role, RunId},
    journal::{Expected, Interjected, Journal as _},
    memory::ManualClock,
    retry::RetryPolicy,
    run::{
        advance::Engine,
        entry::{Decision, Entry, Event, StopReason, ToolOutcome, UnknownCause, Writer},
        state::{CallStatus, Outcome, Phase, RunState},
    },
};
use windlass_tests::simulation::{
    drive::scenarios,
    executor::run_to_end,
    faults::Faults,
    world::{World, deadline, now},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Entries of one call that fails until its run's time is over: an intent and an outcome for each of 260 attempts.
const ENTRIES_MAX: usize = 540;

type Said = Result<Option<Value>, ToolError>;

/// A tool that says these things in turn, and the last of them for ever.
struct Scripted {
    spec: ToolSpec,
    clock: Arc<ManualClock>,
    calls: Mutex<VecDeque<Said>>,
    queries: Mutex<VecDeque<Said>>,
    undoing: Mutex<VecDeque<Said>>,
    seen: Mutex<Vec<(Timestamp, String)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    fn say(&self, script: &Mutex<VecDeque<Said>>, context: &CallContext) -> Said {
        locked(&self.seen).push((self.clock.now(), context.idempotency_key.clone()));
        let mut script = locked(script);
        match script.len() {
            0 | 1 => script.front().cloned().unwrap_or(Ok(Some(json!("done")))),
            _ => script.pop_front().unwrap_or(Ok(None)),
        }
    }

    /// The keys of everything that it was asked for.
    fn keys(&self) -> Vec<String> {
        locked(&self.seen).iter().map(|(_, key)| key.clone()).collect()
    }
}

#[async_trait]
impl Tool for Scripted {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    async fn call(&self, context: &CallContext, _: &Value) -> Result<Value, ToolError> {
        self.say(&self.calls, context).map(Option::unwrap_or_default)
    }
    async fn query(&self, context: &CallContext, _: &Value) -> Result<Option<Value>, ToolError> {
        self.say(&self.queries, context)
    }
    async fn compensate(&self, context: &CallContext, _: &Value) -> Result<Value, ToolError> {
        self.say(&self.undoing, context).map(Option::unwrap_or_default)
    }
}

/// Proposes the same call as long as it fails, at most so many times; then answers.
struct Stubborn(usize);

#[async_trait]
impl Model for Stubborn {
    fn name(&self) -> &str {
        "stubborn"
    }
    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let again = question.calls.last().is_none_or(|call| matches!(call.status, CallStatus::Failed { .. }));
        let came = question.calls.iter().map(|call| match &call.status {
            CallStatus::Succeeded { value } => json!({ "succeeded": value }),
            CallStatus::Failed { message } => json!({ "failed": message }),
            other => json!(format!("{other:?}")),
        });
        let proposal = match again && question.calls.len() < self.0 {
            true => Proposal::Call(vec![ProposedCall {
                tool: "act".parse().expect("a name"),
                // As another model would write it.
                arguments: if question.calls.is_empty() {
                    json!({ "cents": 1200 })
                } else {
                    json!({ "cents": 1200.0 })
                },
                echo: None,
            }]),
            false => Proposal::Respond(came.collect()),
        };
        Ok(Answer { proposal, usage: Usage::default(), model: "stubborn".to_owned(), lost: Lost::default() })
    }
}

/// Allows everything, or asks about everything.
enum Rule {
    Allow,
    Ask,
}

fn role() -> Role {
    "ops".parse().expect("a role")
}

impl Policy for Rule {
    fn version(&self) -> &str {
        "1"
    }
    fn approval_expires_after(&self) -> Duration {
        72 * HOUR
    }
    fn doubt_role(&self) -> Role {
        role()
    }
    fn decide(&self, _: &PolicyQuestion<'_>) -> Ruling {
        let reason = "a test".to_owned();
        let decision = match self {
            Rule::Allow => Decision::Allow { reason },
            Rule::Ask => Decision::RequireApproval { role: role(), reason },
        };
        Ruling { decision, policies: Vec::new() }
    }
}

struct Desk {
    world: World,
    engine: Engine,
    tool: Arc<Scripted>,
    run: RunId,
}

impl Desk {
    fn new(effect: Effect, errors_mean: ErrorsMean, calls: &[Said]) -> Desk {
        Desk::of(effect, errors_mean, calls, &[], &[])
    }

    fn of(effect: Effect, errors_mean: ErrorsMean, calls: &[Said], queries: &[Said], undoing: &[Said]) -> Desk {
        let world = World::new(1, Faults::none(), &scenarios()[0]);
        let script = |said: &[Said]| Mutex::new(said.iter().cloned().collect());
        let spec = ToolSpec {
            name: "act".parse().expect("a name"),
            description: "Acts".to_owned(),
            schema: ArgumentSchema::compile(json!({ "type": "object" })).expect("it compiles"),
            effect,
            owner: "tests".to_owned(),
            timeout: Duration::from_secs(5),
            retry: RetryPolicy::PATIENT,
            errors_mean,
            compensable: !undoing.is_empty(),
            approval: None,
            redaction: Redaction::default(),
            cache: None,
        };
        let clock = world.clock.clone();
        let (calls, queries, undoing) = (script(calls), script(queries), script(undoing));
        let tool = Arc::new(Scripted { spec, clock, calls, queries, undoing, seen: Mutex::default() });
        let told = Rc::new(Cell::new(None));
        run_to_end(&world.clock, world.client("key-1", &scenarios()[0], told.clone()), deadline(&world.clock));
        let mut engine = world.engine();
        engine.agent = Agent {
            model: Arc::new(Stubborn(3)),
            tools: ToolSet::from([(tool.spec.name.clone(), tool.clone() as Arc<dyn Tool>)]),
            policy: Arc::new(Rule::Allow),
            prompt: windlass::prompts::Prompt::built_in("1", ""),
        };
        Desk { run: told.get().expect("it was taken on"), world, engine, tool }
    }

    /// Works on the run whenever it is due, until it is over, waits for a person, or this much time has passed.
    fn work(&self, at_most: Duration) -> &Desk {
        let clock = &self.world.clock;
        let until = clock.now() + at_most;
        while !self.world.is_over(self.run) && !self.world.waits_for_a_person(self.run) {
            let (engine, run, end) = (self.engine.clone(), self.run, deadline(clock));
            run_to_end(
                clock,
                Box::pin(async move { engine.advance(run, end).await.map(drop).expect("it advances") }),
                end,
            );
            let due = self.world.head(self.run).expect("a head").due;
            match due.filter(|due| *due <= until && !self.world.waits_for_a_person(self.run)) {
                Some(due) => clock.set(due.max(clock.now())),
                None => break,
            }
        }
        self
    }

    fn append(&self, event: Event) {
        let entries = self.world.entries(self.run);
        let (at, seq) = (self.world.clock.now(), entries.len() as u32 + 1);
        let (writer, release) = (Writer::Outside(format!("mark-{seq}")), entries[0].release.clone());
        let entry = Entry { at, writer, release, events: vec![event] };
        let written = now(self.world.runs.interject(self.run, seq, &entry, Expected::Unfinished));
        assert!(matches!(written, Ok(Interjected::Written)), "{written:?}");
    }

    fn cancel(&self) {
        self.append(Event::Cancelled { by: "ops".parse().expect("an actor"), reason: None });
    }

    /// A person's answer to the one open question.
    fn answer(&self, verdict: Verdict, note: Option<&str>, result: Option<CallResult>) {
        let asked = self.asked().expect("a question");
        let (approval, by) = (asked.id, Some("fin".parse().expect("an actor")));
        let note = note.map(str::to_owned);
        let decided = Event::ApprovalDecided { approval, verdict, by, note, result, signature: None };
        self.append(self.world.sign(decided, &asked));
    }

    fn asked(&self) -> Option<ApprovalRequest> {
        self.state().open_approvals().next().cloned()
    }

    fn state(&self) -> RunState {
        RunState::fold(&self.world.entries(self.run)).expect("the journal is sound")
    }

    fn questions(&self) -> usize {
        let entries = self.world.entries(self.run);
        let asked = |event: &&Event| matches!(event, Event::ApprovalRequested(_));
        entries.iter().flat_map(|entry| &entry.events).filter(asked).count()
    }

    #[track_caller]
    fn outcome(&self) -> Outcome {
        match self.state().phase {
            Phase::Finished(outcome) => outcome,
            other => panic!("{other:?}: {:?}", self.state().calls),
        }
    }
}

fn failed(message: &str) -> Said {
    Err(ToolError::Failed { message: message.to_owned() })
}

fn unknown() -> Said {
    Err(ToolError::Unknown { message: "the connection broke".to_owned() })
}

fn away() -> Said {
    Err(ToolError::Unavailable { message: "no connection".to_owned(), retry_after: Duration::ZERO })
}

fn done() -> Said {
    Ok(Some(json!("done")))
}

#[test]
fn an_answered_error_of_an_irreversible_call_is_for_a_person_who_is_shown_what_is_known() {
    let desk = Desk::new(Effect::Irreversible, ErrorsMean::Unknown, &[failed("504 from upstream")]);
    desk.work(HOUR);
    let asked = desk.asked().expect("a question");
    let evidence = asked.evidence.expect("the evidence");
    assert_eq!(asked.subject, Subject::Doubt);
    assert_eq!(evidence.idempotency_key, format!("{}-1", desk.run));
    assert_eq!((evidence.effect, evidence.attempts), (Effect::Irreversible, 1));
    assert_eq!((evidence.cause, evidence.seen.as_deref()), (UnknownCause::AnsweredError, Some("504 from upstream")));
    assert!(asked.reason.contains("answered an error"), "{}", asked.reason);
    assert_eq!(desk.tool.keys().len(), 1, "it was made again");

    desk.answer(Verdict::Happened, None, Some(CallResult::value(json!({ "letter": "L-7" })).expect("small")));
    desk.work(HOUR);
    assert_eq!(desk.outcome().response, json!([{ "succeeded": { "letter": "L-7" } }]));
    assert_eq!(desk.tool.keys().len(), 1);
}

#[test]
fn what_a_person_says_of_a_call_in_doubt_is_what_the_model_reads() {
    let said = |verdict, note, result| {
        let desk = Desk::new(Effect::Irreversible, ErrorsMean::Unknown, &[failed("504"), done()]);
        desk.work(HOUR).answer(verdict, note, result);
        desk.work(HOUR);
        (desk.outcome().response, desk.tool.keys().len())
    };
    let message = Some(CallResult::message("the address is unknown"));
    let (response, calls) = said(Verdict::HappenedAndFailed, None, message);
    assert_eq!(response[0], json!({ "failed": "it failed, says a person: the address is unknown" }));
    // The model may propose another one: that is a call of its own.
    assert_eq!(calls, 2);
    let (response, calls) = said(Verdict::Happened, Some("seen at the post"), None);
    assert_eq!(response, json!([{ "succeeded": { "confirmed_by": "a person", "note": "seen at the post" } }]));
    assert_eq!(calls, 1);
    let (response, calls) = said(Verdict::NotHappened, None, None);
    assert_eq!((response, calls), (json!([{ "succeeded": "done" }]), 2));
}

#[test]
fn an_error_that_means_not_done_is_told_to_the_model_and_asks_nobody() {
    for effect in [Effect::Irreversible, Effect::Idempotent, Effect::Queryable, Effect::Read] {
        let desk = Desk::new(effect, ErrorsMean::NotDone, &[failed("no such order"), done()]);
        desk.work(HOUR);
        assert_eq!(desk.outcome().response, json!([{ "failed": "no such order" }, { "succeeded": "done" }]));
        assert_eq!(desk.questions(), 0);
        assert_eq!(desk.tool.keys(), [format!("{}-1", desk.run), format!("{}-2", desk.run)], "{effect:?}");
    }
}

#[test]
fn an_answered_error_of_an_idempotent_call_is_met_with_its_key_and_the_answer_to_that_is_its_outcome() {
    for (first, second, response) in [
        (failed("504 from upstream"), done(), json!({ "succeeded": "done" })),
        (failed("504 from upstream"), failed("no such order"), json!({ "failed": "no such order" })),
        (unknown(), failed("no such order"), json!({ "failed": "no such order" })),
    ] {
        let desk = Desk::new(Effect::Idempotent, ErrorsMean::Unknown, &[first, second, done()]);
        desk.work(HOUR);
        assert_eq!(desk.outcome().response[0], response);
        assert_eq!(desk.questions(), 0);
        assert_eq!(desk.tool.keys()[..2], [format!("{}-1", desk.run), format!("{}-1", desk.run)]);
    }
}

#[test]
fn a_repetition_that_was_never_sent_says_nothing_of_the_attempt_before_it() {
    let refused = Err(ToolError::Refused { message: "the list of tools has changed".to_owned() });
    let desk = Desk::new(Effect::Idempotent, ErrorsMean::Unknown, &[unknown(), refused]);
    desk.work(HOUR);
    let evidence = desk.asked().and_then(|asked| asked.evidence).expect("a question with its evidence");
    assert_eq!((evidence.cause, evidence.attempts), (UnknownCause::NotRepeated, 2));
}

#[test]
fn a_tool_that_is_away_is_tried_until_the_runs_time_is_over_with_rests_that_grow() {
    for effect in [Effect::Read, Effect::Idempotent, Effect::Irreversible] {
        let desk = Desk::new(effect, ErrorsMean::Unknown, &[away()]);
        desk.work(24 * 30 * HOUR);
        assert!(matches!(desk.outcome().reason, StopReason::LimitReached { .. }), "{:?}", desk.outcome());
        let times: Vec<Timestamp> = locked(&desk.tool.seen).iter().map(|(at, _)| *at).collect();
        let rests: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        let entries = desk.world.entries(desk.run).len();
        println!("{effect:?}: {} attempts in 168 h, {entries} entries", times.len());
        assert!(rests.iter().all(|rest| *rest <= HOUR + Duration::from_secs(5)), "{:?}", rests.iter().max());
        assert!(times.len() > 150 && entries < ENTRIES_MAX, "{} attempts, {entries} entries", times.len());
        assert_eq!(desk.questions(), 0);
    }
}

#[test]
fn a_tool_is_tried_for_no_longer_than_it_says_itself() {
    let mut desk = Desk::new(Effect::Irreversible, ErrorsMean::Unknown, &[away()]);
    let patience = RetryPolicy { give_up_after: Some(Duration::from_secs(60)), ..RetryPolicy::PATIENT };
    let spec = ToolSpec { retry: patience, ..desk.tool.spec.clone() };
    let tool = Scripted {
        spec: spec.clone(),
        clock: desk.world.clock.clone(),
        calls: Mutex::new([away()].into()),
        queries: Mutex::default(),
        undoing: Mutex::default(),
        seen: Mutex::default(),
    };
    desk.engine.agent.tools = ToolSet::from([(spec.name, Arc::new(tool) as Arc<dyn Tool>)]);
    let began = desk.world.clock.now();
    desk.work(HOUR);
    assert_eq!(desk.outcome().response[0], json!({ "failed": "no connection" }));
    assert!(desk.world.clock.now().since(began) < Duration::from_secs(3 * 200));
}

#[test]
fn a_call_that_nobody_could_find_out_about_for_a_day_is_for_a_person() {
    let queryable = Desk::of(Effect::Queryable, ErrorsMean::Unknown, &[unknown()], &[away()], &[]);
    let idempotent = Desk::new(Effect::Idempotent, ErrorsMean::Unknown, &[unknown()]);
    for (desk, cause) in [(queryable, UnknownCause::NotAsked), (idempotent, UnknownCause::NoAnswer)] {
        let began = desk.world.clock.now();
        desk.work(100 * HOUR);
        let evidence = desk.asked().and_then(|asked| asked.evidence).expect("a question with its evidence");
        assert_eq!(evidence.cause, cause);
        let waited = desk.world.clock.now().since(began);
        assert!((24 * HOUR..=26 * HOUR).contains(&waited), "{waited:?}");
        let entries = desk.world.entries(desk.run).len();
        assert!(entries < 250, "{entries} entries");
    }
}

#[test]
fn a_tool_that_says_that_nothing_happened_is_called_again_with_rests_that_grow() {
    let desk = Desk::of(Effect::Queryable, ErrorsMean::Unknown, &[unknown()], &[Ok(None)], &[]);
    desk.work(24 * 30 * HOUR);
    assert!(matches!(desk.outcome().reason, StopReason::LimitReached { .. }), "{:?}", desk.outcome());
    assert!(desk.outcome().in_doubt.is_empty(), "it said that nothing happened");
    let entries = desk.world.entries(desk.run).len();
    assert!(entries < 2 * ENTRIES_MAX, "{entries} entries");
}

#[test]
fn a_cancelled_run_whose_call_cannot_be_asked_about_ends_within_a_day_and_lists_it() {
    let desk = Desk::of(Effect::Queryable, ErrorsMean::Unknown, &[unknown()], &[away()], &[]);
    desk.work(HOUR).cancel();
    let cancelled = desk.world.clock.now();
    desk.work(100 * HOUR);
    let outcome = desk.outcome();
    assert_eq!((outcome.reason, outcome.in_doubt), (StopReason::Cancelled, vec![CallId(1)]));
    assert!(outcome.at.since(cancelled) <= 26 * HOUR, "{:?}", outcome.at.since(cancelled));
}

/// Cancels a run after its call, breaks its undoing, and tells how it ended.
fn given_up(undoing: Said, breaks: impl FnOnce(&mut Desk)) -> (Outcome, Vec<Event>, Duration) {
    // The second call keeps the run from ending by itself.
    let mut desk = Desk::of(Effect::Idempotent, ErrorsMean::Unknown, &[done()], &[], &[undoing]);
    desk.engine.agent.model = Arc::new(Waits);
    desk.work(Duration::ZERO).cancel();
    breaks(&mut desk);
    let cancelled = desk.world.clock.now();
    desk.work(100 * HOUR);
    let events = desk.world.entries(desk.run).into_iter().flat_map(|entry| entry.events).collect();
    (desk.outcome(), events, desk.world.clock.now().since(cancelled))
}

/// Makes one call, then waits for a day.
struct Waits;

#[async_trait]
impl Model for Waits {
    fn name(&self) -> &str {
        "waits"
    }
    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let call = ProposedCall { tool: "act".parse().expect("a name"), arguments: json!({}), echo: None };
        let proposal = match question.calls {
            [] => Proposal::Call(vec![call]),
            _ => Proposal::Wait { until: question.now + 24 * HOUR, reason: "a test".to_owned() },
        };
        Ok(Answer { proposal, usage: Usage::default(), model: "waits".to_owned(), lost: Lost::default() })
    }
}

#[test]
fn an_effect_that_cannot_be_undone_for_a_day_is_listed_with_its_cause_and_the_run_ends() {
    let gone = |desk: &mut Desk| desk.engine.agent.tools = ToolSet::new();
    let off = |desk: &mut Desk| {
        let by = "ops".parse().expect("an actor");
        let (controls, clock, random) =
            (desk.world.controls.as_ref(), desk.world.clock.as_ref(), desk.world.random.as_ref());
        let hand = Hand { controls, clock, random, by: &by, why: "a drill" };
        now(hand.change(None, |settings: Settings| settings.set("tool.act=off")))
            .map(drop)
            .expect("it is switched off");
    };
    let nothing = |_: &mut Desk| {};
    let failing = Err(ToolError::Unavailable { message: "no connection".to_owned(), retry_after: HOUR });
    for ((outcome, events, took), cause) in [
        (given_up(done(), gone), "this release has no tool `act`"),
        (given_up(done(), off), "the tool `act` is switched off"),
        (given_up(failing, nothing), "no connection"),
        (given_up(failed("500"), nothing), "the tool answered an error: 500"),
    ] {
        assert_eq!((outcome.reason, outcome.standing), (StopReason::Cancelled, vec![CallId(1)]), "{cause}");
        let said = events.iter().find_map(|event| match event {
            Event::CompensationGivenUp { cause, .. } => Some(cause.as_str()),
            _ => None,
        });
        assert_eq!(said, Some(cause));
        assert!((24 * HOUR..=26 * HOUR).contains(&took), "{cause}: {took:?}");
        assert!(events.len() < 300, "{cause}: {} events", events.len());
    }
}

#[test]
fn what_is_undone_at_last_is_not_listed() {
    let (outcome, _, _) = given_up(Ok(None), |desk| {
        *locked(&desk.tool.undoing) = [away(), unknown(), failed("500"), done()].into();
    });
    assert_eq!((outcome.standing, outcome.in_doubt), (vec![], vec![]));
}

#[test]
fn a_call_that_a_person_denied_is_denied_without_asking_again_and_the_model_reads_why() {
    let mut desk = Desk::new(Effect::Irreversible, ErrorsMean::Unknown, &[done()]);
    desk.engine.agent.policy = Arc::new(Rule::Ask);
    desk.work(HOUR).answer(Verdict::Denied, Some("customer already paid back"), None);
    desk.work(HOUR);
    assert_eq!(desk.questions(), 1, "it was asked again");
    assert_eq!(desk.tool.keys(), Vec::<String>::new());
    let told = "denied by a person: customer already paid back";
    let again = json!({ "failed": format!("not asked again, the same call was {told}") });
    assert_eq!(desk.outcome().response, json!([{ "failed": told }, again, again]));
    let events = desk.world.entries(desk.run).into_iter().flat_map(|entry| entry.events);
    let denials: Vec<String> = events
        .filter_map(|event| match event {
            Event::PolicyDecided { decision: Decision::Deny { reason }, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(denials.len(), 2);
    let cites = |reason: &String| reason.contains("call 1 by fin at 20") && reason.ends_with("already paid back");
    assert!(denials.iter().all(cites), "{denials:?}");
}

#[test]
fn a_worker_that_ends_in_a_call_is_named_as_the_reason_of_the_question() {
    let desk = Desk::new(Effect::Irreversible, ErrorsMean::Unknown, &[done()]);
    let entries = desk.world.entries(desk.run);
    let state = RunState::fold(&entries).expect("it is sound");
    assert!(state.calls.is_empty());
    desk.work(HOUR);
    // The same journal up to the intent, as a death leaves it.
    let intent = |entry: &Entry| entry.events.iter().any(|event| matches!(event, Event::ToolAttempted { .. }));
    let entries = desk.world.entries(desk.run);
    let cut = entries.iter().position(intent).expect("an intent");
    let died = RunState::fold(&entries[..=cut]).expect("it is sound");
    let call = &died.calls[0];
    let evidence = windlass::approval::Evidence::of(call, "key".to_owned(), desk.world.clock.now());
    assert_eq!((evidence.cause, evidence.seen.as_deref()), (UnknownCause::WorkerEnded, None));
    assert_eq!(Some(evidence.attempted_at), call.attempted_at);
    assert!(evidence.reason(&call.tool).starts_with("the worker ended before the outcome of attempt 1"));
}

#[test]
fn an_outcome_message_is_bounded() {
    let desk = Desk::new(Effect::Irreversible, ErrorsMean::NotDone, &[failed(&"x".repeat(1_000_000)), done()]);
    desk.work(HOUR);
    let kept = desk.world.entries(desk.run).into_iter().flat_map(|entry| entry.events).find_map(|event| match event {
        Event::ToolReturned { outcome: ToolOutcome::Refused { message }, .. } => Some(message.len()),
        _ => None,
    });
    assert!(kept.is_some_and(|bytes| bytes <= 2_003), "{kept:?}");
}
