//! The controls on DynamoDB, in the `controls` table. The races that the conditions decide are drawn at [`Controls`].
//!
//! | item | holds |
//! |---|---|
//! | `pk = controls`, `sk = v#<version>` | a document. It never changes, and is kept |
//! | `pk = controls#<n>`, `sk = version` | one of [`COPIES`] copies of the number of the version in force |

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, ConditionCheck, Put, TransactWriteItem, builders::PutBuilder},
};

use super::{
    attributes::{number, text},
    errors::{Fault, condition_failed},
    head_item::Item,
    replay_plans::audit_item,
};
use crate::{
    audit::AuditRecord,
    controls::{Changed, Controls, ControlsError, Document, Initialised, Seen},
};

/// The partition of the documents, and before the number of a copy's.
const PARTITION: &str = "controls";
/// The sort key of a copy.
const VERSION: &str = "version";
/// It is not there yet.
const FIRST: &str = "attribute_not_exists(pk)";
/// It is there.
const THERE: &str = "attribute_exists(pk)";
/// It names no newer version.
const OLDER: &str = "attribute_not_exists(pk) OR version < :version";

/// How many copies there are. Each is a partition that serves 3,000 consistent reads of up to 4 KB a second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>): 48,000 together, of which a run of
/// four questions and two effects takes seven. A change writes all of them in one transaction, which takes 100 items at most.
pub const COPIES: usize = 16;

/// How many copies are looked at before the controls count as missing. Copies are written together: one that is not there was deleted.
const LOOKS_MAX: usize = 3;

/// How often the copies are compared anew with a history that others change meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// The controls on DynamoDB.
pub struct LiveControls {
    client: Client,
    table: String,
    seen: Seen,
    /// The copy that is read next: in turn, from a place that is another in every process.
    next: AtomicUsize,
}

/// What came of a transaction.
enum Written {
    /// All of it.
    All,
    /// A condition failed.
    Refused,
}

impl LiveControls {
    /// Controls in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        let place = RandomState::new().build_hasher().finish() as usize % COPIES;
        Self { client, table: table.to_owned(), seen: Seen::default(), next: AtomicUsize::new(place) }
    }

    async fn get(&self, partition: &str, sort_key: &str) -> Result<Option<Item>, ControlsError> {
        let request =
            self.client.get_item().table_name(&self.table).key("pk", text(partition)).key("sk", text(sort_key));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        Ok(answer.item)
    }

    /// The version that a copy names; `None` when it is not there.
    async fn copy(&self, copy: usize) -> Result<Option<u64>, ControlsError> {
        let Some(item) = self.get(&partition_of(copy), VERSION).await? else { return Ok(None) };
        let named = item.get(VERSION).and_then(|version| version.as_n().ok()?.parse().ok());
        let unreadable = || ControlsError::Unreadable { problem: format!("copy {copy} names no version") };
        named.map(Some).ok_or_else(unreadable)
    }

    /// Which copies do not name `version`, because they are not there or name an older one; `None` when one names a newer.
    async fn behind(&self, version: u64) -> Result<Option<Vec<usize>>, ControlsError> {
        let mut behind = Vec::new();
        for copy in 0..COPIES {
            match self.copy(copy).await? {
                Some(named) if named > version => return Ok(None),
                Some(named) if named == version => {}
                Some(_) | None => behind.push(copy),
            }
        }
        Ok(Some(behind))
    }

    fn put(&self, item: Item) -> PutBuilder {
        Put::builder().table_name(&self.table).set_item(Some(item))
    }

    fn put_document(&self, document: &Document) -> Result<PutBuilder, Fault> {
        let item = Item::from([
            ("pk".to_owned(), text(PARTITION)),
            ("sk".to_owned(), text(version_key(document.version))),
            (VERSION.to_owned(), number(document.version)),
            ("document".to_owned(), text(serde_json::to_string(document).map_err(Fault::refused)?)),
        ]);
        Ok(self.put(item).condition_expression(FIRST))
    }

    fn put_copy(&self, copy: usize, version: u64) -> PutBuilder {
        let item = Item::from([
            ("pk".to_owned(), text(partition_of(copy))),
            ("sk".to_owned(), text(VERSION)),
            (VERSION.to_owned(), number(version)),
        ]);
        self.put(item)
    }

    async fn write(&self, check: Option<ConditionCheck>, puts: Vec<PutBuilder>) -> Result<Written, Fault> {
        let check = check.map(|check| TransactWriteItem::builder().condition_check(check).build());
        let puts: Result<Vec<Put>, BuildError> = puts.into_iter().map(PutBuilder::build).collect();
        let puts = puts.map_err(Fault::refused)?.into_iter().map(|put| TransactWriteItem::builder().put(put).build());
        let items = check.into_iter().chain(puts).collect();
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await else {
            return Ok(Written::All);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                match reasons.iter().any(|reason| condition_failed(Some(reason))) {
                    true => Ok(Written::Refused),
                    false => Err(Fault::of_cancelled("TransactWriteItems", reasons)),
                }
            }
            _ => Err(Fault::of("TransactWriteItems", &error)),
        }
    }
}

