//! The step queue and its dead-letter queue on SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry,
    },
};

use super::errors::Fault;
use crate::{
    door::rate::Backlog,
    ids::RunId,
    queue::{
        BATCH_MESSAGES_MAX, DELAY_MAX, DeadMessage, DeadMessages, Deliveries, Delivery, Message, QueueError, Share,
        Sleeper, VISIBILITY_MAX, WakeUps,
    },
};

/// How long a receive waits for a message. Any wait asks all of SQS's servers, no wait only some
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const RECEIVE_WAIT: Duration = Duration::from_secs(1);

/// The step queue.
#[derive(Clone)]
pub struct StepQueue {
    client: Client,
    url: String,
}

impl StepQueue {
    /// The queue at this URL.
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    async fn wake(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        let mut request = self.client.send_message_batch().queue_url(&self.url);
        for (index, Sleeper { run, tenant, delay }) in sleepers.iter().enumerate() {
            let body = Message::WakeUp { run: *run }.body();
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
            let entry = entry.delay_seconds(whole_seconds((*delay).min(DELAY_MAX)));
            request = request.entries(entry.message_group_id(tenant.as_str()).build().map_err(Fault::refused)?);
        }
        let answer = request.send().await.map_err(|error| Fault::of("SendMessageBatch", &error))?;
        let failed = answer.failed.iter().filter_map(|failed| sleepers.get(failed.id.parse::<usize>().ok()?));
        Ok(failed.map(|sleeper| sleeper.run).collect())
    }
}

#[async_trait]
impl Backlog for StepQueue {
    async fn waiting(&self) -> Result<u64, QueueError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = request.send().await.map_err(|error| Fault::of("GetQueueAttributes", &error))?;
        let count = answer.attributes.and_then(|attributes| attributes.get(&name)?.parse().ok());
        count.ok_or_else(|| QueueError::Refused { message: "GetQueueAttributes: an answer without a count".to_owned() })
    }
}

#[async_trait]
impl WakeUps for StepQueue {
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError> {
        let request = self.client.send_message().queue_url(&self.url).message_body(message.body());
        // A tenant's name is a group's: at most 128 letters, digits and punctuation
        // (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
        let request = request.set_message_group_id(share.name().map(ToOwned::to_owned));
        let sent = request.delay_seconds(whole_seconds(delay.min(DELAY_MAX))).send().await;
        sent.map(|_| ()).map_err(|error| Fault::of("SendMessage", &error).into())
    }

    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        let mut failed = Vec::new();
        for some in sleepers.chunks(BATCH_MESSAGES_MAX) {
            failed.extend(self.wake(some).await?);
        }
        Ok(failed)
    }
}

#[async_trait]
impl Deliveries for StepQueue {
    /// Does not wait: somebody's place is free meanwhile.
    async fn receive(&self, limit: usize, span: Duration) -> Result<Vec<Delivery>, QueueError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(limit.min(BATCH_MESSAGES_MAX)).unwrap_or(1))
            .visibility_timeout(whole_seconds(span.min(VISIBILITY_MAX)))
            .wait_time_seconds(0)
            .message_system_attribute_names(MessageSystemAttributeName::SenderId)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_attribute_names(TRACEPARENT);
        let answer = request.send().await.map_err(|error| Fault::of("ReceiveMessage", &error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(delivery).collect())
    }

    async fn hide(&self, receipts: &[(&str, Duration)]) -> Result<(), QueueError> {
        let mut request = self.client.change_message_visibility_batch().queue_url(&self.url);
        for (index, (receipt, span)) in receipts.iter().enumerate() {
            let entry =
                ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string()).receipt_handle(*receipt);
            let entry = entry.visibility_timeout(whole_seconds((*span).min(VISIBILITY_MAX)));
            request = request.entries(entry.build().map_err(Fault::refused)?);
        }
        let answer = request.send().await.map_err(|error| Fault::of("ChangeMessageVisibilityBatch", &error))?;
        match answer.failed.into_iter().next() {
            None => Ok(()),
            Some(failed) => {
                let message = format!("ChangeMessageVisibilityBatch: {}", failed.message.unwrap_or(failed.code));
                Err(QueueError::Refused { message })
            }
        }
    }

    async fn acknowledge(&self, receipt: &str) -> Result<(), QueueError> {
        delete(&self.client, &self.url, receipt).await
    }
}

