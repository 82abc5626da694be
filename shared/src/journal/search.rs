//! Looking through runs, the newest first: what an operator does who does not know yet which run it is about.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{Head, JournalError};
use crate::{
    clock::Timestamp,
    ids::{Actor, RunId, Tenant},
};

/// The most runs whose keys one search looks at. An item of the index by owner has about 150 bytes, so that this many are about 300 MB and
/// 37,500 read units, half a cent (<https://aws.amazon.com/dynamodb/pricing/on-demand/>).
pub const KEYS_MAX: usize = 2_000_000;

/// The most heads that one page reads to find those of a status: 2,500 read units or more.
pub const HEADS_MAX: usize = 10_000;

/// Where runs are looked through.
#[async_trait]
pub trait Searched: Send + Sync {
    /// A page of runs, the newest first, at most `limit`. It looks at the key of every run that there is, and reads the heads of those that may
    /// be meant: for people, not for functions. Read from an index: a moment late.
    async fn search(&self, search: &Search, limit: usize) -> Result<Found, JournalError>;
}

/// Which runs to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Whose.
    pub whose: Whose,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Older than this run: where the last page ended.
    pub before: Option<RunId>,
    /// In one of these statuses ([`HeadStatus::word`](super::HeadStatus::word)); in any when there are none.
    pub statuses: BTreeSet<String>,
}

/// Whose runs to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of all tenants.
    Everybody,
    /// Those of a tenant.
    Tenant(Tenant),
    /// Those that an actor of a tenant asked for.
    Actor {
        /// The tenant.
        tenant: Tenant,
        /// The actor.
        actor: Actor,
    },
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The newest first.
    pub heads: Vec<Head>,
    /// Where the next page starts ([`Search::before`]), if there may be one. A page with it may be short, or empty.
    pub next: Option<RunId>,
    /// Whether every run was looked at.
    pub reach: Reach,
}

/// How many runs a search looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All that there are.
    All,
    /// The first [`KEYS_MAX`] that the index had, in its own order: newer ones may be missing.
    Part,
}

impl Search {
    /// Whether the run's id alone lets it be found.
    pub(crate) fn may_find(&self, run: RunId) -> bool {
        self.since.is_none_or(|since| run.created() >= since) && self.before.is_none_or(|before| run < before)
    }

    /// Whether a run that may be found is in one of the statuses.
    pub(crate) fn finds(&self, head: &Head) -> bool {
        self.statuses.is_empty() || self.statuses.contains(head.status.word())
    }
}
