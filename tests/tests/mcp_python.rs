//! The same with a server by the official Python SDK, from PyPI; without PyPI the test says so and ends.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use windlass_operator::stack::Options;
use windlass_tests::{
    local_kit::{Kit, binaries},
    python,
};

/// The version that the server is written for.
const SDK: &str = "mcp==2.3.0";

/// How long the server may take to listen.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// How long the run may take.
const WITHIN: Duration = Duration::from_secs(60);

/// A server that ends with the test.
struct PythonServer {
    process: Child,
    url: String,
    log: PathBuf,
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn start(python: &Path, folder: &Path) -> PythonServer {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let log = folder.join("log");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mcp_shop.py");
    let process = Command::new(python)
        .args([script, &free.port().to_string(), &log.display().to_string()])
        .spawn()
        .expect("it starts");
    let server = PythonServer { process, url: format!("http://127.0.0.1:{}/mcp", free.port()), log };
    let until = Instant::now() + UP_WITHIN;
    while tokio::net::TcpStream::connect(free).await.is_err() {
        assert!(Instant::now() < until, "the server does not listen");
        sleep(Duration::from_millis(50)).await;
    }
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_by_the_official_python_sdk_is_used_by_configuration_alone() {
    let folder = TempDir::new().expect("a folder");
    let python = match python::with("mcp", &[SDK]) {
        Ok(python) => python,
        Err(problem) => {
            println!("skipped: there is no Python with `{SDK}` to be had: {problem}");
            return;
        }
    };
    let server = start(&python, folder.path()).await;
    let tools = json!({ "look": {}, "pay": {}, "ship": {} });
    let mut options = Options::new(binaries().await);
    let servers = json!([{ "name": "drill", "url": server.url, "tools": tools }]);
    options.env.insert("MCP_SERVERS".to_owned(), servers.to_string());
    let kit = Kit::start(&options).await;
    let call = |tool: &str| json!({ "tool": format!("drill/{tool}"), "arguments": { "of": "A-1" } });
    let payload = json!({ "calls": [call("look"), call("pay"), call("ship")] });
    let answer = kit.submit("python", "drill/calls", payload).await;
    let run = answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let shown = kit.until(&run, &["completed"], WITHIN).await;
    println!("{shown}");
    let log = std::fs::read_to_string(&server.log).expect("it has a log");
    let did: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let tools: Vec<&str> = did.iter().filter_map(|did| did["tool"].as_str()).collect();
    assert_eq!(tools, ["look", "pay", "ship"]);
    for (did, call) in did.iter().zip(1..) {
        assert_eq!(did["key"], format!("{run}-{call}"));
        assert_eq!(did["header"], did["key"]);
        assert!(did["trace"].as_str().is_some_and(|trace| trace.starts_with("00-")), "{did}");
    }
}
