//! What a standard queue does with messages. Its attributes are kept elsewhere, and asked for each time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustack_sqs_model::{
    error::{SqsError, SqsErrorCode},
    input::{ReceiveMessageInput, SendMessageBatchInput, SendMessageInput},
    output::{SendMessageBatchOutput, SendMessageOutput},
    types::{BatchResultErrorEntry, Message, SendMessageBatchResultEntry},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    BATCH_MAX, WAIT_SECONDS_MAX,
    shelf::{Parcel, Shelf, Terms},
};
use crate::spec::Order;

/// The largest message, and the largest batch of them.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The longest delay, and the longest time for which a message is hidden, in seconds; the same page.
const DELAY_MAX: i32 = 900;
const VISIBILITY_MAX: i32 = 43_200;

/// The most characters of a message's group.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const GROUP_CHARS_MAX: usize = 128;

/// The queue's attributes, as far as messages depend on them.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) arn: String,
    pub(super) delay: Duration,
    pub(super) visibility: Duration,
    pub(super) wait_seconds: i32,
    /// The dead-letter queue's name, and how often a message is received before it goes there.
    pub(super) redrive: Option<(String, u32)>,
}

/// One standard queue's messages.
#[derive(Debug)]
pub(super) struct Standard {
    order: Order,
    shelf: Mutex<Shelf>,
    arrived: Notify,
}

impl Standard {
    pub(super) fn new(order: Order) -> Self {
        Self { order, shelf: Mutex::default(), arrived: Notify::new() }
    }

    pub(super) fn send(&self, input: SendMessageInput, settings: &Settings) -> Result<SendMessageOutput, SqsError> {
        if input.message_body.is_empty() {
            return Err(SqsError::missing_parameter("The request must contain the parameter MessageBody."));
        }
        if input.message_body.len() > MESSAGE_BYTES_MAX {
            return Err(SqsError::invalid_parameter_value(
                "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
            ));
        }
        let printable = |group: &String| {
            (1..=GROUP_CHARS_MAX).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !input.message_group_id.as_ref().is_none_or(printable) {
            return Err(SqsError::invalid_parameter_value(
                "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.",
            ));
        }
        if input.message_deduplication_id.is_some() {
            return Err(SqsError::invalid_parameter_value(
                "The request include parameter that is not valid for this queue type.",
            ));
        }
        let delay = input.delay_seconds.map(|seconds| within(seconds, DELAY_MAX, "DelaySeconds")).transpose()?;
        let trace = input.message_system_attributes.get("AWSTraceHeader").and_then(|trace| trace.string_value.clone());
        let visible_from = Instant::now() + delay.unwrap_or(settings.delay);
        let attributes = input.message_attributes;
        let parcel = Parcel::new(input.message_body, attributes, trace, input.message_group_id, visible_from);
        let output = SendMessageOutput {
            message_id: Some(parcel.id()),
            md5_of_message_body: Some(parcel.md5_of_body()),
            md5_of_message_attributes: parcel.md5_of_attributes(),
            ..Default::default()
        };
        self.put(parcel);
        Ok(output)
    }

    pub(super) fn send_batch(
        &self,
        input: SendMessageBatchInput,
        settings: &Settings,
    ) -> Result<SendMessageBatchOutput, SqsError> {
        check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
        let mut output = SendMessageBatchOutput::default();
        for entry in input.entries {
            let one = SendMessageInput {
                queue_url: input.queue_url.clone(),
                message_body: entry.message_body,
                delay_seconds: entry.delay_seconds,
                message_deduplication_id: entry.message_deduplication_id,
                message_group_id: entry.message_group_id,
                message_attributes: entry.message_attributes,
                message_system_attributes: entry.message_system_attributes,
            };
            match self.send(one, settings) {
                Ok(sent) => output.successful.push(SendMessageBatchResultEntry {
                    id: entry.id,
                    message_id: sent.message_id.unwrap_or_default(),
                    md5_of_message_body: sent.md5_of_message_body.unwrap_or_default(),
                    md5_of_message_attributes: sent.md5_of_message_attributes,
                    sequence_number: None,
                }),
                Err(error) => output.failed.push(failed(entry.id, error)),
            }
        }
        Ok(output)
    }

    /// Receives, waiting for a first message as long as was asked for; and what was received too often.
    ///
    /// Run it to its end: a receive that is dropped may have taken messages.
    pub(super) async fn receive(
        &self,
        input: &ReceiveMessageInput,
        settings: &Settings,
    ) -> Result<(Vec<Message>, Vec<Parcel>), SqsError> {
        let most = i32::try_from(BATCH_MAX).unwrap_or(1);
        let limit = input.max_number_of_messages.unwrap_or(1);
        if !(1..=most).contains(&limit) {
            return Err(SqsError::invalid_parameter_value(format!(
                "Value {limit} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."
            )));
        }
        let hidden = input.visibility_timeout.map(|seconds| within(seconds, VISIBILITY_MAX, "VisibilityTimeout"));
        let wait =
            within(input.wait_time_seconds.unwrap_or(settings.wait_seconds), WAIT_SECONDS_MAX, "WaitTimeSeconds")?;
        let terms = Terms {
            limit: usize::try_from(limit).unwrap_or(1),
            hidden_for: hidden.transpose()?.unwrap_or(settings.visibility),
            receives_max: settings.redrive.as_ref().map(|(_, receives)| *receives),
            order: self.order,
        };
        let until = Instant::now() + wait;
        let mut all_worn = Vec::new();
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            let now = Instant::now();
            let (taken, next) = {
                let mut shelf = self.shelf();
                (shelf.take(now, terms), shelf.next_visible(now))
            };
            all_worn.extend(taken.worn);
            if !taken.messages.is_empty() || !all_worn.is_empty() || now >= until {
                return Ok((taken.messages, all_worn));
            }
            // Whichever comes first: a message that is sent or put back, one that can be seen by itself, or the end of the wait.
            let _ = tokio::time::timeout_at(next.map_or(until, |next| next.min(until)), arrived).await;
        }
    }

