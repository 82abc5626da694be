//! Finding runs on DynamoDB.

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder,
    types::{KeysAndAttributes, ReturnValue},
};

use super::{
    Runs,
    attributes::{expires, millis, text},
    errors::Fault,
    head_item::{HEAD, Item, TROUBLE, approval_inbox, due_key, held_key, is_in, owner_key, read_head},
    lease::{Updated, update},
    tables::{DUE_INDEX, INBOX_INDEX, OWNER_INDEX},
};
use crate::{
    clock::Timestamp,
    ids::{RunId, Tenant},
    journal::{
        Due, DueQueue, Head, Heads, Inbox, Journal as _, JournalError, Listing, Position, Postponed, Waiting, due_shard,
    },
};

/// The due time is as the caller saw it.
const DUE_AS_SEEN: &str = "due_at = :seen";

/// The most items of one `BatchGetItem`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>).
const BATCH_ITEMS_MAX: usize = 100;
/// How often what a batch leaves over is asked for again before the store counts as unavailable.
const BATCH_ATTEMPTS_MAX: usize = 5;
/// The most pages one listing reads.
const PAGES_MAX: usize = 50;
/// The least items one page is asked for, so that expired ones do not use the pages up.
const PAGE_ITEMS_MIN: usize = 100;

#[async_trait]
impl Heads for Runs {
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        let head = self.opened(run).await?;
        Ok(head.filter(|head| !head.expires.has_expired(self.clock.now())))
    }

    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError> {
        let key = due_key(queue, shard);
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", text(&key))
            .expression_attribute_values(":now", millis(now));
        let start = after.map(|after| {
            let at =
                [("pk", text(after.run)), ("sk", text(HEAD)), ("due_shard", text(&key)), ("due_at", millis(after.due))];
            at.map(|(name, value)| (name.to_owned(), value)).into()
        });
        let keys = self.live(query, limit, now, start).await?;
        Ok(keys.iter().filter_map(read_due).collect())
    }

    async fn postpone_due(
        &self,
        run: RunId,
        seen: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Postponed>, JournalError> {
        let request = self
            .update_head(run)
            .update_expression("SET due_at = :to, due_shard = :shard")
            .condition_expression(DUE_AS_SEEN)
            .expression_attribute_values(":seen", millis(seen))
            .expression_attribute_values(":to", millis(to))
            .expression_attribute_values(":shard", text(due_key(DueQueue::Repair, due_shard(run))))
            .return_values(ReturnValue::AllNew);
        match update(request).await? {
            Updated::Yes(head) => {
                let Head { tenant, strikes, .. } = read_head(head.unwrap_or_default())?;
                Ok(Some(Postponed { tenant, strikes }))
            }
            Updated::No(_) => Ok(None),
        }
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError> {
        let (index, key, value, forward, inbox) = match listing {
            Listing::Of { tenant, actor } => (OWNER_INDEX, "owner", owner_key(tenant, actor), false, None),
            Listing::AwaitingApproval { tenant } => {
                (INBOX_INDEX, "inbox", approval_inbox(tenant), true, Some(Inbox::Approval))
            }
            Listing::Held { shard } => (INBOX_INDEX, "inbox", held_key(*shard), true, Some(Inbox::Held)),
            Listing::Troubled => (INBOX_INDEX, "inbox", TROUBLE.to_owned(), false, Some(Inbox::Trouble)),
        };
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index)
            .key_condition_expression("#key = :value")
            .expression_attribute_names("#key", key)
            .expression_attribute_values(":value", text(value))
            .scan_index_forward(forward);
        let now = self.clock.now();
        let keys = self.live(query, limit, now, None).await?;
        let mut heads = Vec::with_capacity(keys.len());
        for some in keys.chunks(BATCH_ITEMS_MAX) {
            heads.extend(self.heads(some).await?);
        }
        // The index is a moment late: a run may have moved on since.
        heads.retain(|head| !head.expires.has_expired(now) && inbox.is_none_or(|inbox| is_in(head, inbox)));
        Ok(heads)
    }

    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError> {
        let inbox = approval_inbox(tenant);
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INBOX_INDEX)
            .key_condition_expression("inbox = :value")
            .expression_attribute_values(":value", text(&inbox))
            .set_exclusive_start_key(after.map(|after| inbox_key(&inbox, after)))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| Fault::of("Query", &error))?;
        let now = self.clock.now();
        let next = page.last_evaluated_key.as_ref().and_then(read_position);
        let mut keys = page.items.unwrap_or_default();
        keys.retain(|item| !expires(item).has_expired(now));
        let mut heads = Vec::with_capacity(keys.len());
        for some in keys.chunks(BATCH_ITEMS_MAX) {
            heads.extend(self.heads(some).await?);
        }
        heads.retain(|head| !head.expires.has_expired(now) && is_in(head, Inbox::Approval));
        Ok(Waiting { heads, next })
    }
}

