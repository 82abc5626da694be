//! What MCP servers say, over HTTP, and the list of servers.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse as _, routing::post};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use windlass::{
    agent::tool::{CallContext, Tool},
    clock::SystemClock,
    ids::CallId,
    memory::SecretValues,
};
use windlass_mcp::{
    catalogue::{Catalogue, Ports},
    servers::{self, McpServer},
};

use super::{super::Said, text};

/// What the server answers next to `tools/list` and `tools/call`: the rest of a JSON-RPC answer, or anything else.
#[derive(Default)]
struct Answers {
    list: Option<Vec<u8>>,
    call: Option<Vec<u8>>,
}

type Shared = Arc<Mutex<Answers>>;

struct Server {
    runtime: Runtime,
    answers: Shared,
    servers: Vec<McpServer>,
    tool: Option<Arc<dyn Tool>>,
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::start());
}

impl Server {
    fn start() -> Server {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answers = Shared::default();
        let shared = answers.clone();
        let url = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
            let app = Router::new().route("/mcp", post(answer)).with_state(shared);
            tokio::spawn(async move { axum::serve(listener, app).await });
            url
        });
        let list = json!([{ "name": "desk", "url": url, "tools": { "look": { "effect": "read" } } }]).to_string();
        let servers = servers::parse(&list).expect("a list of servers");
        let mut server = Server { runtime, answers, servers, tool: None };
        server.tool = server.catalogue().ok().and_then(|catalogue| catalogue.tools().into_iter().next());
        assert!(server.tool.is_some(), "the server has a tool");
        server
    }

    fn set(&self, answers: Answers) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    fn catalogue(&self) -> Result<Catalogue, String> {
        let ports = Ports { secrets: Arc::new(SecretValues::new()), clock: Arc::new(SystemClock) };
        self.runtime.block_on(Catalogue::of(&self.servers, None, &ports)).map_err(|error| error.to_string())
    }
}

async fn answer(State(answers): State<Shared>, Json(request): Json<Value>) -> axum::response::Response {
    let id = request["id"].clone();
    let result = |result: Value| Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response();
    let fuzzed = |body: Vec<u8>| match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut fields)) => {
            fields.entry("jsonrpc").or_insert("2.0".into());
            fields.entry("id").or_insert(id.clone());
            Json(Value::Object(fields)).into_response()
        }
        _ => ([(CONTENT_TYPE, "application/json")], body).into_response(),
    };
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    match request["method"].as_str() {
        Some("initialize") => {
            let version = &request["params"]["protocolVersion"];
            result(
                json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": { "name": "s", "version": "1" } }),
            )
        }
        Some("tools/list") => answers.list.take().map_or_else(|| result(listed()), fuzzed),
        Some("tools/call") => answers.call.take().map_or_else(|| result(json!({ "content": [] })), fuzzed),
        _ => axum::http::StatusCode::ACCEPTED.into_response(),
    }
}

fn listed() -> Value {
    json!({ "tools": [{ "name": "look", "description": "looks", "inputSchema": { "type": "object", "properties": { "of": { "type": "string" } } }, "annotations": { "readOnlyHint": true } }] })
}

pub fn server_seeds() -> Vec<Vec<u8>> {
    let tools = json!({ "look": { "effect": "read", "cache_seconds": 60 }, "pay": { "approval": "finance", "timeout_seconds": 5, "redact_arguments": ["/iban"] } });
    let one = json!([{ "name": "desk", "url": "https://mcp.example/mcp", "auth_secret": "windlass/desk", "owner": "payments", "tools": tools }]);
    vec![one.to_string().into_bytes(), b"[]".to_vec()]
}

pub fn servers(input: &[u8]) -> Said {
    Said::of(&servers::parse(&text(input)))
}

pub fn list_seeds() -> Vec<Vec<u8>> {
    let next = json!({ "result": { "tools": [], "nextCursor": "2" } });
    let error = json!({ "error": { "code": -32601, "message": "no such method", "data": {} } });
    [json!({ "result": listed() }), next, error].iter().map(|answer| answer.to_string().into_bytes()).collect()
}

/// A start-up whose server lists so.
pub fn list(input: &[u8]) -> Said {
    SERVER.with_borrow(|server| {
        server.set(Answers { list: Some(input.to_vec()), call: None });
        match server.catalogue() {
            Ok(catalogue) => match catalogue.away().next() {
                None => Said::Taken(format!("{} tools", catalogue.tools().len())),
                Some((_, reason)) => Said::refused(reason),
            },
            Err(problem) => Said::refused(problem),
        }
    })
}

pub fn call_seeds() -> Vec<Vec<u8>> {
    let content = json!({ "result": { "content": [{ "type": "text", "text": "seen" }], "isError": false } });
    let structured = json!({ "result": { "content": [], "structuredContent": { "seen": true } } });
    let failed = json!({ "result": { "content": [{ "type": "text", "text": "no" }], "isError": true } });
    let error = json!({ "error": { "code": -32602, "message": "bad arguments" } });
    [content, structured, failed, error].iter().map(|answer| answer.to_string().into_bytes()).collect()
}

fn context() -> CallContext {
    CallContext {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id"),
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace"),
        call: CallId(1),
        idempotency_key: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1".to_owned(),
        flags: BTreeSet::new(),
    }
}

/// A call whose server answers so.
pub fn call(input: &[u8]) -> Said {
    SERVER.with_borrow(|server| {
        server.set(Answers { list: None, call: Some(input.to_vec()) });
        let tool = server.tool.clone().expect("there is a tool");
        let context = context();
        let answer = server.runtime.block_on(tool.call(&context, &json!({ "of": "A-1" })));
        match &answer {
            Ok(_) => Said::Taken(String::new()),
            Err(error) => Said::refused(error),
        }
    })
}
