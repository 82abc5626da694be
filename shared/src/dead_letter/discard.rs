//! Deletes a message that is not ours. What it said goes into the audit trail first.

use super::{
    PlanError,
    audit::{Action, Trail},
    list,
};
use crate::{
    queue::{DeadMessage, DeadMessages, Message, QueueError},
    retry::Retry,
};

/// A message was not discarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscardError {
    /// The key does not name a message.
    #[error("`{key}` does not name a message (`message/…`)")]
    NotAMessage {
        /// The key.
        key: String,
    },
    /// It is not on the queue, or somebody else is looking at it.
    #[error("no message `{key}` can be seen on the dead-letter queue")]
    Missing {
        /// The key.
        key: String,
    },
    /// It is one of ours.
    #[error("`{key}` is a message of ours; it can be replayed")]
    Ours {
        /// The key.
        key: String,
    },
    /// The queue did not do as asked.
    #[error("the dead-letter queue: {0}")]
    Queue(#[from] QueueError),
    /// The audit record could not be kept; nothing was deleted.
    #[error(transparent)]
    Audit(#[from] PlanError),
}

impl DiscardError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            DiscardError::Queue(error) => error.retry(),
            DiscardError::Audit(error) => error.retry(),
            DiscardError::Missing { .. } => Retry::SOON,
            DiscardError::NotAMessage { .. } | DiscardError::Ours { .. } => Retry::Terminal,
        }
    }
}

/// Discards the foreign message `key` and returns its body.
///
/// # Errors
/// When there is no such message, it is one of ours, or it could not be recorded or deleted.
pub async fn discard(
    messages: &dyn DeadMessages,
    trail: Trail<'_>,
    key: &str,
    reason: &str,
) -> Result<String, DiscardError> {
    let Some(id) = key.strip_prefix("message/") else {
        return Err(DiscardError::NotAMessage { key: key.to_owned() });
    };
    let (held, outcome) = list::hold(messages, list::HIDE_FOR).await;
    let result = match held.iter().find(|message| message.id == id) {
        Some(message) if Message::parse(&message.body).is_ok() => Err(DiscardError::Ours { key: key.to_owned() }),
        Some(message) => record_and_delete(messages, trail, message, key, reason).await,
        None => match outcome {
            Ok(_) => Err(DiscardError::Missing { key: key.to_owned() }),
            Err(error) => Err(error.into()),
        },
    };
    let deleted = result.is_ok();
    list::release(messages, held.iter().filter(|message| !(deleted && message.id == id))).await;
    result
}

async fn record_and_delete(
    messages: &dyn DeadMessages,
    trail: Trail<'_>,
    message: &DeadMessage,
    key: &str,
    reason: &str,
) -> Result<String, DiscardError> {
    trail.note(Action::Discard, key, &format!("{reason}; it said: {}", message.body)).await?;
    messages.delete(&message.receipt).await?;
    Ok(message.body.clone())
}
