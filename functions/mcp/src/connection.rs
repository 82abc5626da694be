//! One server: its sessions, one request at a time on the wire, and what comes back.
//!
//! `rmcp` supplies the protocol's types. Its client is left out: it sends a request again by itself when a session is lost, keeps tasks that
//! a frozen function does not run, and parses an answer before anybody could bound it.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rmcp::model::{ClientCapabilities, Implementation, InitializeRequestParams, InitializeResult, ProtocolVersion};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tracing::{debug, info};
use windlass::{
    clock::{Clock, Timestamp},
    retry::after::retry_after,
};

use crate::{
    bounded::{Allowance, Unreadable, body, json},
    failure::{Failed, RequestError, of_error, of_status, unsent},
    tokens::{NoToken, Tokens, Whose},
};

/// How long connecting may take: a server that takes longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes that are read of a refusal.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// How often a stream of events is taken up again that ended before its answer.
const RESUMES_MAX: u32 = 8;

/// The longest that a server may have us wait before that.
const RESUME_AFTER_MAX: Duration = Duration::from_secs(5);

/// The most bytes of an event's id, which goes into a header.
const EVENT_ID_BYTES_MAX: usize = 1024;

/// How many requests of a server are answered while it works on one of ours.
const ANSWERED_MAX: u32 = 64;

/// How many sessions a process keeps: one for each tenant of a server whose tokens are by tenant.
const SESSIONS_MAX: usize = 64;

const EVENTS: &str = "text/event-stream";
const ACCEPTED: &str = "text/event-stream, application/json";

/// Headers of one request.
pub(crate) type Headers = HashMap<HeaderName, HeaderValue>;

/// A way to one server.
pub(crate) struct Connection {
    http: reqwest::Client,
    url: Arc<str>,
    tokens: Tokens,
    answer_bytes_max: usize,
    sessions: Mutex<BTreeMap<Whose, Slot>>,
    last_id: AtomicI64,
    clock: Arc<dyn Clock>,
}

/// A session, or the place for one.
type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// What a server agreed to.
#[derive(Debug, Clone, PartialEq)]
struct Session {
    /// `None` for a server that keeps no sessions.
    id: Option<HeaderValue>,
    version: ProtocolVersion,
}

/// What goes with everything that is sent for one request.
struct With<'a> {
    whose: &'a Whose,
    session: Option<&'a Session>,
    headers: &'a Headers,
}

impl With<'_> {
    fn in_session(&self) -> bool {
        self.session.is_some_and(|session| session.id.is_some())
    }
}

/// A result, and the session that came with it.
struct Answered {
    value: Value,
    session: Option<HeaderValue>,
}

/// A client for MCP servers: TLS by rustls on ring, no redirects, since a redirected call is a call to somebody else.
///
/// # Errors
/// When it cannot be set up.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // Somebody may have chosen the provider before; then that one holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()
}

impl Connection {
    /// A way to the server at `url`; nothing is sent yet.
    pub(crate) fn new(
        http: reqwest::Client,
        url: &str,
        tokens: Tokens,
        answer_bytes_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (sessions, last_id) = (Mutex::default(), AtomicI64::new(0));
        Self { http, url: url.into(), tokens, answer_bytes_max, sessions, last_id, clock }
    }

    /// Whether there is a token to ask with.
    pub(crate) async fn has_token(&self, whose: &Whose) -> Result<(), NoToken> {
        self.tokens.get(whose).await.map(drop)
    }