/// The step queue's dead-letter queue.
#[derive(Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

impl DeadLetterQueue {
    /// The queue at this URL.
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    async fn receive_some(&self, limit: usize, hide: Duration) -> Result<Vec<DeadMessage>, QueueError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(limit.min(BATCH_MESSAGES_MAX)).unwrap_or(1))
            .visibility_timeout(whole_seconds(hide.min(VISIBILITY_MAX)))
            .wait_time_seconds(whole_seconds(RECEIVE_WAIT))
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = request.send().await.map_err(|error| Fault::of("ReceiveMessage", &error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(dead_message).collect())
    }
}

#[async_trait]
impl DeadMessages for DeadLetterQueue {
    async fn receive(&self, limit: usize, hide: Duration) -> Result<Vec<DeadMessage>, QueueError> {
        let mut received: Vec<DeadMessage> = Vec::new();
        while received.len() < limit {
            let some = self.receive_some(limit - received.len(), hide).await?;
            if some.is_empty() {
                break;
            }
            received.extend(some);
        }
        Ok(received)
    }

    async fn release(&self, receipt: &str) -> Result<(), QueueError> {
        set_visibility(&self.client, &self.url, receipt, Duration::ZERO).await
    }

    async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        delete(&self.client, &self.url, receipt).await
    }
}

/// The URL of the queue of that name, in the account and region of the client.
///
/// # Errors
/// When there is no such queue, or SQS does not say.
pub async fn queue_url(client: &Client, name: &str) -> Result<String, QueueError> {
    let answer = client.get_queue_url().queue_name(name).send().await;
    let url = answer.map_err(|error| Fault::of(&format!("GetQueueUrl `{name}`"), &error))?.queue_url;
    url.ok_or_else(|| QueueError::Refused { message: format!("GetQueueUrl `{name}`: an answer without a URL") })
}

async fn set_visibility(client: &Client, url: &str, receipt: &str, span: Duration) -> Result<(), QueueError> {
    let request = client.change_message_visibility().queue_url(url).receipt_handle(receipt);
    let sent = request.visibility_timeout(whole_seconds(span.min(VISIBILITY_MAX))).send().await;
    sent.map(|_| ()).map_err(|error| Fault::of("ChangeMessageVisibility", &error).into())
}

async fn delete(client: &Client, url: &str, receipt: &str) -> Result<(), QueueError> {
    let sent = client.delete_message().queue_url(url).receipt_handle(receipt).send().await;
    sent.map(|_| ()).map_err(|error| Fault::of("DeleteMessage", &error).into())
}

/// The message attribute that carries its sender's trace.
const TRACEPARENT: &str = "traceparent";

fn delivery(message: aws_sdk_sqs::types::Message) -> Delivery {
    let attribute = |name| message.attributes.as_ref()?.get(&name).cloned();
    let traceparent = message.message_attributes.as_ref().and_then(|sent| sent.get(TRACEPARENT)?.string_value.clone());
    let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    Delivery {
        receives: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
        sender: attribute(MessageSystemAttributeName::SenderId).unwrap_or_default(),
        traceparent,
        id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    }
}

fn dead_message(message: aws_sdk_sqs::types::Message) -> DeadMessage {
    let attribute = |name| message.attributes.as_ref().and_then(|attributes| attributes.get(&name));
    DeadMessage {
        sent_millis: attribute(MessageSystemAttributeName::SentTimestamp).and_then(|at| at.parse().ok()).unwrap_or(0),
        receive_count: attribute(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
    }
}

/// SQS counts in seconds; never less than asked.
fn whole_seconds(span: Duration) -> i32 {
    i32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}
