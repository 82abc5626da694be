//! What the tests of the stack share.
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use windlass_local::{
    Authorization, FunctionSpec, InvokeError, MappingSpec, QueueSpec, Redrive, RouteSpec, StackSpec, TableSpec,
};

/// How long anything may take that a test waits for.
pub const LIMIT: Duration = Duration::from_secs(15);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` finds something; panics after [`LIMIT`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The example that cargo builds next to the tests.
pub fn echo_program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let program = test.parent().and_then(Path::parent).expect("the target directory").join("examples/echo");
    assert!(program.exists(), "{} is missing: run the tests with `cargo test`", program.display());
    program
}

pub fn echo(name: &str) -> FunctionSpec {
    FunctionSpec {
        name: name.into(),
        program: echo_program(),
        env: BTreeMap::new(),
        timeout: Duration::from_secs(10),
        memory_mib: 128,
        concurrency_max: 4,
    }
}

pub fn spec() -> StackSpec {
    StackSpec { functions: vec![echo("echo")], ..StackSpec::empty("kit") }
}

pub fn queue(name: &str, visibility_seconds: u64) -> QueueSpec {
    QueueSpec {
        name: name.into(),
        visibility_timeout: Duration::from_secs(visibility_seconds),
        retention: Duration::from_secs(3600),
        redrive: None,
        order: windlass_local::Order::default(),
    }
}

pub fn redriven(name: &str, to: &str, receive_count_max: u32) -> QueueSpec {
    QueueSpec { redrive: Some(Redrive { dead_letter_queue: to.into(), receive_count_max }), ..queue(name, 1) }
}

pub fn mapping(queue: &str) -> MappingSpec {
    MappingSpec {
        queue: queue.into(),
        function: "echo".into(),
        batch_size_max: 10,
        batching_window: Duration::ZERO,
        concurrency_max: 2,
    }
}

pub fn route(method: &str, path: &str, authorization: Authorization) -> RouteSpec {
    RouteSpec { method: method.into(), path: path.into(), function: "echo".into(), authorization }
}

pub fn table(name: &str) -> TableSpec {
    TableSpec {
        create: serde_json::json!({
            "TableName": name,
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        }),
        ttl_attribute: Some("expires".into()),
    }
}

pub fn dynamodb(url: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

pub fn sqs(url: &str) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .endpoint_url(url)
        .region(aws_sdk_sqs::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

pub fn secrets(url: &str) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(aws_sdk_secretsmanager::config::BehaviorVersion::latest())
        .endpoint_url(url)
        .region(aws_sdk_secretsmanager::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_secretsmanager::config::Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_secretsmanager::Client::from_conf(config)
}

/// Messages in a queue that can be received now, that are in flight, and both.
pub async fn depth(client: &aws_sdk_sqs::Client, url: &str) -> (u32, u32) {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let attributes =
        client.get_queue_attributes().queue_url(url).attribute_names(Name::All).send().await.expect("queue attributes");
    let count = |name: Name| {
        let text = attributes.attributes().and_then(|all| all.get(&name)).expect("a count");
        text.parse().expect("a number")
    };
    (count(Name::ApproximateNumberOfMessages), count(Name::ApproximateNumberOfMessagesNotVisible))
}

/// Runs a command like `kill -STOP <pid>`; tests must not use unsafe code.
pub fn signal(name: &str, pid: u32) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub fn error_of(result: Result<serde_json::Value, InvokeError>) -> InvokeError {
    result.expect_err("the invocation fails")
}

/// A client for plain HTTP. The workspace builds reqwest without a TLS provider, which it insists on having.
pub fn http() -> reqwest::Client {
    // A provider may have been installed by another test of this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().build().expect("a client")
}
