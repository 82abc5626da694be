//! What a function returns, as an HTTP response.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    status_code: u16,
    headers: Option<BTreeMap<String, Value>>,
    multi_value_headers: Option<BTreeMap<String, Vec<Value>>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// `None` if the payload is malformed, which API Gateway answers with 500.
///
/// A payload without `statusCode` is the inferred form: it is the body, its type JSON, its status 200.
pub(super) fn from_payload(payload: &[u8]) -> Option<Response<Body>> {
    // An object is parsed once when it is well formed, which is the rule.
    match serde_json::from_slice::<Payload>(payload) {
        Ok(explicit) => explicit.into_response(),
        Err(_) => match serde_json::from_slice(payload).ok()? {
            Value::Object(fields) if fields.contains_key("statusCode") => None,
            Value::String(text) => Some(inferred(text.into_bytes())),
            _ => Some(inferred(payload.to_vec())),
        },
    }
}

fn inferred(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Payload {
    fn into_response(self) -> Option<Response<Body>> {
        let body = self.body.unwrap_or_default();
        let body = match self.is_base64_encoded {
            Some(true) => BASE64_STANDARD.decode(body).ok()?,
            _ => body.into_bytes(),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status_code).ok()?;
        let headers = response.headers_mut();
        for (name, value) in self.headers.unwrap_or_default() {
            headers.insert(header_name(&name)?, header_value(&value)?);
        }
        for (name, values) in self.multi_value_headers.unwrap_or_default() {
            let name = header_name(&name)?;
            headers.remove(&name);
            for value in values {
                headers.append(&name, header_value(&value)?);
            }
        }
        for cookie in self.cookies.unwrap_or_default() {
            headers.append(header::SET_COOKIE, HeaderValue::from_str(&cookie).ok()?);
        }
        // The front says itself how long its answer is.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain;charset=UTF-8"));
        Some(response)
    }
}

fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn header_value(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::String(text) => HeaderValue::from_str(text).ok(),
        Value::Number(number) => HeaderValue::from_str(&number.to_string()).ok(),
        Value::Bool(flag) => HeaderValue::from_str(&flag.to_string()).ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(payload: &str) -> Option<(u16, String, String)> {
        let response = from_payload(payload.as_bytes())?;
        let status = response.status().as_u16();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.expect("a body");
        Some((status, content_type, String::from_utf8_lossy(&body).into_owned()))
    }

    #[tokio::test]
    async fn a_payload_without_a_status_code_is_the_body() {
        assert_eq!(read(r#"{"a":1}"#).await, Some((200, "application/json".into(), r#"{"a":1}"#.into())));
        assert_eq!(read(r#""hello""#).await, Some((200, "application/json".into(), "hello".into())));
        assert_eq!(read("null").await, Some((200, "application/json".into(), "null".into())));
    }

    #[tokio::test]
    async fn an_encoded_body_is_decoded() {
        let payload =
            r#"{"statusCode":201,"headers":{"Content-Type":"image/png"},"body":"aGk=","isBase64Encoded":true}"#;
        assert_eq!(read(payload).await, Some((201, "image/png".into(), "hi".into())));
    }

    #[test]
    fn a_malformed_payload_has_no_response() {
        for payload in [
            "",
            "{",
            r#"{"statusCode":"teapot"}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":20}"#,
        ] {
            assert!(from_payload(payload.as_bytes()).is_none(), "{payload}");
        }
    }

    #[test]
    fn cookies_and_repeated_headers_are_kept_apart() {
        let payload = r#"{"statusCode":200,"multiValueHeaders":{"X-A":["1","2"]},"cookies":["a=1","b=2"]}"#;
        let response = from_payload(payload.as_bytes()).expect("a response");
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    }
}