    pub(super) fn put(&self, parcel: Parcel) {
        self.shelf().put(parcel);
        self.arrived.notify_waiters();
    }

    pub(super) fn delete(&self, handle: &str) {
        self.shelf().remove(handle, Instant::now());
    }

    pub(super) fn hide(&self, handle: &str, seconds: i32) -> Result<(), SqsError> {
        let span = within(seconds, VISIBILITY_MAX, "VisibilityTimeout")?;
        let now = Instant::now();
        if !self.shelf().hide(handle, now + span, now) {
            let message = "Message does not exist or is not available for visibility timeout change.";
            return Err(SqsError::new(SqsErrorCode::MessageNotInflight, message));
        }
        self.arrived.notify_waiters();
        Ok(())
    }

    pub(super) fn purge(&self) {
        self.shelf().purge();
    }

    /// The attributes that count messages.
    pub(super) fn counts(&self) -> HashMap<String, String> {
        let [visible, in_flight, delayed] = self.shelf().counts(Instant::now());
        let counts = [("", visible), ("NotVisible", in_flight), ("Delayed", delayed)];
        counts.map(|(which, count)| (format!("ApproximateNumberOfMessages{which}"), count.to_string())).into()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was asked for of a message that is received, and no more.
pub(super) fn asked_for(mut message: Message, input: &ReceiveMessageInput) -> Message {
    let system: Vec<&String> = input.attribute_names.iter().chain(&input.message_system_attribute_names).collect();
    let wants =
        |names: &[&String], name: &String| names.iter().any(|one| *one == "All" || *one == ".*" || *one == name);
    message.attributes.retain(|name, _| wants(&system, name));
    let own: Vec<&String> = input.message_attribute_names.iter().collect();
    message.message_attributes.retain(|name, _| wants(&own, name));
    if message.message_attributes.is_empty() {
        message.md5_of_message_attributes = None;
    }
    message
}

pub(super) fn failed(id: String, error: SqsError) -> BatchResultErrorEntry {
    BatchResultErrorEntry {
        id,
        sender_fault: error.code.is_sender_fault(),
        code: error.code.error_type().to_owned(),
        message: Some(error.message),
    }
}

/// Whether these can be the ids of one batch.
pub(super) fn check_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), SqsError> {
    let ids: Vec<&str> = ids.collect();
    match ids.len() {
        0 => return Err(SqsError::empty_batch_request()),
        count if count > BATCH_MAX => return Err(SqsError::too_many_entries_in_batch()),
        _ => {}
    }
    if ids.iter().collect::<HashSet<_>>().len() < ids.len() {
        return Err(SqsError::batch_entry_ids_not_distinct());
    }
    let sound = |id: &&str| {
        (1..=80).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match ids.iter().all(sound) {
        true => Ok(()),
        false => Err(SqsError::new(
            SqsErrorCode::InvalidBatchEntryId,
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        )),
    }
}

fn within(seconds: i32, most: i32, name: &str) -> Result<Duration, SqsError> {
    if !(0..=most).contains(&seconds) {
        let message = format!("Value {seconds} for parameter {name} is invalid. Reason: Must be between 0 and {most}.");
        return Err(SqsError::invalid_parameter_value(message));
    }
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