#[async_trait]
impl Controls for LiveControls {
    async fn read(&self) -> Result<Arc<Document>, ControlsError> {
        let mut version = None;
        for _ in 0..LOOKS_MAX {
            let copy = self.next.fetch_add(1, Ordering::Relaxed) % COPIES;
            version = self.copy(copy).await?;
            if version.is_some() {
                break;
            }
        }
        let version = version.ok_or(ControlsError::Missing)?;
        if let Some(known) = self.seen.version(version) {
            return Ok(known);
        }
        let gone = || ControlsError::Unreadable { problem: format!("version {version} is in force and not there") };
        let document = Arc::new(self.version(version).await?.ok_or_else(gone)?);
        self.seen.note(&document);
        Ok(document)
    }

    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError> {
        for _ in 0..ATTEMPTS_MAX {
            let newest = self.history(1).await?.pop();
            let document = newest.clone().unwrap_or_default();
            let version = document.version;
            // A change was made since the history was read, or its document is gone.
            let Some(behind) = self.behind(version).await? else { continue };
            if newest.is_some() && behind.is_empty() {
                return Ok(Initialised::There { version });
            }
            let copies = behind.into_iter().map(|copy| {
                let put = self.put_copy(copy, version).condition_expression(OLDER);
                put.expression_attribute_values(":version", number(version))
            });
            let mut puts: Vec<PutBuilder> = copies.collect();
            puts.push(self.put(audit_item(audit)?));
            if newest.is_none() {
                puts.push(self.put_document(&document)?);
            }
            match self.write(None, puts).await? {
                Written::All if newest.is_none() => return Ok(Initialised::Made),
                Written::All => return Ok(Initialised::Restored { version }),
                Written::Refused => {}
            }
        }
        Err(ControlsError::Unreadable { problem: "a version is in force of which there is no document".to_owned() })
    }

    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        let before =
            document.version.checked_sub(1).ok_or(Fault::Refused("version 0 is made, not changed to".into()))?;
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text(version_key(before)))
            .condition_expression(THERE)
            .build()
            .map_err(Fault::refused)?;
        let mut puts = vec![self.put_document(document)?, self.put(audit_item(audit)?)];
        puts.extend((0..COPIES).map(|copy| self.put_copy(copy, document.version)));
        match self.write(Some(check), puts).await? {
            Written::All => Ok(Changed::Done),
            // Perhaps it was this very change, and its first answer was lost.
            Written::Refused if self.version(document.version).await?.as_ref() == Some(document) => Ok(Changed::Done),
            Written::Refused => Ok(Changed::Conflict),
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
        self.get(PARTITION, &version_key(version)).await?.as_ref().map(read).transpose()
    }
}

fn partition_of(copy: usize) -> String {
    format!("{PARTITION}#{copy}")
}

/// Padded, so that versions sort as text.
fn version_key(version: u64) -> String {
    format!("v#{version:012}")
}

fn read(item: &Item) -> Result<Document, ControlsError> {
    let document = item.get("document").and_then(|document: &AttributeValue| document.as_s().ok());
    Document::parse(document.ok_or_else(|| ControlsError::Unreadable { problem: "no document".to_owned() })?)
}
