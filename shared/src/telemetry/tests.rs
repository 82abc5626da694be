use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    event::*,
    metrics::{Metrics, ModelNews},
    *,
};
use crate::{
    agent::model::Usage,
    clock::Timestamp,
    ids::{CallId, RunId},
    journal::{HeadStatus, Journal, NewRun},
    lease::{Claim, Leave, Left},
    memory::{ManualClock, Queue, Records, Runs, SeededRandom},
    redaction::Redactions,
    run::{
        accept::{Incoming, Terms, accept},
        cancel::cancel,
        entry::{Accepted, Entry, Event, Plan, StopReason, Writer},
        limits::Limits,
        outside::Outside,
        request::{RunRequest, Source},
        state::RunState,
    },
};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const RUN: &str = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X";
const HOUR: Duration = Duration::from_secs(3600);
const EXPIRES: Timestamp = Timestamp::from_millis(1_790_900_000_000);

fn entry(seconds: u64, events: Vec<Event>) -> Entry {
    let release = "r1".parse().expect("a release");
    Entry { at: START + Duration::from_secs(seconds), writer: Writer::Holder(1), release, events }
}

fn accepted(actor: &str) -> Entry {
    let request = RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: actor.parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
        roles: Default::default(),
    };
    let limits = Limits {
        steps_max: 9,
        tokens_max: 9_999,
        cost_max_micro_usd: 9,
        wall_time_max_seconds: 9_999,
        ..Limits::default()
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace");
    entry(0, vec![Event::Accepted(Box::new(Accepted::new(request, Source::Http, trace, limits)))])
}

fn planned() -> Event {
    let plan = Plan::Answer { response: json!({ "to": "ada@example.org" }) };
    let usage = Usage { input_tokens: 40, output_tokens: 2, cost_micro_usd: 125, ..Default::default() };
    Event::Planned { plan, usage, model: "openai:gpt-x".into(), prompt_version: "3".into() }
}

fn narrator() -> Narrator {
    Narrator { environment: "dev", redactions: Arc::new(Redactions::default()) }
}

fn events(lines: &[String]) -> Vec<TelemetryEvent> {
    lines.iter().filter_map(|line| TelemetryEvent::parse(line)).collect()
}

/// The run that is taken on.
fn new_run() -> NewRun {
    let entry = accepted("ada");
    let Event::Accepted(first) = &entry.events[0] else { panic!("it was accepted") };
    let key = crate::idempotency::Key::of("runs", &first.request.tenant, &first.request.actor, "k").expect("a key");
    let payload_hash = first.request.hash();
    let run = RUN.parse().expect("a run");
    NewRun { run, key, payload_hash, key_expires: EXPIRES, expires: EXPIRES, entry, admitted: None }
}

/// Tells an entry that was written behind `entries`.
fn write(teller: &Teller, entries: &[Entry], entry: &Entry) {
    let mut state = RunState::fold(entries).expect("a journal");
    let run = RUN.parse().expect("a run");
    let mut observed = Vec::new();
    for event in &entry.events {
        observed.push(teller.observe(run, &state, event, entry.at));
        // What does not follow is told all the same.
        let _ = state.note(event, &entry.writer, entry.at);
    }
    teller.wrote(run, &state, state.seq + 1, entry, observed);
}

#[tokio::test]
async fn a_run_is_told_to_be_taken_on_once_however_often_its_request_is_repeated() {
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept.clone(), narrator(), "r1".parse().expect("a release"));
    let clock = ManualClock::at(START);
    let runs = Runs::new(Arc::new(ManualClock::at(START)), &Records::new());
    let queue = Queue::new(Arc::new(ManualClock::at(START)), Duration::from_secs(360), 10);
    let (random, release) = (SeededRandom::new(1), "r1".parse().expect("a release"));
    let outside = Outside {
        journal: &runs,
        wake_ups: &queue,
        clock: &clock,
        random: &random,
        release: &release,
        telemetry: Some(&*teller),
    };
    let terms = Terms { limits: Limits::default(), key_kept_for: HOUR, run_kept_for: HOUR };
    let Event::Accepted(first) = &accepted("ada").events[0] else { panic!("it was accepted") };
    for _ in 0..2 {
        let incoming = Incoming {
            request: first.request.clone(),
            source: Source::Http,
            client_key: "k".to_owned(),
            trace: None,
            admitted: None,
            person: None,
        };
        accept(&outside, &terms, incoming).await.expect("the store answers");
    }
    let events = events(&kept.lines());
    assert_eq!(events.len(), 1, "{events:?}");
    let run = events[0].envelope.run_id;
    for _ in 0..2 {
        cancel(&outside, run, &"ada".parse().expect("an actor"), Some("enough")).await.expect("the store answers");
    }
    let told: Vec<u32> = self::events(&kept.lines()).iter().map(|event| event.envelope.seq).collect();
    assert_eq!(told, [1, 2], "what was written is told, and nothing else");
}

