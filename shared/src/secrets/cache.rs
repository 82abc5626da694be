//! A secret kept in its parsed form, with a bound on how stale it gets.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::SecretString;

use super::{SecretError, Secrets};
use crate::clock::{Clock, Timestamp};

/// The age from which a new value is asked for, before the old one becomes unusable.
pub const REFRESH_AFTER: Duration = Duration::from_secs(240);

/// The age at which a value is not used any more: a withdrawn key works no longer than this.
pub const STALENESS_MAX: Duration = Duration::from_secs(300);

/// The shortest time between two attempts, so that forged key ids cannot be turned into calls of the store
/// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>).
pub const ATTEMPT_AFTER_MIN: Duration = Duration::from_secs(10);

type Parse<T> = fn(&SecretString) -> Result<T, String>;

/// One secret, parsed, cached and refreshed.
///
/// ```text
/// age      0 ───────────── 4 min ──────────── 5 min ──►
/// get      the cached one   asks anew; if      asks anew; if that
///                           that fails, the    fails, an error
///                           cached one
/// refresh  asks anew, but not within 10 s of the last attempt
/// ```
pub struct SecretCache<T> {
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    name: String,
    parse: Parse<T>,
    slot: Mutex<Slot<T>>,
}

struct Slot<T> {
    cached: Option<(Timestamp, Arc<T>)>,
    attempted: Option<Timestamp>,
}

impl<T> fmt::Debug for SecretCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretCache").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> SecretCache<T> {
    /// A cache of the secret `name`; nothing is fetched yet. What `parse` says of a malformed one must not quote it.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>, name: &str, parse: Parse<T>) -> Self {
        let slot = Mutex::new(Slot { cached: None, attempted: None });
        Self { secrets, clock, name: name.to_owned(), parse, slot }
    }

    /// The secret's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret, at most [`STALENESS_MAX`] old.
    ///
    /// # Errors
    /// When there is none so young and none can be had.
    pub async fn get(&self) -> Result<Arc<T>, SecretError> {
        let now = self.clock.now();
        let cached = self.cached(now);
        match cached {
            Some((fetched, value)) if now.since(fetched) < REFRESH_AFTER || self.has_just_tried(now) => Ok(value),
            Some((_, value)) => Ok(self.fetch(now).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "a secret could not be refreshed; the cached one is used for now");
                value
            })),
            None => self.fetch(now).await,
        }
    }

    /// The secret as it is now, because the cached one does not do; the cached one all the same when the last attempt is less
    /// than [`ATTEMPT_AFTER_MIN`] ago, or when this one fails.
    ///
    /// # Errors
    /// As for [`SecretCache::get`].
    pub async fn refresh(&self) -> Result<Arc<T>, SecretError> {
        let now = self.clock.now();
        match self.cached(now) {
            Some((_, value)) if self.has_just_tried(now) => Ok(value),
            Some((_, value)) => Ok(self.fetch(now).await.unwrap_or(value)),
            None => self.fetch(now).await,
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        self.slot().attempted = Some(now);
        let text = self.secrets.get(&self.name).await?;
        let parsed = (self.parse)(&text);
        let value = parsed.map_err(|problem| SecretError::Malformed { name: self.name.clone(), problem })?;
        let value = Arc::new(value);
        // Its age counts from before it was asked for.
        self.slot().cached = Some((now, Arc::clone(&value)));
        Ok(value)
    }

    fn cached(&self, now: Timestamp) -> Option<(Timestamp, Arc<T>)> {
        let slot = self.slot();
        let (fetched, value) = slot.cached.as_ref()?;
        (now.since(*fetched) < STALENESS_MAX).then(|| (*fetched, Arc::clone(value)))
    }

    fn has_just_tried(&self, now: Timestamp) -> bool {
        self.slot().attempted.is_some_and(|attempted| now.since(attempted) < ATTEMPT_AFTER_MIN)
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        // Nothing panics while it is held; and a slot is whole at every moment.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
