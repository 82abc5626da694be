//! What the approval function does, over stores in memory.

mod support;

use serde_json::{Value, json};
use support::{World, request};
use windlass::{
    approval::{Subject, Verdict},
    clock::Clock as _,
    run::{
        entry::{Event, Writer},
        outside::History,
        state::CallStatus,
        stored::{Body, Stored},
    },
};

#[tokio::test]
async fn an_approval_is_shown_with_its_exact_action_and_a_token_for_whoever_may_decide() {
    let world = World::new();
    let id = world.asking("acme", "ada", Subject::Permission).await;
    let shown = world.send(request("GET", &format!("/approvals/{id}"))).await;
    assert_eq!((shown.status, shown.header("cache-control")), (200, "no-store"));
    assert_eq!(shown.body["action"], json!({"tool": "refund", "arguments": {"order": "A-1", "cents": 99_000}}));
    assert_eq!((&shown.body["status"], &shown.body["role"]), (&json!("open"), &json!("finance")));
    assert_eq!((shown.body["digest"].as_str().map(str::len), &shown.body["may_decide"]), (Some(64), &json!(true)));
    assert!(shown.body["token"].as_str().is_some_and(|token| token.starts_with("v1.k1.")));
}

#[tokio::test]
async fn whoever_may_see_an_approval_but_not_decide_it_is_told_why() {
    let world = World::new();
    let id = world.asking("acme", "ada", Subject::Permission).await;
    for (actor, tenant, roles, status, why) in [
        ("ada", "acme", "[finance]", 200, "their own request"),
        ("ada", "acme", "", 200, "takes the role `finance`"),
        ("bob", "acme", "[approver]", 200, "takes the role `finance`"),
        ("bob", "acme", "[operator]", 200, "takes the role `finance`"),
        ("bob", "acme", "[submitter]", 403, "takes the role `finance`"),
        ("bob", "other", "[finance approver operator]", 404, "no approval"),
    ] {
        let shown = world.send(request("GET", &format!("/approvals/{id}")).by(actor, tenant, roles)).await;
        assert_eq!(shown.status, status, "{actor} of {tenant} as {roles}");
        assert!(shown.body.to_string().contains(why), "{}", shown.body);
        assert_eq!((shown.body.get("token"), shown.body["may_decide"] == true), (None, false));
    }
}

#[tokio::test]
async fn a_decision_is_in_the_journal_with_who_made_it_and_the_run_is_woken() {
    let world = World::new();
    let id = world.asking("acme", "ada", Subject::Permission).await;
    let token = world.token(id).await;
    let body = json!({ "decision": "approved", "token": token, "note": "checked with the customer" }).to_string();
    let answer = world.send(request("POST", &format!("/approvals/{id}")).json(&body)).await;
    assert_eq!(
        (answer.status, &answer.body["status"], &answer.body["decided_by"]),
        (200, &json!("approved"), &json!("fin"))
    );
    let History { entries, state } = History::load(world.runs.as_ref(), id.run).await.expect("it can be read");
    let last = entries.last().expect("there is one");
    assert!(matches!(last.writer, Writer::Outside(_)));
    let [Event::ApprovalDecided { approval, verdict, by, note, .. }] = last.events.as_slice() else {
        panic!("{last:?}")
    };
    assert_eq!((*approval, *verdict, by.as_ref().map(|by| by.as_str())), (id, Verdict::Approved, Some("fin")));
    assert_eq!(note.as_deref(), Some("checked with the customer"));
    assert_eq!(state.calls[0].status, CallStatus::Allowed { from: world.clock.now() });
    assert_eq!(world.queue.receive(10).len(), 1);
    let shown = world.send(request("GET", &format!("/approvals/{id}"))).await;
    assert_eq!((&shown.body["status"], &shown.body["decided_by"]), (&json!("approved"), &json!("fin")));
    assert_eq!(shown.body.get("token"), None);
}

