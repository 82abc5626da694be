//! Token buckets on DynamoDB: one item per tenant and scope, `pk = rate#<tenant>`, `sk = buckets` for starting runs, `reads` and `waits`.
//! The race that the conditions decide is drawn at [`Buckets::take`].
//!
//! `t` is the tenant's bucket, `s` its share of what waits, `a#<digest>` an actor's. Both are in one item so that taking from both is one write, and one that is
//! refused takes from neither. An actor's bucket that is full is the same as none, so such attributes are removed now and then: what is
//! left are the actors who asked within the last moments, at most as many as the tenant's own limit lets in while one token of an actor
//! comes back.
//!
//! An update expression knows no maximum, and a bucket's next moment is a maximum: now or its moment, whichever is later, and a bit. So
//! each process guesses from what it saw last which of the two it is, and a condition holds it to that. A wrong guess costs a refused
//! write, and the refusal brings the truth along.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use sha2::{Digest as _, Sha256};

use super::{
    attributes::{number, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    clock::Timestamp,
    door::rate::{self, Asked, Levels, Limit, Limits, Rate, RateError, Scope, Share, Taken, capacity, now_micros},
    ids::Actor,
};

/// The attribute of the tenant's own bucket.
const TENANTS: &str = "t";
/// The attribute of its share of what waits.
const SHARES: &str = "s";
/// Before the digest of an actor's name.
const ACTORS: &str = "a#";

/// How often a wrong guess is mended. Between two tries somebody else must have crossed the line between idle and busy.
const ATTEMPTS_MAX: u32 = 6;

/// How many buckets a process remembers.
const REMEMBERED_MAX: usize = 4_096;

/// How many actors' buckets an item holds before full ones are removed: as many as fit, with the rest, in the kilobyte that one write unit
/// pays for (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>).
const ACTORS_MAX: usize = 32;

/// How many are removed at once.
const REMOVED_MAX: usize = 24;

/// For how long an item is kept after its buckets are full.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// Token buckets on DynamoDB.
pub struct RateBuckets {
    client: Client,
    table: String,
    /// When a bucket was full by what this process saw last, by partition and attribute. A bucket's moment never moves back.
    seen: Mutex<HashMap<(String, Scope, String), i64>>,
}

/// One request, by its keys.
struct Place {
    partition: String,
    scope: Scope,
    actor: String,
}

/// What a write does to one bucket.
struct Change<'a> {
    /// Its name in the expressions.
    name: &'static str,
    attribute: &'a str,
    rate: Rate,
    /// When it was full by what was seen last.
    level: i64,
    /// Whether it may go on when it is empty.
    at_most: AtMost,
}

/// Whether an empty bucket stops the write.
#[derive(PartialEq, Eq)]
enum AtMost {
    Empty,
    /// It is counted only.
    Never,
}

impl RateBuckets {
    /// Buckets in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned(), seen: Mutex::default() }
    }

    fn remembered(&self, place: &Place) -> Levels {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let level = |attribute: &str| seen.get(&place.bucket(attribute)).copied().unwrap_or_default();
        Levels { tenant: level(TENANTS), actor: level(&place.actor), share: level(SHARES) }
    }

    fn remember(&self, place: &Place, levels: Levels) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        for (attribute, level) in
            [(TENANTS, levels.tenant), (place.actor.as_str(), levels.actor), (SHARES, levels.share)]
        {
            let known = seen.entry(place.bucket(attribute)).or_default();
            *known = level.max(*known);
        }
    }

    fn update_buckets(&self, place: &Place) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&place.partition))
            .key("sk", text(sort_key(place.scope)))
    }

    /// Takes a token of each bucket if they are as idle, or as busy, as `levels` has them.
    async fn try_take(&self, place: &Place, levels: Levels, limits: &Limits, now: Timestamp) -> Result<Updated, Fault> {
        let expires = now + limits.refill() + KEPT_FOR;
        let mut request = self
            .update_buckets(place)
            .return_values(ReturnValue::AllNew)
            .expression_attribute_values(":now", number(now_micros(now)));
        let (mut sets, mut conditions) = (vec!["expires = :expires".to_owned()], Vec::new());
        request = request.expression_attribute_values(":expires", seconds(expires));
        for change in changes(place, levels, limits) {
            let Change { name, attribute, rate, level, at_most } = change;
            let last = now_micros(now) + capacity(rate) - rate.interval_micros();
            if at_most == AtMost::Never && level > last {
                continue;
            }
            request = request.expression_attribute_names(format!("#{name}"), attribute);
            if level > now_micros(now) {
                sets.push(format!("#{name} = #{name} + :{name}_interval"));
                // Also of a share that is only counted: what other processes took since it was seen must not add up beyond it.
                conditions.push(format!("#{name} > :now AND #{name} <= :{name}_last"));
                request = request
                    .expression_attribute_values(format!(":{name}_interval"), number(rate.interval_micros()))
                    .expression_attribute_values(format!(":{name}_last"), number(last));
            } else {
                sets.push(format!("#{name} = :{name}_next"));
                conditions.push(format!("(attribute_not_exists(#{name}) OR #{name} <= :now)"));
                request = request.expression_attribute_values(
                    format!(":{name}_next"),
                    number(now_micros(now) + rate.interval_micros()),
                );
            }
        }
        let request = request.update_expression(format!("SET {}", sets.join(", ")));
        if conditions.is_empty() {
            // A share that is taken, and nothing else to count: no expression may name a value that it does not use.
            return Ok(Updated::Yes(None));
        }
        update(request.condition_expression(conditions.join(" AND "))).await
    }

    /// Removes the buckets of actors who have not asked for a while. It is only tidying: nobody waits for it to succeed.
    async fn tidy(&self, place: &Place, item: &Item, now: Timestamp) {
        let idle = |(name, value): (&String, &AttributeValue)| {
            let full_at: i64 = value.as_n().ok()?.parse().ok()?;
            (name.starts_with(ACTORS) && full_at <= now_micros(now)).then(|| name.clone())
        };
        let idle: Vec<String> = item.iter().filter_map(idle).take(REMOVED_MAX).collect();
        if idle.is_empty() {
            return;
        }
        let mut request = self.update_buckets(place).expression_attribute_values(":now", number(now_micros(now)));
        let names: Vec<String> = (0..idle.len()).map(|index| format!("#a{index}")).collect();
        for (name, attribute) in names.iter().zip(idle) {
            request = request.expression_attribute_names(name, attribute);
        }
        let still: Vec<String> = names.iter().map(|name| format!("{name} <= :now")).collect();
        let request = request.update_expression(format!("REMOVE {}", names.join(", ")));
        if let Err(Fault::Unavailable(error) | Fault::Refused(error)) =
            update(request.condition_expression(still.join(" AND "))).await
        {
            tracing::warn!(error, "full buckets were not removed");
        }
    }
}

