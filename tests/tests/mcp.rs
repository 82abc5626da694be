//! Tools of an MCP server: what is fixed at start-up, what goes along with a call, and what each failure means.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use windlass::{
    agent::tool::{CallContext, Effect, Tool, ToolError},
    clock::{Clock, SystemClock},
    config::Config,
    ids::{CallId, RunId, SystemRandom, TraceId},
    memory::SecretValues,
};
use windlass_mcp::{
    catalogue::{Catalogue, Ports},
    configured::catalogue,
    servers::parse,
};
use windlass_tests::mcp::{Fault, McpServer};

fn ports() -> Ports {
    let secrets = SecretValues::new();
    secrets.set("windlass/shop-token", "opensesame");
    Ports { secrets: Arc::new(secrets), clock: Arc::new(SystemClock) }
}

async fn of(configuration: &Value) -> Result<Catalogue, String> {
    let servers = parse(&configuration.to_string()).map_err(|error| error.to_string())?;
    Catalogue::of(&servers, &ports()).await.map_err(|error| error.to_string())
}

fn tool(catalogue: &Catalogue, name: &str) -> Arc<dyn Tool> {
    let found = catalogue.tools.iter().find(|tool| tool.spec().name.as_str() == name);
    Arc::clone(found.unwrap_or_else(|| panic!("there is no {name}")))
}

fn context() -> CallContext {
    let run = RunId::generate(&SystemClock as &dyn Clock, &SystemRandom);
    CallContext {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        run,
        trace: TraceId::generate(&SystemRandom),
        call: CallId(1),
        idempotency_key: format!("{run}-1"),
        flags: std::collections::BTreeSet::new(),
    }
}

async fn call(catalogue: &Catalogue, name: &str, of: &str) -> Result<Value, ToolError> {
    tool(catalogue, name).call(&context(), &json!({ "of": of })).await
}

#[tokio::test]
async fn annotations_decide_the_effect_unless_the_configuration_does() {
    let server = McpServer::start().await;
    let catalogue = of(&server.configuration()).await.expect("it is there");
    let effect = |name: &str| tool(&catalogue, name).spec().effect;
    assert_eq!(effect("drill/look"), Effect::Read);
    assert_eq!(effect("drill/pay"), Effect::Idempotent);
    assert_eq!(effect("drill/ship"), Effect::Irreversible);
    assert_eq!(effect("drill/mystery"), Effect::Irreversible);
    let mut configuration = server.configuration();
    configuration[0]["tools"] = json!({ "mystery": { "effect": "read", "approval": "finance", "timeout_seconds": 7 } });
    let catalogue = of(&configuration).await.expect("it is there");
    let [mystery] = catalogue.tools.as_slice() else { panic!("only what is listed may be used") };
    let spec = mystery.spec();
    assert_eq!((spec.effect, spec.timeout), (Effect::Read, Duration::from_secs(7)));
    assert_eq!(spec.approval.as_ref().map(ToString::to_string).as_deref(), Some("finance"));
    assert!(mystery.check(&json!({ "of": 1 })).is_err() && mystery.check(&json!({ "of": "a" })).is_ok());
}

#[tokio::test]
async fn the_key_the_trace_and_the_token_go_along() {
    let server = McpServer::start().await;
    let mut configuration = server.configuration();
    configuration[0]["auth_secret"] = json!("windlass/shop-token");
    let catalogue = of(&configuration).await.expect("it is there");
    let context = context();
    let pay = tool(&catalogue, "drill/pay");
    let first = pay.call(&context, &json!({ "of": "a" })).await.expect("it is paid");
    let again = pay.call(&context, &json!({ "of": "a" })).await.expect("it is paid");
    assert_eq!((first, again), (json!({ "of": "a", "again": false }), json!({ "of": "a", "again": true })));
    for did in server.shop.did() {
        assert_eq!((&did.key, &did.header), (&context.idempotency_key, &context.idempotency_key));
        assert_eq!(TraceId::from_traceparent(&did.trace), Some(context.trace), "{}", did.trace);
    }
    let tokens = server.shop.tokens_seen();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token == "Bearer opensesame"), "{tokens:?}");
}

