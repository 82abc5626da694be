//! Every way to get a decision that one may not make, and what is said to it. None of them changes the run.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Answer, EXPIRES_AFTER, KEY_1, KEY_2, SECRET, World, deciding, desk_with, keys, request};
use windlass::{
    approval::{Subject, token::TOKEN_VALID_FOR},
    ids::ApprovalId,
    run::{
        entry::Event,
        stored::{Body, Stored},
    },
    secrets::{REFRESH_AFTER, STALENESS_MAX},
};

fn is(answer: &Answer, status: i64, problem: &str, name: &str) {
    assert_eq!((answer.status, answer.problem()), (status, problem), "{name}: {}", answer.body);
}

async fn undecided(world: &World, id: ApprovalId) {
    let entries = world.entries(id.run).await;
    let mut events = entries.iter().flat_map(|entry| &entry.events);
    assert!(!events.any(|event| matches!(event, Event::ApprovalDecided { .. })), "somebody decided");
    assert!(world.queue.receive(10).is_empty(), "somebody was woken");
}

async fn asked() -> (World, ApprovalId, String) {
    let world = World::new();
    let id = world.asking("acme", "ada", Subject::Permission).await;
    let token = world.token(id).await;
    (world, id, token)
}

#[tokio::test]
async fn an_altered_or_foreign_token_decides_nothing() {
    let (world, id, token) = asked().await;
    let other = world.asking("acme", "ada", Subject::Permission).await;
    let others_token = world.token(other).await;
    let foreign = world.asking("other", "eve", Subject::Permission).await;
    let foreign_get = request("GET", &format!("/approvals/{foreign}")).by("eva", "other", "[finance]");
    let foreign_token = world.send(foreign_get).await.body["token"].as_str().expect("a token").to_owned();
    let (signed, mac) = token.rsplit_once('.').expect("it has parts");
    let altered = format!("{signed}.{}{}", if mac.starts_with('A') { "B" } else { "A" }, &mac[1..]);
    let later = token.replacen(".17680", ".17690", 1);
    assert_ne!(later, token);
    for (name, bad, status, problem) in [
        ("another approval's token", others_token.as_str(), 403, "token-refused"),
        ("another tenant's token", foreign_token.as_str(), 403, "token-refused"),
        ("a later expiry", later.as_str(), 403, "token-refused"),
        ("another key id", &token.replacen("k1", "k9", 1), 403, "token-refused"),
        ("another version", &token.replacen("v1", "v2", 1), 400, "malformed-request"),
        ("an altered signature", altered.as_str(), 403, "token-refused"),
        ("no token", "", 400, "malformed-request"),
        ("anything", "hello", 400, "malformed-request"),
        ("a long one", &"v1.k1.".repeat(1_000), 400, "malformed-request"),
    ] {
        let answer = world.decide(id, "approved", bad).await;
        is(&answer, status, problem, name);
    }
    undecided(&world, id).await;
}

#[tokio::test]
async fn every_altered_byte_of_a_token_is_noticed() {
    let (world, id, token) = asked().await;
    for place in 0..token.len() {
        let other = if token.as_bytes()[place] == b'x' { "y" } else { "x" };
        let mut altered = token.clone();
        altered.replace_range(place..=place, other);
        let answer = world.decide(id, "approved", &altered).await;
        assert!(matches!(answer.status, 400 | 403), "byte {place}: {}", answer.body);
    }
    undecided(&world, id).await;
    assert_eq!(world.decide(id, "approved", &token).await.status, 200, "the unaltered one is good");
}

#[tokio::test]
async fn whoever_may_not_decide_does_not() {
    let (world, id, token) = asked().await;
    let asking = |actor: &str, tenant: &str, roles: &str| deciding(id, "approved", &token).by(actor, tenant, roles);
    for (name, request, status, problem) in [
        ("somebody else's token", asking("fay", "acme", "[finance]"), 403, "token-refused"),
        ("no role", asking("bob", "acme", ""), 403, "forbidden"),
        ("another role", asking("bob", "acme", "[approver operator submitter]"), 403, "forbidden"),
        ("a role like it", asking("bob", "acme", "[finance2 Finance]"), 403, "forbidden"),
        ("their own request", asking("ada", "acme", "[finance approver]"), 403, "forbidden"),
        ("another tenant", asking("fin", "other", "[finance]"), 404, "not-found"),
        ("nobody", deciding(id, "approved", &token).claims(json!(null)), 401, "unauthenticated"),
        (
            "a header",
            deciding(id, "approved", &token).claims(json!({})).header("x-actor", "fin"),
            401,
            "unauthenticated",
        ),
    ] {
        is(&world.send(request).await, status, problem, name);
    }
    undecided(&world, id).await;
}