#[test]
fn what_is_told_entry_by_entry_is_what_is_told_of_the_whole_journal() {
    let [first, second] = ruled();
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept.clone(), narrator(), "r1".parse().expect("a release"));
    teller.accepted(RUN.parse().expect("a run"), &first);
    write(&teller, std::slice::from_ref(&first), &second);
    let told: Vec<String> = events(&kept.lines()).iter().map(TelemetryEvent::line).collect();
    let whole = Narrative::tell_all(RUN.parse().expect("a run"), &[first, second], &narrator());
    assert_eq!(told, whole.iter().map(TelemetryEvent::line).collect::<Vec<_>>());
}

#[test]
fn large_arguments_are_told_by_their_size_and_no_event_is_larger_than_its_bound() {
    let [first, mut second] = ruled();
    let Event::Planned { plan: Plan::Call { calls }, .. } = &mut second.events[0] else { panic!("a call") };
    calls[0].arguments = json!({ "to": "a:".repeat(30_000) });
    second.events.truncate(1);
    let attempted = Event::AnsweredFromCache { call: CallId(1), value: json!(1), given_at: START, suspected: vec![] };
    let third = entry(2, vec![attempted]);
    let told = Narrative::tell_all(RUN.parse().expect("a run"), &[first, second, third], &narrator());
    let lines: Vec<String> = told.iter().map(TelemetryEvent::line).collect();
    assert!(lines.iter().any(|line| line.contains("60009 bytes")), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 10_000));
}

#[test]
fn times_of_runs_that_are_never_told_do_not_add_up() {
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept, narrator(), "r1".parse().expect("a release"));
    let random = SeededRandom::new(1);
    for _ in 0..1_000 {
        let run = RunId::generate(&ManualClock::at(START), &random);
        (1..200).for_each(|call| teller.took(run, narrative::Timed::Call(CallId(call)), HOUR));
    }
    assert!(teller.times() <= 64 * 64, "{}", teller.times());
}

/// The numbers of a metric in these lines, a list for each line that has some.
fn numbers(lines: &[String], name: &str) -> Vec<Value> {
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    lines.filter(|line| line.get("_aws").is_some()).filter_map(|line| line.get(name).cloned()).collect()
}

#[tokio::test]
async fn numbers_of_steps_are_told_together_before_the_run_is_left() {
    let clock = Arc::new(ManualClock::at(START));
    let runs = Arc::new(Runs::new(clock, &Records::new()));
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept.clone(), narrator(), "r1".parse().expect("a release"));
    let leases = teller.leases(runs.clone());
    runs.accept(&new_run()).await.expect("the store answers");
    let first = accepted("ada");
    teller.accepted(RUN.parse().expect("a run"), &first);
    let run = RUN.parse().expect("a run");
    let claim = leases.claim(run, "worker", START, START + Duration::from_secs(30)).await.expect("the store answers");
    let Claim::Won(head, lease) = claim else { panic!("{claim:?}") };
    (2..5).for_each(|_| write(&teller, std::slice::from_ref(&first), &entry(1, vec![planned()])));
    assert_eq!(events(&kept.lines()).len(), 4, "events are told at once");
    assert_eq!(numbers(&kept.lines(), "ModelAnswers"), Vec::<Value>::new());
    let leave = Leave {
        status: HeadStatus::Ready,
        ready_from: Some(START),
        due: Some(START),
        now: START,
        interjections: head.interjections,
        strikes: 0,
    };
    assert_eq!(leases.leave(run, &lease, &leave).await, Ok(Left::Done));
    assert_eq!(numbers(&kept.lines(), "ModelAnswers"), [json!([1.0, 1.0, 1.0])]);
    assert_eq!(numbers(&kept.lines(), "InputTokens"), [json!([40.0, 40.0, 40.0])]);
    assert_eq!(numbers(&kept.lines(), "RunsAccepted"), [json!(1.0)]);
}

