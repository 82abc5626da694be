//! A model for tests, on loopback, that speaks as a provider does: it works at the refund desk, and does what a fault says instead
//! when there is one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::Response,
};
use serde_json::Value;

mod clerk;
mod formats;

pub use clerk::Said;
pub use formats::{Format, TOKENS};

/// What goes wrong with one exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// The connection breaks in the middle of the answer.
    Cut,
    /// A call whose arguments cannot be read.
    MalformedCall,
    /// A call of a tool that does not exist.
    UnknownTool,
    /// The answer was cut off at the limit of tokens.
    TooLong,
    /// JSON of an unknown shape.
    UnknownShape,
    /// No JSON.
    NotJson,
    /// More bytes than anybody reads.
    Endless,
    /// The model declines.
    Declined,
    /// The right answer, after this long.
    Slow(Duration),
    /// The right answer, without a word about tokens.
    Uncounted,
    /// This answer, right or not.
    Says(Said),
    /// These words and nothing else, with status 200.
    Text(String),
    /// This status, and these words about it.
    Complains(u16, String),
    /// This status and this body.
    Body(u16, Value),
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Value,
}

/// A model on loopback.
pub struct ModelServer {
    /// Its address, without a path.
    pub url: String,
    desk: Arc<Desk>,
    served: tokio::task::JoinHandle<()>,
}

struct Desk {
    format: Format,
    /// The key that it accepts; any when `None`.
    key: Mutex<Option<String>>,
    faults: Mutex<VecDeque<Fault>>,
    asked: Mutex<Vec<Asked>>,
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked while it was held")
}

impl ModelServer {
    /// Starts one that has `faults` first, one for each request.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(format: Format, faults: &[Fault]) -> ModelServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let faults = Mutex::new(faults.iter().cloned().collect());
        let desk = Arc::new(Desk { format, key: Mutex::default(), faults, asked: Mutex::default() });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&desk));
        let served = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        ModelServer { url, desk, served }
    }

    /// Has one more fault, after those that are left.
    pub fn then(&self, fault: Fault) {
        locked(&self.desk.faults).push_back(fault);
    }

    /// From now on only this key is accepted.
    pub fn accept_only(&self, key: &str) {
        *locked(&self.desk.key) = Some(key.to_owned());
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.desk.asked).clone()
    }
}

/// What a good model at the desk answers to a request in `format`.
pub fn reply_to(format: Format, body: &Value) -> Value {
    format.reply(&clerk::next(&format.conversation(body)))
}

async fn serve(State(desk): State<Arc<Desk>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    let asked = Asked { path: uri.path().to_owned(), headers, body };
    let accepted = locked(&desk.key).as_deref().is_none_or(|key| desk.format.key_of(&asked.headers) == Some(key));
    locked(&desk.asked).push(asked.clone());
    if !accepted {
        return answer(401, &desk.format.error("authentication_error", "invalid key"), &[]);
    }
    let fault = locked(&desk.faults).pop_front();
    let said = clerk::next(&desk.format.conversation(&asked.body));
    let reply = desk.format.reply(&said);
    match fault {
        None => answer(200, &reply, &[]),
        Some(Fault::Status(status, headers)) => answer(status, &desk.format.error("error", "as injected"), &headers),
        Some(Fault::Cut) => cut(&reply),
        Some(Fault::MalformedCall) => answer(200, &desk.format.malformed_call(), &[]),
        Some(Fault::UnknownTool) => {
            let call = clerk::Said::Call(vec![("erase_everything".to_owned(), serde_json::json!({}))]);
            answer(200, &desk.format.reply(&call), &[])
        }
        Some(Fault::TooLong) => answer(200, &desk.format.cut_off(), &[]),
        Some(Fault::UnknownShape) => answer(200, &serde_json::json!({ "result": "hello" }), &[]),
        Some(Fault::NotJson) => text(200, "<html>hello</html>"),
        Some(Fault::Endless) => text(200, &"x".repeat(2 * 1024 * 1024)),
        Some(Fault::Declined) => answer(200, &desk.format.declined(), &[]),
        Some(Fault::Slow(span)) => {
            tokio::time::sleep(span).await;
            answer(200, &reply, &[])
        }
        Some(Fault::Says(said)) => answer(200, &desk.format.reply(&said), &[]),
        Some(Fault::Text(words)) => text(200, &words),
        Some(Fault::Complains(status, words)) => answer(status, &desk.format.error("error", &words), &[]),
        Some(Fault::Body(status, body)) => answer(status, &body, &[]),
        Some(Fault::Uncounted) => {
            let mut reply = reply;
            reply.as_object_mut().expect("an object").remove("usage");
            answer(200, &reply, &[])
        }
    }
}

fn answer(status: u16, body: &Value, headers: &[(&'static str, &'static str)]) -> Response {
    let mut response = text(status, &body.to_string());
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

fn text(status: u16, body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// Half of an answer; then the connection breaks.
fn cut(reply: &Value) -> Response {
    let text = reply.to_string();
    let half = Bytes::from(text[..text.len() / 2].to_owned());
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "as injected");
    let chunks = futures::stream::iter([Ok(half), Err(broken)]);
    Response::new(Body::from_stream(chunks))
}
