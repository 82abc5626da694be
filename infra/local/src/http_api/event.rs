//! The event of a request, payload format 2.0.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;

use super::route::{Plus, decode};

const API_ID: &str = "local";

/// Everybody who can reach the stack is on this machine.
const SOURCE_IP: &str = "127.0.0.1";

/// What an event is made of.
pub(super) struct Event<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: &'a Bytes,
    pub(super) route_key: &'a str,
    pub(super) parameters: &'a BTreeMap<&'a str, String>,
    pub(super) claims: Option<&'a BTreeMap<String, String>>,
    pub(super) request_id: &'a str,
    pub(super) account: &'a str,
    /// Since the Unix epoch.
    pub(super) time: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<&'a str>,
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    path_parameters: &'a BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'a str,
    api_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<Authorizer<'a>>,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'a str,
    stage: &'static str,
    time: String,
    time_epoch: u128,
}

#[derive(Serialize)]
struct Authorizer<'a> {
    jwt: Jwt<'a>,
}

#[derive(Serialize)]
struct Jwt<'a> {
    claims: &'a BTreeMap<String, String>,
    /// Routes have no scopes here.
    scopes: Option<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: &'static str,
    user_agent: &'a str,
}

impl Event<'_> {
    /// `None` only if serialisation fails.
    pub(super) fn to_json(&self) -> Option<Bytes> {
        let path = self.parts.uri.path();
        let query = self.parts.uri.query().unwrap_or_default();
        let request_headers = &self.parts.headers;
        let host = text(request_headers, header::HOST.as_str());
        let domain = host.split(':').next().unwrap_or_default();
        let (body, is_base64_encoded) = self.body();
        let payload = Payload {
            version: "2.0",
            route_key: self.route_key,
            raw_path: path,
            raw_query_string: query,
            cookies: cookies(request_headers),
            headers: headers(request_headers),
            query_string_parameters: query_parameters(query),
            request_context: RequestContext {
                account_id: self.account,
                api_id: API_ID,
                authorizer: self.claims.map(|claims| Authorizer { jwt: Jwt { claims, scopes: None } }),
                domain_name: domain,
                domain_prefix: domain.split('.').next().unwrap_or_default(),
                http: Http {
                    method: self.parts.method.as_str(),
                    path,
                    protocol: "HTTP/1.1",
                    source_ip: SOURCE_IP,
                    user_agent: text(request_headers, header::USER_AGENT.as_str()),
                },
                request_id: self.request_id,
                route_key: self.route_key,
                stage: "$default",
                time: common_log_time(self.time),
                time_epoch: self.time.as_millis(),
            },
            path_parameters: self.parameters,
            body,
            is_base64_encoded,
        };
        serde_json::to_vec(&payload).ok().map(Bytes::from)
    }

    fn body(&self) -> (Option<Cow<'_, str>>, bool) {
        if self.body.is_empty() {
            return (None, false);
        }
        let content_type = text(&self.parts.headers, header::CONTENT_TYPE.as_str());
        match std::str::from_utf8(self.body) {
            Ok(body) if is_text(content_type) => (Some(Cow::Borrowed(body)), false),
            _ => (Some(Cow::Owned(BASE64_STANDARD.encode(self.body))), true),
        }
    }
}

/// Which bodies API Gateway passes on as they are. A form is not among them.
fn is_text(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.is_empty()
        || media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || media_type.ends_with("+xml")
        || matches!(media_type.as_str(), "application/json" | "application/javascript" | "application/xml")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Repeated headers are joined by commas; cookies are not among them.
fn headers(all: &HeaderMap) -> BTreeMap<&str, Cow<'_, str>> {
    let mut joined: BTreeMap<&str, Cow<'_, str>> = BTreeMap::new();
    for (name, value) in all {
        if matches!(*name, header::COOKIE | header::CONNECTION | header::TRANSFER_ENCODING) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match joined.get_mut(name.as_str()) {
            Some(first) => *first = Cow::Owned(format!("{first},{value}")),
            None => {
                joined.insert(name.as_str(), value);
            }
        }
    }
    joined.entry("x-forwarded-for").or_insert(Cow::Borrowed(SOURCE_IP));
    joined.entry("x-forwarded-proto").or_insert(Cow::Borrowed("http"));
    joined
}

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).map(str::trim).filter(|cookie| !cookie.is_empty()).collect()
}

/// Repeated parameters are joined by commas.
fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value, Plus::Space);
        joined
            .entry(decode(name, Plus::Space))
            .and_modify(|first| {
                first.push(',');
                first.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

/// For example `12/Mar/2020:19:03:58 +0000`.
fn common_log_time(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
    use axum::http::Request;

    use super::*;

    fn event(request: axum::http::request::Builder, body: &'static [u8]) -> ApiGatewayV2httpRequest {
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let claims = BTreeMap::from([("sub".to_owned(), "ada".to_owned())]);
        let event = Event {
            parts: &parts,
            body: &Bytes::from_static(body),
            route_key: "POST /runs/{id}",
            parameters: &BTreeMap::from([("id", "1".to_owned())]),
            claims: Some(&claims),
            request_id: "r",
            account: "000000000000",
            time: Duration::from_secs(1_584_039_838),
        };
        serde_json::from_slice(&event.to_json().expect("JSON")).expect("an event")
    }

    #[test]
    fn an_event_reads_as_aws_lambda_events_expects() {
        let request = Request::post("/runs/1?a=1&a=2&b=x+y%21")
            .header("Host", "localhost:3000")
            .header("X-Two", "1")
            .header("X-Two", "2")
            .header("Cookie", "a=1; b=2")
            .header("Content-Type", "application/json; charset=utf-8")
            .header("User-Agent", "test");
        let event = event(request, b"{\"n\":1}");
        assert_eq!(event.version.as_deref(), Some("2.0"));
        assert_eq!(event.route_key.as_deref(), Some("POST /runs/{id}"));
        assert_eq!(event.raw_path.as_deref(), Some("/runs/1"));
        assert_eq!(event.query_string_parameters.first("b"), Some("x y!"));
        assert_eq!(event.headers["x-two"], "1,2");
        assert!(!event.headers.contains_key("cookie"));
        assert_eq!(event.cookies.as_deref(), Some(&["a=1".to_owned(), "b=2".to_owned()][..]));
        assert_eq!(event.path_parameters["id"], "1");
        assert_eq!(event.body.as_deref(), Some("{\"n\":1}"));
        assert!(!event.is_base64_encoded);
        let context = event.request_context;
        assert_eq!(context.http.method, "POST");
        assert_eq!(context.time.as_deref(), Some("12/Mar/2020:19:03:58 +0000"));
        assert_eq!(context.time_epoch, 1_584_039_838_000);
        let jwt = context.authorizer.and_then(|authorizer| authorizer.jwt).expect("claims");
        assert_eq!(jwt.claims["sub"], "ada");
        assert_eq!(jwt.scopes, None);
    }

    #[test]
    fn a_body_that_is_not_text_is_encoded() {
        for (content_type, body, encoded) in [
            ("application/octet-stream", &b"abc"[..], true),
            ("text/plain", &b"abc"[..], false),
            ("text/plain", &b"\xff"[..], true),
            ("application/problem+json", &b"{}"[..], false),
            ("application/x-www-form-urlencoded", &b"a=1"[..], true),
        ] {
            let event = event(Request::post("/").header("Content-Type", content_type), body);
            assert_eq!(event.is_base64_encoded, encoded, "{content_type}");
        }
    }
}
