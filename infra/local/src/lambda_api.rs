//! Lambda's API, as the SDKs and the AWS command line speak it: REST with JSON, version 2015-03-31.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>
//!
//! What is not answered, and where answers differ, is in `docs/local.md`. A field that is not understood is refused, so that nothing
//! is silently left undone.

mod aliases;
mod code;
mod description;
mod invocations;
mod versions;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, rejection::BytesRejection},
    http::{HeaderValue, Response, StatusCode},
    response::IntoResponse,
    routing::{get, post, put},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    function::PAYLOAD_BYTES_MAX,
    identifier,
    lambda::{AliasName, Functions, Refusal, UPLOAD_BYTES_MAX},
    meter::Counts,
};

/// Asynchronous invocations that may wait at once. A bound on memory, not one of Lambda's.
const EVENTS_MAX: usize = 1_000;

/// Items of a list, and the most that may be asked for.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html>
const ITEMS: usize = 50;
const ITEMS_MAX: usize = 10_000;

/// What the API answers from.
pub(crate) struct LambdaApi {
    functions: Arc<Functions>,
    counts: Arc<Counts>,
    events: Arc<Semaphore>,
}

impl LambdaApi {
    pub(crate) fn new(functions: Arc<Functions>, counts: Arc<Counts>) -> Self {
        Self { functions, counts, events: Arc::new(Semaphore::new(EVENTS_MAX)) }
    }
}

type Answer = Result<Response<Body>, Refusal>;

/// What may stand behind `?`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asking {
    qualifier: Option<String>,
    function_version: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

pub(crate) fn router(api: Arc<LambdaApi>) -> Router {
    let function = "/2015-03-31/functions/{function}";
    let at = |rest: &str| format!("{function}{rest}");
    Router::new()
        .route("/2015-03-31/functions", get(versions::list_functions))
        .route("/2015-03-31/functions/", get(versions::list_functions))
        .route(function, get(versions::get_function).delete(versions::delete_function))
        .route(&at("/configuration"), get(versions::get_configuration).put(code::update_configuration))
        .route(&at("/code"), put(code::update_code).layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX)))
        .route(&at("/versions"), get(versions::list).post(versions::publish))
        .route(&at("/aliases"), get(aliases::list).post(aliases::create))
        .route(&at("/aliases/{name}"), get(aliases::get).put(aliases::update).delete(aliases::delete))
        .route(&at("/invocations"), post(invocations::invoke).layer(DefaultBodyLimit::max(PAYLOAD_BYTES_MAX)))
        .with_state(api)
}

/// The path of an operation that is not answered.
pub(crate) fn unknown() -> Response<Body> {
    Refusal::UnknownOperation.into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let (kind, status) = self.kind();
        let mut body = json!({ "Type": if status < 500 { "User" } else { "Service" }, "Message": self.to_string() });
        if let Self::TooManyRequests { reason } = self {
            body["Reason"] = json!(reason);
        }
        let mut response = answered(status, &body);
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
        response
    }
}

fn answered(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(&identifier::uuid()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// Reads a request's fields; none at all are an empty object.
fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    (operation, bytes_max): (&'static str, usize),
) -> Result<T, Refusal> {
    let body = body.map_err(|_| Refusal::TooLarge { bytes_max, operation })?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("{operation} is not answered like this on this machine: {error}")))
}

fn alias_name(text: &str) -> Result<AliasName, Refusal> {
    AliasName::parse(text).ok_or_else(|| Refusal::Validation {
        value: text.chars().take(128).collect(),
        at: "name",
        constraint: "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
    })
}

/// A page of a list, with the marker of the next one.
fn page<T>(items: Vec<T>, asking: &Asking) -> Result<(Vec<T>, Option<String>), Refusal> {
    let from = asking.marker.as_deref().map_or(Ok(0), str::parse::<usize>);
    let from = from.map_err(|_| Refusal::invalid("The marker is not one of this list"))?;
    let size = asking.max_items.unwrap_or(ITEMS).clamp(1, ITEMS_MAX);
    let more = items.len() > from.saturating_add(size);
    let page = items.into_iter().skip(from).take(size).collect();
    Ok((page, more.then(|| (from + size).to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_in_pages() {
        let asking = |marker: Option<&str>, max_items| Asking {
            qualifier: None,
            function_version: None,
            marker: marker.map(str::to_owned),
            max_items,
        };
        let all = || (0..5).collect::<Vec<_>>();
        assert_eq!(page(all(), &asking(None, None)), Ok((all(), None)));
        assert_eq!(page(all(), &asking(None, Some(2))), Ok((vec![0, 1], Some("2".into()))));
        assert_eq!(page(all(), &asking(Some("4"), Some(2))), Ok((vec![4], None)));
        assert_eq!(page(all(), &asking(Some("9"), Some(2))), Ok((vec![], None)));
        assert!(page(all(), &asking(Some("next"), None)).is_err());
    }
}
