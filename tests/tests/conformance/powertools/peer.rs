//! A function with Powertools in a Python process, asked line by line.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/powertools_peer.py");

/// The process; it ends with the test.
pub struct Peer {
    _process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it on one table, under one prefix of keys.
    pub fn start(python: &Path, url: &str, table: &str, prefix: &str) -> Peer {
        let mut process = Command::new(python)
            .args([SCRIPT, url, table, prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        Peer {
            requests: requests.expect("it is piped"),
            answers: BufReader::new(answers.expect("it is piped")).lines(),
            _process: process,
        }
    }

    async fn say(&mut self, line: &Value) {
        self.requests.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
        self.requests.flush().await.expect("it reads");
    }

    async fn hear(&mut self) -> Value {
        let line = self.answers.next_line().await.expect("it answers").expect("it has not ended");
        serde_json::from_str(&line).expect("it is JSON")
    }

    /// Calls its function.
    pub async fn call(&mut self, request: &Value) -> Value {
        self.say(&json!({ "do": request })).await;
        self.hear().await
    }

    /// Calls its function and leaves it in there.
    pub async fn enter(&mut self, mut request: Value) {
        request["hold"] = json!(true);
        assert_eq!(self.call(&request).await, json!({ "inside": true }));
    }

    /// Lets it go on.
    pub async fn go_on(&mut self) -> Value {
        self.say(&json!({})).await;
        self.hear().await
    }

    /// The keys that Powertools derives from these values.
    pub async fn keys(&mut self, values: &[Value]) -> Vec<Option<String>> {
        self.say(&json!({ "hash": values })).await;
        let answer = self.hear().await;
        serde_json::from_value(answer["hashes"].clone()).expect("keys")
    }
}
