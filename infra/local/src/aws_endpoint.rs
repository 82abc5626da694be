//! The one URL that all AWS clients use. `X-Amz-Target` or the path says which service and operation a request is for.
//!
//! Whoever reaches it may run programs. So that a web page in a browser on this machine does not, requests with an `Origin` and
//! those for another host are refused.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header},
    middleware,
    middleware::Next,
    routing::get,
};
use serde_json::json;

use crate::{
    cloudwatch::{self, CloudWatch},
    dynamodb::{self, Store},
    lambda_api::{self, LambdaApi},
    meter::{Counts, Meter},
    query_protocol,
    secrets::Secrets,
    sqs::Queues,
};

/// The largest request of any of the services: DynamoDB's batches.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The services behind the URL.
pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) queues: Arc<Queues>,
    pub(crate) secrets: Secrets,
    pub(crate) counts: Arc<Counts>,
    pub(crate) cloudwatch: CloudWatch,
    /// Twelve digits.
    pub(crate) account: String,
}

pub(crate) fn router(services: Arc<Services>, lambda: Arc<LambdaApi>) -> Router {
    Router::new()
        .route("/_local/health", get(health))
        .route("/_local/meter", get(meter))
        .fallback(dispatch)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(services)
        .merge(lambda_api::router(lambda))
        .layer(middleware::from_fn(refuse_pages))
}

async fn refuse_pages(request: Request, next: Next) -> Response<Body> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    if headers.contains_key(header::ORIGIN) || !matches!(name, "127.0.0.1" | "localhost") {
        let mut response = Response::new(Body::from(r#"{"message":"not for web pages"}"#));
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    next.run(request).await
}

async fn dispatch(State(services): State<Arc<Services>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if let Some(operation) = cloudwatch::in_path(uri.path()) {
        return services.cloudwatch.answer_cbor(operation, &headers, &body);
    }
    if uri.path().starts_with("/2015-03-31/") {
        return lambda_api::unknown();
    }
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match target.split_once('.') {
        Some(("DynamoDB_20120810", operation)) => {
            dynamodb::answer(&services.store, &services.counts, operation, body).await
        }
        Some(("AmazonSQS", operation)) => services.queues.answer(operation, body).await,
        Some(("secretsmanager", operation)) => services.secrets.answer(operation, &headers, body).await,
        Some((cloudwatch::TARGET, operation)) => services.cloudwatch.answer_json(operation, &headers, &body),
        _ => match query_protocol::answer(&services.account, &headers, &body) {
            Some(response) => {
                services.counts.request("Query");
                response
            }
            None => unknown(target),
        },
    }
}

fn unknown(target: &str) -> Response<Body> {
    let message = format!("no service on this machine answers `{target}`");
    let body = json!({ "__type": "UnknownOperationException", "message": message }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}

async fn health(State(services): State<Arc<Services>>) -> Response<Body> {
    let healthy = services.store.with(|database| database.table_count().is_ok()).await.unwrap_or(false);
    let mut response = Response::new(Body::from(json!({ "healthy": healthy }).to_string()));
    if !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn meter(State(services): State<Arc<Services>>) -> Json<Meter> {
    Json(services.counts.snapshot())
}
