//! The step queue: wake-ups, which carry a run id and nothing that matters, and requests that start a run.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    idempotency::InvalidKey,
    ids::{RunId, Tenant},
    json::{self, ReadError},
    json_bounds::{self, OutOfBounds},
    retry::Retry,
    run::request::{InvalidRequest, RunRequest, Source},
};

/// The most messages of one `SendMessageBatch`
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
pub const BATCH_MESSAGES_MAX: usize = 10;

/// The longest a message can be delayed
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html>).
pub const DELAY_MAX: Duration = Duration::from_secs(900);

/// The longest a message can be hidden
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>).
pub const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 3600);

/// The most bytes of a message we read.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A message on the step queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Look at this run.
    WakeUp {
        /// The run.
        run: RunId,
    },
    /// Take on this request, then work on it. Whoever may send to the queue is trusted to name tenant and actor.
    Start {
        /// Under which a repetition of the message is recognised; 1 to 256 characters.
        idempotency_key: String,
        /// How the request came in: `queue` or `schedule`.
        source: Source,
        /// The request.
        request: RunRequest,
    },
}

/// A message that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// It is too large.
    #[error("a message of {bytes} bytes; at most {MESSAGE_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It has too many values.
    #[error("a message that is too dense: {0}")]
    TooDense(#[from] OutOfBounds),
    /// It is not JSON of the wanted shape.
    #[error("not a step queue message: {0}")]
    Malformed(#[from] ReadError),
    /// It claims to have come over HTTP.
    #[error("a message cannot have the source `http`")]
    WrongSource,
    /// Its key is not one.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// Its request is not acceptable.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
}

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// What makes it not one of ours.
    pub fn parse(body: &str) -> Result<Message, InvalidMessage> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(InvalidMessage::TooLarge { bytes: body.len() });
        }
        json_bounds::check_text(body.as_bytes())?;
        let message: Message = json::read(body)?;
        if let Message::Start { idempotency_key, source, request } = &message {
            if *source == Source::Http {
                return Err(InvalidMessage::WrongSource);
            }
            crate::idempotency::check_client_key(idempotency_key)?;
            request.check_unproven()?;
            request.check()?;
        }
        Ok(message)
    }

    /// The body to send.
    pub fn body(&self) -> String {
        // Nothing in a message can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The queue did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It could not be reached or throttles.
    #[error("the queue is unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses.
    #[error("the queue refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
}

impl QueueError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            QueueError::Unavailable { .. } => Retry::SOON,
            QueueError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// In whose share of the queue a message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// In this tenant's.
    Of(Tenant),
    /// Nobody knows whose message it is: it has a share of its own.
    Nobodys,
}

impl Share {
    /// The name of the share, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Share::Of(tenant) => Some(tenant.as_str()),
            Share::Nobodys => None,
        }
    }
}

impl From<Option<Tenant>> for Share {
    fn from(tenant: Option<Tenant>) -> Self {
        tenant.map_or(Share::Nobodys, Share::Of)
    }
}

/// A run to wake, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleeper {
    /// The run.
    pub run: RunId,
    /// In whose share of the queue the message waits.
    pub tenant: Tenant,
    /// How long the message is held back; longer than [`DELAY_MAX`] counts as that.
    pub delay: Duration,
}

/// Where wake-ups are sent. Losing, doubling or reordering one is harmless.
///
/// Every message waits in its tenant's share of the queue, so that one tenant's backlog does not hold up another's messages: the
/// tenant is the message's group, which makes a standard queue a fair one
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
#[async_trait]
pub trait WakeUps: Send + Sync {
    /// Sends a message into a share, delivered at the earliest after `delay`; a longer one counts as [`DELAY_MAX`].
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError>;

    /// Wakes up to [`BATCH_MESSAGES_MAX`] runs, each at the earliest after its delay; says which could not be sent.
    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError>;
}

