//! What the approval function says when a call that it makes fails, or somebody else is faster.

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mockall::{Sequence, mock};
use serde_json::json;
use support::{Answer, SECRET, World, deciding, desk_over, request};
use windlass::{
    approval::{Subject, Verdict},
    clock::Timestamp,
    ids::{ApprovalId, RunId},
    journal::{Appended, EntryPage, Expected, Head, Interjected, Journal, JournalError, NewRun, Opened, Recorded},
    memory::ManualClock,
    queue::{Message, QueueError, Share, Sleeper, WakeUps},
    run::{
        entry::{Entry, Event, Seq, Writer},
        snapshot::Snapshot,
        state::RunState,
    },
    secrets::{SecretError, Secrets},
};
use windlass_http::Event as Incoming;

mock! {
    Journals {}
    #[async_trait]
    impl Journal for Journals {
        async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError>;
        async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError>;
        async fn open(&self, head: &Head) -> Result<Opened, JournalError>;
        async fn load(&self, run: RunId, from: Seq) -> Result<Vec<Entry>, JournalError>;
        async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError>;
        async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError>;
        async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError>;
        async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError>;
        async fn interject(&self, run: RunId, seq: Seq, entry: &Entry, expected: Expected) -> Result<Interjected, JournalError>;
    }
}

mock! {
    Queue {}
    #[async_trait]
    impl WakeUps for Queue {
        async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError>;
        async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError>;
    }
}

mock! {
    Vault {}
    #[async_trait]
    impl Secrets for Vault {
        async fn get(&self, name: &str) -> Result<secrecy::SecretString, SecretError>;
        async fn exists(&self, name: &str) -> Result<(), SecretError>;
    }
}

/// A run that waits, its entries, and a token for it.
struct Asked {
    world: World,
    id: ApprovalId,
    entries: Vec<Entry>,
    token: String,
}

impl Asked {
    async fn new() -> Asked {
        let world = World::new();
        let id = world.asking("acme", "ada", Subject::Permission).await;
        let (entries, token) = (world.entries(id.run).await, world.token(id).await);
        Asked { world, id, entries, token }
    }

    fn approving(&self) -> Incoming {
        deciding(self.id, "approved", &self.token).event()
    }

    /// The journal with one more entry.
    fn and(&self, writer: Writer, event: Event) -> Vec<Entry> {
        let last = Entry { writer, events: vec![event], ..self.entries[0].clone() };
        [self.entries.clone(), vec![last]].concat()
    }

    async fn send(&self, journal: MockJournals, queue: MockQueue, event: Incoming) -> Answer {
        let (clock, secrets) = (self.world.clock.clone(), self.world.secrets.clone());
        let desk = desk_over(clock, Arc::new(journal), self.world.runs.clone(), Arc::new(queue), secrets);
        Answer::of(desk.handle(event).await)
    }
}

/// A journal that is read twice, with a lost race in between.
fn raced(before: Vec<Entry>, after: Vec<Entry>) -> (MockJournals, Sequence) {
    let (mut journal, mut order) = (MockJournals::new(), Sequence::new());
    journal.expect_load().times(1).in_sequence(&mut order).return_once(move |_, _| Ok(before));
    journal.expect_interject().times(1).in_sequence(&mut order).returning(|_, _, _, _| Ok(Interjected::Taken));
    journal.expect_load().times(1).in_sequence(&mut order).return_once(move |_, _| Ok(after));
    (journal, order)
}

/// Lets whoever waits for the clock go on.
async fn ticking(clock: Arc<ManualClock>) {
    loop {
        if let Some(next) = clock.next_wake() {
            clock.set(next);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_decides_second_in_a_race_is_told_what_the_first_decided() {
    let asked = Asked::new().await;
    let by = Some("fay".parse().expect("an actor"));
    let denied = Event::ApprovalDecided {
        approval: asked.id,
        verdict: Verdict::Denied,
        by,
        note: None,
        result: None,
        signature: None,
    };
    let (journal, _) = raced(asked.entries.clone(), asked.and(Writer::Outside("fay's".to_owned()), denied));
    let ticker = tokio::spawn(ticking(asked.world.clock.clone()));
    let answer = asked.send(journal, MockQueue::new(), asked.approving()).await;
    ticker.abort();
    assert_eq!((answer.status, answer.problem()), (409, "already-decided"), "{}", answer.body);
    assert_eq!((&answer.body["decision"], &answer.body["decided_by"]), (&json!("denied"), &json!("fay")));
}

#[tokio::test]
async fn a_decision_that_loses_a_race_with_a_cancellation_is_not_made() {
    let asked = Asked::new().await;
    let cancelled = Event::Cancelled { by: "ada".parse().expect("an actor"), reason: None };
    let (journal, _) = raced(asked.entries.clone(), asked.and(Writer::Outside("ada's".to_owned()), cancelled));
    let ticker = tokio::spawn(ticking(asked.world.clock.clone()));
    let answer = asked.send(journal, MockQueue::new(), asked.approving()).await;
    ticker.abort();
    assert_eq!((answer.status, answer.problem()), (409, "run-over"), "{}", answer.body);
}

#[tokio::test]
async fn a_wake_up_that_cannot_be_sent_does_not_lose_the_decision() {
    let asked = Asked::new().await;
    let entries = asked.entries.clone();
    let (mut journal, mut queue) = (MockJournals::new(), MockQueue::new());
    journal.expect_load().times(1).return_once(move |_, _| Ok(entries));
    journal.expect_interject().times(1).returning(|_, _, _, _| Ok(Interjected::Written));
    queue.expect_send().times(1).returning(|_, _, _| Err(QueueError::Refused { message: "denied".to_owned() }));
    let answer = asked.send(journal, queue, asked.approving()).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("approved")), "{}", answer.body);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_missing_approval() {
    let asked = Asked::new().await;
    for event in [asked.approving(), request("GET", &format!("/approvals/{}", asked.id)).event()] {
        let mut journal = MockJournals::new();
        let away = JournalError::Unavailable { message: "timeout".to_owned() };
        journal.expect_load().times(1).return_once(move |_, _| Err(away));
        let answer = asked.send(journal, MockQueue::new(), event).await;
        assert_eq!((answer.status, answer.problem()), (503, "unavailable"));
        assert_eq!(answer.header("retry-after"), "2");
    }
}

#[tokio::test]
async fn without_keys_nothing_is_decided_and_no_token_is_issued() {
    let away = SecretError::Unavailable { name: SECRET.to_owned(), message: "timeout".to_owned() };
    let malformed = SecretError::Malformed { name: SECRET.to_owned(), problem: "no JSON".to_owned() };
    for (error, status, problem) in [(away, 503, "unavailable"), (malformed, 500, "internal-error")] {
        let asked = Asked::new().await;
        for event in [asked.approving(), request("GET", &format!("/approvals/{}", asked.id)).event()] {
            let (error, mut vault) = (error.clone(), MockVault::new());
            vault.expect_get().times(1).return_once(move |_| Err(error));
            let World { clock, runs, queue, .. } = &asked.world;
            let desk = desk_over(clock.clone(), runs.clone(), runs.clone(), queue.clone(), Arc::new(vault));
            let answer = Answer::of(desk.handle(event).await);
            assert_eq!((answer.status, answer.problem()), (status, problem), "{}", answer.body);
            assert_eq!(answer.body.get("token"), None);
        }
        assert_eq!(asked.world.entries(asked.id.run).await.len(), asked.entries.len());
    }
}
