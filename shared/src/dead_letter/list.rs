//! What is dead now: messages on the dead-letter queue, looked at and left there, and runs in trouble.

use std::{collections::BTreeMap, time::Duration};

use super::{
    BODY_SHOWN_CHARS, DeadLetter, Origin, cause,
    keys::{Keys, Repetition},
};
use crate::{
    clock::Timestamp,
    journal::{Heads, JournalError, Listing},
    queue::{BATCH_MESSAGES_MAX, DeadMessage, DeadMessages, QueueError},
    redaction::Redaction,
    retry::Retry,
    run::tasks::Tasks,
};

/// The most messages looked at in one listing: it costs a request for each ten, and a release for each.
pub const MESSAGES_MAX: usize = 200;

/// Runs of a listing, unless said otherwise.
pub const RUNS_DEFAULT: usize = 500;

/// The most runs of one listing: as many as a plan takes. It costs two read units for each.
pub const RUNS_MAX: usize = super::PLAN_ITEMS_MAX;

/// How long a message is hidden while it is looked at. A second operator who looks meanwhile does not see it; it comes back by
/// itself should the first one die.
pub const HIDE_FOR: Duration = Duration::from_secs(20);

/// What is dead now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Newest first.
    pub letters: Vec<DeadLetter>,
    /// Whether there may be more than is listed.
    pub more: bool,
}

/// The dead letters could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The dead-letter queue did not do as asked.
    #[error("the dead-letter queue: {0}")]
    Queue(#[from] QueueError),
    /// The heads did not.
    #[error(transparent)]
    Heads(#[from] JournalError),
}

impl ListError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            ListError::Queue(error) => error.retry(),
            ListError::Heads(error) => error.retry(),
        }
    }
}

/// Lists the dead letters: up to [`MESSAGES_MAX`] messages and `runs_max` runs.
///
/// # Errors
/// When the queue, the heads or the records of keys cannot be read. Messages already looked at are released.
pub async fn list(
    messages: &dyn DeadMessages,
    heads: &dyn Heads,
    keys: Keys<'_>,
    runs_max: usize,
) -> Result<Dead, ListError> {
    let runs_max = runs_max.min(RUNS_MAX);
    let runs = heads.list(&Listing::Troubled, runs_max).await?;
    let (peeked, more_messages) = peek(messages).await?;
    let more = more_messages || runs.len() >= runs_max;
    let mut letters = Vec::with_capacity(peeked.len() + runs.len());
    for message in &peeked {
        letters.push(of_message(message, keys.repetition(message).await?, keys.tasks));
    }
    letters.extend(runs.iter().filter_map(|head| {
        let cause = cause::of_head(head)?;
        let fingerprint = match &head.status {
            crate::journal::HeadStatus::Dead { fingerprint, .. } => fingerprint.clone(),
            _ => cause::fingerprint(&cause.text),
        };
        let origin = Origin::Run { run: head.run, release: head.release.to_string() };
        Some(DeadLetter {
            origin,
            cause: shown(&cause.text),
            fingerprint,
            at: head.created,
            replayable: cause.replayable,
        })
    }));
    letters.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.origin.key().cmp(&b.origin.key())));
    Ok(Dead { letters, more })
}

fn of_message(message: &DeadMessage, repetition: Repetition, tasks: &Tasks) -> DeadLetter {
    let cause = cause::of_message(message, tasks);
    // What is cut off may be what says that the rest must not be shown: redacted first.
    let body = shown(&message.body).chars().take(BODY_SHOWN_CHARS).collect();
    DeadLetter {
        origin: Origin::Message { id: message.id.clone(), body, receive_count: message.receive_count, repetition },
        fingerprint: cause::fingerprint(&cause.text),
        cause: shown(&cause.text),
        at: Timestamp::from_millis(message.sent_millis),
        replayable: cause.replayable,
    }
}

/// A text without credentials and personal data: what is listed ends up in tickets and chats.
fn shown(text: &str) -> String {
    Redaction::STRICT.text(text).into_owned()
}

/// Looks at up to [`MESSAGES_MAX`] messages and puts every one back; whether there may be more.
async fn peek(messages: &dyn DeadMessages) -> Result<(Vec<DeadMessage>, bool), QueueError> {
    let (held, outcome) = hold(messages, HIDE_FOR).await;
    release(messages, &held).await;
    let more = outcome?;
    Ok((held, more))
}

/// Receives up to [`MESSAGES_MAX`] messages, hidden for `hide`: what was received, also when a later receive failed, and whether
/// there may be more.
pub(super) async fn hold(messages: &dyn DeadMessages, hide: Duration) -> (Vec<DeadMessage>, Result<bool, QueueError>) {
    // A standard queue can hand out a message twice; the later receipt is the one that counts.
    let mut held: BTreeMap<String, DeadMessage> = BTreeMap::new();
    for _ in 0..MESSAGES_MAX.div_ceil(BATCH_MESSAGES_MAX) * 2 {
        let wanted = (MESSAGES_MAX - held.len()).min(BATCH_MESSAGES_MAX);
        if wanted == 0 {
            return (held.into_values().collect(), Ok(true));
        }
        match messages.receive(wanted, hide).await {
            Ok(batch) => {
                let emptied = batch.len() < wanted;
                held.extend(batch.into_iter().map(|message| (message.id.clone(), message)));
                if emptied {
                    return (held.into_values().collect(), Ok(false));
                }
            }
            Err(error) => return (held.into_values().collect(), Err(error)),
        }
    }
    (held.into_values().collect(), Ok(true))
}

/// Shows held messages again. One that cannot be released comes back by itself when its time is over.
pub(super) async fn release<'a>(messages: &dyn DeadMessages, held: impl IntoIterator<Item = &'a DeadMessage>) {
    for message in held {
        if let Err(error) = messages.release(&message.receipt).await {
            tracing::warn!(message = message.id, %error, "a dead letter stays hidden for a moment");
        }
    }
}
