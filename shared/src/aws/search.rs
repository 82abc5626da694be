//! Looking through runs on DynamoDB, by the index by owner: it has an item of about 150 bytes for each run, and none for entries.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::{
    Runs,
    attributes::{expires, text},
    errors::Fault,
    head_item::{HEAD, Item, owner_key, tenant_prefix},
    tables::OWNER_INDEX,
};
use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::{Found, HEADS_MAX, Head, JournalError, KEYS_MAX, Reach, Search, Searched, Whose},
};

/// The most heads that are read at once.
const HEADS_AT_ONCE: usize = 100;

#[async_trait]
impl Searched for Runs {
    async fn search(&self, search: &Search, limit: usize) -> Result<Found, JournalError> {
        let now = self.clock.now();
        let (mut runs, reach) = self.keys(search, now).await?;
        runs.sort_by_key(|run| Reverse(*run));
        let (mut heads, mut looked_at): (Vec<Head>, usize) = (Vec::new(), 0);
        while heads.len() < limit && looked_at < runs.len().min(HEADS_MAX) {
            let wanted = if search.statuses.is_empty() { limit - heads.len() } else { HEADS_AT_ONCE };
            let some = &runs[looked_at..runs.len().min(looked_at + wanted.min(HEADS_AT_ONCE))];
            looked_at += some.len();
            let keys: Vec<Item> = some.iter().map(|run| key(*run)).collect();
            let found = self.heads(&keys).await?;
            heads.extend(found.into_iter().filter(|head| !head.expires.has_expired(now) && search.finds(head)));
        }
        // What was read beyond the page is read again with the next one.
        let next = match heads.len() > limit {
            true => heads.get(limit.saturating_sub(1)).map(|head| head.run),
            false => runs[..looked_at].last().copied().filter(|_| looked_at < runs.len()),
        };
        heads.truncate(limit);
        Ok(Found { heads, next, reach })
    }
}

impl Runs {
    /// The runs that may be meant, in no order.
    async fn keys(&self, search: &Search, now: Timestamp) -> Result<(Vec<RunId>, Reach), JournalError> {
        let (mut runs, mut seen, mut start) = (Vec::new(), 0, None);
        loop {
            let (items, last) = match &search.whose {
                Whose::Actor { tenant, actor } => {
                    let query = self.client.query().table_name(&self.table).index_name(OWNER_INDEX);
                    let query = query
                        .key_condition_expression("#owner = :owner")
                        .expression_attribute_names("#owner", "owner")
                        .expression_attribute_values(":owner", text(owner_key(tenant, actor)));
                    let page = query.set_exclusive_start_key(start).send().await;
                    let page = page.map_err(|error| Fault::of("Query", &error))?;
                    (page.items.unwrap_or_default(), page.last_evaluated_key)
                }
                Whose::Everybody | Whose::Tenant(_) => {
                    let scan = self.client.scan().table_name(&self.table).index_name(OWNER_INDEX);
                    let page = scan.set_exclusive_start_key(start).send().await;
                    let page = page.map_err(|error| Fault::of("Scan", &error))?;
                    (page.items.unwrap_or_default(), page.last_evaluated_key)
                }
            };
            seen += items.len();
            let live = items.iter().filter(|item| is_of(item, &search.whose) && !expires(item).has_expired(now));
            let ids = live.filter_map(|item| item.get("pk")?.as_s().ok()?.parse::<RunId>().ok());
            runs.extend(ids.filter(|run| search.may_find(*run)));
            start = last;
            match (start.is_some(), seen >= KEYS_MAX) {
                (false, _) => return Ok((runs, Reach::All)),
                (true, true) => return Ok((runs, Reach::Part)),
                (true, false) => {}
            }
        }
    }
}

/// Whether an item of the index is of whom is meant.
fn is_of(item: &Item, whose: &Whose) -> bool {
    match whose {
        Whose::Everybody | Whose::Actor { .. } => true,
        Whose::Tenant(tenant) => {
            let owner = item.get("owner").and_then(|owner| owner.as_s().ok());
            owner.is_some_and(|owner| owner.starts_with(&tenant_prefix(tenant)))
        }
    }
}

fn key(run: RunId) -> Item {
    Item::from([("pk".to_owned(), text(run)), ("sk".to_owned(), text(HEAD))])
}
