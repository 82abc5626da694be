//! Implementations of AWS's APIs by others, from PyPI.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use windlass::{
    aws::{self, clients::Clients},
    memory::SeededRandom,
};
use windlass_tests::{
    conformance::{
        Stores,
        queues::{Queues, RECEIVES_MAX, VISIBILITY},
        secrets,
    },
    python,
};

use super::super::on_aws::{queues_at, stores_at};

/// How long an emulator may take to listen.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// Signs nothing: the emulators read service and region from it and check neither signature nor date.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/SERVICE/aws4_request, \
     SignedHeaders=host, Signature=none";

/// How an emulator is had and started.
pub struct Emulator {
    /// Its name on PyPI.
    pub name: &'static str,
    /// What is installed, pinned.
    pub packages: &'static [&'static str],
    /// The arguments of Python, for a port.
    pub arguments: fn(u16) -> Vec<String>,
    /// The environment, for a port.
    pub environment: fn(u16) -> Vec<(&'static str, String)>,
}

/// Moto in server mode (<https://docs.getmoto.org/en/latest/docs/server_mode.html>).
pub const MOTO: Emulator = Emulator {
    name: "moto",
    packages: &["moto[server,dynamodb,sqs,secretsmanager]==5.2.5"],
    arguments: |port| {
        ["-m", "moto.server", "-H", "127.0.0.1", "-p"]
            .map(str::to_owned)
            .into_iter()
            .chain([port.to_string()])
            .collect()
    },
    environment: |_| Vec::new(),
};

/// MiniStack (<https://pypi.org/project/ministack/>).
pub const MINISTACK: Emulator = Emulator {
    name: "ministack",
    packages: &["ministack==1.5.33"],
    arguments: |_| ["-m", "ministack"].map(str::to_owned).into(),
    environment: |port| {
        vec![
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", port.to_string()),
            ("SERVICES", "dynamodb,sqs,secretsmanager".to_owned()),
            ("LOG_LEVEL", "ERROR".to_owned()),
        ]
    },
};

/// An emulator that ends with the test.
pub struct Running {
    process: Child,
    url: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Emulator {
    /// Installs and starts it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn start(&self) -> Result<Running, python::Absent> {
        let python = python::with(self.name, self.packages)?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        // The first to ask sets it; there is no TLS here, but the client wants to know how it would be done.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().expect("a folder");
        let running = Running {
            process: self.spawn(&python, free, folder.path()),
            url: format!("http://{free}"),
            http: reqwest::Client::new(),
            _folder: folder,
        };
        let until = Instant::now() + UP_WITHIN;
        while tokio::net::TcpStream::connect(free).await.is_err() {
            assert!(Instant::now() < until, "{} does not listen", self.name);
            sleep(Duration::from_millis(50)).await;
        }
        Ok(running)
    }

    fn spawn(&self, python: &Path, at: SocketAddr, folder: &Path) -> Child {
        Command::new(python)
            .args((self.arguments)(at.port()))
            .envs((self.environment)(at.port()))
            .env("TMPDIR", folder)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    }
}

impl Running {
    /// The SDK's clients.
    pub fn clients(&self) -> Clients {
        Clients::at(&self.url)
    }

    /// One request as the SDKs send it.
    async fn ask(&self, service: &str, target: &str, body: &Value) -> Value {
        let request = self
            .http
            .post(&self.url)
            .header("authorization", AUTHORIZATION.replace("SERVICE", service))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .body(body.to_string());
        let answer = request.send().await.expect("it answers");
        let (status, text) = (answer.status(), answer.text().await.expect("it has a body"));
        assert!(status.is_success(), "{target}: {status} {text}");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// Empty stores, on tables of their own. Ids are the case's own too: transactions of one token are one in all tables.
    pub async fn stores(&self, case: u64) -> Stores {
        let prefix = format!("case{case}");
        for table in aws::tables::all(&prefix) {
            self.ask("dynamodb", "DynamoDB_20120810.CreateTable", &table.create).await;
        }
        Stores { random: SeededRandom::new(case), ..stores_at(&self.clients(), &prefix) }
    }

    /// Empty queues of their own.
    pub async fn queues(&self, case: u64) -> Queues {
        let dead = self.queue(&format!("case{case}-dead"), json!({})).await;
        let arn = format!("arn:aws:sqs:us-east-1:{}:case{case}-dead", account(&dead));
        let redrive = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES_MAX }).to_string();
        let step = self.queue(&format!("case{case}-step"), json!({ "RedrivePolicy": redrive })).await;
        queues_at(&self.clients(), &step, &dead)
    }

    async fn queue(&self, name: &str, mut attributes: Value) -> String {
        attributes["VisibilityTimeout"] = json!(VISIBILITY.as_secs().to_string());
        let body = json!({ "QueueName": name, "Attributes": attributes });
        let created = self.ask("sqs", "AmazonSQS.CreateQueue", &body).await;
        created["QueueUrl"].as_str().expect("it has a URL").to_owned()
    }

    /// The secrets that the cases know.
    pub async fn secrets(&self) -> aws::SecretsManager {
        let body =
            json!({ "Name": secrets::NAME, "SecretString": secrets::VALUE, "ClientRequestToken": "0".repeat(32) });
        self.ask("secretsmanager", "secretsmanager.CreateSecret", &body).await;
        aws::SecretsManager::new(self.clients().secrets_manager())
    }
}

/// The account in a queue's URL.
fn account(url: &str) -> &str {
    url.rsplit('/').nth(1).expect("a URL ends in account and name")
}