#[async_trait]
impl rate::Buckets for RateBuckets {
    async fn take(&self, asked: Asked<'_>, limits: &Limits, now: Timestamp) -> Result<Taken, RateError> {
        let Asked { scope, tenant, actor } = asked;
        let place = Place { partition: format!("rate#{tenant}"), scope, actor: attribute_of(actor) };
        let mut levels = self.remembered(&place);
        for _ in 0..ATTEMPTS_MAX {
            // Others can only have taken more since it was seen: who is refused by that would be refused by the store.
            if limits.take(levels, now).is_none() {
                return Ok(limits.refusal(levels, now));
            }
            let (item, taken) = match self.try_take(&place, levels, limits, now).await? {
                Updated::Yes(None) => return Ok(Taken::Yes(limits.standings(levels, now))),
                Updated::Yes(Some(item)) => (item, true),
                Updated::No(item) => (item.unwrap_or_default(), false),
            };
            levels = Levels {
                tenant: level(&item, TENANTS),
                actor: level(&item, &place.actor),
                share: level(&item, SHARES),
            };
            self.remember(&place, levels);
            if taken {
                if item.keys().filter(|name| name.starts_with(ACTORS)).count() > ACTORS_MAX {
                    self.tidy(&place, &item, now).await;
                }
                return Ok(Taken::Yes(limits.standings(levels, now)));
            }
        }
        Err(RateError::Unavailable { message: "others were faster every time".to_owned() })
    }
}

impl Place {
    fn bucket(&self, attribute: &str) -> (String, Scope, String) {
        (self.partition.clone(), self.scope, attribute.to_owned())
    }
}

/// The buckets that are limited, with what was seen of them.
fn changes<'a>(place: &'a Place, levels: Levels, limits: &Limits) -> Vec<Change<'a>> {
    let limited = |limit| match limit {
        Limit::Off => None,
        Limit::Rate(rate) => Some((rate, AtMost::Empty)),
    };
    let share = match limits.share {
        Share::Off => None,
        Share::Counted(rate) => Some((rate, AtMost::Never)),
        Share::Bounded(rate) => Some((rate, AtMost::Empty)),
    };
    let buckets = [
        ("t", TENANTS, limited(limits.tenant), levels.tenant),
        ("a", place.actor.as_str(), limited(limits.actor), levels.actor),
        ("s", SHARES, share, levels.share),
    ];
    let change = |(name, attribute, limited, level): (_, _, Option<(Rate, AtMost)>, _)| {
        let (rate, at_most) = limited?;
        Some(Change { name, attribute, rate, level, at_most })
    };
    buckets.into_iter().filter_map(change).collect()
}

/// The sort key of a tenant's buckets.
const fn sort_key(scope: Scope) -> &'static str {
    match scope {
        Scope::Starts => "buckets",
        Scope::Reads => "reads",
        Scope::Waits => "waits",
    }
}

/// A short name for an actor's bucket: names may be long, and personal.
fn attribute_of(actor: &Actor) -> String {
    let digest: String = Sha256::digest(actor.as_str()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{ACTORS}{digest}")
}

fn level(item: &Item, attribute: &str) -> i64 {
    item.get(attribute).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}
