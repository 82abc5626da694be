//! Token buckets.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::Timestamp,
    door::rate::{self, Asked, Levels, Limits, RateError, Scope, Taken},
    ids::{Actor, Tenant},
};

/// Token buckets in memory.
#[derive(Default)]
pub struct Buckets {
    tenants: Mutex<BTreeMap<(Scope, Tenant), OfTenant>>,
}

/// When a tenant's buckets are full.
#[derive(Default)]
struct OfTenant {
    own: i64,
    share: i64,
    actors: BTreeMap<Actor, i64>,
}

impl Buckets {
    /// Full ones.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl rate::Buckets for Buckets {
    async fn take(&self, asked: Asked<'_>, limits: &Limits, now: Timestamp) -> Result<Taken, RateError> {
        let mut tenants = locked(&self.tenants);
        let OfTenant { own, share, actors } = tenants.entry((asked.scope, asked.tenant.clone())).or_default();
        let of_actor = actors.entry(asked.actor.clone()).or_default();
        let levels = Levels { tenant: *own, actor: *of_actor, share: *share };
        let Some(next) = limits.take(levels, now) else { return Ok(limits.refusal(levels, now)) };
        (*own, *of_actor, *share) = (next.tenant, next.actor, next.share);
        Ok(Taken::Yes(limits.standings(next, now)))
    }
}
