//! What a server answers, bounded before it is parsed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{Stream, stream::try_unfold};
use serde_json::Value;
use sse_stream::{Sse, SseStream};
use windlass::json::read_as_text;

/// The most bytes of one answer when nothing else is said: four times what is kept of a tool's answer.
pub const ANSWER_BYTES: usize = 256 * 1024;

/// The most that a configuration may raise it to. A worker has 80 answers in memory at worst: ten runs with eight readings each.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How often an answer's bytes may come beside it in a stream of events, as progress and logs.
const STREAM_FACTOR: usize = 4;

/// The most values of one answer. A parsed value takes up to 72 bytes where its text takes two (`1,`): as many as the 64 KiB that are kept
/// of an answer can hold.
const NODES_MAX: usize = 32 * 1024;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is larger than what is read.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
    /// It holds more values than are read.
    #[error("an answer of more than {NODES_MAX} values")]
    TooMany,
    /// It is not JSON.
    #[error("an answer that is not JSON: {0}")]
    Malformed(serde_json::Error),
    /// The connection broke.
    #[error("the answer broke off: {0}")]
    Broken(reqwest::Error),
}

/// Reads a body. No more than the bound is taken from the connection, and nothing at all of one that says it is longer.
pub(crate) async fn body(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    if response.content_length().is_some_and(|said| said > bytes_max as u64) {
        return Err(Unreadable::TooLong(bytes_max));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Unreadable::Broken(error.without_url()))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Unreadable::TooLong(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Parses a text of bounded length, unless it holds more values than are read.
pub(crate) fn json(text: &[u8]) -> Result<Value, Unreadable> {
    if nodes(text) > NODES_MAX {
        return Err(Unreadable::TooMany);
    }
    read_as_text(&String::from_utf8_lossy(text)).map_err(Unreadable::Malformed)
}

/// How many values a text holds, counted without parsing it: each follows a comma or opens a list or an object.
fn nodes(text: &[u8]) -> usize {
    let (mut nodes, mut quoted, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => nodes += 1,
            _ => {}
        }
    }
    nodes
}

/// What may still be read of one request's streams, together.
#[derive(Clone)]
pub(crate) struct Allowance {
    left: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Allowance {
    pub(crate) fn of(bytes_max: usize) -> Allowance {
        Allowance { left: Arc::new(AtomicUsize::new(bytes_max * STREAM_FACTOR)), bytes_max }
    }

    /// Whether it is used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Parses one event's data.
    pub(crate) fn event(&self, data: &str) -> Result<Value, Unreadable> {
        if data.len() > self.bytes_max {
            return Err(Unreadable::TooLong(self.bytes_max));
        }
        json(data.as_bytes())
    }

    /// The events of a response, as long as the allowance lasts.
    pub(crate) fn events(
        &self,
        response: reqwest::Response,
    ) -> impl Stream<Item = Result<Sse, sse_stream::Error>> + Send + use<> {
        let allowance = self.clone();
        let bytes = try_unfold(response, move |mut response| {
            let allowance = allowance.clone();
            async move {
                let chunk = response.chunk().await.map_err(|error| Unreadable::Broken(error.without_url()))?;
                let Some(chunk) = chunk else { return Ok(None) };
                let left = allowance.left.load(Ordering::Relaxed);
                allowance.left.store(left.saturating_sub(chunk.len()), Ordering::Relaxed);
                if chunk.len() > left {
                    return Err(Unreadable::TooLong(allowance.bytes_max * STREAM_FACTOR));
                }
                Ok(Some((chunk, response)))
            }
        });
        SseStream::from_bytes_stream(Box::pin(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_before_they_are_parsed_and_texts_hold_none() {
        assert_eq!(nodes(br#"{"a":[1,2,3],"b":{}}"#), 7);
        assert_eq!(nodes(br#"["a,b,[c]","\",[","\\"]"#), 4);
        assert!(matches!(json(format!("[{}1]", "1,".repeat(NODES_MAX)).as_bytes()), Err(Unreadable::TooMany)));
        assert!(json(format!("[\"{}\"]", ",".repeat(NODES_MAX * 2)).as_bytes()).is_ok());
        assert!(matches!(json("[".repeat(1_000).as_bytes()), Err(Unreadable::Malformed(_))));
    }
}
