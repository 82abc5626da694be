//! CloudWatch's API in the two protocols that clients speak: CBOR (the Rust SDK) and JSON (the AWS command line). Both are the same
//! requests and answers, so the operations know nothing of it.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Operations.html>
//! <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>
//!
//! What is not answered, and where answers differ, is in `docs/local.md`.

mod alarm_requests;
mod cbor;
mod metric_data;
mod put_metric_data;
mod refusal;
mod wire;

use std::{io::Read as _, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use self::{alarm_requests::Definition, refusal::Refusal};
use crate::{alarms::Alarms, identifier, meter::Counts, metrics::Metrics};

/// What `X-Amz-Target` begins with, in JSON.
pub(crate) const TARGET: &str = "GraniteServiceVersion20100801";

/// What the path begins with, in CBOR.
const PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

/// The largest request, also when it comes compressed.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// The operation that a path names, if it is one of CloudWatch.
pub(crate) fn in_path(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)
}

/// Metrics and alarms for clients.
pub(crate) struct CloudWatch {
    metrics: Arc<Metrics>,
    alarms: Alarms<Definition>,
    counts: Arc<Counts>,
    /// What ARNs of alarms begin with.
    arn_base: String,
}

impl CloudWatch {
    pub(crate) fn new(metrics: Arc<Metrics>, region: &str, account: &str, counts: Arc<Counts>) -> Self {
        let alarms = Alarms::new(Arc::clone(&metrics));
        Self { metrics, alarms, counts, arn_base: format!("arn:aws:cloudwatch:{region}:{account}:alarm") }
    }

    pub(crate) fn answer_json(&self, operation: &str, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let request = plain(headers, body).and_then(|body| {
            let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
            serde_json::from_slice(body).map_err(|error| Refusal::Serialization { message: error.to_string() })
        });
        let answer = request.and_then(|request| self.answer(operation, request));
        let (status, answer, refusal) = outcome(answer);
        response(status, "application/x-amz-json-1.0", answer.to_string().into_bytes(), refusal)
    }

    pub(crate) fn answer_cbor(&self, operation: &str, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let request = plain(headers, body).and_then(|body| {
            if body.is_empty() {
                return Ok(json!({}));
            }
            cbor::read(&body).map_err(|message| Refusal::Serialization { message })
        });
        let answer = request.and_then(|request| self.answer(operation, request));
        let (status, answer, refusal) = outcome(answer);
        let mut response = response(status, "application/cbor", cbor::write(&answer), refusal);
        response.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        response
    }

    /// Answers a request of this process.
    ///
    /// # Errors
    /// Why it is refused, in words.
    pub(crate) fn ask(&self, operation: &str, request: Value) -> Result<Value, String> {
        self.answer(operation, request).map_err(|refusal| refusal.to_string())
    }

    fn answer(&self, operation: &str, request: Value) -> Result<Value, Refusal> {
        let answer = match operation {
            "PutMetricData" => self.put_metric_data(request),
            "GetMetricData" => self.get_metric_data(request),
            "ListMetrics" => self.list_metrics(request),
            "PutMetricAlarm" => self.put_metric_alarm(request),
            "DescribeAlarms" => self.describe_alarms(request),
            "SetAlarmState" => self.set_alarm_state(request),
            "DeleteAlarms" => self.delete_alarms(request),
            _ => return Err(Refusal::UnknownOperation { operation: operation.chars().take(64).collect() }),
        };
        self.counts.request(&format!("CloudWatch.{operation}"));
        answer
    }
}

/// The body without its compression, which SDKs apply to long ones.
fn plain(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::Serialization { message: format!("a request may have {BODY_BYTES_MAX} bytes") };
    let mut plain = Vec::new();
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => plain.extend_from_slice(body),
        Some(b"gzip") => {
            let read = GzDecoder::new(body).take(BODY_BYTES_MAX + 1).read_to_end(&mut plain);
            read.map_err(|error| Refusal::Serialization { message: error.to_string() })?;
        }
        Some(_) => return Err(Refusal::Serialization { message: "the encoding is not gzip".into() }),
    }
    if u64::try_from(plain.len()).is_ok_and(|bytes| bytes <= BODY_BYTES_MAX) { Ok(plain) } else { Err(too_large()) }
}

fn outcome(answer: Result<Value, Refusal>) -> (StatusCode, Value, Option<Refusal>) {
    match answer {
        Ok(answer) => (StatusCode::OK, answer, None),
        Err(refusal) => {
            let body = json!({ "__type": refusal.shape(), "message": refusal.to_string() });
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, body, Some(refusal))
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>, refusal: Option<Refusal>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-amzn-requestid", &identifier::uuid());
    if let Some(refusal) = refusal {
        // What the error was called in the protocol before: clients still go by it.
        set("x-amzn-query-error", &format!("{};Sender", refusal.code()));
    }
    response
}