impl Runs {
    /// The first `limit` items of a query that have not expired.
    async fn live(
        &self,
        query: QueryFluentBuilder,
        limit: usize,
        now: Timestamp,
        mut start: Option<Item>,
    ) -> Result<Vec<Item>, Fault> {
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let missing = limit.saturating_sub(found.len()).max(PAGE_ITEMS_MIN);
            let request = query.clone().limit(i32::try_from(missing).unwrap_or(i32::MAX));
            let page = request.set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| Fault::of("Query", &error))?;
            found.extend(page.items.unwrap_or_default().into_iter().filter(|item| !expires(item).has_expired(now)));
            start = page.last_evaluated_key;
            if start.is_none() || found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The heads under `keys`, in their order. One that is damaged is left out, so that it does not hide the others.
    pub(super) async fn heads(&self, keys: &[Item]) -> Result<Vec<Head>, JournalError> {
        let mut left: Vec<Item> = keys.iter().map(primary_key).collect();
        let mut items = Vec::new();
        for _ in 0..BATCH_ATTEMPTS_MAX {
            if left.is_empty() {
                break;
            }
            let wanted = KeysAndAttributes::builder().set_keys(Some(left)).build().map_err(Fault::refused)?;
            let request = self.client.batch_get_item().request_items(&self.table, wanted);
            let answer = request.send().await.map_err(|error| Fault::of("BatchGetItem", &error))?;
            items.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            let mut over = answer.unprocessed_keys.unwrap_or_default();
            left = over.remove(&self.table).map(|keys| keys.keys).unwrap_or_default();
        }
        if !left.is_empty() {
            return Err(Fault::Unavailable("BatchGetItem: keys are left over".to_owned()).into());
        }
        let position = |item: &Item| keys.iter().position(|key| key.get("pk") == item.get("pk"));
        items.sort_by_key(position);
        let read = items.into_iter().map(read_head);
        Ok(read
            .filter_map(|head| match head {
                Ok(head) => Some(head),
                Err(error) => {
                    tracing::error!(%error, "a head that is listed cannot be read");
                    None
                }
            })
            .collect())
    }
}

fn primary_key(item: &Item) -> Item {
    item.iter().filter(|(name, _)| *name == "pk" || *name == "sk").map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The key of a run in the inbox index.
fn inbox_key(inbox: &str, at: Position) -> Item {
    Item::from([
        ("inbox".to_owned(), text(inbox)),
        ("inbox_since".to_owned(), millis(at.since)),
        ("pk".to_owned(), text(at.run)),
        ("sk".to_owned(), text(HEAD)),
    ])
}

fn read_position(key: &Item) -> Option<Position> {
    let run = key.get("pk").and_then(|pk| pk.as_s().ok()?.parse().ok())?;
    let since = key.get("inbox_since").and_then(|since| since.as_n().ok()?.parse().ok())?;
    Some(Position { since: Timestamp::from_millis(since), run })
}

fn read_due(item: &Item) -> Option<Due> {
    let run = item.get("pk").and_then(|pk| pk.as_s().ok()?.parse().ok())?;
    let due = item.get("due_at").and_then(|due| due.as_n().ok()?.parse().ok())?;
    Some(Due { run, due: Timestamp::from_millis(due) })
}