#[tokio::test]
async fn a_request_through_another_client_is_still_ones_own() {
    let mut world = World::new();
    world.desk.claims.person = Some("person".to_owned());
    let finance = json!(["finance"]);
    let by = |sub: &str, person: Option<&str>| match person {
        Some(person) => json!({ "sub": sub, "tenant": "acme", "roles": finance, "person": person }),
        None => json!({ "sub": sub, "tenant": "acme", "roles": finance }),
    };
    // `portal` asked for the person `p-ada`; `p-eve` asked as herself.
    let through_portal = world.asking_for("acme", "portal", Some("p-ada"), Subject::Permission).await;
    let as_herself = world.asking_for("acme", "p-eve", None, Subject::Permission).await;
    for (name, id, claims, why) in [
        ("the person, through another client", through_portal, by("phone", Some("p-ada")), "their own request"),
        ("the client, for somebody else", through_portal, by("portal", Some("p-fin")), "their own request"),
        ("the person as a subject", through_portal, by("p-ada", Some("p-ada")), "their own request"),
        ("a subject that is the person", as_herself, by("phone", Some("p-eve")), "their own request"),
        ("a machine", through_portal, by("robot", None), "names a person"),
    ] {
        let shown = world.send(request("GET", &format!("/approvals/{id}")).bearing(&claims)).await;
        assert_eq!((shown.status, shown.body.get("token")), (200, None), "{name}: {}", shown.body);
        assert!(shown.body["why_not"].as_str().is_some_and(|says| says.contains(why)), "{name}: {}", shown.body);
    }
    let other = by("phone", Some("p-fin"));
    let shown = world.send(request("GET", &format!("/approvals/{through_portal}")).bearing(&other)).await;
    assert_eq!(shown.body["may_decide"], true, "{}", shown.body);
}

#[tokio::test]
async fn another_tenants_run_that_cannot_be_read_is_as_unknown_as_any() {
    let (world, id, token) = asked().await;
    world.runs.plant(id.run, 2, Stored { version: 99, body: Body::Json("{}".to_owned()) });
    let path = format!("/approvals/{id}");
    for request in [request("GET", &path), deciding(id, "approved", &token)] {
        is(&world.send(request.by("eve", "umbrella", "[finance operator]")).await, 404, "not-found", "another tenant");
    }
    let own = world.send(request("GET", &path)).await;
    is(&own, 500, "run-unreadable", "its own");
}

#[tokio::test]
async fn a_get_never_decides() {
    let (world, id, token) = asked().await;
    let path = format!("/approvals/{id}");
    let body = json!({ "decision": "approved", "token": token }).to_string();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
        let request = request(method, &path)
            .query("decision", "approved")
            .query("token", &token)
            .query("_method", "POST")
            .header("x-http-method-override", "POST")
            .json(&body);
        let answer = world.send(request).await;
        assert_eq!(answer.status, if method == "GET" { 200 } else { 405 }, "{method}");
    }
    undecided(&world, id).await;
}

#[tokio::test]
async fn who_decides_is_never_taken_from_the_body() {
    let (world, id, token) = asked().await;
    for field in ["approver", "by", "actor", "role", "tenant", "decided_by"] {
        let body = json!({ "decision": "approved", "token": token, field: "fin" }).to_string();
        let answer = world.send(request("POST", &format!("/approvals/{id}")).json(&body)).await;
        is(&answer, 400, "malformed-request", field);
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains(field)), "{}", answer.body);
    }
    undecided(&world, id).await;
}

