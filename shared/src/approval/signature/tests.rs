use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    agent::model::Usage,
    approval::{ApprovalRequest, Subject, token::ApprovalKeys},
    ids::CallId,
    memory::{ManualClock, Records, Runs, SecretValues},
    run::{
        entry::{Accepted, Decision, Plan, PlannedCall, Writer},
        limits::Limits,
        request::{RunRequest, Source},
        stored::Stored,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);
const KEYS: &str = r#"{"current":"k1","keys":{"k1":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}"#;
const OTHERS: &str = r#"{"current":"k1","keys":{"k1":"BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}"#;

fn keys(text: &str) -> ApprovalKeys {
    ApprovalKeys::parse(&text.into()).expect("they are keys")
}

fn public(text: &str) -> DecisionKeys {
    DecisionKeys::parse(&keys(text).public().into()).expect("they are public keys")
}

fn id() -> ApprovalId {
    "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1".parse().expect("an approval's id")
}

fn tenant() -> Tenant {
    "acme".parse().expect("a tenant")
}

fn arguments() -> Value {
    json!({ "order": "A-1", "cents": 99_000 })
}

fn action(arguments: Value) -> Action {
    Action { tenant: tenant(), tool: "refund".parse().expect("a tool"), arguments }
}

fn decided(verdict: Verdict) -> Event {
    let (by, note) = (Some("fin".parse().expect("an actor")), Some("checked".to_owned()));
    Event::ApprovalDecided { approval: id(), verdict, by, note, result: None, signature: None }
}

fn signed(by: &str) -> Event {
    keys(by).sign(decided(Verdict::Approved), &action(arguments()).digest(), &tenant(), NOW)
}

fn entry(events: Vec<Event>) -> Entry {
    Entry { at: NOW, writer: Writer::Holder(1), release: "r1".parse().expect("a release"), events }
}

