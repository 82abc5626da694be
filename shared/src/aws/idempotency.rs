//! Idempotency records on DynamoDB, laid out as Powertools lays them out
//! (<https://docs.aws.amazon.com/powertools/python/latest/utilities/idempotency/>). The race that the conditions decide is drawn
//! at [`IdempotencyRecords::begin`].

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::builders::UpdateItemFluentBuilder},
    types::ReturnValuesOnConditionCheckFailure,
};
use serde::{Deserialize, Serialize};

use super::{
    Runs,
    attributes::{millis, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    clock::Timestamp,
    door::{KeyMemory, Requests},
    idempotency::{Begun, IdempotencyRecords, Key, PayloadHash, RecordError, Turn},
    ids::RunId,
    journal::{JournalError, NewRun, Recorded},
};

const IN_PROGRESS: &str = "INPROGRESS";
const COMPLETED: &str = "COMPLETED";

/// There is no record, it has expired, or whoever was at it ran out of time.
const FREE: &str = "attribute_not_exists(id) OR expiration < :seconds \
     OR (#status = :in_progress AND in_progress_expiration < :now)";
/// The caller is at it.
const UNDER_WAY_BY_ME: &str = "#owner = :owner AND #status = :in_progress";
/// The caller is at it, or has completed it with the same result and did not hear so.
const COMPLETED_OR_UNDER_WAY_BY_ME: &str =
    "#owner = :owner AND (#status = :in_progress OR (#status = :completed AND #data = :data))";
/// What completing does.
const COMPLETE: &str =
    "SET #status = :completed, #data = :data, expiration = :expiration REMOVE in_progress_expiration";

/// Idempotency records on DynamoDB.
#[derive(Clone)]
pub struct Records {
    client: Client,
    table: String,
}

impl Records {
    /// Records in the table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    fn update_record(&self, key: &Key) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("id", text(key.as_str()))
    }
}

#[async_trait]
impl Requests for Runs {
    async fn memory(&self, key: &Key) -> Result<KeyMemory, JournalError> {
        let request = self.client.get_item().table_name(&self.idempotency_table).key("id", text(key.as_str()));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        let Some(item) = answer.item else { return Ok(KeyMemory::Blank) };
        let record = RecordItem::read(item).map_err(|message| JournalError::Refused { message })?;
        Ok(match record.expiration < self.clock.now().as_seconds() {
            true => KeyMemory::Expired,
            false => KeyMemory::Remembered,
        })
    }

    async fn recorded(&self, key: &Key, hash: &PayloadHash) -> Result<Option<Recorded>, JournalError> {
        let request = self.client.get_item().table_name(&self.idempotency_table).key("id", text(key.as_str()));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        let Some(item) = answer.item else { return Ok(None) };
        let record = RecordItem::read(item).map_err(|message| JournalError::Refused { message })?;
        if record.is_free(self.clock.now()) {
            return Ok(None);
        }
        record.recorded(hash).map(Some)
    }
}

/// A record's attributes, as Powertools names them, and `owner`.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordItem {
    id: String,
    status: String,
    /// Seconds since 1970: time to live.
    expiration: i64,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_progress_expiration: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// What the record of a run says was done.
#[derive(Serialize, Deserialize)]
struct AcceptedData {
    run_id: RunId,
}

impl RecordItem {
    /// The record that is written with a run.
    pub(super) fn accepted(new: &NewRun) -> RecordItem {
        RecordItem {
            id: new.key.as_str().to_owned(),
            status: COMPLETED.to_owned(),
            expiration: new.key_expires.as_seconds(),
            in_progress_expiration: None,
            data: serde_json::to_string(&AcceptedData { run_id: new.run }).ok(),
            validation: Some(new.payload_hash.as_str().to_owned()),
            owner: Some(new.run.to_string()),
        }
    }