#[tokio::test]
async fn a_malformed_decision_is_refused() {
    let (world, id, token) = asked().await;
    for (decision, says) in [
        ("yes", "unknown variant"),
        ("expired", "unknown variant"),
        ("Approved", "unknown variant"),
        ("happened", "`approved` or `denied`"),
        ("not_happened", "`approved` or `denied`"),
    ] {
        let answer = world.decide(id, decision, &token).await;
        is(&answer, 400, "malformed-request", decision);
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{}", answer.body);
    }
    let large = format!(r#"{{"decision":"approved","token":"{token}","note":"{}"}}"#, "x".repeat(20_000));
    is(&world.send(request("POST", &format!("/approvals/{id}")).json(&large)).await, 413, "too-large", "a long note");
    let form = request("POST", &format!("/approvals/{id}")).body(&format!("decision=approved&token={token}"));
    is(&world.send(form).await, 415, "unsupported-media-type", "a form");
    undecided(&world, id).await;
}

#[tokio::test]
async fn a_decision_is_made_once() {
    let (world, id, token) = asked().await;
    assert_eq!(world.decide(id, "denied", &token).await.status, 200);
    let entries = world.entries(id.run).await.len();
    for (name, decision) in [("a replay", "denied"), ("another decision", "approved")] {
        let answer = world.decide(id, decision, &token).await;
        is(&answer, 409, "already-decided", name);
        assert_eq!((&answer.body["decision"], &answer.body["decided_by"]), (&json!("denied"), &json!("fin")));
    }
    assert_eq!(world.entries(id.run).await.len(), entries);
    assert_eq!(world.queue.receive(10).len(), 1, "one wake-up");
}

#[tokio::test]
async fn a_late_decision_is_refused() {
    let (world, id, token) = asked().await;
    world.clock.advance(EXPIRES_AFTER);
    is(&world.decide(id, "approved", &token).await, 410, "expired", "the approval's time is over");
    let verdict = windlass::approval::Verdict::Expired;
    let event = Event::ApprovalDecided { approval: id, verdict, by: None, note: None, result: None, signature: None };
    undecided(&world, id).await;
    world.append(id.run, 3, vec![event]).await;
    is(&world.decide(id, "approved", &token).await, 410, "expired", "and that is recorded");
    let shown = world.send(request("GET", &format!("/approvals/{id}"))).await;
    assert_eq!((&shown.body["status"], &shown.body["token"]), (&json!("expired"), &json!(null)));
    assert!(TOKEN_VALID_FOR > EXPIRES_AFTER, "else it is the token that expires first");
}

#[tokio::test]
async fn a_decision_about_a_run_that_is_ending_is_refused() {
    let (world, id, token) = asked().await;
    let event = Event::Cancelled { by: "ada".parse().expect("an actor"), reason: None };
    world.append(id.run, 3, vec![event]).await;
    is(&world.decide(id, "approved", &token).await, 409, "run-over", "it was cancelled");
    undecided(&world, id).await;
}

#[tokio::test]
async fn a_rotated_key_is_good_until_it_is_taken_out() {
    let (world, id, token) = asked().await;
    world.secrets.set(SECRET, &keys(&[("k2", KEY_2), ("k1", KEY_1)]));
    world.clock.advance(REFRESH_AFTER);
    assert!(world.token(id).await.starts_with("v1.k2."), "the new key signs");
    assert_eq!(world.decide(id, "approved", &token).await.status, 200, "the old one still verifies");

    let (world, id, token) = asked().await;
    world.secrets.set(SECRET, &keys(&[("k2", KEY_2)]));
    world.clock.advance(STALENESS_MAX);
    is(&world.decide(id, "approved", &token).await, 403, "token-refused", "it was taken out");
    undecided(&world, id).await;
}

#[tokio::test]
async fn a_token_of_a_key_that_another_function_saw_first_is_good_after_one_look() {
    let (world, id, _) = asked().await;
    let World { clock, runs, queue, secrets, .. } = &world;
    let elsewhere = desk_with(clock.clone(), runs.clone(), queue.clone(), secrets.clone());
    world.secrets.set(SECRET, &keys(&[("k2", KEY_2), ("k1", KEY_1)]));
    let shown = Answer::of(elsewhere.handle(request("GET", &format!("/approvals/{id}")).event()).await);
    let token = shown.body["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("v1.k2."), "{token}");
    is(&world.decide(id, "approved", &token).await, 403, "token-refused", "it looked less than ten seconds ago");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.decide(id, "approved", &token).await.status, 200);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_is_no_id_is_malformed() {
    let (world, id, token) = asked().await;
    let run = id.run;
    for (path, status, problem) in [
        (format!("/approvals/{run}-1-2"), 404, "not-found"),
        (format!("/approvals/{run}-2-1"), 404, "not-found"),
        ("/approvals/01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1".to_owned(), 404, "not-found"),
        (format!("/approvals/{run}"), 400, "invalid-id"),
        (format!("/approvals/{run}-01-1"), 400, "invalid-id"),
        ("/approvals/x".to_owned(), 400, "invalid-id"),
        ("/approval".to_owned(), 404, "not-found"),
        (format!("/approvals/{id}/approve"), 404, "not-found"),
    ] {
        let body = json!({ "decision": "approved", "token": token }).to_string();
        is(&world.send(request("POST", &path).json(&body)).await, status, problem, &path);
        is(&world.send(request("GET", &path)).await, status, problem, &path);
    }
    undecided(&world, id).await;
}