/// A journal in which `planned` is asked about, and `last` is its last entry.
fn journal(planned: Value, last: Vec<Event>) -> Vec<Entry> {
    let request = RunRequest {
        tenant: tenant(),
        actor: "ada".parse().expect("an actor"),
        roles: Default::default(),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace");
    let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
    let call = PlannedCall {
        id: CallId(1),
        tool: "refund".parse().expect("a tool"),
        arguments: planned,
        redaction: Default::default(),
        echo: None,
    };
    let (model, prompt_version) = ("script".to_owned(), "1".to_owned());
    let plan =
        Event::Planned { plan: Plan::Call { calls: vec![call] }, usage: Usage::default(), model, prompt_version };
    let role: crate::ids::Role = "finance".parse().expect("a role");
    let decision = Decision::RequireApproval { role: role.clone(), reason: "large".to_owned() };
    let judged = Event::PolicyDecided { call: CallId(1), decision, policy_version: "1".to_owned(), policies: vec![] };
    let asked: ApprovalRequest = serde_json::from_value(json!({
        "id": id(), "subject": Subject::Permission, "action": action(arguments()), "digest": action(arguments()).digest(),
        "role": role, "reason": "large", "requested_at": NOW, "expires_at": NOW + Duration::from_secs(600),
    }))
    .expect("a request");
    let asked = Event::ApprovalRequested(Box::new(asked));
    let mut first = entry(vec![Event::Accepted(Box::new(accepted))]);
    first.writer = Writer::Outside("intake".to_owned());
    let mut last = entry(last);
    last.writer = Writer::Outside("approval".to_owned());
    vec![first, entry(vec![plan, judged, asked]), last]
}

fn problem(entries: &[Entry]) -> Option<Unsigned> {
    public(KEYS).check(entries).err().map(|(_, _, problem)| problem)
}

#[test]
fn a_decision_that_the_approval_function_signed_counts() {
    assert_eq!(problem(&journal(arguments(), vec![signed(KEYS)])), None);
    let written = serde_json::to_string(&signed(KEYS)).expect("JSON");
    let read: Event = serde_json::from_str(&written).expect("an event");
    assert_eq!(problem(&journal(arguments(), vec![read])), None, "as it is stored");
}

#[test]
fn a_decision_that_somebody_else_wrote_counts_for_nothing() {
    let Event::ApprovalDecided { signature: Some(good), .. } = signed(KEYS) else { panic!("it is signed") };
    let with = |change: fn(&mut Value)| {
        let mut event = serde_json::to_value(signed(KEYS)).expect("JSON");
        change(&mut event);
        serde_json::from_value::<Event>(event).expect("an event")
    };
    let elsewhere = Event::ApprovalDecided {
        approval: id(),
        verdict: Verdict::Approved,
        by: None,
        note: None,
        result: None,
        signature: Some(good.clone()),
    };
    for (name, event, wanted) in [
        ("no signature", decided(Verdict::Approved), Unsigned::Missing),
        ("nobody, unsigned", with(|event| event["by"] = json!(null)), Unsigned::Altered),
        ("another key under the same id", signed(OTHERS), Unsigned::Altered),
        ("another verdict", with(|event| event["verdict"] = json!("denied")), Unsigned::Altered),
        ("another approver", with(|event| event["by"] = json!("eve")), Unsigned::Altered),
        ("another note", with(|event| event["note"] = json!("do it twice")), Unsigned::Altered),
        ("a signature of something else", elsewhere, Unsigned::Altered),
        (
            "another key id",
            with(|event| {
                event["signature"] = json!(event["signature"].as_str().expect("text").replacen("k1", "k9", 1))
            }),
            Unsigned::UnknownKey { key: "k9".to_owned() },
        ),
    ] {
        assert_eq!(problem(&journal(arguments(), vec![event])), Some(wanted), "{name}");
    }
    let mut later = journal(arguments(), vec![signed(KEYS)]);
    later[2].at = NOW + Duration::from_secs(1);
    assert_eq!(problem(&later), Some(Unsigned::Altered), "another time");
    let both = journal(arguments(), vec![signed(KEYS), decided(Verdict::Approved)]);
    assert!(RunState::fold(&both).is_err(), "decided twice");
}

#[test]
fn arguments_that_change_after_the_decision_void_it() {
    let altered = journal(json!({ "order": "A-1", "cents": 9_900_000 }), vec![signed(KEYS)]);
    assert_eq!(problem(&altered), Some(Unsigned::Unasked));
}

#[test]
fn what_time_decides_needs_no_signature() {
    let expired = Event::ApprovalDecided {
        approval: id(),
        verdict: Verdict::Expired,
        by: None,
        note: None,
        result: None,
        signature: None,
    };
    let mut entries = journal(arguments(), vec![expired]);
    entries[2].at = NOW + Duration::from_secs(600);
    assert_eq!(problem(&entries), None);
}

#[test]
fn what_are_no_public_keys_is_said() {
    for bad in ["", "{}", "[]", r#"{"k1":"AAEC"}"#, r#"{"k#":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#] {
        assert!(DecisionKeys::parse(&bad.into()).is_err(), "{bad}");
    }
    assert!(keys(KEYS).are_known_to(&public(KEYS)));
    assert!(!keys(OTHERS).are_known_to(&public(KEYS)));
}

#[tokio::test]
async fn a_journal_with_an_unsigned_decision_is_not_handed_out() {
    let clock = Arc::new(ManualClock::at(NOW + Duration::from_secs(3_600)));
    let runs = Arc::new(Runs::new(clock.clone(), &Records::new()));
    let secrets = Arc::new(SecretValues::new());
    secrets.set("public", &keys(KEYS).public());
    let parse = |text: &_| DecisionKeys::parse(text).map_err(|error| error.to_string());
    let cache = Arc::new(SecretCache::new(secrets, clock.clone(), "public", parse));
    let verified = VerifiedDecisions::new(runs.clone(), cache, clock.clone());
    let put = |entries: Vec<Entry>| {
        for (seq, entry) in (1..).zip(entries) {
            runs.plant(id().run, seq, Stored::encode(&entry).expect("it is stored"));
        }
    };
    put(journal(arguments(), vec![signed(KEYS)]));
    assert_eq!(verified.load(id().run, 1).await.map(|entries| entries.len()), Ok(3));
    put(journal(arguments(), vec![decided(Verdict::Approved)]));
    for from in [1, 3] {
        let error = verified.load(id().run, from).await.expect_err("it is not signed").to_string();
        assert!(error.contains("bears no signature"), "{error}");
    }
    assert!(verified.load(id().run, 1).await.is_err());
    // A key that is newer than ours may be on its way for as long as keys are cached.
    put(journal(arguments(), vec![signed(OTHERS.replace("k1", "k2").as_str())]));
    clock.set(NOW);
    assert!(matches!(verified.load(id().run, 1).await, Err(JournalError::Unavailable { .. })));
    clock.set(NOW + STALENESS_MAX);
    assert!(matches!(verified.load(id().run, 1).await, Err(JournalError::Illegal { .. })));
}