    fn begun(key: &Key, hash: &PayloadHash, turn: &Turn) -> RecordItem {
        RecordItem {
            id: key.as_str().to_owned(),
            status: IN_PROGRESS.to_owned(),
            expiration: turn.expires.as_seconds(),
            in_progress_expiration: Some(turn.in_progress_until.as_millis()),
            data: None,
            validation: Some(hash.as_str().to_owned()),
            owner: Some(turn.owner.clone()),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(item: Item) -> Result<RecordItem, String> {
        serde_dynamo::from_item(item).map_err(|error| format!("not an idempotency record: {error}"))
    }

    /// What a live record means for a request to take on a run.
    ///
    /// # Errors
    /// When it is not a run's.
    pub(super) fn recorded(&self, hash: &PayloadHash) -> Result<Recorded, JournalError> {
        let data = self.data.as_deref().unwrap_or_default();
        match serde_json::from_str::<AcceptedData>(data) {
            _ if self.is_for_another(hash) => Ok(Recorded::Mismatch),
            _ if self.status == IN_PROGRESS => Ok(Recorded::InProgress),
            Ok(accepted) => Ok(Recorded::As { run: accepted.run_id }),
            Err(_) => Err(JournalError::Refused { message: format!("idempotency record `{}` names no run", self.id) }),
        }
    }

    /// A record without a hash was written where payloads are not validated.
    fn is_for_another(&self, hash: &PayloadHash) -> bool {
        self.validation.as_deref().is_some_and(|validation| validation != hash.as_str())
    }

    /// Whether it counts as absent: what [`FREE`] says.
    fn is_free(&self, now: Timestamp) -> bool {
        let out_of_time = self.in_progress_expiration.is_some_and(|until| until < now.as_millis());
        self.expiration < now.as_seconds() || (self.status == IN_PROGRESS && out_of_time)
    }

    fn stage(self, hash: &PayloadHash, owner: &str) -> Result<Begun, RecordError> {
        if self.is_for_another(hash) {
            return Ok(Begun::Mismatch);
        }
        let until = self.in_progress_expiration.unwrap_or(self.expiration.saturating_mul(1000));
        match (self.status.as_str(), self.data) {
            (IN_PROGRESS, _) if self.owner.as_deref() == Some(owner) => Ok(Begun::Started),
            (IN_PROGRESS, _) => Ok(Begun::InProgress { until: Timestamp::from_millis(until) }),
            (COMPLETED, Some(data)) => Ok(Begun::Completed { data }),
            // Powertools completes without data what returned nothing.
            (COMPLETED, None) => Ok(Begun::Completed { data: "null".to_owned() }),
            (status, _) => Err(RecordError::Damaged { problem: format!("status `{status}`"), id: self.id }),
        }
    }
}

/// Puts a record, if its key is free at `now`; else the record that is there.
///
/// # Errors
/// The store's.
pub(super) async fn put_if_free(
    client: &Client,
    table: &str,
    record: &RecordItem,
    now: Timestamp,
) -> Result<Option<Item>, Fault> {
    let put = client
        .put_item()
        .table_name(table)
        .set_item(Some(serde_dynamo::to_item(record).map_err(Fault::refused)?))
        .condition_expression(FREE)
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":in_progress", text(IN_PROGRESS))
        .expression_attribute_values(":seconds", seconds(now))
        .expression_attribute_values(":now", millis(now))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let Err(error) = put.send().await else { return Ok(None) };
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
            Ok(Some(refusal.item.clone().unwrap_or_default()))
        }
        _ => Err(Fault::of("PutItem", &error)),
    }
}

#[async_trait]
impl IdempotencyRecords for Records {
    async fn begin(&self, key: &Key, hash: &PayloadHash, turn: &Turn) -> Result<Begun, RecordError> {
        let mine = RecordItem::begun(key, hash, turn);
        let Some(there) = put_if_free(&self.client, &self.table, &mine, turn.now).await? else {
            return Ok(Begun::Started);
        };
        let damaged = |problem| RecordError::Damaged { id: key.as_str().to_owned(), problem };
        RecordItem::read(there).map_err(damaged)?.stage(hash, &turn.owner)
    }

    async fn complete(&self, key: &Key, owner: &str, data: &str, expires: Timestamp) -> Result<bool, RecordError> {
        let request = self
            .update_record(key)
            .update_expression(COMPLETE)
            .condition_expression(COMPLETED_OR_UNDER_WAY_BY_ME)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#data", "data")
            .expression_attribute_values(":in_progress", text(IN_PROGRESS))
            .expression_attribute_values(":completed", text(COMPLETED))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":data", text(data))
            .expression_attribute_values(":expiration", seconds(expires));
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }

    async fn release(&self, key: &Key, owner: &str) -> Result<bool, RecordError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("id", text(key.as_str()))
            .condition_expression(UNDER_WAY_BY_ME)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":in_progress", text(IN_PROGRESS))
            .expression_attribute_values(":owner", text(owner));
        let Err(error) = request.send().await else { return Ok(true) };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(Fault::of("DeleteItem", &error).into()),
        }
    }
}
