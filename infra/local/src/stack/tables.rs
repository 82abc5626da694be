//! Tables, created when absent.

use dynoxide::{
    Database, DynoxideError,
    actions::{create_table::CreateTableRequest, update_time_to_live::UpdateTimeToLiveRequest},
};
use serde_json::json;

use super::error::StackError;
use crate::{dynamodb::Store, spec::TableSpec};

pub(super) async fn ensure(store: &Store, table: &TableSpec) -> Result<(), StackError> {
    let refused = |message: String| StackError::Table { message };
    let create: CreateTableRequest =
        serde_json::from_value(table.create.clone()).map_err(|error| refused(error.to_string()))?;
    let ttl: Option<UpdateTimeToLiveRequest> = table
        .ttl_attribute
        .as_ref()
        .map(|attribute| {
            serde_json::from_value(json!({
                "TableName": table.create.get("TableName"),
                "TimeToLiveSpecification": { "Enabled": true, "AttributeName": attribute },
            }))
        })
        .transpose()
        .map_err(|error| refused(error.to_string()))?;
    store
        .with(move |database| create_table(database, create, ttl))
        .await
        .map_err(|_| refused("the table store has stopped".into()))?
        .map_err(|error| refused(error.to_string()))
}

/// A table that exists is left as it is.
fn create_table(
    database: &Database,
    create: CreateTableRequest,
    ttl: Option<UpdateTimeToLiveRequest>,
) -> Result<(), DynoxideError> {
    match database.create_table(create) {
        Err(DynoxideError::ResourceInUseException(_)) => return Ok(()),
        other => other?,
    };
    ttl.map_or(Ok(()), |ttl| database.update_time_to_live(ttl).map(|_| ()))
}
