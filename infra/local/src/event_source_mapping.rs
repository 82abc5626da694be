//! The event source mapping from a queue to a function.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustack_sqs_model::types::{Message, MessageAttributeValue};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    lambda::Target,
    pool::Patience,
    spec::MappingSpec,
    sqs::{BATCH_MAX, Queues, WAIT_SECONDS_MAX},
};

/// How long a mapping rests after its queue refused it.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// One mapping, polling.
pub(crate) struct Mapping {
    spec: MappingSpec,
    queue_url: String,
    queue_arn: String,
    region: String,
    queues: Arc<Queues>,
    target: Target,
}

impl Mapping {
    pub(crate) fn new(spec: MappingSpec, region: String, queues: Arc<Queues>, target: Target) -> Self {
        Self { queue_url: queues.url(&spec.queue), queue_arn: queues.arn(&spec.queue), spec, region, queues, target }
    }

    /// Polls until `stop`. It receives only when the mapping may invoke once more and the function has a process to
    /// spare.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(self.spec.concurrency_max.clamp(1, Semaphore::MAX_PERMITS)));
        loop {
            let polled = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                self.target.available().await.ok()?;
                Some((slot, self.batch().await))
            };
            let polled = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                polled = polled => polled,
            };
            let Some((slot, batch)) = polled else { return };
            if batch.is_empty() {
                continue;
            }
            let mapping = Arc::clone(&self);
            tokio::spawn(async move {
                mapping.work(batch).await;
                drop(slot);
            });
        }
    }

    /// Waits for a first message, then as long as the window is open for more, and takes what is there.
    async fn batch(&self) -> Vec<Message> {
        let size_max = usize::try_from(self.spec.batch_size_max.max(1)).unwrap_or(usize::MAX);
        let mut batch = self.receive(size_max, WAIT_SECONDS_MAX).await;
        let window_ends = Instant::now() + self.spec.batching_window;
        let mut more = batch.len() == BATCH_MAX.min(size_max);
        while !batch.is_empty() && batch.len() < size_max {
            let left = window_ends.saturating_duration_since(Instant::now());
            if !more && left.is_zero() {
                break;
            }
            // Long polls last whole seconds; the last part of a second is waited out with a look at its end.
            let seconds = i32::try_from(left.as_secs()).unwrap_or(WAIT_SECONDS_MAX).min(WAIT_SECONDS_MAX);
            let received = self.receive(size_max - batch.len(), seconds).await;
            more = received.len() == BATCH_MAX;
            if received.is_empty() && seconds == 0 {
                let left = window_ends.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(left).await;
                more = true;
            }
            batch.extend(received);
        }
        batch
    }

    async fn receive(&self, messages_max: usize, wait_seconds: i32) -> Vec<Message> {
        match self.queues.receive(&self.queue_url, messages_max, wait_seconds).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(queue = self.spec.queue, %error, "cannot receive");
                tokio::time::sleep(REFUSED_WAIT).await;
                Vec::new()
            }
        }
    }

    /// Invokes with a batch and deletes what was done. What is not deleted comes back after the visibility timeout.
    async fn work(&self, batch: Vec<Message>) {
        let event = match serde_json::to_vec(&self.event(&batch)) {
            Ok(event) => Bytes::from(event),
            Err(error) => return tracing::error!(%error, "cannot write an event"),
        };
        let function = &self.spec.function;
        let outcome = match self.target.invoke(event, Patience::Endless).await {
            Ok(payload) => outcome(&payload, &batch),
            Err(error) => return tracing::warn!(function, %error, messages = batch.len(), "a batch failed"),
        };
        let done: Vec<&str> = match outcome {
            Outcome::AllFailed { reason } => {
                return tracing::warn!(function, reason, messages = batch.len(), "a batch failed");
            }
            Outcome::Done { failed } => batch
                .iter()
                .filter(|message| !message.message_id.as_ref().is_some_and(|id| failed.contains(id.as_str())))
                .filter_map(|message| message.receipt_handle.as_deref())
                .collect(),
        };
        if let Err(error) = self.queues.delete(&self.queue_url, &done).await {
            tracing::warn!(queue = self.spec.queue, %error, "cannot delete messages that were done");
        }
    }

    fn event<'a>(&'a self, batch: &'a [Message]) -> Event<'a> {
        let record = |message: &'a Message| Record {
            message_id: message.message_id.as_deref(),
            receipt_handle: message.receipt_handle.as_deref(),
            body: message.body.as_deref(),
            attributes: message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            message_attributes: message
                .message_attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value.into()))
                .collect(),
            md5_of_body: message.md5_of_body.as_deref(),
            md5_of_message_attributes: message.md5_of_message_attributes.as_deref(),
            event_source: "aws:sqs",
            event_source_arn: &self.queue_arn,
            aws_region: &self.region,
        };
        Event { records: batch.iter().map(record).collect() }
    }
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "Records")]
    records: Vec<Record<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: Option<&'a str>,
    receipt_handle: Option<&'a str>,
    body: Option<&'a str>,
    attributes: BTreeMap<&'a str, &'a str>,
    message_attributes: BTreeMap<&'a str, Attribute<'a>>,
    md5_of_body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<&'a str>,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    data_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: [(); 0],
    binary_list_values: [(); 0],
}

