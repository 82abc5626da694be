//! What the intake function says when a call that it makes fails.

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mockall::mock;
use serde_json::json;
use support::{Answer, NOW, Request, intake_with, request, submission};
use windlass::{
    clock::Timestamp,
    ids::{RunId, Tenant},
    journal::{
        Appended, Due, DueQueue, EntryPage, Expected, Head, HeadStatus, Heads, Interjected, Journal, JournalError,
        Listing, NewRun, Opened, Position, Postponed, Recorded, Waiting,
    },
    memory::ManualClock,
    queue::{Message, QueueError, Share, Sleeper, WakeUps},
    run::{
        entry::{Entry, Seq},
        snapshot::Snapshot,
        state::RunState,
    },
};

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
    Index {}
    #[async_trait]
    impl Heads for Index {
        async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError>;
        async fn due(
            &self,
            queue: DueQueue,
            shard: u8,
            now: Timestamp,
            after: Option<Due>,
            limit: usize,
        ) -> Result<Vec<Due>, JournalError>;
        async fn postpone_due(&self, run: RunId, seen: Timestamp, to: Timestamp) -> Result<Option<Postponed>, JournalError>;
        async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError>;
        async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError>;
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

#[derive(Default)]
struct Ports {
    journal: MockJournals,
    heads: MockIndex,
    queue: MockQueue,
}

impl Ports {
    async fn send(self, request: Request) -> Answer {
        let clock = Arc::new(ManualClock::at(NOW));
        let intake = intake_with(clock, Arc::new(self.journal), Arc::new(self.heads), Arc::new(self.queue));
        Answer::of(intake.handle(request.event()).await)
    }
}

fn unavailable() -> JournalError {
    JournalError::Unavailable { message: "connect to 10.0.0.7 timed out".to_owned() }
}

fn head() -> Head {
    Head {
        run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id"),
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        task: "refund".to_owned(),
        release: "r1".parse().expect("a release"),
        created: NOW,
        status: HeadStatus::Ready,
        due: Some(NOW),
        ready_from: Some(NOW),
        epoch: 0,
        strikes: 0,
        interjections: 0,
        lease: None,
        expires: NOW + Duration::from_secs(86_400),
        first: None,
        admitted: None,
    }
}

/// A store that takes a run on.
fn taken_on(ports: &mut Ports) {
    ports.journal.expect_record().times(1).returning(|_| Ok(None));
    ports.journal.expect_open().times(1).returning(|_| Ok(Opened::Written));
}

#[tokio::test]
async fn what_the_store_says_to_a_new_run_is_told_apart() {
    let refused = JournalError::Refused { message: "table `runs-of-acme` not found".to_owned() };
    for (answer, status, problem) in [
        (Err(unavailable()), 503, "unavailable"),
        (Err(refused), 500, "internal-error"),
        (Ok(Some(Recorded::InProgress)), 409, "idempotency-key-in-progress"),
        (Ok(Some(Recorded::Mismatch)), 422, "idempotency-key-reused"),
    ] {
        let mut ports = Ports::default();
        ports.journal.expect_record().times(1).return_once(move |_| answer);
        let answer = ports.send(submission("k")).await;
        assert_eq!((answer.status, answer.problem()), (status, problem), "{}", answer.body);
        let retry_after = matches!(status, 503 | 409);
        assert_eq!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), retry_after);
        let text = answer.body.to_string();
        assert!(!text.contains("10.0.0.7") && !text.contains("runs-of-acme"), "{text}");
    }
}