#[tokio::test]
async fn a_doubt_is_settled_by_whether_it_happened() {
    let world = World::new();
    let id = world.asking("acme", "ada", Subject::Doubt).await;
    let token = world.token(id).await;
    assert_eq!(world.decide(id, "approved", &token).await.status, 400);
    assert_eq!(world.decide(id, "happened", &token).await.status, 200);
    let state = History::load(world.runs.as_ref(), id.run).await.expect("it can be read").state;
    assert!(matches!(state.calls[0].status, CallStatus::Succeeded { .. }));
}

#[tokio::test]
async fn a_doubt_takes_the_calls_outcome_as_its_answer() {
    let world = World::new();
    let answered = async |decision: Value| {
        let id = world.asking("acme", "ada", Subject::Doubt).await;
        let mut body = decision;
        body["token"] = json!(world.token(id).await);
        let answer = world.send(request("POST", &format!("/approvals/{id}")).json(&body.to_string())).await;
        let state = History::load(world.runs.as_ref(), id.run).await.expect("it can be read").state;
        (answer.status, state.calls[0].status.clone())
    };
    let (status, call) = answered(json!({ "decision": "happened", "result": { "refund": "re_1" } })).await;
    assert_eq!((status, call), (200, CallStatus::Succeeded { value: json!({ "refund": "re_1" }) }));
    let failed = json!({ "decision": "happened_and_failed", "message": "the account is closed" });
    let (status, call) = answered(failed).await;
    let message = "it failed, says a person: the account is closed".to_owned();
    assert_eq!((status, call), (200, CallStatus::Failed { message }));
    for misfit in [
        json!({ "decision": "not_happened", "result": {} }),
        json!({ "decision": "happened", "message": "it failed" }),
        json!({ "decision": "happened_and_failed", "result": {} }),
        json!({ "decision": "happened", "result": {}, "message": "both" }),
        json!({ "decision": "happened", "result": "x".repeat(8 * 1024) }),
    ] {
        let (status, call) = answered(misfit.clone()).await;
        assert!(status == 400 && matches!(call, CallStatus::InDoubt(_)), "{status} {misfit}");
    }
}

#[tokio::test]
async fn the_inbox_holds_what_is_open_in_ones_own_tenant() {
    let world = World::new();
    let one = world.asking("acme", "ada", Subject::Permission).await;
    let own = world.asking("acme", "fin", Subject::Permission).await;
    let decided = world.asking("acme", "ada", Subject::Permission).await;
    world.asking("other", "eve", Subject::Permission).await;
    let token = world.token(decided).await;
    world.decide(decided, "denied", &token).await;
    let listed = async |actor: &str, roles: &str| {
        let answer = world.send(request("GET", "/approvals").by(actor, "acme", roles)).await;
        assert_eq!(answer.status, 200);
        let approvals = answer.body["approvals"].as_array().expect("a list").clone();
        approvals.iter().map(|shown| (shown["id"].clone(), shown["may_decide"] == true)).collect::<Vec<_>>()
    };
    let (one, own) = (json!(one), json!(own));
    assert_eq!(listed("fin", "[finance]").await, [(one.clone(), true), (own.clone(), false)]);
    assert_eq!(listed("bob", "[approver]").await, [(one.clone(), false), (own, false)]);
    assert_eq!(listed("ada", "").await, [(one, false)], "what one asked for oneself");
    assert_eq!(listed("bob", "[submitter]").await, []);
}

#[tokio::test]
async fn a_run_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::new();
    let good = world.asking("acme", "ada", Subject::Permission).await;
    let bad = world.asking("acme", "ada", Subject::Permission).await;
    world.runs.plant(bad.run, 3, Stored { version: 99, body: Body::Json("{}".to_owned()) });
    let answer = world.send(request("GET", "/approvals")).await;
    assert_eq!(answer.body["approvals"][0]["id"], json!(good));
    assert_eq!(answer.body["unreadable"], json!([bad.run]));
    let shown = world.send(request("GET", &format!("/approvals/{bad}"))).await;
    assert_eq!((shown.status, shown.problem()), (500, "run-unreadable"));
}
