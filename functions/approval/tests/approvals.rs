//! What the approval function does, over stores in memory.

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use support::{Answer, World, desk_over, request};
use windlass::{
    approval::{Subject, Verdict},
    clock::{Clock as _, Timestamp},
    door::rate::Limits,
    ids::RunId,
    journal::{Appended, EntryPage, Expected, Head, Interjected, Journal, JournalError, NewRun, Opened, Recorded},
    memory::Runs,
    run::{
        entry::{Entry, Event, Seq, Writer},
        outside::History,
        snapshot::Snapshot,
        state::{CallStatus, RunState},
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
async fn who_looks_or_decides_too_often_is_told_when_to_come_back_and_keeps_nobody_else_away() {
    let mut world = World::new();
    let id = world.asking("acme", "ada", Subject::Permission).await;
    world.desk.reads.limits = Limits { tenant: "1/10:3".parse().expect("a limit"), ..Limits::OFF };
    let one = format!("/approvals/{id}");
    assert_eq!(world.send(request("GET", "/approvals")).await.status, 200);
    assert_eq!(world.send(request("GET", &one)).await.status, 200);
    assert_eq!(world.send(request("GET", "/approvals/x")).await.status, 400, "what is no id takes nothing");
    assert_eq!(world.send(request("GET", &one)).await.status, 200);
    for (method, path) in [("GET", "/approvals"), ("GET", &one), ("POST", &one)] {
        let answer = world.send(request(method, path)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "10"), "{method} {path}");
    }
    let other = request("GET", "/approvals").by("eve", "umbrella", "[finance]");
    assert_eq!(world.send(other).await.status, 200, "another tenant has a bucket of its own");
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

/// A journal that counts how often it is read.
struct Counted {
    journal: Arc<Runs>,
    loads: AtomicUsize,
}

#[async_trait]
impl Journal for Counted {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        self.journal.record(new).await
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.journal.opened(run).await
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        self.journal.open(head).await
    }

    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.journal.page(run, from, limit).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        self.journal.snapshot(run).await
    }

    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        self.journal.save_snapshot(run, snapshot, expires).await
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        self.journal.append(run, seq, entry, expires).await
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        self.journal.interject(run, seq, entry, expected).await
    }
}

#[tokio::test]
async fn what_waits_behind_others_is_reached_page_by_page() {
    let mut world = World::new();
    world.asks = "ops";
    for _ in 0..51 {
        world.asking("acme", "ada", Subject::Permission).await;
        world.clock.advance(Duration::from_secs(1));
    }
    world.asks = "finance";
    let wanted = world.asking("acme", "ada", Subject::Permission).await;
    let first = world.send(request("GET", "/approvals")).await;
    assert_eq!(first.body["approvals"], json!([]), "the oldest are for others");
    let next = first.body["next"].as_str().expect("there is more").to_owned();
    let second = world.send(request("GET", "/approvals").query("after", &next)).await;
    assert_eq!((&second.body["approvals"][0]["id"], second.body.get("next")), (&json!(wanted), None));
    // A cursor names no tenant: another's leads nowhere but to one's own.
    let foreign = world.send(request("GET", "/approvals").query("after", &next).by("eve", "other", "[finance]")).await;
    assert_eq!((&foreign.body["approvals"], foreign.body.get("next")), (&json!([]), None));
    for (name, value) in
        [("after", "x"), ("after", "1-2"), ("after", ""), ("limit", "0"), ("limit", "51"), ("limit", "x")]
    {
        let answer = world.send(request("GET", "/approvals").query(name, value)).await;
        assert_eq!((answer.status, answer.problem()), (400, "malformed-request"), "{name}={value}");
    }
}

#[tokio::test]
async fn a_page_costs_the_same_however_many_wait() {
    const WAITING: usize = 10_000;
    let world = World::new();
    for _ in 0..WAITING {
        world.asking("acme", "ada", Subject::Permission).await;
    }
    let counted = Arc::new(Counted { journal: world.runs.clone(), loads: AtomicUsize::new(0) });
    let World { clock, runs, queue, secrets, .. } = &world;
    let desk = desk_over(clock.clone(), counted.clone(), runs.clone(), queue.clone(), secrets.clone());
    let (mut seen, mut after, mut pages, started) = (BTreeSet::new(), None::<String>, 0, Instant::now());
    loop {
        let mut asking = request("GET", "/approvals");
        if let Some(after) = &after {
            asking = asking.query("after", after);
        }
        let page = Answer::of(desk.handle(asking.event()).await);
        let listed = page.body["approvals"].as_array().expect("a list");
        seen.extend(listed.iter().map(|approval| approval["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        assert!(counted.loads.load(Ordering::SeqCst) <= 50 * pages, "page {pages} read more than its runs");
        after = page.body["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (WAITING, WAITING / 50));
    println!("{WAITING} waiting: {pages} pages of at most 50 journals, {:?} a page", started.elapsed() / pages as u32);
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