impl<'a> From<&'a MessageAttributeValue> for Attribute<'a> {
    fn from(value: &'a MessageAttributeValue) -> Self {
        Self {
            data_type: &value.data_type,
            string_value: value.string_value.as_deref(),
            binary_value: value.binary_value.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)),
            string_list_values: [],
            binary_list_values: [],
        }
    }
}

/// What a function's response says about its batch.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All messages but these are done.
    Done { failed: HashSet<String> },
    /// Nothing is done.
    AllFailed { reason: &'static str },
}

/// Reads a response for `ReportBatchItemFailures`.
///
/// Complete success: no failures, `null`, or nothing at all. Complete failure: anything that is not understood, and an
/// identifier that is empty, missing or not in the batch.
fn outcome(payload: &[u8], batch: &[Message]) -> Outcome {
    let failures = match serde_json::from_slice(payload) {
        Ok(Value::Null) => return Outcome::Done { failed: HashSet::new() },
        Ok(Value::Object(mut fields)) => fields.remove("batchItemFailures").unwrap_or_default(),
        Ok(_) | Err(_) => return Outcome::AllFailed { reason: "the response is not a JSON object" },
    };
    let failures = match failures {
        Value::Null => Vec::new(),
        Value::Array(failures) => failures,
        _ => return Outcome::AllFailed { reason: "`batchItemFailures` is not a list" },
    };
    let known: HashSet<&str> = batch.iter().filter_map(|message| message.message_id.as_deref()).collect();
    let mut failed = HashSet::with_capacity(failures.len());
    for failure in &failures {
        match failure.get("itemIdentifier").and_then(Value::as_str) {
            Some(id) if known.contains(id) => failed.insert(id.to_owned()),
            Some("") | None => return Outcome::AllFailed { reason: "an `itemIdentifier` is empty" },
            Some(_) => return Outcome::AllFailed { reason: "an `itemIdentifier` is not in the batch" },
        };
    }
    Outcome::Done { failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Message> {
        ["a", "b"].map(|id| Message { message_id: Some(id.into()), ..Default::default() }).into()
    }

    #[test]
    fn nothing_reported_is_success() {
        for payload in ["null", "{}", r#"{"batchItemFailures":null}"#, r#"{"batchItemFailures":[]}"#] {
            assert_eq!(outcome(payload.as_bytes(), &batch()), Outcome::Done { failed: HashSet::new() }, "{payload}");
        }
    }

    #[test]
    fn only_what_is_reported_has_failed() {
        let payload = br#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#;
        assert_eq!(outcome(payload, &batch()), Outcome::Done { failed: HashSet::from(["b".to_owned()]) });
    }

    #[test]
    fn what_is_not_understood_fails_the_whole_batch() {
        for payload in [
            "",
            "{",
            r#""done""#,
            r#"{"batchItemFailures":"b"}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"messageId":"b"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}"#,
        ] {
            assert!(matches!(outcome(payload.as_bytes(), &batch()), Outcome::AllFailed { .. }), "{payload}");
        }
    }
}