#[tokio::test]
async fn each_failure_says_whether_the_call_may_have_taken_effect() {
    let server = McpServer::start().await;
    let catalogue = of(&server.configuration()).await.expect("it is there");
    let word = |result: Result<Value, ToolError>| match result {
        Ok(_) => "done",
        Err(ToolError::Refused { .. }) => "refused",
        Err(ToolError::Failed { .. }) => "failed",
        Err(ToolError::Unavailable { .. }) => "unavailable",
        Err(ToolError::Unknown { .. }) => "unknown",
    };
    for (fault, says, times) in [
        (Fault::CutBefore, "unknown", 0),
        (Fault::CutAfter, "unknown", 1),
        (Fault::Status(429), "unavailable", 0),
        (Fault::Status(500), "unknown", 0),
        (Fault::Status(503), "unknown", 0),
        (Fault::Status(400), "failed", 0),
        (Fault::Status(401), "unavailable", 0),
        (Fault::Status(403), "unavailable", 0),
        (Fault::Status(404), "unavailable", 0),
    ] {
        let of = format!("{says}-{times}-{}", server.shop.did().len());
        let shown = match &fault {
            Fault::Status(status) => format!("status {status}"),
            _ => "a cut".to_owned(),
        };
        server.shop.break_next(&of, fault);
        let result = call(&catalogue, "drill/ship", &of).await;
        assert_eq!(word(result.clone()), says, "{shown}: {result:?}");
        assert_eq!(server.shop.did_for(&of).len(), times, "{shown}");
    }
    assert_eq!(word(call(&catalogue, "drill/refuse", "parameters").await), "failed");
    assert_eq!(word(call(&catalogue, "drill/refuse", "inside").await), "unknown");
    let closed = call(&catalogue, "drill/refuse", "").await;
    assert_eq!(closed, Err(ToolError::Failed { message: "the shop is closed".to_owned() }));
    // Whatever broke, the next call goes through.
    assert_eq!(word(call(&catalogue, "drill/ship", "at last").await), "done");
    drop(server);
    let gone = of_gone(&catalogue).await;
    assert_eq!(word(gone.clone()), "unavailable", "{gone:?}");
}

/// Open connections of a server that is gone may live on for a moment: calls until a new one is needed.
async fn of_gone(catalogue: &Catalogue) -> Result<Value, ToolError> {
    for _ in 0..50 {
        match call(catalogue, "drill/ship", "gone").await {
            Err(error @ ToolError::Unavailable { .. }) => return Err(error),
            _ => tokio::task::yield_now().await,
        }
    }
    call(catalogue, "drill/ship", "gone").await
}

#[tokio::test]
async fn a_server_that_changes_its_tools_is_not_called_until_it_takes_that_back() {
    let server = McpServer::start().await;
    let catalogue = of(&server.configuration()).await.expect("it is there");
    assert!(call(&catalogue, "drill/ship", "a").await.is_ok());
    server.shop.rename(true);
    for name in ["drill/ship", "drill/pay", "drill/look"] {
        let refused = call(&catalogue, name, "b").await.expect_err("the list has changed");
        assert!(
            matches!(&refused, ToolError::Refused { message } if message.contains("has changed its tools")),
            "{refused}"
        );
    }
    assert_eq!(server.shop.did_for("b"), []);
    server.shop.rename(false);
    assert!(call(&catalogue, "drill/ship", "c").await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_used_stops_the_start() {
    let server = McpServer::start().await;
    let mut configuration = server.configuration();
    configuration[0]["tools"]["absent"] = json!({});
    let problem = of(&configuration).await.err().expect("there is no such tool");
    assert!(problem.contains("server `drill`: tool `absent`: there is no such tool"), "{problem}");
    configuration[0]["url"] = json!("http://127.0.0.1:9/mcp");
    let problem = of(&configuration).await.err().expect("nobody listens");
    assert!(problem.contains("it does not list its tools: no connection"), "{problem}");

    let offered = of(&server.configuration()).await.expect("it is there").digest;
    let config = |digest: &str| {
        let (servers, digest) = (server.configuration().to_string(), digest.to_owned());
        Config::parse(move |name| match name {
            "MCP_SERVERS" => Some(servers.clone()),
            "MCP_TOOLS_DIGEST" => Some(digest.clone()),
            "ENVIRONMENT" => Some("dev".to_owned()),
            "STEP_QUEUE_URL" | "STEP_DEAD_LETTER_QUEUE_URL" => Some("http://127.0.0.1:1/q".to_owned()),
            "RELEASE" | "APPROVAL_SECRET" => Some("r1".to_owned()),
            name if name.ends_with("_TABLE") => Some("table".to_owned()),
            _ => None,
        })
        .expect("it is whole")
    };
    assert!(catalogue(&config(&offered), &ports()).await.is_ok());
    server.shop.rename(true);
    let problem = catalogue(&config(&offered), &ports()).await.err().expect("it offers something else");
    assert!(problem.to_string().contains("`MCP_TOOLS_DIGEST` is not what the servers offer now"), "{problem}");
}

#[tokio::test]
async fn a_list_of_servers_may_be_in_a_secret() {
    let server = McpServer::start().await;
    let secrets = SecretValues::new();
    secrets.set("windlass/mcp", &server.configuration().to_string());
    let config = Config::parse(|name| match name {
        "MCP_SERVERS_SECRET" => Some("windlass/mcp".to_owned()),
        "ENVIRONMENT" => Some("dev".to_owned()),
        "STEP_QUEUE_URL" | "STEP_DEAD_LETTER_QUEUE_URL" => Some("http://127.0.0.1:1/q".to_owned()),
        "RELEASE" | "APPROVAL_SECRET" => Some("r1".to_owned()),
        name if name.ends_with("_TABLE") => Some("table".to_owned()),
        _ => None,
    });
    let ports = Ports { secrets: Arc::new(secrets), clock: Arc::new(SystemClock) };
    let catalogue = catalogue(&config.expect("it is whole"), &ports).await.expect("it is there");
    assert_eq!(catalogue.tools.len(), 5);
}