    /// Sends a request once; twice when the server refused it for a session that it has forgotten, and so did not work on it.
    ///
    /// # Errors
    /// When there is no answer, or the server's error.
    pub(crate) async fn request(
        &self,
        whose: &Whose,
        method: &str,
        params: Value,
        headers: &Headers,
    ) -> Result<Value, RequestError> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let (slot, session) = self.session(whose).await?;
        let with = With { whose, session: Some(&session), headers };
        let failed = match self.exchange(&message, id, &with).await {
            Ok(Answered { value, .. }) => return Ok(value),
            Err(failed) => failed,
        };
        match &failed {
            Failed::Session(said) => {
                info!(url = %self.url, method, said, "the server has forgotten the session; a new one is opened");
                forget(&slot, &session).await;
                let (_, session) = self.session(whose).await?;
                let with = With { whose, session: Some(&session), headers };
                return Ok(self.exchange(&message, id, &with).await?.value);
            }
            Failed::SessionPerhaps(_) => forget(&slot, &session).await,
            Failed::Token => self.tokens.refresh(whose).await,
            Failed::Request(_) => {}
        }
        Err(failed.into())
    }

    /// The session, opened when there is none.
    async fn session(&self, whose: &Whose) -> Result<(Slot, Session), RequestError> {
        let slot = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let scope = self.tokens.scope(whose);
            if sessions.len() >= SESSIONS_MAX && !sessions.contains_key(&scope) {
                sessions.clear();
            }
            Arc::clone(sessions.entry(scope).or_default())
        };
        let mut held = slot.lock().await;
        if let Some(session) = held.as_ref() {
            let session = session.clone();
            drop(held);
            return Ok((slot, session));
        }
        // Whatever fails here, the request itself was not sent.
        let session = self.open(whose).await.map_err(|error| match error {
            error @ RequestError::NotDone { .. } => error,
            RequestError::Unknown { message, retry_after } => RequestError::NotDone { message, retry_after },
            RequestError::Rejected { message } | RequestError::TooLarge { message } => RequestError::not_done(message),
        })?;
        *held = Some(session.clone());
        drop(held);
        Ok((slot, session))
    }

    async fn open(&self, whose: &Whose) -> Result<Session, RequestError> {
        let client = Implementation::new("windlass", env!("CARGO_PKG_VERSION"));
        let params = InitializeRequestParams::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params });
        let headers = Headers::new();
        let opened = self.exchange(&message, id, &With { whose, session: None, headers: &headers }).await?;
        let agreed: InitializeResult = serde_json::from_value(opened.value)
            .map_err(|error| RequestError::not_done(format!("no answer to `initialize`: {error}")))?;
        let session = Session { id: opened.session, version: agreed.protocol_version };
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let response = self.post(&message, &With { whose, session: Some(&session), headers: &headers }).await?;
        // What is answered to a notification is not read.
        if response.status().is_success() { Ok(session) } else { Err(self.refusal(response, true).await.into()) }
    }

    async fn exchange(&self, message: &Value, id: i64, with: &With<'_>) -> Result<Answered, Failed> {
        let response = self.post(message, with).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refusal(response, with.in_session()).await);
        }
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Err(RequestError::unknown("accepted without an answer").into());
        }
        let session = response.headers().get("mcp-session-id").cloned();
        let value = if is_events(&response) {
            self.of_events(response, id, with).await?
        } else {
            let body = body(response, self.answer_bytes_max).await.map_err(RequestError::from)?;
            let answer = json(&body).map_err(RequestError::from)?;
            // Earlier versions of the protocol answer with lists.
            let several = if let Value::Array(several) = answer { several } else { vec![answer] };
            let answered = several.into_iter().find_map(|message| answer_to(id, message, with.in_session()));
            answered.ok_or_else(|| RequestError::unknown("an answer to something else"))??
        };
        Ok(Answered { value, session })
    }

    /// Reads events until the answer comes. A stream that ends before is taken up after its last event, if its events have ids
    /// (<https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery>).
    async fn of_events(&self, response: Response, id: i64, with: &With<'_>) -> Result<Value, Failed> {
        let mut stream = Stream::of(self.answer_bytes_max);
        let mut response = response;
        for resumed in 0..=RESUMES_MAX {
            if let Some(answer) = self.read_events(response, id, with, &mut stream).await? {
                return Ok(answer);
            }
            let Some(last) = stream.last_event.clone().filter(|_| resumed < RESUMES_MAX) else { break };
            self.clock.sleep_until(self.clock.now() + stream.resume_after).await;
            let resumed = self.send(self.http.request(Method::GET, &*self.url).header("last-event-id", last), with);
            response = match resumed.await {
                Ok(resumed) if resumed.status().is_success() && is_events(&resumed) => resumed,
                Ok(refused) => {
                    debug!(url = %self.url, status = %refused.status(), "a stream cannot be taken up again");
                    break;
                }
                Err(error) => return Err(RequestError::unknown(error).into()),
            };
        }
        Err(RequestError::unknown("the answer broke off").into())
    }

    /// The answer, if it comes before the stream ends.
    async fn read_events(
        &self,
        response: Response,
        id: i64,
        with: &With<'_>,
        stream: &mut Stream,
    ) -> Result<Option<Value>, Failed> {
        let mut events = pin!(stream.allowance.events(response));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(_) if stream.allowance.is_spent() => {
                    return Err(RequestError::from(Unreadable::TooLong(self.answer_bytes_max)).into());
                }
                Err(error) if stream.last_event.is_none() => {
                    return Err(RequestError::unknown(format!("the answer broke off: {error}")).into());
                }
                Err(_) => return Ok(None),
            };
            stream.note(event.id.as_deref(), event.retry);
            let data = event.data.unwrap_or_default();
            if data.trim().is_empty() {
                continue;
            }
            let message = stream.allowance.event(&data).map_err(RequestError::from)?;
            if message["method"].is_string() && !message["id"].is_null() {
                self.answer(&message, with, stream).await;
            } else if let Some(answer) = answer_to(id, message, with.in_session()) {
                return answer.map(Some);
            }
        }
        Ok(None)
    }

    /// Answers a request of the server: that we are there, or that we offer nothing.
    async fn answer(&self, request: &Value, with: &With<'_>, stream: &mut Stream) {
        stream.answered += 1;
        if stream.answered > ANSWERED_MAX {
            return;
        }
        let mut answer = json!({ "jsonrpc": "2.0", "id": request["id"] });
        if request["method"] == "ping" {
            answer["result"] = json!({});
        } else {
            answer["error"] = json!({ "code": -32601, "message": "this client offers nothing to a server" });
        }
        let headers = Headers::new();
        if let Err(error) = self.post(&answer, &With { headers: &headers, ..*with }).await {
            debug!(url = %self.url, %error, "a server's request is not answered");
        }
    }

    async fn post(&self, message: &Value, with: &With<'_>) -> Result<Response, RequestError> {
        let request = self.http.post(&*self.url).header("content-type", "application/json").body(message.to_string());
        self.send(request, with).await
    }

    async fn send(&self, request: RequestBuilder, with: &With<'_>) -> Result<Response, RequestError> {
        let mut request = request.header("accept", ACCEPTED);
        if let Some(session) = with.session {
            request = request.header("mcp-protocol-version", session.version.as_str());
            if let Some(id) = &session.id {
                request = request.header("mcp-session-id", id);
            }
        }
        if let Some(token) = self.tokens.get(with.whose).await.map_err(RequestError::not_done)? {
            request = request.bearer_auth(token.expose_secret());
        }
        for (name, value) in with.headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(unsent)
    }

    /// What a response says that is no success.
    async fn refusal(&self, response: Response, in_session: bool) -> Failed {
        let (status, now) = (response.status(), self.clock.now());
        let wait = retry_after_of(&response, now);
        let body = body(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        of_status(status, &body, wait, in_session)
    }
}

