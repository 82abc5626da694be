//! The controls on DynamoDB: `pk = controls`, `sk = current` and `sk = v#<version>`. The race that the condition decides is drawn at
//! [`Controls::change`].

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem},
};

use super::{
    attributes::{number, text},
    errors::{Fault, condition_failed},
    head_item::Item,
    replay_plans::audit_item,
};
use crate::{
    audit::AuditRecord,
    controls::{Changed, Controls, ControlsError, Document},
};

/// The partition of the document and its history.
const PARTITION: &str = "controls";
/// The document in force.
const CURRENT: &str = "current";
/// Nothing is in force but the default.
const FIRST: &str = "attribute_not_exists(pk)";
/// The version before is in force.
const NEXT: &str = "version = :before";

/// The controls on DynamoDB.
#[derive(Clone)]
pub struct LiveControls {
    client: Client,
    table: String,
}

impl LiveControls {
    /// Controls in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    async fn get(&self, sort_key: &str) -> Result<Option<Document>, ControlsError> {
        let request =
            self.client.get_item().table_name(&self.table).key("pk", text(PARTITION)).key("sk", text(sort_key));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        answer.item.as_ref().map(read).transpose()
    }

    fn put(&self, sort_key: &str, document: &Document) -> Result<aws_sdk_dynamodb::types::builders::PutBuilder, Fault> {
        let item = Item::from([
            ("pk".to_owned(), text(PARTITION)),
            ("sk".to_owned(), text(sort_key)),
            ("version".to_owned(), number(document.version)),
            ("document".to_owned(), text(serde_json::to_string(document).map_err(Fault::refused)?)),
        ]);
        Ok(Put::builder().table_name(&self.table).set_item(Some(item)))
    }
}

#[async_trait]
impl Controls for LiveControls {
    async fn read(&self) -> Result<Document, ControlsError> {
        Ok(self.get(CURRENT).await?.unwrap_or_default())
    }

    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        let current = match document.version {
            1 => self.put(CURRENT, document)?.condition_expression(FIRST),
            version => self
                .put(CURRENT, document)?
                .condition_expression(NEXT)
                .expression_attribute_values(":before", number(version.saturating_sub(1))),
        };
        let kept = self.put(&version_key(document.version), document)?.condition_expression(FIRST);
        let audit = Put::builder().table_name(&self.table).set_item(Some(audit_item(audit)?));
        let mut request = self.client.transact_write_items();
        for put in [current, kept, audit] {
            let put = put.build().map_err(Fault::refused)?;
            request = request.transact_items(TransactWriteItem::builder().put(put).build());
        }
        let Err(error) = request.send().await else { return Ok(Changed::Done) };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                if !condition_failed(reasons.first()) && !condition_failed(reasons.get(1)) {
                    return Err(Fault::of_cancelled("TransactWriteItems", reasons).into());
                }
                // Perhaps it was this very change, and its first answer was lost.
                let there = self.get(&version_key(document.version)).await?;
                Ok(if there.as_ref() == Some(document) { Changed::Done } else { Changed::Conflict })
            }
            _ => Err(Fault::of("TransactWriteItems", &error).into()),
        }
    }

    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :partition AND begins_with(sk, :version)")
            .expression_attribute_values(":partition", text(PARTITION))
            .expression_attribute_values(":version", text("v#"))
            .scan_index_forward(false);
        let (mut found, mut start): (Vec<Item>, _) = (Vec::new(), None);
        while found.len() < limit {
            let missing = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let request = query.clone().limit(missing).set_exclusive_start_key(start);
            let page = request.send().await.map_err(|error| Fault::of("Query", &error))?;
            found.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        found.iter().map(read).collect()
    }

    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError> {
        self.get(&version_key(version)).await
    }
}

/// Padded, so that versions sort as text.
fn version_key(version: u64) -> String {
    format!("v#{version:012}")
}

fn read(item: &Item) -> Result<Document, ControlsError> {
    let document = item.get("document").and_then(|document: &AttributeValue| document.as_s().ok());
    Document::parse(document.ok_or_else(|| ControlsError::Unreadable { problem: "no document".to_owned() })?)
}
