//! Journals on DynamoDB.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, builders::PutBuilder},
};
use sha2::{Digest as _, Sha256};

use super::{
    attributes::{expires, millis, number, seconds, text},
    errors::{Fault, condition_failed},
    head_item::{HEAD, Item, body_attribute, due_key, new_item, read_first, read_head, read_stored},
    idempotency::{RecordItem, put_if_free},
};
use crate::{
    clock::{Clock, Timestamp},
    ids::RunId,
    journal::{
        Appended, DueQueue, ENTRIES_MAX, EntryPage, Expected, Head, Heads as _, Interjected, Journal, JournalError,
        NewRun, Opened, PAGE_ENTRIES_MAX, RESCUE_AFTER, Recorded, check_place, due_shard,
    },
    run::{
        entry::{Entry, Seq},
        snapshot::Snapshot,
        state::RunState,
        stored::{Body, Stored, Unreadable},
    },
};

/// Nobody has put an item under this key.
const ABSENT: &str = "attribute_not_exists(pk)";
/// The run is not over.
const UNFINISHED: &str = "attribute_exists(ready_from)";
/// The run is dead.
const DEAD: &str = "#status = :dead";
/// What an interjection makes of a head.
const MAKE_READY: &str = "SET #status = :ready, ready_from = :at, due_shard = :shard, due_at = :due, strikes = :zero \
     ADD interjections :one REMOVE inbox, inbox_since, problem, cause, fingerprint";

/// Journals, heads and leases on DynamoDB.
#[derive(Clone)]
pub struct Runs {
    pub(super) client: Client,
    pub(super) table: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) idempotency_table: String,
}

impl Runs {
    /// Runs in the tables of these names.
    pub fn new(client: Client, table: &str, idempotency_table: &str, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), idempotency_table: idempotency_table.to_owned(), clock }
    }

    /// Puts an item of a run, if there is none under its key; else what is there.
    async fn put_if_absent(&self, item: Item) -> Result<Option<Item>, Fault> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item)).condition_expression(ABSENT);
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(None) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                Ok(Some(refusal.item.clone().unwrap_or_default()))
            }
            _ => Err(Fault::of("PutItem", &error)),
        }
    }

    /// The first items of a run between two sort keys that have not expired, in order: one page of at most `limit`, and whether there
    /// may be more.
    async fn live_items(&self, run: RunId, from: String, to: String, limit: usize) -> Result<(Vec<Item>, bool), Fault> {
        let now = self.clock.now();
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(limit as i32)
            .key_condition_expression("pk = :run AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":run", text(run))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":to", text(to));
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| Fault::of("Query", &error))?;
            let items = page.items.unwrap_or_default().into_iter();
            let live: Vec<Item> = items.filter(|item| !expires(item).has_expired(now)).collect();
            start = page.last_evaluated_key;
            if start.is_none() || !live.is_empty() {
                return Ok((live, start.is_some()));
            }
        }
    }

    /// A run's head, read consistently, whether or not it has expired.
    async fn head_item(&self, run: RunId) -> Result<Option<Item>, Fault> {
        let request = self.client.get_item().table_name(&self.table).key("pk", text(run)).key("sk", text(HEAD));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        Ok(answer.item)
    }

    fn entry_put(&self, run: RunId, seq: Seq, stored: &Stored, expires: Timestamp) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(entry_item(run, seq, stored, expires)))
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// The update of a head that goes with an interjection at `at`. Nothing in it depends on when it is tried, so that a repetition
    /// is the same request.
    fn head_update(&self, run: RunId, at: Timestamp, expected: Expected) -> Result<Update, Fault> {
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", text(run))
            .key("sk", text(HEAD))
            .update_expression(MAKE_READY)
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":ready", text("ready"))
            .expression_attribute_values(":at", millis(at))
            .expression_attribute_values(":shard", text(due_key(DueQueue::Repair, due_shard(run))))
            .expression_attribute_values(":due", millis(at + RESCUE_AFTER))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1));
        let update = match expected {
            Expected::Unfinished => update.condition_expression(UNFINISHED),
            Expected::Dead => update.condition_expression(DEAD).expression_attribute_values(":dead", text("dead")),
        };
        update.build().map_err(Fault::refused)
    }
}

