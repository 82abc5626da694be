//! What the intake function does, over stores in memory.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Answer, NOW, World, request, submission};
use windlass::{
    agent::model::Pricing,
    clock::Clock as _,
    ids::RunId,
    journal::{Heads as _, Journal as _},
    run::{
        entry::{Entry, Event, Plan, StopReason, Writer},
        stored::{Body, Stored},
    },
};

async fn append(world: &World, run: &str, seq: u32, events: Vec<Event>) {
    let run: RunId = run.parse().expect("a run id");
    let head = world.runs.head(run).await.expect("the store answers").expect("there is a head");
    let entry = Entry { at: world.clock.now(), writer: Writer::Holder(1), release: head.release, events };
    world.runs.append(run, seq, &entry, head.expires).await.expect("the store answers");
}

fn answered(response: Value) -> Vec<Event> {
    let plan = Plan::Answer { response: response.clone() };
    let (model, prompt_version) = ("script".to_owned(), "1".to_owned());
    let usage =
        windlass::agent::model::Usage { input_tokens: 10, output_tokens: 5, cost_micro_usd: 7, ..Default::default() };
    let planned = Event::Planned { plan, usage, model, prompt_version };
    let stopped = Event::Stopped { reason: StopReason::Completed, standing: vec![], in_doubt: vec![] };
    vec![planned, Event::Responded { response }, stopped]
}

