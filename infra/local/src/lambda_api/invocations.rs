//! `Invoke`.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Answer, Asking, LambdaApi};
use crate::{
    function::{InvokeError, PAYLOAD_BYTES_MAX},
    lambda::{self, Asked, Refusal, Target},
    logs::LastLines,
    pool::Patience,
};

/// The largest event of an asynchronous invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// How much of the log is given back.
const TAIL_BYTES_MAX: usize = 4 * 1024;

/// How long an invocation waits for a free process before it is refused: enough for one that has just answered to ask for more.
const SLOT_WAIT: Duration = Duration::from_millis(250);

/// How long an answer with a log waits for what its process wrote before it answered and what may still be on its way.
const TAIL_WAIT: Duration = Duration::from_millis(20);

const OPERATION: &str = "InvokeFunction";

pub(super) async fn invoke(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.Invoke");
    let target = api.functions.asked(&function, asking.qualifier.as_deref())?;
    let too_large = |bytes_max| Refusal::TooLarge { bytes_max, operation: OPERATION };
    let body = body.map_err(|_| too_large(PAYLOAD_BYTES_MAX))?;
    let event = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&event) {
        return Err(Refusal::InvalidContent { message: error.to_string() });
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(qualifier) = &target.qualifier {
        // Asked now, so that an asynchronous invocation of nothing is refused at once.
        target.function.find(qualifier)?;
    }
    match text("x-amz-invocation-type").unwrap_or("RequestResponse") {
        "RequestResponse" => {
            let tail = (text("x-amz-log-type") == Some("Tail")).then(LastLines::default);
            respond(&target, event, tail).await
        }
        "Event" if event.len() > EVENT_BYTES_MAX => Err(too_large(EVENT_BYTES_MAX)),
        "Event" => {
            let full = |_| Refusal::TooManyRequests { reason: "CallerRateLimitExceeded" };
            let place = Arc::clone(&api.events).try_acquire_owned().map_err(full)?;
            tokio::spawn(async move {
                lambda::invoke_with_retries(&target, &event).await;
                drop(place);
            });
            Ok(plain(StatusCode::ACCEPTED, Bytes::new()))
        }
        "DryRun" => Ok(plain(StatusCode::NO_CONTENT, Bytes::new())),
        other => Err(Refusal::Validation {
            value: other.chars().take(64).collect(),
            at: "invocationType",
            constraint: "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
        }),
    }
}

async fn respond(target: &Target, event: Bytes, tail: Option<LastLines>) -> Answer {
    let asked = target.ask(event, Patience::Until(SLOT_WAIT), tail.clone()).await;
    let asked = asked.map_err(|error| Refusal::Service { message: error.to_string() })?;
    let log = match tail {
        Some(tail) => {
            tokio::time::sleep(TAIL_WAIT).await;
            Some(log(&asked, &tail.to_vec()))
        }
        None => None,
    };
    let Asked { executed, answer, request_id, .. } = asked;
    let (payload, failed) = match answer {
        Ok(payload) => (payload, false),
        Err(error) => (Bytes::from(failure(error, &request_id)?.to_string()), true),
    };
    let mut response = plain(StatusCode::OK, payload);
    let executed = executed.to_string();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    set("x-amzn-requestid", &request_id);
    set("x-amz-executed-version", &executed);
    if failed {
        set("x-amz-function-error", "Unhandled");
    }
    if let Some(log) = log {
        set("x-amz-log-result", &BASE64_STANDARD.encode(log));
    }
    Ok(response)
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// What Lambda answers when the function failed; an error when it was not even invoked.
fn failure(error: InvokeError, request_id: &str) -> Result<Value, Refusal> {
    let described = |kind: &str, message: String| json!({ "errorType": kind, "errorMessage": message });
    let with_id = |kind: &str, message: String| described(kind, format!("RequestId: {request_id} Error: {message}"));
    Ok(match error {
        InvokeError::Function { payload: payload @ Value::Object(_), .. } => payload,
        InvokeError::Function { error_type, message, .. } => described(&error_type, message),
        InvokeError::TimedOut { .. } => with_id("Sandbox.Timedout", error.to_string()),
        InvokeError::Exited { exit, .. } | InvokeError::InitFailed { exit, .. } => {
            with_id("Runtime.ExitError", format!("Runtime exited with error: {exit}"))
        }
        InvokeError::PayloadTooLarge { .. } => described(
            "Function.ResponseSizeTooLarge",
            format!("Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."),
        ),
        InvokeError::Malformed { message } => described("Runtime.MalformedResponse", message),
        InvokeError::TooManyRequests { .. } => {
            return Err(Refusal::TooManyRequests { reason: "ReservedFunctionConcurrentInvocationLimitExceeded" });
        }
        InvokeError::UnknownFunction { .. } | InvokeError::ShuttingDown => {
            return Err(Refusal::Service { message: error.to_string() });
        }
    })
}

/// The end of the log between the lines that Lambda puts around it.
fn log(asked: &Asked, lines: &[String]) -> String {
    let Asked { request_id, executed, took, .. } = asked;
    let mut log = format!("START RequestId: {request_id} Version: {executed}\n");
    for line in lines {
        log.push_str(line);
        log.push('\n');
    }
    let millis = took.as_secs_f64() * 1e3;
    log.push_str(&format!("END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {millis:.2} ms\n"));
    let mut from = log.len().saturating_sub(TAIL_BYTES_MAX);
    while !log.is_char_boundary(from) {
        from += 1;
    }
    log.split_off(from)
}