#[tokio::test]
async fn nobody_is_told_of_a_run_that_was_recorded_and_may_not_be_there() {
    let recorded_by_me = |ports: &mut Ports| {
        ports.journal.expect_record().times(1).returning(|_| Ok(None));
    };
    let recorded_before = |ports: &mut Ports| {
        let before = Recorded::As { run: head().run };
        ports.journal.expect_record().times(1).returning(move |_| Ok(Some(before)));
    };
    let mut not_opened = Ports::default();
    recorded_by_me(&mut not_opened);
    not_opened.journal.expect_open().times(1).returning(|_| Err(unavailable()));
    let mut not_seen = Ports::default();
    recorded_before(&mut not_seen);
    not_seen.journal.expect_opened().times(1).returning(|_| Err(unavailable()));
    let mut not_completed = Ports::default();
    recorded_before(&mut not_completed);
    not_completed.journal.expect_opened().times(1).returning(|_| Ok(None));
    not_completed.journal.expect_open().times(1).returning(|_| Err(unavailable()));
    for ports in [not_opened, not_seen, not_completed] {
        let answer = ports.send(submission("k")).await;
        assert_eq!((answer.status, answer.problem()), (503, "unavailable"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_wake_up_that_cannot_be_sent_does_not_lose_the_run() {
    let mut ports = Ports::default();
    taken_on(&mut ports);
    let lost = QueueError::Unavailable { message: "timeout".to_owned() };
    ports.queue.expect_send().times(1).return_once(move |_, _, _| Err(lost));
    let answer = ports.send(submission("k")).await;
    assert_eq!((answer.status, &answer.body["status"]), (202, &json!("ready")), "{}", answer.body);
}

#[tokio::test]
async fn a_run_that_was_taken_on_is_not_denied_because_it_cannot_be_watched() {
    let mut ports = Ports::default();
    taken_on(&mut ports);
    ports.queue.expect_send().times(1).returning(|_, _, _| Ok(()));
    ports.journal.expect_snapshot().times(1).returning(|_| Err(unavailable()));
    let answer = ports.send(submission("k").header("prefer", "wait=0")).await;
    assert_eq!((answer.status, &answer.body["status"]), (202, &json!("ready")), "{}", answer.body);
}

#[tokio::test]
async fn a_repetition_whose_run_cannot_be_read_may_be_sent_again() {
    let mut ports = Ports::default();
    let before = Recorded::As { run: head().run };
    ports.journal.expect_record().times(1).returning(move |_| Ok(Some(before)));
    ports.journal.expect_opened().times(1).returning(|_| Ok(Some(head())));
    ports.queue.expect_send().times(1).returning(|_, _, _| Ok(()));
    ports.journal.expect_snapshot().times(1).returning(|_| Err(unavailable()));
    let answer = ports.send(submission("k")).await;
    assert_eq!((answer.status, answer.problem()), (503, "unavailable"));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_missing_run() {
    for (method, what) in [("GET", ""), ("GET", "/journal"), ("POST", "/cancel")] {
        let path = format!("/runs/{}{what}", head().run);
        let mut at_the_head = Ports::default();
        at_the_head.heads.expect_head().times(1).returning(|_| Err(unavailable()));
        let mut at_the_journal = Ports::default();
        at_the_journal.heads.expect_head().times(1).returning(|_| Ok(Some(head())));
        match what {
            "" => drop(at_the_journal.journal.expect_snapshot().times(1).returning(|_| Err(unavailable()))),
            "/journal" => drop(at_the_journal.journal.expect_page().times(1).returning(|_, _, _| Err(unavailable()))),
            _ => drop(at_the_journal.journal.expect_load().times(1).returning(|_, _| Err(unavailable()))),
        }
        for ports in [at_the_head, at_the_journal] {
            let answer = ports.send(request(method, &path)).await;
            assert_eq!((answer.status, answer.problem()), (503, "unavailable"), "{path}");
            assert_eq!(answer.header("retry-after"), "2");
        }
    }
}

#[tokio::test]
async fn a_damaged_head_is_reported_with_its_run() {
    let mut ports = Ports::default();
    let run = head().run.to_string();
    let damaged = JournalError::DamagedHead { run: run.clone(), problem: "no `tenant`".to_owned() };
    ports.heads.expect_head().times(1).return_once(move |_| Err(damaged));
    let answer = ports.send(request("GET", &format!("/runs/{run}"))).await;
    assert_eq!((answer.status, answer.problem(), &answer.body["run_id"]), (500, "run-unreadable", &json!(run)));
}
