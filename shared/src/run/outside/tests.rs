use std::sync::Arc;

use async_trait::async_trait;
use mockall::{Sequence, mock};
use serde_json::json;

use super::*;
use crate::{
    ids::Actor,
    journal::{Appended, EntryPage, Head, NewRun, Opened, Recorded},
    memory::{ManualClock, SeededRandom},
    queue::{QueueError, Share, Sleeper},
    run::{
        cancel::{Cancellation, cancel},
        entry::{Accepted, Seq},
        limits::Limits,
        request::{RunRequest, Source},
        snapshot::Snapshot,
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
    Queue {}
    #[async_trait]
    impl WakeUps for Queue {
        async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError>;
        async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError>;
    }
}

/// A clock that jumps to whatever is waited for.
struct Jumping(ManualClock);

#[async_trait]
impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn sleep_until(&self, until: Timestamp) {
        self.0.set(until);
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);

fn run() -> RunId {
    "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id")
}

fn ada() -> Actor {
    "ada".parse().expect("an actor")
}

fn entry(writer: Writer, event: Event) -> Entry {
    Entry { at: NOW, writer, release: "r1".parse().expect("a release"), events: vec![event] }
}

fn accepted() -> Entry {
    let request = RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: ada(),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
        roles: Default::default(),
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace id");
    let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
    entry(Writer::Outside("intake".to_owned()), Event::Accepted(Box::new(accepted)))
}

fn waited() -> Entry {
    entry(Writer::Holder(1), Event::Waited { until: NOW, reason: "x".to_owned(), failures: 1 })
}

fn cancelled(writer: Writer) -> Entry {
    entry(writer, Event::Cancelled { by: ada(), reason: None })
}

fn unavailable() -> JournalError {
    JournalError::Unavailable { message: "timeout".to_owned() }
}

fn waking() -> MockQueue {
    let mut queue = MockQueue::new();
    queue
        .expect_send()
        .times(1)
        .withf(|message, share, _| {
            *share == Share::Of("acme".parse().expect("a tenant")) && *message == Message::WakeUp { run: run() }
        })
        .returning(|_, _, _| Ok(()));
    queue
}

async fn cancelling(journal: &MockJournals, queue: &MockQueue) -> Result<Cancellation, InterjectError> {
    let (clock, random) = (Jumping(ManualClock::at(NOW)), SeededRandom::new(5));
    let release = "r1".parse().expect("a release");
    let outside =
        Outside { journal, wake_ups: queue, clock: &clock, random: &random, release: &release, telemetry: None };
    cancel(&outside, run(), &ada(), None).await
}

#[tokio::test]
async fn a_lost_race_is_run_again_under_the_next_number() {
    let (mut journal, mut order) = (MockJournals::new(), Sequence::new());
    journal.expect_load().times(1).in_sequence(&mut order).returning(|_, _| Ok(vec![accepted()]));
    let first = journal.expect_interject().times(1).in_sequence(&mut order);
    first.withf(|_, seq, _, _| *seq == 2).returning(|_, _, _, _| Ok(Interjected::Taken));
    journal.expect_load().times(1).in_sequence(&mut order).returning(|_, _| Ok(vec![accepted(), waited()]));
    let second = journal.expect_interject().times(1).in_sequence(&mut order);
    second.withf(|_, seq, _, _| *seq == 3).returning(|_, _, _, _| Ok(Interjected::Written));
    assert_eq!(cancelling(&journal, &waking()).await.expect("it is written"), Cancellation::Requested);
}

#[tokio::test]
async fn what_is_not_wanted_any_more_after_a_lost_race_is_not_written() {
    let (mut journal, mut order) = (MockJournals::new(), Sequence::new());
    journal.expect_load().times(1).in_sequence(&mut order).returning(|_, _| Ok(vec![accepted()]));
    journal.expect_interject().times(1).returning(|_, _, _, _| Ok(Interjected::Taken));
    let other = Writer::Outside("somebody else".to_owned());
    let after = move |_, _| Ok(vec![accepted(), cancelled(other.clone())]);
    journal.expect_load().times(1).in_sequence(&mut order).returning(after);
    let result = cancelling(&journal, &MockQueue::new()).await.expect("there is nothing to do");
    assert!(matches!(result, Cancellation::AlreadyEnding { .. }));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_recognised_by_its_mark() {
    let mut journal = MockJournals::new();
    let written: Arc<std::sync::Mutex<Vec<Entry>>> = Arc::new(std::sync::Mutex::new(vec![accepted()]));
    let (read, write) = (written.clone(), written);
    journal.expect_load().times(2).returning(move |_, _| Ok(read.lock().expect("not poisoned").clone()));
    journal.expect_interject().times(1).returning(move |_, _, entry, _| {
        write.lock().expect("not poisoned").push(entry.clone());
        Err(unavailable())
    });
    assert_eq!(cancelling(&journal, &waking()).await.expect("it is written"), Cancellation::Requested);
}

#[tokio::test]
async fn attempts_are_bounded() {
    for (answer, wanted) in [(Ok(Interjected::Taken), "kept changing"), (Err(unavailable()), "unavailable")] {
        let mut journal = MockJournals::new();
        journal.expect_load().times(8).returning(|_, _| Ok(vec![accepted()]));
        journal.expect_interject().times(8).returning(move |_, _, _, _| answer.clone());
        let error = cancelling(&journal, &MockQueue::new()).await.expect_err("nothing was written");
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.retry(), Retry::SOON);
    }
}

#[tokio::test]
async fn a_refusal_of_the_store_is_not_tried_again() {
    let mut journal = MockJournals::new();
    journal.expect_load().times(1).returning(|_, _| Ok(vec![accepted()]));
    let refused = JournalError::Refused { message: "validation".to_owned() };
    journal.expect_interject().times(1).returning(move |_, _, _, _| Err(refused.clone()));
    let error = cancelling(&journal, &MockQueue::new()).await.expect_err("it was refused");
    assert_eq!(error.retry(), Retry::Terminal);
}

#[tokio::test]
async fn a_wake_up_that_cannot_be_sent_is_no_failure() {
    let mut journal = MockJournals::new();
    journal.expect_load().times(1).returning(|_, _| Ok(vec![accepted()]));
    journal.expect_interject().times(1).returning(|_, _, _, _| Ok(Interjected::Written));
    let mut queue = MockQueue::new();
    queue.expect_send().times(1).returning(|_, _, _| Err(QueueError::Unavailable { message: "timeout".to_owned() }));
    assert_eq!(cancelling(&journal, &queue).await.expect("it is written"), Cancellation::Requested);
}

#[tokio::test]
async fn an_empty_journal_is_no_run() {
    let mut journal = MockJournals::new();
    journal.expect_load().times(1).returning(|_, _| Ok(vec![]));
    let error = cancelling(&journal, &MockQueue::new()).await.expect_err("there is no run");
    assert!(matches!(error, InterjectError::Journal(JournalError::Missing { .. })));
}
