//! Requests byte by byte: what no client library would send.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(35);

/// An answer, as far as the table looks at it.
#[derive(Debug)]
pub struct Answer {
    /// Its status; 0 when the connection was closed without one.
    pub status: u16,
    /// Its body, if it is JSON.
    pub body: Value,
}

impl Answer {
    /// What refused: the last part of a problem's type, `gateway` for the front's own refusal, `wire` for one without a body.
    pub fn refused_by(&self) -> &str {
        let urn = self.body["type"].as_str().and_then(|urn| urn.strip_prefix("urn:windlass:problem:"));
        match (urn, self.body["message"].is_string()) {
            (Some(problem), _) => problem,
            (None, true) => "gateway",
            (None, false) => "wire",
        }
    }
}

/// Sends these bytes and reads until the other side closes.
pub async fn send(api: &str, bytes: &[u8]) -> Answer {
    let host = api.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.expect("a connection");
    // The other side may refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(WITHIN, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, body: serde_json::from_str(body).unwrap_or_default() }
}
