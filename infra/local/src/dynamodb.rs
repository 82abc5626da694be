//! DynamoDB: requests as the SDKs send them, answered by the embedded database and metered.
//!
//! dynoxide's own HTTP router is private, so requests are decoded here, straight into its request types. That saves a
//! hop and a second parse, and lets the meter read what an operation consumed without touching JSON.

mod request;
mod store;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use dynoxide::{DynoxideError, actions, types::ConsumedCapacity};
use serde::Serialize;

pub(crate) use self::store::Store;
pub use self::store::StoreError;
use self::{request::decode, store::Stopped};
use crate::{identifier, meter::Counts};

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// The `ReturnConsumedCapacity` that the meter asks for.
const TOTAL: &str = "TOTAL";

/// The `ReturnConsumedCapacity` that asks for nothing.
const NONE: &str = "NONE";

/// What an answer reports as consumed.
trait Capacity {
    fn parts(&self) -> &[ConsumedCapacity];
}

impl Capacity for Option<ConsumedCapacity> {
    fn parts(&self) -> &[ConsumedCapacity] {
        self.as_slice()
    }
}

impl Capacity for Option<Vec<ConsumedCapacity>> {
    fn parts(&self) -> &[ConsumedCapacity] {
        self.as_deref().unwrap_or_default()
    }
}

/// Why a request has no result.
enum Refusal {
    Error(DynoxideError),
    Stopped,
    UnknownOperation,
}

impl From<DynoxideError> for Refusal {
    fn from(error: DynoxideError) -> Self {
        Self::Error(error)
    }
}

impl From<Stopped> for Refusal {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Answers one request; `operation` is what follows `DynamoDB_20120810.` in `X-Amz-Target`.
pub(crate) async fn answer(store: &Store, counts: &Counts, operation: &str, body: Bytes) -> Response<Body> {
    let name = format!("DynamoDB.{operation}");
    match run(store, counts, &name, operation, body).await {
        Ok(json) => respond(StatusCode::OK, json),
        Err(Refusal::Error(error)) => {
            let error_type = error.error_type();
            counts.error(&name, error_type.rsplit('#').next().unwrap_or(error_type));
            let status = StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::BAD_REQUEST);
            respond(status, error.to_json().into_bytes())
        }
        Err(Refusal::UnknownOperation) => respond(
            StatusCode::BAD_REQUEST,
            br#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#.to_vec(),
        ),
        Err(Refusal::Stopped) => respond(
            StatusCode::SERVICE_UNAVAILABLE,
            br#"{"__type":"com.amazonaws.dynamodb.v20120810#ServiceUnavailable","message":"the stack has stopped"}"#
                .to_vec(),
        ),
    }
}

/// Runs one operation on the database and encodes its result.
async fn run(store: &Store, counts: &Counts, name: &str, operation: &str, body: Bytes) -> Result<Vec<u8>, Refusal> {
    macro_rules! plain {
        ($method:ident) => {{
            counts.request(name);
            let request = decode(operation, &body)?;
            let result = store.with(move |database| database.$method(request)).await??;
            encode(&result)
        }};
    }
    // A request that does not ask for capacity is made to, and the figure is taken out of the answer again.
    macro_rules! metered {
        ($method:ident, $request:ident) => {{
            counts.request(name);
            let mut request: actions::$method::$request = decode(operation, &body)?;
            let asked = request.return_consumed_capacity.as_deref().is_some_and(|value| value != NONE);
            if !asked {
                request.return_consumed_capacity = Some(TOTAL.to_owned());
            }
            let mut result = store.with(move |database| database.$method(request)).await??;
            counts.consumed(name, result.consumed_capacity.parts());
            if !asked {
                result.consumed_capacity = None;
            }
            encode(&result)
        }};
    }
    match operation {
        "GetItem" => metered!(get_item, GetItemRequest),
        "PutItem" => metered!(put_item, PutItemRequest),
        "UpdateItem" => metered!(update_item, UpdateItemRequest),
        "DeleteItem" => metered!(delete_item, DeleteItemRequest),
        "Query" => metered!(query, QueryRequest),
        "Scan" => metered!(scan, ScanRequest),
        "BatchGetItem" => metered!(batch_get_item, BatchGetItemRequest),
        "BatchWriteItem" => metered!(batch_write_item, BatchWriteItemRequest),
        "TransactGetItems" => metered!(transact_get_items, TransactGetItemsRequest),
        "TransactWriteItems" => metered!(transact_write_items, TransactWriteItemsRequest),
        "CreateTable" => plain!(create_table),
        "DeleteTable" => plain!(delete_table),
        "DescribeTable" => plain!(describe_table),
        "ListTables" => plain!(list_tables),
        "UpdateTable" => plain!(update_table),
        "UpdateTimeToLive" => plain!(update_time_to_live),
        "DescribeTimeToLive" => plain!(describe_time_to_live),
        "TagResource" => plain!(tag_resource),
        "UntagResource" => plain!(untag_resource),
        "ListTagsOfResource" => plain!(list_tags_of_resource),
        "ExecuteStatement" => plain!(execute_statement),
        "ExecuteTransaction" => plain!(execute_transaction),
        "BatchExecuteStatement" => plain!(batch_execute_statement),
        _ => Err(Refusal::UnknownOperation),
    }
}

fn encode(result: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(result).map_err(|error| DynoxideError::InternalServerError(error.to_string()).into())
}

fn respond(status: StatusCode, json: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Ok(id) = HeaderValue::from_str(&identifier::uuid()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
