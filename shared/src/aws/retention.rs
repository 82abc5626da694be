//! Deleting what has expired, table by table, a segment at a time
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html#Scan.ParallelScan>).

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, operation::scan::ScanOutput, types::AttributeValue};
use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::{attributes::seconds, errors::Fault, head_item::Item};
use crate::{
    clock::Timestamp,
    journal::JournalError,
    schedule::retention::{PARTS, Place, Purged, Retention},
};

/// Items of one request. A page ends at 1 MB anyway.
const PAGE_ITEMS: usize = 1_000;

/// Deletes under way at once.
const DELETES_AT_ONCE: usize = 10;

const IS_OVER: &str = "#expires < :before";

/// The tables that hold what expires.
pub struct ExpiredItems {
    client: Client,
    tables: Vec<Swept>,
}

/// A table, its key and its time to live.
struct Swept {
    table: String,
    keys: &'static [&'static str],
    expires: &'static str,
}

impl ExpiredItems {
    /// Looks through the table of runs and the one of idempotency records, then through `others`, which are keyed as runs are.
    pub fn new(client: Client, runs_table: &str, idempotency_table: &str, others: &[&str]) -> Self {
        let keyed_by_pk_and_sk =
            |table: &str| Swept { table: table.to_owned(), keys: &["pk", "sk"], expires: "expires" };
        let records = Swept { table: idempotency_table.to_owned(), keys: &["id"], expires: "expiration" };
        let mut tables = vec![keyed_by_pk_and_sk(runs_table), records];
        tables.extend(others.iter().map(|table| keyed_by_pk_and_sk(table)));
        Self { client, tables }
    }

    async fn page(
        &self,
        swept: &Swept,
        part: u32,
        before: Timestamp,
        start: Option<Item>,
    ) -> Result<ScanOutput, Fault> {
        let names: Vec<String> = (0..swept.keys.len()).map(|index| format!("#k{index}")).collect();
        let mut scan = self
            .client
            .scan()
            .table_name(&swept.table)
            .segment(part as i32)
            .total_segments(PARTS as i32)
            .limit(PAGE_ITEMS as i32)
            .filter_expression(IS_OVER)
            .projection_expression(names.join(", "))
            .expression_attribute_names("#expires", swept.expires)
            .expression_attribute_values(":before", seconds(before))
            .set_exclusive_start_key(start);
        for (name, key) in names.iter().zip(swept.keys) {
            scan = scan.expression_attribute_names(name, *key);
        }
        scan.send().await.map_err(|error| Fault::of("Scan", &error))
    }

    /// Deletes one item IF it is still over; false when it is not, or gone.
    ///
    /// ```text
    /// job:    scan ── record k, over ────────────────────── delete k IF over ── refused
    /// intake:                        └─ put k (a new request)
    /// ```
    async fn delete(&self, swept: &Swept, item: &Item, before: AttributeValue) -> Result<bool, Fault> {
        let key: Item =
            swept.keys.iter().filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect();
        let deleted = self
            .client
            .delete_item()
            .table_name(&swept.table)
            .set_key(Some(key))
            .condition_expression(IS_OVER)
            .expression_attribute_names("#expires", swept.expires)
            .expression_attribute_values(":before", before)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(Fault::of("DeleteItem", &error)),
        }
    }
}

/// A key as a cursor has it: names, and texts or numbers.
fn written(key: &Item) -> Option<String> {
    let attribute = |value: &AttributeValue| match value {
        AttributeValue::S(text) => Some(json!({ "S": text })),
        AttributeValue::N(number) => Some(json!({ "N": number })),
        _ => None,
    };
    let key: Option<Map<String, Value>> =
        key.iter().map(|(name, value)| Some((name.clone(), attribute(value)?))).collect();
    serde_json::to_string(&key?).ok()
}

/// The key that a cursor has; a cursor that has none begins the table again.
fn read(cursor: &str) -> Option<Item> {
    let key: Map<String, Value> = serde_json::from_str(cursor).ok()?;
    let attribute = |value: &Value| match (value["S"].as_str(), value["N"].as_str()) {
        (Some(text), None) => Some(AttributeValue::S(text.to_owned())),
        (None, Some(number)) => Some(AttributeValue::N(number.to_owned())),
        _ => None,
    };
    key.iter().map(|(name, value)| Some((name.clone(), attribute(value)?))).collect()
}

#[async_trait]
impl Retention for ExpiredItems {
    async fn purge(&self, place: &Place, before: Timestamp) -> Result<Purged, JournalError> {
        let Some(swept) = self.tables.get(place.table as usize) else { return Ok(Purged::default()) };
        let page = self.page(swept, place.part, before, place.after.as_deref().and_then(read)).await?;
        let mut purged = Purged { looked_at: u64::try_from(page.scanned_count()).unwrap_or(0), ..Purged::default() };
        for batch in page.items().chunks(DELETES_AT_ONCE) {
            for deleted in join_all(batch.iter().map(|item| self.delete(swept, item, seconds(before)))).await {
                purged.deleted += u64::from(deleted?);
            }
        }
        purged.next = match page.last_evaluated_key().and_then(written) {
            Some(after) => Some(Place { after: Some(after), ..place.clone() }),
            None if place.table as usize + 1 < self.tables.len() => {
                Some(Place { table: place.table + 1, after: None, ..place.clone() })
            }
            None => None,
        };
        Ok(purged)
    }
}
