//! One server, one session, one request at a time on the wire, and what a failure says of whether it was worked on.
//!
//! `rmcp` supplies the wire format and the HTTP exchange. Its session loop is left out: that sends a request again by itself when a
//! session is lost, and keeps tasks that a frozen function does not run.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::{HeaderName, HeaderValue};
use rmcp::{
    model::{
        ClientCapabilities, ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, ErrorData,
        Implementation, InitializeRequest, InitializeRequestParams, InitializedNotification, NumberOrString,
        ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerResult,
    },
    transport::streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use windlass::{redaction, secrets::SecretCache};

/// How long connecting may take: a server that takes longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of one event of an answer; far above what is kept of it.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// How much of what a server says about a failure is kept.
const MESSAGE_CHARS_MAX: usize = 500;

/// Why a request has no answer. What matters is whether the server may have worked on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It was not worked on; it may be the next time.
    #[error("{message}")]
    NotDone {
        /// What was seen.
        message: String,
        /// What the server asked us to wait.
        retry_after: Duration,
    },
    /// It was not worked on and never will be.
    #[error("{message}")]
    Rejected {
        /// What the server said.
        message: String,
    },
    /// It may have been worked on.
    #[error("{message}")]
    Unknown {
        /// What was seen.
        message: String,
    },
}

impl RequestError {
    fn not_done(message: impl fmt::Display) -> Self {
        RequestError::NotDone { message: cut(&message.to_string()), retry_after: Duration::ZERO }
    }

    fn unknown(message: impl fmt::Display) -> Self {
        RequestError::Unknown { message: cut(&message.to_string()) }
    }
}

fn cut(text: &str) -> String {
    redaction::cut(text, MESSAGE_CHARS_MAX).to_owned()
}

/// Headers of one request.
pub type Headers = HashMap<HeaderName, HeaderValue>;

/// A server's bearer token.
pub type Token = SecretCache<SecretString>;

/// A way to one server.
pub struct Connection {
    http: reqwest::Client,
    url: Arc<str>,
    token: Option<Token>,
    session: Mutex<Option<Session>>,
    last_id: AtomicI64,
}

/// What a server agreed to.
#[derive(Debug, Clone)]
struct Session {
    /// `None` for a server that keeps no sessions.
    id: Option<Arc<str>>,
    version: ProtocolVersion,
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
    pub fn new(http: reqwest::Client, url: &str, token: Option<Token>) -> Self {
        Self { http, url: url.into(), token, session: Mutex::new(None), last_id: AtomicI64::new(0) }
    }