#[test]
fn numbers_wait_for_a_minute_and_a_hundred_of_them_at_most() {
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept.clone(), narrator(), "r1".parse().expect("a release"));
    let answered = |seconds| teller.model_news("m", ModelNews::Answered, START + Duration::from_secs(seconds));
    (0..100).for_each(|_| answered(59));
    assert_eq!(kept.lines(), Vec::<String>::new());
    answered(59);
    assert_eq!(numbers(&kept.lines(), "ModelRequests"), [json!(vec![1.0; 100])]);
    answered(118);
    assert_eq!(kept.lines().len(), 1);
    answered(119);
    assert_eq!(numbers(&kept.lines(), "ModelRequests")[1], json!([1.0, 1.0]));
    teller.model_news("other", ModelNews::Answered, START + Duration::from_secs(119));
    teller.flush();
    assert_eq!(numbers(&kept.lines(), "ModelRequests")[2..], [json!(1.0), json!(1.0)], "a line for each model");
    teller.flush();
    assert_eq!(kept.lines().len(), 4, "nothing is told twice");
}

#[test]
fn numbers_are_read_back_from_the_embedded_metric_format() {
    let stopped = Event::Stopped { reason: StopReason::Completed, standing: vec![], in_doubt: vec![] };
    let entries = [accepted("ada"), entry(2, vec![planned(), stopped])];
    let told = Narrative::tell_all(RUN.parse().expect("a run"), &entries, &narrator());
    let lines: Vec<String> = told.iter().filter_map(Metrics::of).map(|metrics| metrics.line("Windlass/s")).collect();
    let mut found = Vec::new();
    for line in lines {
        let root: Value = serde_json::from_str(&line).expect("it is JSON");
        let directives = root["_aws"]["CloudWatchMetrics"].as_array().expect("directives");
        let directive = &directives[0];
        assert_eq!(directive["Dimensions"], json!([["Release"]]), "{line}");
        assert!(directives.iter().all(|directive| directive["Namespace"] == "Windlass/s"), "{line}");
        for more in &directives[1..] {
            assert_eq!(more["Dimensions"], json!([["Release", "Outcome"]]), "{line}");
            let names = more["Metrics"].as_array().expect("metrics").iter().map(|one| one["Name"].as_str());
            assert!(names.clone().count() > 0 && root["Outcome"].is_string(), "{line}");
            for name in names {
                assert!(metrics::BY_OUTCOME.contains(&name.expect("a name")), "{line}");
            }
        }
        for metric in directive["Metrics"].as_array().expect("metrics") {
            let name = metric["Name"].as_str().expect("a name");
            found.push(format!("{name} {} {} {}", root[name], metric["Unit"], root["Outcome"]));
        }
    }
    expect_test::expect![[r#"
        RunsAccepted 1.0 "Count" null
        ModelAnswers 1.0 "Count" "answer"
        InputTokens 40.0 "Count" "answer"
        OutputTokens 2.0 "Count" "answer"
        Cost 0.000125 "None" "answer"
        RunsEnded 1.0 "Count" "completed"
        RunDuration 2000.0 "Milliseconds" "completed"
        RunSteps 1.0 "Count" "completed"
        RunTokens 42.0 "Count" "completed"
        RunCost 0.000125 "None" "completed""#]]
    .assert_eq(&found.join("\n"));
}

/// A run with one call of a tool that has a rule of its own.
fn ruled() -> [Entry; 2] {
    let redaction = json!({ "arguments": ["/to"] });
    let call = json!({ "id": 1, "tool": "pay", "arguments": { "to": "blue", "cents": 1 }, "redaction": redaction });
    let events = json!([
        { "event": "planned", "plan": { "kind": "call", "calls": [call] }, "model": "m", "prompt_version": "1",
          "usage": { "input_tokens": 1, "output_tokens": 1, "cost_micro_usd": 1 } },
        { "event": "policy_decided", "call": 1, "decision": { "decision": "require_approval", "role": "r", "reason": "late" },
          "policy_version": "7", "policies": ["large", "at-night"] },
        { "event": "approval_requested", "id": format!("{RUN}-1-1"), "subject": "permission", "digest": "d",
          "action": { "tenant": "acme", "tool": "pay", "arguments": { "to": "blue", "cents": 1 } }, "role": "r",
          "reason": "late", "requested_at": START, "expires_at": EXPIRES },
        { "event": "answered_from_cache", "call": 1, "value": { "paid": true }, "given_at": START },
        { "event": "policy_decided", "call": 1, "decision": { "decision": "deny", "reason": "no such tool" },
          "policy_version": "7" },
    ]);
    [accepted("ada"), entry(1, serde_json::from_value(events).expect("events"))]
}

/// What is told of the events of every kind, of strikes and of models has a name of the table, which is what is counted in `docs/deploy.md`.
#[test]
fn every_metric_is_in_the_table_and_everything_in_it_is_told() {
    let release = "r1".parse().expect("a release");
    let approvals = ["requested", "reminded", "expired"];
    let unanswered = full().into_iter().filter_map(|event| match event.body {
        Body::Model(model) => {
            let body =
                Body::Model(ModelEvent { output_status: "unanswered".to_owned(), duration_ms: Some(1), ..model });
            Some(TelemetryEvent { body, ..event })
        }
        _ => None,
    });
    let accepted = full().into_iter().filter_map(|event| match event.body {
        Body::Run(run) => {
            Some(TelemetryEvent { body: Body::Run(RunEvent { status: "accepted".to_owned(), ..run }), ..event })
        }
        _ => None,
    });
    let asked = full().into_iter().flat_map(|event| match event.body.clone() {
        Body::Approval(approval) => approvals
            .iter()
            .map(|result| {
                let body = Body::Approval(ApprovalEvent { result: (*result).to_owned(), ..approval.clone() });
                TelemetryEvent { body, ..event.clone() }
            })
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let events: Vec<TelemetryEvent> = full().into_iter().chain(unanswered).chain(accepted).chain(asked).collect();
    let news = [ModelNews::Answered, ModelNews::Opened, ModelNews::Closed];
    let of_models = news.map(|news| Metrics::of_model("m", news, START, "dev", &release));
    let strike = Metrics::strike(START, "dev", &release);
    let told = events.iter().filter_map(Metrics::of).chain(of_models).chain([strike]);
    let told: BTreeSet<&str> = told.flat_map(|one| one.metrics.into_iter().map(|metric| metric.name)).collect();
    assert_eq!(told, BTreeSet::from(metrics::METRICS));
    assert!(metrics::BY_OUTCOME.iter().all(|name| metrics::METRICS.contains(name)));
}

#[test]
fn what_a_tools_own_rule_leaves_out_is_not_told() {
    let told = Narrative::tell_all(RUN.parse().expect("a run"), &ruled(), &narrator());
    let lines: Vec<String> = told.iter().map(TelemetryEvent::line).collect();
    assert!(!lines.concat().contains("blue"), "{lines:?}");
    let arguments: Vec<String> = told
        .iter()
        .filter_map(|event| match &event.body {
            Body::Tool(tool) => Some(format!("{} {}", tool.status, tool.arguments)),
            Body::Approval(approval) => Some(format!("{} {}", approval.result, approval.action.arguments)),
            _ => None,
        })
        .collect();
    let shown = json!({ "to": "[redacted]", "cents": 1 });
    assert_eq!(arguments, [format!("requested {shown}"), format!("cached {shown}")]);
}

#[test]
fn a_decision_is_told_with_the_rules_that_made_it() {
    let told = Narrative::tell_all(RUN.parse().expect("a run"), &ruled(), &narrator());
    let decisions: Vec<(String, String)> = told
        .into_iter()
        .filter_map(|event| match event.body {
            Body::Policy(policy) => Some((policy.reason_code, policy.reason)),
            _ => None,
        })
        .collect();
    let wanted = [("large,at-night", "late"), ("none", "no such tool")];
    assert_eq!(decisions, wanted.map(|(code, reason)| (code.to_owned(), reason.to_owned())));
}

#[test]
fn an_actor_whose_name_is_an_address_is_told_as_a_digest_and_the_same_one_each_time() {
    let actor = |name: &str| {
        let told = Narrative::tell_all(RUN.parse().expect("a run"), &[accepted(name)], &narrator());
        match &told[0].body {
            Body::Run(run) => run.actor.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(actor("ada"), "ada");
    assert!(actor("ada@example.org").starts_with("actor:"));
    assert_eq!(actor("ada@example.org"), actor("ada@example.org"));
    assert_ne!(actor("ada@example.org"), actor("bob@example.org"));
}

#[test]
fn how_long_something_took_is_told_with_what_it_said() {
    let run = RUN.parse().expect("a run");
    let kept = Arc::new(Collected::default());
    let teller = Teller::telling(kept.clone(), narrator(), "r1".parse().expect("a release"));
    teller.took(run, narrative::Timed::Model, Duration::from_millis(321));
    write(&teller, &[accepted("ada")], &entry(1, vec![planned()]));
    let told = events(&kept.lines());
    let Body::Model(model) = &told[0].body else { panic!("{told:?}") };
    assert_eq!(
        (model.duration_ms, model.provider.as_deref(), model.model.as_str()),
        (Some(321), Some("openai"), "gpt-x")
    );
    assert!(!told[0].line().contains("ada@example.org"), "an answer is referred to, not told");
}

#[test]
fn what_a_tool_or_a_model_calls_can_go_on_with_the_trace() {
    let context = crate::agent::tool::CallContext {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        run: RUN.parse().expect("a run"),
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace"),
        call: crate::ids::CallId(1),
        idempotency_key: format!("{RUN}-1"),
        flags: std::collections::BTreeSet::new(),
    };
    let header = context.trace_context().traceparent();
    assert_eq!(crate::ids::TraceId::from_traceparent(&header), Some(context.trace));
    assert_ne!(SpanId::of_call(context.run, context.call), SpanId::of_run(context.run));
}

/// Every field that a type can write is in the published schema, and the schema has no other.
#[test]
fn the_published_schema_names_the_fields_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("it is JSON");
    let told = full();
    assert_eq!(schema["oneOf"].as_array().map(Vec::len), Some(told.len()));
    for event in told {
        let written = serde_json::to_value(&event).expect("it is JSON");
        let kind = written["event"].as_str().expect("a kind").to_owned();
        let names = |object: &Value| {
            let mut names: Vec<String> = object.as_object().expect("an object").keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(&written), names(&schema["$defs"][&kind]["properties"]), "{kind}");
        assert_eq!(TelemetryEvent::parse(&event.line()), Some(event), "{kind}");
    }
}

/// One event of each kind with every field.
fn full() -> Vec<TelemetryEvent> {
    let envelope = Envelope {
        schema: SCHEMA.to_owned(),
        at: START,
        run_id: RUN.parse().expect("a run"),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace"),
        span_id: SpanId::of_run(RUN.parse().expect("a run")).to_string(),
        tenant: "acme".parse().expect("a tenant"),
        environment: "dev".to_owned(),
        release: "r1".parse().expect("a release"),
        seq: 1,
        index: 0,
    };
    let bodies = json!([
        { "event": "run", "gen_ai.operation.name": "invoke_agent", "actor": "ada", "task": "refund", "status": "ended",
          "source": "http", "outcome": "completed", "reason": "completed", "content_ref": "run/x/entries/1",
          "totals": { "steps": 1, "tokens": 2, "cost_micro_usd": 3, "duration_ms": 4 } },
        { "event": "model", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m",
          "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2, "prompt_version": "1", "input_ref": "x",
          "output_status": "call", "cost_micro_usd": 3, "duration_ms": null },
        { "event": "tool", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund", "gen_ai.tool.call.id": "1",
          "arguments": {}, "authorization": { "by": "policy", "version": "1" }, "status": "refused", "retry_count": 0,
          "idempotency_key": "k", "effect": "read", "message": "no", "duration_ms": 5 },
        { "event": "retrieval", "gen_ai.operation.name": "retrieval", "source_ids": ["a"], "freshness": "fresh",
          "access_decision": "allowed", "citation_requirement": "required" },
        { "event": "memory", "read_ids": [], "write_ids": ["m"], "retention_class": "short", "policy_basis": "consent" },
        { "event": "policy", "policy_version": "1", "decision": "deny", "reason_code": "large,late", "reason": "no",
          "enforcement": "block", "tool": "refund", "call": 1 },
        { "event": "approval", "approval_id": format!("{RUN}-1-1"), "approver_role": "finance",
          "action": { "tool": "refund", "arguments": {}, "digest": "a".repeat(64) }, "expires_at": START,
          "result": "approved", "decided_by": "fin", "waited_ms": 1 },
        { "event": "eval", "gen_ai.evaluation.name": "c", "gen_ai.evaluation.score.value": 0.5, "passed": true,
          "threshold": 0.4, "evaluator_version": "1" },
    ]);
    let bodies: Vec<Body> = serde_json::from_value(bodies).expect("each is a body");
    bodies.into_iter().map(|body| TelemetryEvent { envelope: envelope.clone(), body }).collect()
}