#[tokio::test]
async fn a_request_becomes_a_run_and_says_where_to_look() {
    let world = World::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = world.send(submission("k").header("traceparent", traceparent)).await;
    let run = answer.body["run_id"].as_str().expect("there is a run");
    assert_eq!((answer.status, answer.header("location")), (202, format!("/runs/{run}").as_str()));
    let trace = answer.body["trace_id"].as_str().expect("a trace");
    assert_eq!(answer.header("x-trace-id"), trace);
    assert_ne!(trace, "4bf92f3577b34da6a3ce929d0e0e4736", "the client's trace may be another tenant's");
    let entries = world.runs.load(run.parse().expect("an id"), 1).await.expect("it can be read");
    let [Event::Accepted(accepted)] = entries[0].events.as_slice() else { panic!("{entries:?}") };
    let linked = accepted.linked_trace.map(|trace| trace.to_string());
    assert_eq!(linked.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"), "it is linked");
    assert_eq!((answer.body["status"].as_str(), answer.header("cache-control")), (Some("ready"), "no-store"));
    assert_eq!(world.queue.receive(10).len(), 1);
}

#[tokio::test]
async fn a_run_says_what_is_in_its_way_and_of_which_models_the_cost_is_unknown() {
    let world = World::new();
    let run = world.submit("k").await;
    let show = async || world.send(request("GET", &format!("/runs/{run}"))).await.body;
    assert_eq!(
        (show().await["cause"].clone(), show().await["usage"]["no_price_for"].clone()),
        (Value::Null, Value::Null)
    );
    let usage = windlass::agent::model::Usage { pricing: Pricing::Unknown, ..Default::default() };
    let reason = "openai:x: connection refused; key sk-1234567890abcdef1234567890abcdef".to_owned();
    let until = NOW + Duration::from_secs(60);
    let events = vec![
        Event::Unanswered { questions: 1, usage, model: "openai:x".to_owned(), reason: "a time-out".to_owned() },
        Event::Waited { until, reason, failures: 3 },
    ];
    append(&world, &run, 2, events).await;
    let shown = show().await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(
        cause.starts_with("the model was asked 1 times in a row without an answer: openai:x: connection refused"),
        "{cause}"
    );
    assert!(!cause.contains("sk-1234567890"), "{cause}");
    assert_eq!(shown["usage"]["no_price_for"], json!(["openai:x"]));
    let failed = StopReason::Failed { message: "the model refuses".to_owned() };
    append(&world, &run, 3, vec![Event::Stopped { reason: failed, standing: vec![], in_doubt: vec![] }]).await;
    assert_eq!(show().await["cause"], "the model refuses");
}

#[tokio::test]
async fn a_custom_domains_mapping_key_is_no_part_of_the_path() {
    let world = World::new();
    let mapped = submission("k").path("POST /runs", "/agents/runs");
    let answer = world.send(mapped).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let run = answer.body["run_id"].as_str().expect("a run");
    let shown = request("GET", "/").path("GET /runs/{id}", &format!("/agents/runs/{run}"));
    assert_eq!(world.send(shown).await.body["run_id"], run);
}

#[tokio::test]
async fn the_same_key_is_the_same_run_and_another_payload_is_refused() {
    let world = World::new();
    let run = world.submit("k").await;
    assert_eq!(world.submit("k").await, run);
    assert_eq!(world.submit("\"k\"").await, run, "quoted, as the draft has it");
    let other = world.send(submission("k").json(r#"{"task":"refund","payload":{"order":"A-2"}}"#)).await;
    assert_eq!((other.status, other.problem()), (422, "idempotency-key-reused"));
    let same = world.send(submission("k").json("{ \"payload\": {\"order\":\"A-1\"}, \"task\":\"refund\" }")).await;
    assert_eq!(same.body["run_id"], run.as_str(), "written differently, the same");
    let somebody_else = world.send(submission("k").by("bob", "acme", "")).await;
    assert_ne!(somebody_else.body["run_id"], run.as_str());
    assert_eq!(world.runs.all_heads().len(), 2);
}

#[tokio::test]
async fn a_body_in_base64_and_a_stage_in_the_path_are_understood() {
    let world = World::new();
    let encoded = "eyJ0YXNrIjoicmVmdW5kIiwicGF5bG9hZCI6e319";
    let answer = world.send(submission("k").base64(encoded)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let run = answer.body["run_id"].as_str().expect("there is a run");
    let shown = world.send(request("GET", &format!("/live/runs/{run}")).stage("live")).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
}

#[tokio::test]
async fn a_run_is_shown_with_what_it_used_and_how_it_ended() {
    let world = World::new();
    let run = world.submit("k").await;
    append(&world, &run, 2, answered(json!({"refunded": true}))).await;
    let shown = world.send(request("GET", &format!("/runs/{run}"))).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.body["status"], "completed");
    assert_eq!(shown.body["response"], json!({"refunded": true}));
    assert_eq!(shown.body["usage"], json!({"steps": 1, "tokens": 15, "cost_micro_usd": 7}));
    assert_eq!(shown.body["outcome"]["reason"], "completed");
    assert_eq!((&shown.body["task"], &shown.body["actor"]), (&json!("refund"), &json!("ada")));
    let repeated = world.send(submission("k")).await;
    assert_eq!((repeated.status, &repeated.body["response"]), (200, &json!({"refunded": true})));
}

#[tokio::test]
async fn a_journal_is_shown_entry_by_entry_a_page_at_a_time() {
    let world = World::new();
    let run = world.submit("k").await;
    append(&world, &run, 2, answered(json!("x".repeat(1_500_000)))).await;
    let path = format!("/runs/{run}/journal");
    let first = world.send(request("GET", &path)).await;
    assert_eq!(first.body["entries"][0]["events"][0]["event"], "accepted");
    assert_eq!((first.body["entries"].as_array().map(Vec::len), &first.body["next"]), (Some(1), &json!(2)));
    let second = world.send(request("GET", &path).query("from", "2")).await;
    assert_eq!((&second.body["entries"][0]["seq"], &second.body["next"]), (&json!(2), &Value::Null));
    for bad in ["0", "-1", "x", ""] {
        let refused = world.send(request("GET", &path).query("from", bad)).await;
        assert_eq!((refused.status, refused.problem()), (400, "malformed-request"), "{bad}");
    }
}

#[tokio::test]
async fn a_run_is_seen_by_whoever_asked_and_by_trusted_people_of_the_tenant_only() {
    let world = World::new();
    let run = world.submit("k").await;
    for (actor, tenant, roles, wanted) in [
        ("ada", "acme", "", 200),
        ("bob", "acme", "[submitter]", 404),
        ("bob", "acme", "[finance]", 404),
        ("bob", "acme", "[operator]", 200),
        ("bob", "acme", "approver finance", 200),
        ("ada", "other", "[operator approver]", 404),
        ("bob", "other", r#"["operator"]"#, 404),
    ] {
        for path in [format!("/runs/{run}"), format!("/runs/{run}/journal")] {
            let answer = world.send(request("GET", &path).by(actor, tenant, roles)).await;
            assert_eq!(answer.status, wanted, "{actor} of {tenant} as {roles}: {path}");
        }
        let unknown = world.send(request("GET", "/runs/01JHD7Z3ZK8V6N5Q4R3S2T1W0X").by(actor, tenant, roles)).await;
        assert_eq!(unknown.status, 404);
    }
}

#[tokio::test]
async fn a_run_is_cancelled_by_its_actor_or_an_operator() {
    for (actor, tenant, roles, wanted) in [
        ("ada", "acme", "", 202),
        ("bob", "acme", "[operator]", 202),
        ("bob", "acme", "[approver]", 403),
        ("bob", "acme", "", 404),
        ("ada", "other", "[operator]", 404),
    ] {
        let world = World::new();
        let run = world.submit("k").await;
        let cancel = request("POST", &format!("/runs/{run}/cancel")).by(actor, tenant, roles);
        let answer = world.send(cancel.clone().json(r#"{"reason":"changed my mind"}"#)).await;
        assert_eq!(answer.status, wanted, "{actor} of {tenant} as {roles}: {}", answer.body);
        if wanted == 202 {
            assert_eq!(world.send(cancel).await.status, 202, "again, without a body");
            let shown = world.send(request("GET", &format!("/runs/{run}"))).await;
            assert_eq!((&shown.body["status"], &shown.body["seq"]), (&json!("stopping"), &json!(2)));
        }
    }
}

#[tokio::test]
async fn a_run_that_is_over_cannot_be_cancelled() {
    let world = World::new();
    let run = world.submit("k").await;
    append(&world, &run, 2, answered(json!("done"))).await;
    let path = format!("/runs/{run}/cancel");
    let answer = world.send(request("POST", &path)).await;
    assert_eq!(
        (answer.status, answer.problem(), &answer.body["status_of_run"]),
        (409, "run-over", &json!("completed"))
    );
    let named = world.send(request("POST", &path).json(r#"{"by":"eve"}"#)).await;
    assert_eq!((named.status, named.problem()), (400, "malformed-request"));
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_reported_and_left_alone() {
    for (stored, says) in [
        (Stored { version: 99, body: Body::Json("{}".to_owned()) }, "envelope version 99"),
        (Stored { version: 1, body: Body::Deflated(vec![1, 2, 3]) }, "not an entry"),
        (Stored { version: 1, body: Body::Json("{}".to_owned()) }, "not an entry"),
    ] {
        let world = World::new();
        let run = world.submit("k").await;
        world.runs.plant(run.parse().expect("a run id"), 2, stored.clone());
        let requests = [
            request("GET", &format!("/runs/{run}")),
            request("GET", &format!("/runs/{run}/journal")),
            request("POST", &format!("/runs/{run}/cancel")),
            submission("k"),
        ];
        for request in requests {
            let answer = world.send(request).await;
            assert_eq!((answer.status, answer.problem()), (500, "run-unreadable"), "{}", answer.body);
            assert_eq!((&answer.body["run_id"], &answer.body["seq"]), (&json!(run), &json!(2)));
            assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{}", answer.body);
        }
        let id: RunId = run.parse().expect("a run id");
        assert!(world.runs.load(id, 3).await.expect("nothing was added").is_empty());
    }
}

#[tokio::test]
async fn health_needs_no_authentication_and_no_store() {
    let world = World::new();
    let answer = world.send(request("GET", "/health").claims(Value::Null)).await;
    assert_eq!((answer.status, &answer.body["status"], &answer.body["release"]), (200, &"ok".into(), &"r1".into()));
}

/// Sends a request that waits, moving the clock on while it does and calling `meanwhile` once two seconds have passed.
async fn waiting(world: &World, prefer: &str, meanwhile: impl AsyncFn(&World)) -> (Answer, Duration) {
    let (intake, event) = (world.intake.clone(), submission("k").header("prefer", prefer).event());
    let request = tokio::spawn(async move { Answer::of(intake.handle(event).await) });
    let mut told = false;
    while !request.is_finished() {
        tokio::task::yield_now().await;
        if let Some(next) = world.clock.next_wake() {
            world.clock.set(next);
        }
        if !told && world.clock.now().since(NOW) >= Duration::from_secs(2) {
            meanwhile(world).await;
            told = true;
        }
    }
    (request.await.expect("it does not panic"), world.clock.now().since(NOW))
}

#[tokio::test]
async fn a_client_that_prefers_to_wait_gets_the_answer_as_soon_as_there_is_one() {
    let world = World::new();
    let (answer, took) = waiting(&world, "wait=10", async |world| {
        let run = world.runs.all_heads()[0].run;
        finish(world, run).await;
    })
    .await;
    assert_eq!((answer.status, answer.header("preference-applied")), (200, "wait=10"));
    assert_eq!((&answer.body["status"], &answer.body["response"]), (&json!("completed"), &json!("done")));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Ends a run as its loop would: the last entry, then the head.
async fn finish(world: &World, run: RunId) {
    use windlass::lease::{Claim, Leases as _, Leave};
    let now = world.clock.now();
    let claim = world.runs.claim(run, "step", now, now + Duration::from_secs(30)).await.expect("the store answers");
    let Claim::Won(head, lease) = claim else { panic!("{claim:?}") };
    append(world, &run.to_string(), 2, answered(json!("done"))).await;
    let status = windlass::journal::HeadStatus::Finished { outcome: "completed".to_owned() };
    let leave = Leave { status, ready_from: None, due: None, now, interjections: head.interjections, strikes: 0 };
    world.runs.leave(run, &lease, &leave).await.expect("the store answers");
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_up() {
    for (prefer, seconds) in [("wait=3", 3), ("wait=0", 0), ("wait=3600", 25)] {
        let world = World::new();
        let (answer, took) = waiting(&world, prefer, async |_| {}).await;
        assert_eq!((answer.status, took.as_secs()), (202, seconds), "{prefer}");
        assert_eq!(answer.header("preference-applied"), format!("wait={seconds}"));
    }
}

#[tokio::test]
async fn another_last_digit_under_a_used_key_is_another_request() {
    let world = World::new();
    let order = |id: &str| submission("k").json(&format!(r#"{{"task":"refund","payload":{{"order_id":{id}}}}}"#));
    assert_eq!(world.send(order("9007199254740992")).await.status, 202);
    let second = world.send(order("9007199254740993")).await;
    assert_eq!((second.status, second.problem()), (422, "idempotency-key-reused"));
}
