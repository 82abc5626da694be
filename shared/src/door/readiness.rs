//! Whether what is needed can be reached.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{Either, join_all, select};

use crate::{
    clock::{Clock, Timestamp},
    secrets::Secrets,
};

/// For how long a look counts: whoever asks without a token cannot make us ask more often.
pub const SEEN_FOR: Duration = Duration::from_secs(10);

/// How long one part may take to answer. They are asked side by side, so this bounds the whole look.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Something without which no run is taken on.
#[async_trait]
pub trait Part: Send + Sync {
    /// Its name, in the answer. Not that of a resource.
    fn name(&self) -> &'static str;

    /// Reaches it.
    ///
    /// # Errors
    /// Why it cannot be reached, for the log.
    async fn reach(&self) -> Result<(), String>;
}

/// A secret that must be there.
pub struct SecretPart {
    /// Where it is.
    pub secrets: Arc<dyn Secrets>,
    /// Its name in the store.
    pub secret: String,
}

#[async_trait]
impl Part for SecretPart {
    fn name(&self) -> &'static str {
        "secrets"
    }

    async fn reach(&self) -> Result<(), String> {
        self.secrets.exists(&self.secret).await.map_err(|error| error.to_string())
    }
}

/// What a look found.
pub type Found = Vec<(&'static str, bool)>;

/// Looks at everything that is needed, at most once in [`SEEN_FOR`].
pub struct Readiness {
    parts: Vec<Arc<dyn Part>>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Option<(Timestamp, Found)>>,
}

impl Readiness {
    /// Of these parts.
    pub fn new(parts: Vec<Arc<dyn Part>>, clock: Arc<dyn Clock>) -> Self {
        Self { parts, clock, seen: Mutex::default() }
    }

    /// Each part, and whether it could be reached in time, as of a few seconds ago.
    pub async fn look(&self) -> Found {
        let now = self.clock.now();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, found)) = seen.filter(|(at, _)| now < *at + SEEN_FOR) {
            return found;
        }
        let looks = self.parts.iter().map(|part| self.reach(part.as_ref(), now + ANSWER_WITHIN));
        let found: Found = join_all(looks).await;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, found.clone()));
        found
    }

    async fn reach(&self, part: &dyn Part, until: Timestamp) -> (&'static str, bool) {
        let problem = match select(part.reach(), self.clock.sleep_until(until)).await {
            Either::Left((Ok(()), _)) => return (part.name(), true),
            Either::Left((Err(problem), _)) => problem,
            Either::Right(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(part = part.name(), problem, "not ready");
        (part.name(), false)
    }
}
