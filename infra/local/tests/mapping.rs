//! The event source mapping.

mod support;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use support::{depth, eventually, lines, mapping, queue, redriven, signal, spec, sqs};
use windlass_local::{MappingSpec, Stack, StackSpec};

struct Mapped {
    stack: Stack,
    client: aws_sdk_sqs::Client,
    url: String,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mapped {
    async fn start(spec: StackSpec) -> Self {
        let stack = Stack::start(spec).await.expect("the stack starts");
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            client: sqs(&stack.aws_url()),
            url: stack.queue_url("jobs"),
            log: directory.path().join("log"),
            _directory: directory,
            stack,
        }
    }

    /// Sends one batch, whose messages the mapping may get together.
    async fn send(&self, orders: &[&str]) {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry as Entry;
        let entries = orders.iter().enumerate().map(|(index, order)| {
            let body = format!("{order} {}", self.log.display());
            Entry::builder().id(index.to_string()).message_body(body).build().expect("an entry")
        });
        let sent =
            self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries.collect())).send().await;
        assert!(sent.expect("a send").failed().is_empty());
    }

    /// How often an order was worked on.
    fn worked(&self, order: &str) -> usize {
        lines(&self.log).iter().filter(|line| line.starts_with(order)).count()
    }

    async fn until_worked(&self, order: &str, times: usize) {
        eventually(order, async || (self.worked(order) >= times).then_some(())).await;
    }

    async fn until_empty(&self) {
        eventually("the queue is empty", async || (depth(&self.client, &self.url).await == (0, 0)).then_some(())).await;
    }
}

fn one_queue(visibility_seconds: u64) -> StackSpec {
    StackSpec { queues: vec![queue("jobs", visibility_seconds)], mappings: vec![mapping("jobs")], ..spec() }
}

/// Waits a second for a full batch, so that what is sent together is worked together. Visibility must be longer.
fn together(size: u32, visibility_seconds: u64) -> StackSpec {
    let gathered = MappingSpec { batch_size_max: size, batching_window: Duration::from_secs(1), ..mapping("jobs") };
    StackSpec { mappings: vec![gathered], ..one_queue(visibility_seconds) }
}

#[tokio::test]
async fn messages_are_worked_and_deleted_soon_after_they_are_sent() {
    let mapped = Mapped::start(one_queue(30)).await;
    mapped.stack.warm().await;
    mapped.send(&["first"]).await;
    mapped.until_worked("first", 1).await;
    mapped.until_empty().await;
    let sent = Instant::now();
    mapped.send(&["second"]).await;
    mapped.until_worked("second", 1).await;
    assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
    mapped.until_empty().await;
    let meter = mapped.stack.meter();
    assert!(meter.requests_of("SQS.ReceiveMessage") >= 2);
    assert_eq!(meter.requests_of("SQS.ReceiveMessage.Empty"), 0, "an idle mapping waits");
    assert!(meter.requests_of("SQS.DeleteMessageBatch") >= 2);
    mapped.stack.shutdown().await;
}

#[tokio::test]
async fn only_the_reported_message_comes_back() {
    let mapped = Mapped::start(together(3, 2)).await;
    mapped.send(&["done", "fail", "also-done"]).await;
    mapped.until_worked("fail", 1).await;
    assert!(lines(&mapped.log).iter().all(|line| line.ends_with(" 3")), "{:?}", lines(&mapped.log));
    eventually("two of three are deleted", async || {
        let (visible, in_flight) = depth(&mapped.client, &mapped.url).await;
        (visible + in_flight == 1).then_some(())
    })
    .await;
    mapped.until_worked("fail \"2\"", 1).await;
    assert_eq!((mapped.worked("done"), mapped.worked("also-done")), (1, 1));
    mapped.stack.shutdown().await;
}

#[tokio::test]
async fn an_unknown_or_empty_identifier_and_a_malformed_response_fail_the_whole_batch() {
    let whole_batch_fails = async |order: &str| {
        let mapped = Mapped::start(together(2, 3)).await;
        mapped.send(&["good", order]).await;
        mapped.until_worked(order, 1).await;
        mapped.until_worked("good", 2).await;
        assert!(lines(&mapped.log).iter().all(|line| line.ends_with(" 2")), "{:?}", lines(&mapped.log));
        assert_eq!(mapped.stack.meter().requests_of("SQS.DeleteMessageBatch"), 0, "{order}");
        mapped.stack.shutdown().await;
    };
    tokio::join!(whole_batch_fails("unknown"), whole_batch_fails("empty"), whole_batch_fails("malformed"));
}

#[tokio::test]
async fn a_message_that_fails_too_often_is_moved_to_the_dead_letter_queue() {
    let queues = vec![redriven("jobs", "dead", 2), queue("dead", 30)];
    let mapped = Mapped::start(StackSpec { queues, ..one_queue(1) }).await;
    mapped.send(&["fail"]).await;
    let dead = mapped.stack.queue_url("dead");
    eventually("the message is dead", async || (depth(&mapped.client, &dead).await == (1, 0)).then_some(())).await;
    mapped.until_empty().await;
    assert_eq!(mapped.worked("fail"), 2);
    mapped.stack.shutdown().await;
}

#[tokio::test]
async fn the_message_of_a_killed_process_comes_back() {
    let mapped = Mapped::start(one_queue(1)).await;
    mapped.stack.warm().await;
    mapped.send(&["hang"]).await;
    mapped.until_worked("hang", 1).await;
    for pid in mapped.stack.processes("echo") {
        signal("KILL", pid);
    }
    mapped.until_worked("hang \"2\"", 1).await;
    mapped.stack.shutdown().await;
}

#[tokio::test]
async fn a_mapping_stays_within_its_concurrency() {
    let single = MappingSpec { batch_size_max: 1, concurrency_max: 2, ..mapping("jobs") };
    let mapped = Mapped::start(StackSpec { mappings: vec![single], ..one_queue(30) }).await;
    mapped.send(&["hang", "hang", "hang", "hang"]).await;
    mapped.until_worked("hang", 2).await;
    assert_eq!(mapped.stack.processes("echo").len(), 2);
    assert_eq!(depth(&mapped.client, &mapped.url).await, (2, 2), "what cannot be worked is not received");
    mapped.stack.shutdown().await;
}