#[async_trait]
impl Journal for Runs {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        let there =
            put_if_free(&self.client, &self.idempotency_table, &RecordItem::accepted(new), new.entry.at).await?;
        let Some(there) = there else { return Ok(None) };
        let record = RecordItem::read(there).map_err(|message| JournalError::Refused { message })?;
        record.recorded(&new.payload_hash).map(Some)
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.head_item(run).await?.map(read_head).transpose()
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        match self.put_if_absent(new_item(head)?).await? {
            None => Ok(Opened::Written),
            Some(there) => Ok(Opened::Taken(Box::new(read_head(there)?))),
        }
    }

    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let to = if from == 1 { HEAD.to_owned() } else { entry_key(99_999_999) };
        // Two more than entries: the head, and an entry that counts for nothing beside the one in the head.
        let (mut items, mut more) = self.live_items(run, entry_key(from), to, limit + 2).await?;
        // After all entries, as `head` is after `entry#`.
        let mut head = items.pop_if(|item| item.get("sk") == Some(&text(HEAD)));
        if from == 1 && more && head.is_none() {
            let now = self.clock.now();
            head = self.head_item(run).await?.filter(|head| !expires(head).has_expired(now));
        }
        let first = head.and_then(|head| read_first(&head));
        let beside = first.is_some() && items.first().is_some_and(|item| item.get("sk") == Some(&text(entry_key(1))));
        let rest = items.into_iter().skip(usize::from(beside));
        let mut entries: Vec<Entry> = Vec::with_capacity(rest.len() + 1);
        let unreadable = |seq| move |source| JournalError::Unreadable { run, seq, source };
        if let Some(first) = first {
            entries.push(first.decode().map_err(unreadable(1))?);
        }
        for item in rest {
            if entries.len() == limit {
                more = true;
                break;
            }
            let seq = from.saturating_add(entries.len() as Seq);
            if seq as usize > ENTRIES_MAX {
                return Err(unreadable(seq)(Unreadable::TooLong));
            }
            if item.get("sk") != Some(&text(entry_key(seq))) {
                return Err(unreadable(seq)(Unreadable::missing()));
            }
            let stored = read_stored(&item, "v").map_err(unreadable(seq))?;
            entries.push(stored.decode().map_err(unreadable(seq))?);
        }
        Ok(EntryPage { entries, more })
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        Ok(self.get_snapshot(run).await?.and_then(|snapshot| snapshot.decode()))
    }

    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        Ok(self.put_snapshot(run, snapshot, expires).await?)
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        check_place(run, seq)?;
        let stored = Stored::encode(entry)?;
        let there = self.put_if_absent(entry_item(run, seq, &stored, expires)).await?;
        Ok(if there.is_none_or(|there| holds(Some(&there), &stored)) { Appended::Written } else { Appended::Taken })
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        check_place(run, seq)?;
        let stored = Stored::encode(entry)?;
        let head = self.head(run).await?.ok_or(JournalError::Missing { run })?;
        let entry_put = self.entry_put(run, seq, &stored, head.expires).build().map_err(Fault::refused)?;
        let head_update = self.head_update(run, entry.at, expected)?;
        let sent = self
            .client
            .transact_write_items()
            .client_request_token(request_token(run, seq, &stored, expected))
            .transact_items(put(entry_put))
            .transact_items(TransactWriteItem::builder().update(head_update).build())
            .send()
            .await;
        let Err(error) = sent else { return Ok(Interjected::Written) };
        let fault = Fault::of("TransactWriteItems", &error);
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(fault.into());
        };
        let reasons = cancelled.cancellation_reasons();
        match (condition_failed(reasons.first()), condition_failed(reasons.get(1))) {
            (true, _) if holds(reasons.first().and_then(|reason| reason.item()), &stored) => Ok(Interjected::Written),
            (_, true) => Ok(Interjected::Unexpected),
            (true, false) => Ok(Interjected::Taken),
            (false, false) => Err(Fault::of_cancelled("TransactWriteItems", reasons).into()),
        }
    }
}

fn put(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}

fn entry_key(seq: Seq) -> String {
    format!("entry#{seq:08}")
}

fn entry_item(run: RunId, seq: Seq, stored: &Stored, expires: Timestamp) -> Item {
    Item::from([
        ("pk".to_owned(), text(run)),
        ("sk".to_owned(), text(entry_key(seq))),
        ("v".to_owned(), number(stored.version)),
        ("expires".to_owned(), seconds(expires)),
        body_attribute(&stored.body),
    ])
}

/// Whether the item that has the place is this entry: an earlier try of the same write put it there.
fn holds(item: Option<&Item>, stored: &Stored) -> bool {
    item.and_then(|item| read_stored(item, "v").ok()).is_some_and(|there| there == *stored)
}

/// Equal for repetitions of one interjection and for nothing else: the entry holds its writer's one-time mark. Of 36 characters at most
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
fn request_token(run: RunId, seq: Seq, stored: &Stored, expected: Expected) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{run} {seq} {expected:?} "));
    match &stored.body {
        Body::Json(json) => hash.update(json),
        Body::Deflated(bytes) => hash.update(bytes),
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