fn retry_after_of(response: &Response, now: Timestamp) -> Duration {
    retry_after(|name| response.headers().get(name)?.to_str().ok().map(str::to_owned), now)
}

fn is_events(response: &Response) -> bool {
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with(EVENTS))
}

/// Forgets a session that its server has forgotten, unless another one has taken its place meanwhile.
async fn forget(slot: &Slot, session: &Session) {
    let mut held = slot.lock().await;
    if held.as_ref() == Some(session) {
        *held = None;
    }
}

/// What was seen of the streams of one request so far.
struct Stream {
    allowance: Allowance,
    last_event: Option<String>,
    resume_after: Duration,
    answered: u32,
}

impl Stream {
    fn of(answer_bytes_max: usize) -> Stream {
        let allowance = Allowance::of(answer_bytes_max);
        Stream { allowance, last_event: None, resume_after: Duration::ZERO, answered: 0 }
    }

    fn note(&mut self, id: Option<&str>, retry_millis: Option<u64>) {
        if let Some(id) = id.filter(|id| id.len() <= EVENT_ID_BYTES_MAX && HeaderValue::from_str(id).is_ok()) {
            self.last_event = Some(id.to_owned()).filter(|id| !id.is_empty());
        }
        if let Some(millis) = retry_millis {
            self.resume_after = Duration::from_millis(millis).min(RESUME_AFTER_MAX);
        }
    }
}

/// What a message says of request `id`, if it is its answer.
fn answer_to(id: i64, mut message: Value, in_session: bool) -> Option<Result<Value, Failed>> {
    let of = &message["id"];
    let ours = *of == json!(id) || of.as_str() == Some(id.to_string().as_str());
    if message["error"].is_object() && (ours || of.is_null()) {
        return Some(Err(of_error(&message["error"], in_session)));
    }
    (ours && message.get("result").is_some()).then(|| Ok(message["result"].take()))
}
