//! Tools of an MCP server: what is fixed at start-up, what goes along with a call, and what each failure means.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use windlass::{
    agent::tool::{CallContext, Effect, Tool, ToolError},
    clock::{Clock, SystemClock},
    config::Config,
    ids::{CallId, RunId, SystemRandom, TraceId},
    memory::SecretValues,
    telemetry::SpanId,
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
    Catalogue::of(&servers, None, &ports()).await.map_err(|error| error.to_string())
}

fn tool(catalogue: &Catalogue, name: &str) -> Arc<dyn Tool> {
    let found = catalogue.tools().into_iter().find(|tool| tool.spec().name.as_str() == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
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
    let tools = catalogue.tools();
    let [mystery] = tools.as_slice() else { panic!("only what is listed may be used") };
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
        let span = SpanId::of_call(context.run, context.call);
        assert_eq!(did.trace, format!("00-{}-{span}-01", context.trace), "the span is the one that telemetry emits");
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
        // The session is opened anew, and the call made in the new one.
        (Fault::Status(404), "done", 1),
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
    for name in ["drill/ship", "drill/pay"] {
        let not_now = tool(&catalogue, name).ready(&context()).await.expect_err("the list has changed");
        assert!(not_now.reason.contains("has changed its tools"), "{not_now}");
        let not_made = call(&catalogue, name, "b").await.expect_err("the list has changed");
        assert!(matches!(not_made, ToolError::Unavailable { .. }), "it may be made later: {not_made}");
    }
    assert_eq!(server.shop.did_for("b"), []);
    server.shop.rename(false);
    assert_eq!(tool(&catalogue, "drill/ship").ready(&context()).await, Ok(()));
    assert!(call(&catalogue, "drill/ship", "c").await.is_ok());
}

/// Why a tool cannot be called now.
async fn reason(catalogue: &Catalogue, name: &str) -> String {
    tool(catalogue, name).ready(&context()).await.expect_err("it is not available").reason
}

#[tokio::test]
async fn what_is_not_there_keeps_nothing_else_from_being_called_and_says_so() {
    let server = McpServer::start().await;
    let mut configuration = server.configuration();
    configuration[0]["tools"]["absent"] = json!({});
    let mut gone = server.configuration()[0].clone();
    (gone["name"], gone["url"]) = (json!("gone"), json!("http://127.0.0.1:9/mcp"));
    configuration.as_array_mut().expect("a list").push(gone);
    let catalogue = of(&configuration).await.expect("a server that is away stops no start");
    let absent = reason(&catalogue, "drill/absent").await;
    assert!(absent.contains("server `drill`: tool `absent`: there is no such tool"), "{absent}");
    let away = reason(&catalogue, "gone/ship").await;
    assert!(away.contains("the MCP server `gone` does not list its tools: no connection"), "{away}");
    let spec = tool(&catalogue, "gone/ship").spec().clone();
    assert!(!spec.schema.is_known() && spec.effect == Effect::Irreversible, "{spec:?}");
    assert!(call(&catalogue, "drill/ship", "a").await.is_ok());
}

#[tokio::test]
async fn a_contradiction_to_what_was_judged_stops_the_start() {
    let server = McpServer::start().await;
    let offered = of(&server.configuration()).await.expect("it is there").digests().to_string();
    let config = |configuration: Value, digest: &str| {
        let (servers, digest) = (configuration.to_string(), digest.to_owned());
        Config::parse(move |name| match name {
            "MCP_SERVERS" => Some(servers.clone()),
            "MCP_TOOLS_DIGEST" => Some(digest.clone()),
            "ENVIRONMENT" => Some("dev".to_owned()),
            "STEP_QUEUE_URL" | "STEP_DEAD_LETTER_QUEUE_URL" => Some("http://127.0.0.1:1/q".to_owned()),
            "RELEASE" | "APPROVAL_SECRET" | "APPROVAL_PUBLIC_SECRET" | "TASKS" => Some("r1".to_owned()),
            name if name.ends_with("_TABLE") => Some("table".to_owned()),
            _ => None,
        })
        .expect("it is whole")
    };
    assert!(catalogue(&config(server.configuration(), &offered), &ports()).await.is_ok());
    let mut away = server.configuration();
    away[0]["url"] = json!("http://127.0.0.1:9/mcp");
    assert!(catalogue(&config(away, &offered), &ports()).await.is_ok(), "a server that is away contradicts nothing");
    let unjudged = catalogue(&config(server.configuration(), "none"), &ports()).await;
    assert!(unjudged.is_err(), "nobody has judged this server");
    server.shop.rename(true);
    let problem =
        catalogue(&config(server.configuration(), &offered), &ports()).await.err().expect("it offers something else");
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
        "RELEASE" | "APPROVAL_SECRET" | "APPROVAL_PUBLIC_SECRET" | "TASKS" => Some("r1".to_owned()),
        name if name.ends_with("_TABLE") => Some("table".to_owned()),
        _ => None,
    });
    let ports = Ports { secrets: Arc::new(secrets), clock: Arc::new(SystemClock) };
    let catalogue = catalogue(&config.expect("it is whole"), &ports).await.expect("it is there");
    assert_eq!(catalogue.tools().len(), 5);
}
