//! The Lambda Runtime API, as one process sees it.
//!
//! Each process has a port of its own, so that `AWS_LAMBDA_RUNTIME_API` is `host:port` as on Lambda, with which every
//! runtime works.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderName, HeaderValue, Response, StatusCode},
    routing::{get, post},
};
use serde_json::Value;
use tokio::sync::{OnceCell, oneshot};

use crate::{
    function::{InvokeError, PAYLOAD_BYTES_MAX},
    pool::Pool,
    process::Process,
};

/// Room for a response that is too large, so that it can be refused with its size.
const BODY_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// A process that is about to be started, or was.
pub(crate) struct Sandbox {
    pub(crate) pool: Arc<Pool>,
    /// Set right after the process started, which may be a moment after it first calls.
    pub(crate) process: OnceCell<Arc<Process>>,
    pub(crate) started: tokio::sync::Notify,
}

impl Sandbox {
    async fn process(&self) -> Arc<Process> {
        loop {
            let started = self.started.notified();
            if let Some(process) = self.process.get() {
                return Arc::clone(process);
            }
            started.await;
        }
    }
}

pub(crate) fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{request_id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{request_id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(sandbox)
}

/// Waits for the next invocation, however long. The process is idle until then.
async fn next(State(sandbox): State<Arc<Sandbox>>) -> Response<Body> {
    let process = sandbox.process().await;
    let (hand, handed) = oneshot::channel();
    sandbox.pool.offer(&process, hand);
    // If this wait is dropped because the process has gone, so is an invocation on its way to it, and the pool takes it
    // elsewhere.
    let Ok(invocation) = handed.await else {
        return reply(StatusCode::GONE);
    };
    let handed = process.accept(invocation);
    let mut response = Response::new(Body::from(handed.event));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let deadline = handed.deadline_epoch_ms.to_string();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", handed.request_id.as_str()),
        ("lambda-runtime-deadline-ms", &deadline),
        ("lambda-runtime-invoked-function-arn", &handed.arn),
        ("lambda-runtime-trace-id", &handed.trace),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn response(State(sandbox): State<Arc<Sandbox>>, Path(request_id): Path<String>, body: Bytes) -> Response<Body> {
    let answer =
        if body.len() > PAYLOAD_BYTES_MAX { Err(InvokeError::PayloadTooLarge { bytes: body.len() }) } else { Ok(body) };
    answered(sandbox.process().await.answer(&request_id, answer))
}

async fn error(State(sandbox): State<Arc<Sandbox>>, Path(request_id): Path<String>, body: Bytes) -> Response<Body> {
    let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
    let answer = InvokeError::Function {
        error_type: text("errorType").unwrap_or_else(|| "Unhandled".into()),
        message: text("errorMessage").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
        payload,
    };
    answered(sandbox.process().await.answer(&request_id, Err(answer)))
}

/// The runtime says why it cannot start; it is expected to end by itself.
async fn init_error(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Response<Body> {
    sandbox.process().await.note(&String::from_utf8_lossy(&body));
    reply(StatusCode::ACCEPTED)
}

fn answered(known: bool) -> Response<Body> {
    reply(if known { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST })
}

fn reply(status: StatusCode) -> Response<Body> {
    let body = if status.is_success() { r#"{"status":"OK"}"# } else { r#"{"errorType":"InvalidRequestID"}"# };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
