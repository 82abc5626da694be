//! The door: how much is taken on, from whom.
//!
//! In this order, so that who is turned away costs as little as possible:
//!
//! | check | refusal | costs |
//! |---|---|---|
//! | does far too much wait in the queue? | [`Refusal::Overloaded`] | a look at the queue, once in a few seconds |
//! | have actor and tenant a token each; if too much waits, is it the tenant's? | [`Refusal::Limited`], [`Refusal::Overloaded`] | one write when they have, none when this process knows that not |
//! | does much wait, and is the tenant busy? | [`Refusal::Overloaded`] | nothing |
//!
//! **A repetition is answered.** Whoever is turned away may be repeating a request that was taken on and whose answer was lost. So the
//! key is looked up before the refusal, and a known one is answered with its run ([`Requests`]); it costs a read, and no token when there
//! is none. A refusal has written nothing under the key: the same request can be sent again.
//!
//! **What fails how.** Rate limits fail closed: whoever cannot write a bucket cannot write a run either, and a store that throttles must
//! not be asked for more. The queue's depth fails open: it is a hint.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::{Clock, Timestamp},
    idempotency::{Key, PayloadHash},
    ids::{Actor, Random, Tenant},
    journal::{JournalError, Recorded},
};

pub mod pressure;
pub mod rate;
pub mod readiness;

use pressure::{Gauge, Pressure};
use rate::{Asked, Buckets, Limits, RateError, Scope, Standing, Taken, Whose};

/// When to come back to a queue in which too much waits: at the earliest after this, at the latest after twice this. It is drawn, so
/// that those who were turned away together do not come back together.
pub const OVERLOADED_FOR: Duration = Duration::from_secs(10);

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMemory {
    /// There is no record: nothing was done under it, or it was deleted since it expired.
    Blank,
    /// There is a record that counts.
    Remembered,
    /// There is a record that does not count any more. Deleting takes the store up to some days.
    Expired,
}

/// Which requests have been taken on.
#[async_trait]
pub trait Requests: Send + Sync {
    /// What is known of a key, whatever it was used for.
    async fn memory(&self, key: &Key) -> Result<KeyMemory, JournalError>;

    /// What is recorded under a key, as [`Journal::record`](crate::journal::Journal::record) would say it of a repetition; `None` when
    /// there is no record, or it has expired.
    async fn recorded(&self, key: &Key, hash: &PayloadHash) -> Result<Option<Recorded>, JournalError>;
}

/// Why a request is not let in now.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A bucket is empty.
    #[error("more requests than the limit of {} allows", names(.empty))]
    Limited {
        /// Whose are empty.
        empty: Vec<Whose>,
        /// When there is a token again.
        after: Duration,
        /// How the buckets stand.
        standings: Vec<Standing>,
    },
    /// Too much waits in the queue.
    #[error("too much is waiting to be worked on")]
    Overloaded {
        /// When to come back.
        after: Duration,
    },
    /// The buckets could not be asked.
    #[error(transparent)]
    Unknown(#[from] RateError),
}

fn names(whose: &[Whose]) -> String {
    whose.iter().map(|one| format!("the {}", one.policy())).collect::<Vec<_>>().join(" and of ")
}

/// Decides who comes in.
pub struct Door {
    /// How many runs one may start.
    pub limits: Limits,
    /// Whether one may look at runs.
    pub reads: Reads,
    /// How often one may wait for a run.
    pub waits: Limits,
    /// Where it is counted.
    pub buckets: Arc<dyn Buckets>,
    /// How much waits.
    pub gauge: Gauge,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For when to come back.
    pub random: Arc<dyn Random>,
}

impl Door {
    /// Lets a request in, or not. How the buckets stand then.
    ///
    /// # Errors
    /// Why not. Nothing but perhaps a token has been taken.
    pub async fn admit(&self, tenant: &Tenant, actor: &Actor) -> Result<Vec<Standing>, Refusal> {
        let pressure = self.gauge.pressure().await;
        let share = match (pressure, self.gauge.share()) {
            (Pressure::Closed, _) => return Err(self.overloaded()),
            (Pressure::Full, share) => share.bounded(),
            (Pressure::None | Pressure::Busy, share) => share,
        };
        let limits = Limits { share, ..self.limits };
        match self.take(Scope::Starts, tenant, actor, &limits).await? {
            Taken::No { empty, .. } if empty == [Whose::Shares] => Err(self.overloaded()),
            Taken::No { mut empty, after, standings } => {
                empty.retain(|whose| *whose != Whose::Shares);
                Err(Refusal::Limited { empty, after, standings: shown(standings) })
            }
            Taken::Yes(standings) if pressure.holds_back(&standings) => Err(self.overloaded()),
            Taken::Yes(standings) => Ok(shown(standings)),
        }
    }

    /// Whether somebody may wait for a run within the request; otherwise when to ask again. Who waits occupies an invocation, so buckets
    /// that cannot be asked let nobody wait: the run has been taken on all the same.
    pub async fn may_wait(&self, tenant: &Tenant, actor: &Actor) -> Result<(), Duration> {
        match self.take(Scope::Waits, tenant, actor, &self.waits).await {
            Ok(Taken::Yes(_)) => Ok(()),
            Ok(Taken::No { after, .. }) => Err(after),
            Err(error) => {
                tracing::warn!(%error, "nobody waits while the buckets do not answer");
                Err(OVERLOADED_FOR)
            }
        }
    }

    async fn take(&self, scope: Scope, tenant: &Tenant, actor: &Actor, limits: &Limits) -> Result<Taken, RateError> {
        take(self.buckets.as_ref(), Asked { scope, tenant, actor }, limits, self.clock.now()).await
    }

    fn overloaded(&self) -> Refusal {
        let spread = u64::try_from(OVERLOADED_FOR.as_millis()).unwrap_or(u64::MAX);
        Refusal::Overloaded { after: OVERLOADED_FOR + Duration::from_millis(self.random.below(spread)) }
    }
}

/// Counts how often one looks at runs and approvals, ends or decides them: whoever does occupies an invocation.
pub struct Reads {
    /// How often one may.
    pub limits: Limits,
    /// Where it is counted.
    pub buckets: Arc<dyn Buckets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Reads {
    /// Lets somebody look. How the buckets stand then.
    ///
    /// # Errors
    /// Why not.
    pub async fn may_read(&self, tenant: &Tenant, actor: &Actor) -> Result<Vec<Standing>, Refusal> {
        let asked = Asked { scope: Scope::Reads, tenant, actor };
        match take(self.buckets.as_ref(), asked, &self.limits, self.clock.now()).await? {
            Taken::No { empty, after, standings } => Err(Refusal::Limited { empty, after, standings }),
            Taken::Yes(standings) => Ok(standings),
        }
    }
}

async fn take(buckets: &dyn Buckets, asked: Asked<'_>, limits: &Limits, now: Timestamp) -> Result<Taken, RateError> {
    match limits.are_off() {
        true => Ok(Taken::Yes(Vec::new())),
        false => buckets.take(asked, limits, now).await,
    }
}

/// Without the tenant's share: it is no limit that a client can keep to.
fn shown(mut standings: Vec<Standing>) -> Vec<Standing> {
    standings.retain(|standing| standing.whose != Whose::Shares);
    standings
}

#[cfg(test)]
mod tests;
