//! A bad network between function processes and their AWS endpoint: it delays, cuts, refuses, throttles and repeats.
//!
//! ```text
//! process 4711 ── POST /4711/ ──► proxy ── POST / ──► AWS endpoint
//!                                  │ cut before · 500 before · throttled           (did not happen)
//!                                  │ delayed                                       (happens late)
//!                                  │ cut after · 500 after · conditional, twice    (happened, and is said not to have)
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Response, StatusCode, Uri, header},
};
use futures::stream;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use super::watch::Watch;

/// Of a thousand requests, so many meet a fault.
const FAULTS_PER_MILLE: u32 = 40;

/// The longest delay: below the time that a client gives one attempt (3 s), so that what is delayed still happens for it.
const DELAY_MILLIS_MAX: u64 = 2_500;

/// More than any request of the kit.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It arrives late.
    Delayed,
    /// The connection ends, and the request never arrives.
    CutBefore,
    /// The request arrives, and the connection ends before its answer.
    CutAfter,
    /// A server error, and nothing happened.
    ErrorBefore,
    /// A server error, although it happened.
    ErrorAfter,
    /// Refused for now.
    Throttled,
    /// A conditional write arrives twice, and the second answer is heard: the condition failed, since the write had succeeded.
    Twice,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 7] = [
        Fault::Delayed,
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::Throttled,
        Fault::Twice,
    ];

    /// Its name in a table.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Delayed => "delayed",
            Fault::CutBefore => "cut before",
            Fault::CutAfter => "cut after",
            Fault::ErrorBefore => "500 before",
            Fault::ErrorAfter => "500 after",
            Fault::Throttled => "throttled",
            Fault::Twice => "written, then said not to be",
        }
    }
}

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Requests meet faults.
    Bad,
    /// They do not.
    Fair,
}

/// A running proxy.
pub struct Proxy {
    /// Where it listens, without a slash at the end.
    pub url: String,
    network: Arc<Network>,
}

struct Network {
    upstream: String,
    http: reqwest::Client,
    watch: Arc<Watch>,
    bad: AtomicBool,
    injected: Mutex<BTreeMap<Fault, u64>>,
    requests: AtomicU64,
    refused_by_store: AtomicU64,
}

impl Proxy {
    /// Listens on any free port and sends everything to `upstream`; the weather is fair at first.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(upstream: String, http: reqwest::Client, watch: Arc<Watch>) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let network = Arc::new(Network {
            upstream,
            http,
            watch,
            bad: AtomicBool::new(false),
            injected: Mutex::default(),
            requests: AtomicU64::new(0),
            refused_by_store: AtomicU64::new(0),
        });
        let router = Router::new().fallback(pass).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let router = router.with_state(Arc::clone(&network));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Proxy { url, network }
    }

    /// How the network is from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.network.bad.store(weather == Weather::Bad, Ordering::SeqCst);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.network.requests.load(Ordering::SeqCst)
    }

    /// Faults so far, by kind.
    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.network.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests to which the endpoint itself said that it could not: its disk was full.
    pub fn refused_by_store(&self) -> u64 {
        self.network.refused_by_store.load(Ordering::SeqCst)
    }
}

/// A request with what was read out of it.
struct Asked {
    process: u32,
    path: String,
    headers: HeaderMap,
    bytes: Bytes,
    target: String,
    body: Value,
}

impl Asked {
    fn read(uri: &Uri, headers: HeaderMap, bytes: Bytes) -> Asked {
        let (process, path) = uri.path().trim_start_matches('/').split_once('/').unwrap_or((uri.path(), ""));
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        Asked {
            process: process.trim_start_matches('/').parse().unwrap_or_default(),
            path: format!("/{path}"),
            target: target.to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            headers,
            bytes,
        }
    }

    /// Whether it writes under a condition.
    fn is_conditional(&self) -> bool {
        let parts = self.body["TransactItems"].as_array().into_iter().flatten();
        let mut operations = parts.filter_map(Value::as_object).flat_map(|part| part.values());
        self.body.get("ConditionExpression").is_some()
            || operations.any(|operation| operation.get("ConditionExpression").is_some())
    }
}

async fn pass(State(network): State<Arc<Network>>, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response<Body> {
    network.requests.fetch_add(1, Ordering::SeqCst);
    let asked = Asked::read(&uri, headers, bytes);
    match network.draw(&asked) {
        None => network.forward(&asked).await,
        Some(Fault::Delayed) => {
            let millis = rand::rng().random_range(50..=DELAY_MILLIS_MAX);
            sleep(Duration::from_millis(millis)).await;
            network.forward(&asked).await
        }
        Some(Fault::CutBefore) => cut(),
        Some(Fault::CutAfter) => {
            network.forward(&asked).await;
            cut()
        }
        Some(Fault::ErrorBefore) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        Some(Fault::ErrorAfter) => {
            network.forward(&asked).await;
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
        }
        Some(Fault::Throttled) if asked.target.starts_with("DynamoDB") => {
            let codes = ["ProvisionedThroughputExceededException", "ThrottlingException"];
            refusal(StatusCode::BAD_REQUEST, codes[rand::rng().random_range(0..codes.len())])
        }
        Some(Fault::Throttled) => refusal(StatusCode::BAD_REQUEST, "ThrottlingException"),
        Some(Fault::Twice) => {
            network.forward(&asked).await;
            network.forward(&asked).await
        }
    }
}

impl Network {
    fn draw(&self, asked: &Asked) -> Option<Fault> {
        if !self.bad.load(Ordering::SeqCst) || rand::rng().random_range(0..1_000) >= FAULTS_PER_MILLE {
            return None;
        }
        let fault = Fault::ALL[rand::rng().random_range(0..Fault::ALL.len())];
        if fault == Fault::Twice && !asked.is_conditional() {
            return None;
        }
        *self.injected.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
        Some(fault)
    }

    async fn forward(&self, asked: &Asked) -> Response<Body> {
        let request = self.http.post(format!("{}{}", self.upstream, asked.path));
        let headers = asked.headers.iter().filter(|(name, _)| passed_on(name.as_str()));
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        let Ok(answer) = request.body(asked.bytes.clone()).send().await else { return cut() };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Ok(bytes) = answer.bytes().await else { return cut() };
        if status.is_success() {
            self.watch.happened(asked.process, &asked.target, &asked.body);
        }
        if status.is_server_error() {
            self.refused_by_store.fetch_add(1, Ordering::SeqCst);
        }
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = status;
        for (name, value) in headers.iter().filter(|(name, _)| passed_on(name.as_str())) {
            response.headers_mut().append(name.clone(), value.clone());
        }
        response
    }
}

/// What concerns one connection only is not passed on.
fn passed_on(header: &str) -> bool {
    !matches!(header, "host" | "connection" | "content-length" | "transfer-encoding" | "keep-alive")
}

/// An answer that ends in the middle, and its connection with it.
fn cut() -> Response<Body> {
    let broken = stream::iter([Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted))]);
    let mut response = Response::new(Body::from_stream(broken));
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("2"));
    response
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let body = json!({ "__type": code, "message": "chaos" }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