/// A message of the step queue as whoever works on it received it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The queue's id of it.
    pub id: String,
    /// With which it can be hidden or deleted, until it is received again.
    pub receipt: String,
    /// What it says.
    pub body: String,
    /// How often it was received, this time included.
    pub receives: u32,
    /// With whose credentials it was sent, as the queue saw it: a role's id and session, or the id of a user or an account
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html>).
    pub sender: String,
    /// Its attribute `traceparent`.
    pub traceparent: Option<String>,
}

/// The step queue as whoever works on its messages sees it.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Up to `limit` messages of those that can be seen now, at most [`BATCH_MESSAGES_MAX`], hidden for `span`, at most
    /// [`VISIBILITY_MAX`]. None does not mean that there are none.
    async fn receive(&self, limit: usize, span: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// Hides the messages with these receipts, at most [`BATCH_MESSAGES_MAX`], each for so long from now; a longer span counts as
    /// [`VISIBILITY_MAX`]. An error says that one of them at least is not hidden.
    async fn hide(&self, receipts: &[(&str, Duration)]) -> Result<(), QueueError>;

    /// Deletes a received message; nothing happens when it is gone, or has been received again since.
    async fn acknowledge(&self, receipt: &str) -> Result<(), QueueError>;
}

/// A message that the queue gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMessage {
    /// The queue's id of it.
    pub id: String,
    /// What it says.
    pub body: String,
    /// When it was first sent, milliseconds since 1970; zero when the queue does not say.
    pub sent_millis: i64,
    /// How often it was received.
    pub receive_count: u32,
    /// With which it can be deleted or released, for a short time.
    pub receipt: String,
}

/// The step queue's dead-letter queue.
#[async_trait]
pub trait DeadMessages: Send + Sync {
    /// Receives up to `limit` messages and hides them for `hide`.
    async fn receive(&self, limit: usize, hide: Duration) -> Result<Vec<DeadMessage>, QueueError>;
    /// Shows a received message again at once.
    async fn release(&self, receipt: &str) -> Result<(), QueueError>;
    /// Deletes a received message.
    async fn delete(&self, receipt: &str) -> Result<(), QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = Message::WakeUp { run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id") };
        assert_eq!(Message::parse(&message.body()).expect("it was just written"), message);
    }

    #[test]
    fn what_is_not_ours_is_said_to_be_so() {
        let start = |source: &str, key: &str, tenant: &str| {
            format!(
                r#"{{"type":"start","idempotency_key":"{key}","source":"{source}",
                "request":{{"tenant":"{tenant}","actor":"ada","task":"refund","payload":{{}}}}}}"#
            )
        };
        assert!(Message::parse(&start("queue", "k", "acme")).is_ok());
        for (body, says) in [
            (String::new(), "EOF"),
            ("[]".to_owned(), "not a step queue message"),
            ("hello".to_owned(), "expected value"),
            (r#"{"type":"wake_up"}"#.to_owned(), "missing field `run`"),
            (r#"{"type":"wake_up","run":"../x"}"#.to_owned(), "not a run id"),
            (r#"{"type":"wake_up","run":"01JHD7Z3ZK8V6N5Q4R3S2T1W0X","x":1}"#.to_owned(), "unknown field"),
            (r#"{"type":"other"}"#.to_owned(), "unknown variant"),
            (start("http", "k", "acme"), "source `http`"),
            (
                start("queue", "k", "acme").replace("\"payload\"", "\"roles\":[\"finance\"],\"payload\""),
                "cannot name roles",
            ),
            (start("queue", "", "acme"), "idempotency key"),
            (start("queue", "k", "ac#me"), "not a tenant"),
            (" ".repeat(MESSAGE_BYTES_MAX + 1), "at most"),
        ] {
            let error = Message::parse(&body).expect_err("it is not ours").to_string();
            assert!(error.contains(says), "{body}: {error}");
        }
    }
}
