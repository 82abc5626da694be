//! Any operation, once under a key.

use std::{error::Error, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{Begun, IdempotencyRecords, Key, PayloadHash, RecordError, Turn};
use crate::{
    clock::{Clock, Timestamp, before},
    ids::Random,
    retry::Retry,
};

/// The most bytes of a result's JSON. DynamoDB's limit is 400 KB for an item
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const RESULT_BYTES_MAX: usize = 350 * 1024;

/// What [`once`] works with.
#[derive(Clone, Copy)]
pub struct Once<'a> {
    /// Where the records are.
    pub records: &'a dyn IdempotencyRecords,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For the owner's mark.
    pub random: &'a dyn Random,
    /// How long one operation may take. It is dropped then, and somebody else may take over.
    pub time_max: Duration,
    /// How long a result is remembered.
    pub kept_for: Duration,
}

/// What came of an operation that was to be done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done<T> {
    /// It was done now, and that is recorded.
    Now(T),
    /// It had been done, with this result.
    Before(T),
    /// It was done now, but this owner's time had run out and somebody else may have done it too: their record stands.
    Late(T),
}

impl<T> Done<T> {
    /// The result.
    pub fn into_inner(self) -> T {
        match self {
            Done::Now(value) | Done::Before(value) | Done::Late(value) => value,
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum OnceError<E: Error + 'static> {
    /// Somebody else is doing it.
    #[error("the operation is under way until {until} at most")]
    InProgress {
        /// Until when they may at most.
        until: Timestamp,
        /// That long from now.
        wait: Duration,
    },
    /// The key was used for something else.
    #[error("the idempotency key was used for another operation")]
    Mismatch,
    /// It took too long and was dropped; it may have taken effect in part. The key is free for another attempt now.
    #[error("the operation took longer than {}s", .after.as_secs_f64())]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// It failed. The key is free for another attempt.
    #[error("the operation failed")]
    Operation(#[source] E),
    /// It was done, but its result is too large to be remembered. The key stays taken until its time runs out.
    #[error("a result of {bytes} bytes of JSON; at most {RESULT_BYTES_MAX} are kept")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// What is recorded is no such result, or the result has no JSON.
    #[error("the operation's result: {0}")]
    Json(#[source] serde_json::Error),
    /// The records' store failed. The operation may have been done.
    #[error(transparent)]
    Records(#[from] RecordError),
}

impl<E: Error + 'static> OnceError<E> {
    /// Whether asking again may help. Of its own failures the operation knows best: look at the source.
    pub fn retry(&self) -> Retry {
        match self {
            OnceError::InProgress { wait, .. } => Retry::Transient { after: *wait },
            OnceError::TimedOut { .. } => Retry::SOON,
            OnceError::Records(error) => error.retry(),
            OnceError::Mismatch | OnceError::Operation(_) | OnceError::TooLarge { .. } | OnceError::Json(_) => {
                Retry::Terminal
            }
        }
    }
}

impl Once<'_> {
    /// Does `operation` once under `key`, and gives its result again when it is repeated for the same request.
    ///
    /// ```text
    /// A: begin ── started ── operation ── complete ── Done::Now
    /// B: begin ── in progress ──► OnceError::InProgress       C (later): begin ── completed ──► Done::Before
    ///
    /// A: begin ── started ── operation …frozen…                         …thaws ── complete ── not the owner ──► Done::Late
    /// D:                        (A's time is over) begin ── started ── operation ── complete ── Done::Now
    /// ```
    ///
    /// What happens when a process dies within the operation is the operation's own affair: it is done again after
    /// `time_max`, so either it is harmless to repeat or its provider takes the same key.
    ///
    /// ```
    /// # use windlass::{idempotency::{IdempotencyRecords, Key, PayloadHash, once::{Done, Once, OnceError}}, clock::Clock, ids::Random};
    /// # use std::time::Duration;
    /// # async fn example(records: &dyn IdempotencyRecords, clock: &dyn Clock, random: &dyn Random) -> Result<(), Box<dyn std::error::Error>> {
    /// let once = Once { records, clock, random, time_max: Duration::from_secs(10), kept_for: Duration::from_secs(86_400) };
    /// let key = Key::of("invoices", &"acme".parse()?, &"ada".parse()?, "order-17")?;
    /// let invoice = once
    ///     .run(&key, &PayloadHash::of(&serde_json::json!("order-17")), async || Ok::<String, std::io::Error>("invoice 2026-0017".to_owned()))
    ///     .await?;
    /// assert_eq!(invoice.into_inner(), "invoice 2026-0017");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn run<T, E>(
        &self,
        key: &Key,
        hash: &PayloadHash,
        operation: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Done<T>, OnceError<E>>
    where
        T: Serialize + DeserializeOwned,
        E: Error + 'static,
    {
        let turn = self.turn();
        match self.records.begin(key, hash, &turn).await? {
            Begun::Started => {}
            Begun::InProgress { until } => {
                return Err(OnceError::InProgress { until, wait: until.since(turn.now) });
            }
            Begun::Completed { data } => return serde_json::from_str(&data).map(Done::Before).map_err(OnceError::Json),
            Begun::Mismatch => return Err(OnceError::Mismatch),
        }
        let value = match before(self.clock, turn.in_progress_until, operation()).await {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                self.release(key, &turn.owner).await;
                return Err(OnceError::Operation(error));
            }
            None => return Err(OnceError::TimedOut { after: self.time_max }),
        };
        let data = serde_json::to_string(&value).map_err(OnceError::Json)?;
        if data.len() > RESULT_BYTES_MAX {
            return Err(OnceError::TooLarge { bytes: data.len() });
        }
        let expires = self.clock.now() + self.kept_for;
        let owned = self.records.complete(key, &turn.owner, &data, expires).await?;
        Ok(if owned { Done::Now(value) } else { Done::Late(value) })
    }

    fn turn(&self) -> Turn {
        let now = self.clock.now();
        Turn {
            owner: format!("{:032x}", self.random.bits()),
            now,
            in_progress_until: now + self.time_max,
            expires: now + self.kept_for,
        }
    }

    /// Frees the key. When that fails, it is free once this owner's time has run out.
    async fn release(&self, key: &Key, owner: &str) {
        if let Err(error) = self.records.release(key, owner).await {
            tracing::warn!(key = key.as_str(), %error, "an idempotency record was not released");
        }
    }
}

#[cfg(test)]
mod tests;
