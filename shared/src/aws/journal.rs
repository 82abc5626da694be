//! Journals on DynamoDB.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    primitives::Blob,
    types::{
        AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, builders::PutBuilder,
    },
};
use sha2::{Digest as _, Sha256};

use super::{
    attributes::{expires, millis, number, seconds, text},
    errors::{Fault, condition_failed},
    head_item::{HEAD, Item, due_key, new_item},
    idempotency::{self, RecordItem},
};
use crate::{
    clock::{Clock, Timestamp},
    ids::RunId,
    journal::{
        Acceptance, Appended, ENTRIES_MAX, Expected, Heads as _, Interjected, Journal, JournalError, NewRun,
        RESCUE_AFTER, due_shard,
    },
    run::{
        entry::{Entry, Seq},
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
            .expression_attribute_values(":shard", text(due_key(due_shard(run))))
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
    async fn accept(&self, new: &NewRun) -> Result<Acceptance, JournalError> {
        let stored = Stored::encode(&new.entry)?;
        let head = new_item(&new.head()?)?;
        let record = idempotency::put_if_free(&self.idempotency_table, &RecordItem::accepted(new), new.entry.at)?;
        let head = Put::builder().table_name(&self.table).set_item(Some(head)).condition_expression(ABSENT).build();
        let entry = self.entry_put(new.run, 1, &stored, new.expires).build();
        // The SDK adds a token of its own, so that its retries are one request; a caller's repetition meets its own record.
        let sent = self
            .client
            .transact_write_items()
            .transact_items(put(record))
            .transact_items(put(head.map_err(Fault::refused)?))
            .transact_items(put(entry.map_err(Fault::refused)?))
            .send()
            .await;
        let Err(error) = sent else { return Ok(Acceptance::Created) };
        let fault = Fault::of("TransactWriteItems", &error);
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(fault.into());
        };
        let reasons = cancelled.cancellation_reasons();
        match reasons {
            [record, ..] if condition_failed(Some(record)) => {
                RecordItem::read(record.item().cloned().unwrap_or_default())
                    .map_err(|problem| JournalError::Refused { message: problem })?
                    .acceptance(&new.payload_hash)
            }
            [_, rest @ ..] if rest.iter().any(|reason| condition_failed(Some(reason))) => {
                Err(JournalError::Refused { message: format!("there is a run `{}` already", new.run) })
            }
            _ => Err(Fault::of_cancelled("TransactWriteItems", reasons).into()),
        }
    }

    async fn load(&self, run: RunId, from: Seq) -> Result<Vec<Entry>, JournalError> {
        let now = self.clock.now();
        let mut entries: Vec<Entry> = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :run AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":run", text(run))
                .expression_attribute_values(":from", text(entry_key(from)))
                .expression_attribute_values(":to", text(entry_key(99_999_999)))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| Fault::of("Query", &error))?;
            for item in page.items.unwrap_or_default() {
                if expires(&item).has_expired(now) {
                    continue;
                }
                let seq = from.saturating_add(entries.len() as Seq);
                let unreadable = |source| JournalError::Unreadable { run, seq, source };
                if item.get("sk") != Some(&text(entry_key(seq))) {
                    return Err(unreadable(Unreadable::missing()));
                }
                entries.push(read_stored(&item).and_then(|stored| stored.decode()).map_err(unreadable)?);
                if entries.len() == ENTRIES_MAX {
                    return Ok(entries);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(entries);
            }
        }
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        let stored = Stored::encode(entry)?;
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(entry_item(run, seq, &stored, expires)))
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else { return Ok(Appended::Written) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                Ok(if holds(refusal.item(), &stored) { Appended::Written } else { Appended::Taken })
            }
            _ => Err(Fault::of("PutItem", &error).into()),
        }
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
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
    let body = match &stored.body {
        Body::Json(json) => ("e".to_owned(), text(json)),
        Body::Deflated(bytes) => ("z".to_owned(), AttributeValue::B(Blob::new(bytes.clone()))),
    };
    Item::from([
        ("pk".to_owned(), text(run)),
        ("sk".to_owned(), text(entry_key(seq))),
        ("v".to_owned(), number(stored.version)),
        ("expires".to_owned(), seconds(expires)),
        body,
    ])
}

fn read_stored(item: &Item) -> Result<Stored, Unreadable> {
    let malformed = |problem: &str| Unreadable::Malformed { problem: problem.to_owned() };
    let version = item.get("v").and_then(|v| v.as_n().ok()?.parse().ok()).ok_or_else(|| malformed("no version"))?;
    let body = match (item.get("e"), item.get("z")) {
        (Some(AttributeValue::S(json)), None) => Body::Json(json.clone()),
        (None, Some(AttributeValue::B(bytes))) => Body::Deflated(bytes.as_ref().to_vec()),
        // A later version may keep it elsewhere, and decoding says so.
        _ => Body::Json(String::new()),
    };
    Ok(Stored { version, body })
}

/// Whether the item that has the place is this entry: an earlier try of the same write put it there.
fn holds(item: Option<&Item>, stored: &Stored) -> bool {
    item.and_then(|item| read_stored(item).ok()).is_some_and(|there| there == *stored)
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
