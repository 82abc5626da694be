//! SQS: queues in memory, from the `rustack-sqs` crates.
//!
//! Known differences: messages do not survive a restart, the retention period is not enforced, a message that was
//! delayed or whose visibility timeout ended may be seen up to a second late, the trace header is dropped, message
//! groups are refused on standard queues, and a message is limited to 256 KiB.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::Response,
};
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_http::{dispatch::SqsHandler as _, response::error_to_response};
use rustack_sqs_model::{
    error::SqsError,
    input::{CreateQueueInput, DeleteMessageBatchInput, ReceiveMessageInput},
    operations::SqsOperation,
    types::{DeleteMessageBatchRequestEntry, Message},
};

use crate::{identifier, meter::Counts, spec::QueueSpec};

/// Messages in one `ReceiveMessage` or `DeleteMessageBatch`.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(crate) const BATCH_MAX: usize = 10;

/// The longest long poll.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
pub(crate) const WAIT_SECONDS_MAX: i32 = 20;

/// The queues of one stack.
pub(crate) struct Queues {
    provider: Arc<RustackSqs>,
    handler: RustackSqsHandler,
    counts: Arc<Counts>,
    url_base: String,
    arn_base: String,
}

impl Queues {
    pub(crate) fn new(region: &str, account: &str, port: u16, counts: Arc<Counts>) -> Self {
        let host = "127.0.0.1";
        let provider = Arc::new(RustackSqs::new(SqsConfig {
            skip_signature_validation: true,
            default_region: region.to_owned(),
            account_id: account.to_owned(),
            host: host.to_owned(),
            port,
        }));
        Self {
            handler: RustackSqsHandler::new(Arc::clone(&provider)),
            provider,
            counts,
            url_base: format!("http://{host}:{port}/{account}"),
            arn_base: format!("arn:aws:sqs:{region}:{account}"),
        }
    }

    /// The URL of a queue, whether or not it exists.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url_base)
    }

    pub(crate) fn arn(&self, name: &str) -> String {
        format!("{}:{name}", self.arn_base)
    }

    pub(crate) async fn create(&self, queue: &QueueSpec) -> Result<(), SqsError> {
        let mut attributes = HashMap::from([
            ("VisibilityTimeout".to_owned(), queue.visibility_timeout.as_secs().to_string()),
            ("MessageRetentionPeriod".to_owned(), queue.retention.as_secs().to_string()),
        ]);
        if queue.name.ends_with(".fifo") {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        if let Some(redrive) = &queue.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": self.arn(&redrive.dead_letter_queue),
                "maxReceiveCount": redrive.receive_count_max,
            });
            attributes.insert("RedrivePolicy".to_owned(), policy.to_string());
        }
        let input = CreateQueueInput { queue_name: queue.name.clone(), attributes, ..Default::default() };
        self.provider.create_queue(input).await.map(|_| ())
    }

    /// Receives for an event source mapping: at most [`BATCH_MAX`] messages, waiting at most [`WAIT_SECONDS_MAX`].
    ///
    /// Run it to its end: a receive that is dropped may have taken messages, which are then invisible for their
    /// timeout.
    pub(crate) async fn receive(
        &self,
        queue_url: &str,
        messages_max: usize,
        wait_seconds: i32,
    ) -> Result<Vec<Message>, SqsError> {
        let input = ReceiveMessageInput {
            queue_url: queue_url.to_owned(),
            max_number_of_messages: Some(i32::try_from(messages_max.clamp(1, BATCH_MAX)).unwrap_or(1)),
            wait_time_seconds: Some(wait_seconds),
            message_system_attribute_names: vec!["All".to_owned()],
            message_attribute_names: vec!["All".to_owned()],
            ..Default::default()
        };
        let messages = self.provider.receive_message(input).await?.messages;
        self.counts.request(if messages.is_empty() { "SQS.ReceiveMessage.Empty" } else { "SQS.ReceiveMessage" });
        Ok(messages)
    }

    /// Deletes messages by receipt handle, [`BATCH_MAX`] at a time.
    pub(crate) async fn delete(&self, queue_url: &str, receipt_handles: &[&str]) -> Result<(), SqsError> {
        for part in receipt_handles.chunks(BATCH_MAX) {
            let entries = part
                .iter()
                .enumerate()
                .map(|(index, handle)| DeleteMessageBatchRequestEntry {
                    id: index.to_string(),
                    receipt_handle: (*handle).to_owned(),
                })
                .collect();
            self.counts.request("SQS.DeleteMessageBatch");
            self.provider
                .delete_message_batch(DeleteMessageBatchInput { queue_url: queue_url.to_owned(), entries })
                .await?;
        }
        Ok(())
    }

    /// Answers one request; `operation` is what follows `AmazonSQS.` in `X-Amz-Target`.
    pub(crate) async fn answer(&self, operation: &str, body: Bytes) -> Response<Body> {
        let result = match SqsOperation::from_name(operation) {
            Some(known) => {
                self.counts.request(&format!("SQS.{operation}"));
                self.handler.handle_operation(known, body).await
            }
            None => Err(SqsError::unknown_operation(operation)),
        };
        result.unwrap_or_else(|error| error_to_response(&error, &identifier::uuid())).map(Body::new)
    }

    pub(crate) async fn close(&self) {
        self.provider.shutdown_all().await;
    }
}
