//! Token buckets.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::Timestamp,
    door::rate::{self, Levels, Limits, RateError, Taken},
    ids::{Actor, Tenant},
};

/// The level of a tenant's bucket, and those of its actors'.
type OfTenant = (i64, BTreeMap<Actor, i64>);

/// Token buckets in memory.
#[derive(Default)]
pub struct Buckets {
    tenants: Mutex<BTreeMap<Tenant, OfTenant>>,
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
        let (of_tenant, of_actors) = tenants.entry(tenant.clone()).or_default();
        let of_actor = of_actors.entry(actor.clone()).or_default();
        let levels = Levels { tenant: *of_tenant, actor: *of_actor };
        let Some(next) = limits.take(levels, now) else { return Ok(limits.refusal(levels, now)) };
        (*of_tenant, *of_actor) = (next.tenant, next.actor);
        Ok(Taken::Yes(limits.standings(next, now)))
    }
}
