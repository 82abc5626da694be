//! A false MCP server over real HTTP: it says what a test has it say, byte for byte, and keeps what it was sent.
#![allow(dead_code)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use windlass::{
    agent::tool::{CallContext, Tool},
    clock::{Clock, SystemClock},
    ids::{CallId, RunId, SystemRandom, TraceId},
    memory::SecretValues,
};
use windlass_mcp::{
    catalogue::{Catalogue, Ports},
    servers::parse,
};

/// What came in.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What JSON-RPC calls it.
    pub fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
}

/// What goes out; the connection is closed after it.
pub enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The first bytes, then these as often as it says, each counted in [`FalseServer::written`].
    Many(Vec<u8>, Vec<u8>, usize),
    /// The first bytes, and the others when a message has come in that answers this id.
    WhenAnswered(Vec<u8>, &'static str, Vec<u8>),
}

#[derive(Default)]
struct Inside {
    requests: Mutex<Vec<Request>>,
    written: AtomicUsize,
}

impl Inside {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server.
pub struct FalseServer {
    pub url: String,
    inside: Arc<Inside>,
    task: JoinHandle<()>,
}

impl Drop for FalseServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FalseServer {
    /// A server that answers by `says`, which is given every request with how many there were of its kind before.
    pub async fn start(says: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> FalseServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
        let (inside, says) = (Arc::<Inside>::default(), Arc::new(says));
        let shared = Arc::clone(&inside);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (inside, says) = (Arc::clone(&shared), Arc::clone(&says));
                tokio::spawn(async move {
                    let _ = serve(stream, &inside, says.as_ref()).await;
                });
            }
        });
        FalseServer { url, inside, task }
    }

    /// What came in so far.
    pub fn requests(&self) -> Vec<Request> {
        self.inside.requests().clone()
    }

    /// How often this came in; a method of HTTP, or of JSON-RPC.
    pub fn count(&self, of: &str) -> usize {
        self.requests().iter().filter(|request| request.method == of || request.rpc() == of).count()
    }

    /// The last request of this kind.
    pub fn last(&self, of: &str) -> Request {
        let requests = self.requests();
        requests.into_iter().rfind(|request| request.rpc() == of).unwrap_or_else(|| panic!("no {of}"))
    }

    /// Bytes of [`Answer::Many`] that could be written.
    pub fn written(&self) -> usize {
        self.inside.written.load(Ordering::SeqCst)
    }

    /// What `MCP_SERVERS` says of it: the server `shop` with these tools.
    pub fn configuration(&self, tools: Value) -> Value {
        json!([{ "name": "shop", "url": self.url, "tools": tools }])
    }
}

async fn serve(
    stream: TcpStream,
    inside: &Inside,
    says: &(impl Fn(&Request, usize) -> Answer + Sync),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut headers) = (String::new(), Vec::new());
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let method = first.split_whitespace().next().unwrap_or_default().to_owned();
    let mut request = Request { method, headers, body: Value::Null };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    request.body = serde_json::from_slice(&body).unwrap_or_default();
    let before = {
        let mut requests = inside.requests();
        let alike = |known: &&Request| known.method == request.method && known.rpc() == request.rpc();
        let before = requests.iter().filter(alike).count();
        requests.push(request.clone());
        before
    };
    match says(&request, before) {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await?,
        Answer::Many(head, part, times) => {
            stream.write_all(&head).await?;
            for _ in 0..times {
                stream.write_all(&part).await?;
                stream.flush().await?;
                inside.written.fetch_add(part.len(), Ordering::SeqCst);
            }
        }
        Answer::WhenAnswered(first, id, then) => {
            stream.write_all(&first).await?;
            stream.flush().await?;
            while !inside.requests().iter().any(|request| request.body["id"] == id && request.rpc().is_empty()) {
                tokio::task::yield_now().await;
            }
            stream.write_all(&then).await?;
        }
    }
    stream.shutdown().await
}

/// A whole answer.
pub fn http(status: &str, content_type: &str, body: &str) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}", body.len());
    Answer::Bytes(format!("{head}\r\nconnection: close\r\n\r\n{body}").into_bytes())
}

/// A result.
pub fn result(request: &Request, result: Value) -> Answer {
    let body = json!({ "jsonrpc": "2.0", "id": request.body["id"], "result": result });
    http("200 OK", "application/json", &body.to_string())
}

/// The head of a stream of events, and its first bytes.
pub fn events(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}").into_bytes()
}

/// An event with a result.
pub fn event(id: &Value, result: Value) -> String {
    format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

/// A tool `ship` with an effect, and `look_up` without one.
pub fn tools() -> Value {
    let schema = json!({ "type": "object", "properties": { "order": { "type": "string" } }, "required": ["order"] });
    json!([
        { "name": "ship", "inputSchema": schema, "annotations": { "destructiveHint": true } },
        { "name": "look_up", "inputSchema": schema, "annotations": { "readOnlyHint": true } },
    ])
}

/// What a server says that does everything as it should and keeps no sessions.
pub fn sound(request: &Request) -> Answer {
    match request.rpc() {
        "initialize" => result(request, initialized()),
        "tools/list" => result(request, json!({ "tools": tools() })),
        "tools/call" => result(request, json!({ "content": [{ "type": "text", "text": "shipped" }] })),
        _ => http("202 Accepted", "text/plain", ""),
    }
}

/// What is agreed to.
pub fn initialized() -> Value {
    json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "s", "version": "1" } })
}

/// Ports with these secrets.
pub fn ports(secrets: &[(&str, &str)]) -> Ports {
    let values = SecretValues::new();
    for (name, text) in secrets {
        values.set(name, text);
    }
    Ports { secrets: Arc::new(values), clock: Arc::new(SystemClock) }
}

/// The catalogue of a configuration.
pub async fn catalogue(configuration: &Value, ports: &Ports) -> Catalogue {
    let servers = parse(&configuration.to_string()).expect("it is sound");
    Catalogue::of(&servers, None, ports).await.expect("nothing is pinned")
}

/// The tools `ship` and `look_up` of a server.
pub async fn of(server: &FalseServer) -> Catalogue {
    catalogue(&server.configuration(json!({ "ship": {}, "look_up": {} })), &ports(&[])).await
}

pub fn tool(catalogue: &Catalogue, name: &str) -> Arc<dyn Tool> {
    let found = catalogue.tools().into_iter().find(|tool| tool.spec().name.as_str() == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

/// A call for `tenant`.
pub fn context(tenant: &str) -> CallContext {
    let run = RunId::generate(&SystemClock as &dyn Clock, &SystemRandom);
    CallContext {
        tenant: tenant.parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        run,
        trace: TraceId::generate(&SystemRandom),
        call: CallId(1),
        idempotency_key: format!("{run}-1"),
        flags: BTreeSet::new(),
    }
}
