//! SQS: queues in memory. The `rustack-sqs` crates keep the queues and their attributes, and FIFO queues with their messages; the
//! messages of standard queues are our own, since those crates refuse message groups there, and groups are what makes a queue fair.
//!
//! Known differences: messages do not survive a restart, the retention period is not enforced, and there is no move task.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::Response,
};
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_http::{
    dispatch::SqsHandler as _,
    response::{error_to_response, json_response},
};
use rustack_sqs_model::{
    error::SqsError,
    input::{
        ChangeMessageVisibilityBatchInput, ChangeMessageVisibilityInput, CreateQueueInput, DeleteMessageBatchInput,
        DeleteMessageInput, GetQueueAttributesInput, PurgeQueueInput, ReceiveMessageInput,
    },
    operations::SqsOperation,
    output::{ChangeMessageVisibilityBatchOutput, DeleteMessageBatchOutput, ReceiveMessageOutput},
    types::{
        ChangeMessageVisibilityBatchResultEntry, DeleteMessageBatchRequestEntry, DeleteMessageBatchResultEntry, Message,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    identifier,
    meter::Counts,
    spec::{Order, QueueSpec},
};

mod shelf;
mod standard;

use standard::{Settings, Standard, asked_for, check_ids, failed};

/// Messages in one `ReceiveMessage` or `DeleteMessageBatch`.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(crate) const BATCH_MAX: usize = 10;

/// The longest long poll.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
pub(crate) const WAIT_SECONDS_MAX: i32 = 20;

/// The end of a FIFO queue's name.
const FIFO: &str = ".fifo";

/// The queues of one stack.
pub(crate) struct Queues {
    provider: Arc<RustackSqs>,
    handler: RustackSqsHandler,
    /// The messages of standard queues, by the queue's name.
    standard: Mutex<HashMap<String, Arc<Standard>>>,
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
            standard: Mutex::default(),
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
        if queue.name.ends_with(FIFO) {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        if let Some(redrive) = &queue.redrive {
            let policy = json!({
                "deadLetterTargetArn": self.arn(&redrive.dead_letter_queue),
                "maxReceiveCount": redrive.receive_count_max,
            });
            attributes.insert("RedrivePolicy".to_owned(), policy.to_string());
        }
        let input = CreateQueueInput { queue_name: queue.name.clone(), attributes, ..Default::default() };
        self.provider.create_queue(input).await?;
        self.of_name(&queue.name, queue.order);
        Ok(())
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
        let messages = match is_fifo(queue_url) {
            true => self.provider.receive_message(input).await?.messages,
            false => self.receive_standard(&input).await?.messages,
        };
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
            let input = DeleteMessageBatchInput { queue_url: queue_url.to_owned(), entries };
            match is_fifo(queue_url) {
                true => drop(self.provider.delete_message_batch(input).await?),
                false => drop(self.delete_batch(&input)?),
            }
        }
        Ok(())
    }

    /// Answers one request; `operation` is what follows `AmazonSQS.` in `X-Amz-Target`.
    pub(crate) async fn answer(&self, operation: &str, body: Bytes) -> Response<Body> {
        let result = match SqsOperation::from_name(operation) {
            Some(known) => {
                self.counts.request(&format!("SQS.{operation}"));
                let of_standard = serde_json::from_slice::<Value>(&body).ok();
                let of_standard = of_standard.as_ref().and_then(|body| body["QueueUrl"].as_str());
                match self.answer_standard(known, &body, of_standard.filter(|url| !is_fifo(url))).await {
                    Some(Ok(output)) => Ok(json_response(output, &identifier::uuid())),
                    Some(Err(error)) => Err(error),
                    None => self.handler.handle_operation(known, body).await,
                }
            }
            None => Err(SqsError::unknown_operation(operation)),
        };
        result.unwrap_or_else(|error| error_to_response(&error, &identifier::uuid())).map(Body::new)
    }

    /// Answers what concerns the messages of a standard queue; `None` for everything else.
    async fn answer_standard(
        &self,
        operation: SqsOperation,
        body: &[u8],
        url: Option<&str>,
    ) -> Option<Result<Vec<u8>, SqsError>> {
        let url = url?;
        Some(match operation {
            SqsOperation::SendMessage => {
                self.with(url, body, |queue, input, settings| queue.send(input, settings)).await
            }
            SqsOperation::SendMessageBatch => {
                self.with(url, body, |queue, input, settings| queue.send_batch(input, settings)).await
            }
            SqsOperation::ReceiveMessage => match read::<ReceiveMessageInput>(body) {
                Ok(input) => self.receive_standard(&input).await.and_then(|output| write(&output)),
                Err(error) => Err(error),
            },
            SqsOperation::DeleteMessage => {
                let delete = |queue: &Standard, input: DeleteMessageInput, _: &Settings| {
                    queue.delete(&input.receipt_handle);
                    Ok(json!({}))
                };
                self.with(url, body, delete).await
            }
            SqsOperation::DeleteMessageBatch => {
                let delete = |_: &Standard, input: DeleteMessageBatchInput, _: &Settings| self.delete_batch(&input);
                self.with(url, body, delete).await
            }
            SqsOperation::ChangeMessageVisibility => {
                let hide = |queue: &Standard, input: ChangeMessageVisibilityInput, _: &Settings| {
                    queue.hide(&input.receipt_handle, input.visibility_timeout).map(|()| json!({}))
                };
                self.with(url, body, hide).await
            }
            SqsOperation::ChangeMessageVisibilityBatch => {
                self.with(url, body, |queue, input, _| hide_batch(queue, input)).await
            }
            SqsOperation::GetQueueAttributes => match read::<GetQueueAttributesInput>(body) {
                Ok(input) => self.attributes(input).await,
                Err(error) => Err(error),
            },
            SqsOperation::PurgeQueue => {
                let input = PurgeQueueInput { queue_url: url.to_owned() };
                let purged = self.provider.purge_queue(input).await;
                purged.map(|_| self.of_url(url).purge()).and_then(|()| write(&json!({})))
            }
            _ => return None,
        })
    }

    async fn with<I: DeserializeOwned, O: Serialize>(
        &self,
        url: &str,
        body: &[u8],
        act: impl FnOnce(&Standard, I, &Settings) -> Result<O, SqsError>,
    ) -> Result<Vec<u8>, SqsError> {
        let input = read(body)?;
        let settings = self.settings(url).await?;
        write(&act(&self.of_url(url), input, &settings)?)
    }

    async fn receive_standard(&self, input: &ReceiveMessageInput) -> Result<ReceiveMessageOutput, SqsError> {
        let settings = self.settings(&input.queue_url).await?;
        let (messages, worn) = self.of_url(&input.queue_url).receive(input, &settings).await?;
        if let Some((dead_letters, _)) = &settings.redrive {
            let dead_letters = self.of_name(dead_letters, Order::default());
            for parcel in worn {
                dead_letters.put(parcel.moved(&settings.arn, tokio::time::Instant::now()));
            }
        }
        let messages = messages.into_iter().map(|message| asked_for(message, input)).collect();
        Ok(ReceiveMessageOutput { messages })
    }

    fn delete_batch(&self, input: &DeleteMessageBatchInput) -> Result<DeleteMessageBatchOutput, SqsError> {
        check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
        let queue = self.of_url(&input.queue_url);
        let mut output = DeleteMessageBatchOutput::default();
        for entry in &input.entries {
            queue.delete(&entry.receipt_handle);
            output.successful.push(DeleteMessageBatchResultEntry { id: entry.id.clone() });
        }
        Ok(output)
    }

    async fn attributes(&self, input: GetQueueAttributesInput) -> Result<Vec<u8>, SqsError> {
        let counts = self.of_url(&input.queue_url).counts();
        let mut output = self.provider.get_queue_attributes(input).await?;
        for (name, value) in &mut output.attributes {
            if let Some(count) = counts.get(name) {
                value.clone_from(count);
            }
        }
        write(&output)
    }

    /// What the queue's attributes say.
    async fn settings(&self, url: &str) -> Result<Settings, SqsError> {
        let input = GetQueueAttributesInput { queue_url: url.to_owned(), attribute_names: vec!["All".to_owned()] };
        let attributes = self.provider.get_queue_attributes(input).await?.attributes;
        let text = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        let seconds = |name: &str| Duration::from_secs(text(name).parse().unwrap_or(0));
        let redrive: Value = serde_json::from_str(text("RedrivePolicy")).unwrap_or_default();
        let dead_letters = redrive["deadLetterTargetArn"].as_str().and_then(|arn| arn.rsplit(':').next());
        let receives = &redrive["maxReceiveCount"];
        let receives = receives.as_u64().or_else(|| receives.as_str()?.parse().ok());
        Ok(Settings {
            arn: text("QueueArn").to_owned(),
            delay: seconds("DelaySeconds"),
            visibility: seconds("VisibilityTimeout"),
            wait_seconds: text("ReceiveMessageWaitTimeSeconds").parse().unwrap_or(0),
            redrive: dead_letters.map(ToOwned::to_owned).zip(receives.and_then(|most| u32::try_from(most).ok())),
        })
    }

    fn of_url(&self, url: &str) -> Arc<Standard> {
        self.of_name(url.rsplit('/').next().unwrap_or_default(), Order::default())
    }

    fn of_name(&self, name: &str, order: Order) -> Arc<Standard> {
        let mut standard = self.standard.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = standard.entry(name.to_owned()).or_insert_with(|| Arc::new(Standard::new(order)));
        Arc::clone(queue)
    }

    pub(crate) async fn close(&self) {
        self.provider.shutdown_all().await;
    }
}

fn hide_batch(
    queue: &Standard,
    input: ChangeMessageVisibilityBatchInput,
) -> Result<ChangeMessageVisibilityBatchOutput, SqsError> {
    check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let mut output = ChangeMessageVisibilityBatchOutput::default();
    for entry in input.entries {
        match queue.hide(&entry.receipt_handle, entry.visibility_timeout) {
            Ok(()) => output.successful.push(ChangeMessageVisibilityBatchResultEntry { id: entry.id }),
            Err(error) => output.failed.push(failed(entry.id, error)),
        }
    }
    Ok(output)
}

fn is_fifo(url: &str) -> bool {
    url.ends_with(FIFO)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(body).map_err(|error| match error.to_string() {
        text if text.contains("missing field") => SqsError::missing_parameter(text),
        text => SqsError::invalid_parameter_value(text),
    })
}

fn write(output: &impl Serialize) -> Result<Vec<u8>, SqsError> {
    serde_json::to_vec(output).map_err(|error| SqsError::internal_error(error.to_string()))
}
