//! Token buckets.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::Timestamp,
    door::rate::{self, Levels, Limits, RateError, Taken},
    ids::{Actor, Tenant},
};

/// Token buckets in memory.
#[derive(Default)]
pub struct Buckets {
    tenants: Mutex<BTreeMap<Tenant, OfTenant>>,
}

/// When a tenant's buckets are full.
#[derive(Default)]
struct OfTenant {
    own: i64,
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
    async fn take(&self, tenant: &Tenant, actor: &Actor, limits: &Limits, now: Timestamp) -> Result<Taken, RateError> {
        let mut tenants = locked(&self.tenants);
        let OfTenant { own, actors } = tenants.entry(tenant.clone()).or_default();
        let of_actor = actors.entry(actor.clone()).or_default();
        let levels = Levels { tenant: *own, actor: *of_actor };
        let Some(next) = limits.take(levels, now) else { return Ok(limits.refusal(levels, now)) };
        (*own, *of_actor) = (next.tenant, next.actor);
        Ok(Taken::Yes(limits.standings(next, now)))
    }
}