    /// Sends `request` once.
    ///
    /// # Errors
    /// When there is no answer, or the server's error.
    pub async fn request(&self, request: ClientRequest, headers: Headers) -> Result<ServerResult, RequestError> {
        let session = self.session().await?;
        let id = self.next_id();
        let message = ClientJsonRpcMessage::request(request, id.clone());
        let posted = self.post(message, Some(&session), headers).await;
        if matches!(posted, Err(StreamableHttpError::SessionExpired)) {
            *self.session.lock().await = None;
        }
        if matches!(posted, Err(StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_)))
            && let Some(token) = &self.token
        {
            // The token may have been changed a moment ago.
            let _ = token.refresh().await;
        }
        answer_to(&id, posted.map_err(failure)?).await
    }

    /// The session, opened when there is none.
    async fn session(&self) -> Result<Session, RequestError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref() {
            return Ok(session.clone());
        }
        // Whatever fails here, the request itself was not sent.
        let session = self.open().await.map_err(|error| match error {
            error @ RequestError::NotDone { .. } => error,
            RequestError::Rejected { message } | RequestError::Unknown { message } => RequestError::not_done(message),
        })?;
        *slot = Some(session.clone());
        Ok(session)
    }

    async fn open(&self) -> Result<Session, RequestError> {
        let client = Implementation::new("windlass", env!("CARGO_PKG_VERSION"));
        let params = InitializeRequestParams::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let request = ClientRequest::InitializeRequest(InitializeRequest::new(params));
        let message = ClientJsonRpcMessage::request(request, self.next_id());
        let posted = self.post(message, None, Headers::new()).await.map_err(failure)?;
        let (answer, id) = posted.expect_initialized().await.map_err(failure)?;
        let agreed = match result_of(answer)? {
            ServerResult::InitializeResult(agreed) => agreed,
            _ => return Err(RequestError::unknown("the server did not answer the handshake")),
        };
        let session = Session { id: id.map(Into::into), version: agreed.protocol_version };
        let initialized = ClientNotification::InitializedNotification(InitializedNotification { ..Default::default() });
        let message = ClientJsonRpcMessage::notification(initialized);
        self.post(message, Some(&session), Headers::new()).await.map_err(failure)?;
        Ok(session)
    }

    async fn post(
        &self,
        message: ClientJsonRpcMessage,
        session: Option<&Session>,
        mut headers: Headers,
    ) -> Result<StreamableHttpPostResponse, StreamableHttpError<reqwest::Error>> {
        if let Some(version) = session.and_then(|session| HeaderValue::from_str(session.version.as_str()).ok()) {
            headers.insert(HeaderName::from_static("mcp-protocol-version"), version);
        }
        let token = match &self.token {
            None => None,
            Some(token) => {
                let unreadable = |_| StreamableHttpError::Io(std::io::ErrorKind::NotConnected.into());
                Some(token.get().await.map_err(unreadable)?.expose_secret().to_owned())
            }
        };
        let session = session.and_then(|session| session.id.clone());
        let url = Arc::clone(&self.url);
        self.http.post_message_with_max_sse_event_size(url, message, session, token, headers, EVENT_BYTES_MAX).await
    }

    fn next_id(&self) -> RequestId {
        NumberOrString::Number(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Reads until the answer to `id`. What else a server sends meanwhile (progress, logs) is passed over.
async fn answer_to(id: &RequestId, posted: StreamableHttpPostResponse) -> Result<ServerResult, RequestError> {
    let mut events = match posted {
        StreamableHttpPostResponse::Json(message, _) => return result_of(message),
        StreamableHttpPostResponse::Sse(events, _) => events,
        _ => return Err(RequestError::unknown("accepted without an answer")),
    };
    while let Some(event) = events.next().await {
        let data = event.map_err(RequestError::unknown)?.data.unwrap_or_default();
        if data.trim().is_empty() {
            continue;
        }
        let message: ServerJsonRpcMessage = serde_json::from_str(&data).map_err(RequestError::unknown)?;
        match message {
            ServerJsonRpcMessage::Response(ref answer) if answer.id == *id => return result_of(message),
            ServerJsonRpcMessage::Error(ref error) if error.id.as_ref().is_none_or(|of| of == id) => {
                return result_of(message);
            }
            _ => {}
        }
    }
    Err(RequestError::unknown("the answer broke off"))
}

fn result_of(message: ServerJsonRpcMessage) -> Result<ServerResult, RequestError> {
    match message {
        ServerJsonRpcMessage::Response(response) => Ok(response.result),
        ServerJsonRpcMessage::Error(error) => Err(refusal(&error.error)),
        _ => Err(RequestError::unknown("an answer to something else")),
    }
}

/// A server that does not understand a request has not worked on it; one that fails in the middle may have.
fn refusal(error: &ErrorData) -> RequestError {
    let message = cut(&format!("{} ({})", error.message, error.code.0));
    match error.code {
        ErrorCode::INVALID_PARAMS
        | ErrorCode::INVALID_REQUEST
        | ErrorCode::METHOD_NOT_FOUND
        | ErrorCode::PARSE_ERROR => RequestError::Rejected { message },
        _ => RequestError::Unknown { message },
    }
}

/// Only what is certain not to have been worked on counts as not done.
fn failure(error: StreamableHttpError<reqwest::Error>) -> RequestError {
    match error {
        StreamableHttpError::Client(error) if error.is_connect() => {
            RequestError::not_done(format!("no connection: {}", innermost(&error.without_url())))
        }
        StreamableHttpError::Client(error) => {
            RequestError::unknown(format!("the connection broke: {}", innermost(&error.without_url())))
        }
        // Only a token that could not be read.
        StreamableHttpError::Io(_) => RequestError::not_done("the server's token cannot be read"),
        StreamableHttpError::SessionExpired => RequestError::not_done("the server has forgotten the session"),
        StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => {
            RequestError::not_done("the server does not accept the token")
        }
        StreamableHttpError::HttpStatus(status) if status.status == 429 => {
            let asked = status.retry_after.as_deref().and_then(|seconds| seconds.trim().parse().ok());
            let retry_after = asked.map_or(Duration::ZERO, Duration::from_secs);
            RequestError::NotDone { message: "the server is busy (HTTP 429)".to_owned(), retry_after }
        }
        StreamableHttpError::UnexpectedServerResponse(said) => match said.strip_prefix("HTTP 4") {
            Some(rest) if rest.starts_with("01") || rest.starts_with("03") => {
                RequestError::not_done("the server does not accept the token")
            }
            Some(rest) if !rest.starts_with("08") => RequestError::Rejected { message: cut(&said) },
            _ => RequestError::unknown(said),
        },
        other => RequestError::unknown(other),
    }
}

/// The cause, which says more than the layers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
