//! Somebody who uses a kit on this machine: over its HTTP API with the tokens of its people, and over its AWS endpoint.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use windlass::run::entry::Entry;
use windlass_operator::{aws_endpoint::AwsEndpoint, local::Address, scenario::SeedOrder};

use crate::simulation::order;

/// An HTTP client for loopback.
///
/// # Panics
/// When it cannot be set up.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(40)).no_proxy().build().expect("a client")
}

/// Somebody who uses a kit.
pub struct Caller {
    /// Where the kit is.
    pub address: Address,
    /// Its AWS endpoint.
    pub aws: AwsEndpoint,
    http: reqwest::Client,
}

/// An answer of the HTTP API.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body, if it is JSON.
    pub body: Value,
}

impl Caller {
    /// Somebody who uses the kit at `address`.
    pub fn new(address: Address, http: reqwest::Client) -> Caller {
        let aws = AwsEndpoint::new(http.clone(), &address.aws);
        Caller { address, aws, http }
    }

    /// Sends a request with the token of somebody; `None` when nobody answered.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let url = format!("{}{path}", self.address.api);
        let mut request = self.http.request(method.parse().expect("a method"), url).bearer_auth(token);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.ok()?;
        Some(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// [`Caller::try_send`], by somebody who is sure of an answer.
    ///
    /// # Panics
    /// When nobody answered.
    pub async fn send(&self, method: &str, path: &str, token: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        self.try_send(method, path, token, key, body).await.expect("an answer")
    }

    /// Posts a request as the submitter.
    pub async fn submit(&self, key: &str, task: &str, payload: Value) -> Answer {
        let body = json!({ "task": task, "payload": payload });
        self.send("POST", "/runs", &self.address.tokens.submitter, Some(key), Some(&body)).await
    }

    /// A run as the operator sees it.
    pub async fn run(&self, run: &str) -> Answer {
        self.send("GET", &format!("/runs/{run}"), &self.address.tokens.operator, None, None).await
    }

    /// A run's journal, as the API shows it to the operator.
    ///
    /// # Panics
    /// When it is not one.
    pub async fn entries(&self, run: &str) -> Vec<Entry> {
        let path = format!("/runs/{run}/journal");
        let journal = self.send("GET", &path, &self.address.tokens.operator, None, None).await.body;
        serde_json::from_value(journal["entries"].clone()).expect("the journal is one")
    }

    /// A run's events, each as its name.
    pub async fn events(&self, run: &str) -> Vec<String> {
        let entries = self.entries(run).await;
        let named = |event| serde_json::to_value(event).expect("an event is JSON")["event"].clone();
        let names = entries.iter().flat_map(|entry| &entry.events).map(named);
        names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Decides an approval as the approver; `None` when nobody answered.
    pub async fn try_decide(&self, approval: &str, decision: &str) -> Option<Answer> {
        let path = format!("/approvals/{approval}");
        let shown = self.try_send("GET", &path, &self.address.tokens.approver, None, None).await?;
        let body = json!({ "decision": decision, "token": shown.body["token"] });
        self.try_send("POST", &path, &self.address.tokens.approver, None, Some(&body)).await
    }

    /// [`Caller::try_decide`], by somebody who is sure of an answer.
    ///
    /// # Panics
    /// When nobody answered.
    pub async fn decide(&self, approval: &str, decision: &str) -> Answer {
        self.try_decide(approval, decision).await.expect("an answer")
    }

    /// Waits until a run's status is one of `wanted`.
    ///
    /// # Panics
    /// When it is not `within` the time.
    pub async fn until(&self, run: &str, wanted: &[&str], within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let shown = self.run(run).await;
            if wanted.iter().any(|word| shown.body["status"] == **word) {
                // No side effect before its policy decision and its approval, in whatever a test looks at.
                order::check(&self.entries(run).await);
                return shown.body;
            }
            assert!(Instant::now() < deadline, "run {run} is not {wanted:?} after {within:?}: {}", shown.body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Puts `count` orders `PREFIX-1` … into the desk's table.
    ///
    /// # Panics
    /// When they cannot be put.
    pub async fn seed(&self, prefix: &str, count: usize) -> Vec<String> {
        let mut orders = Vec::with_capacity(count);
        for number in 1..=count {
            let order = format!("{prefix}-{number}");
            let seed = SeedOrder { order: order.clone(), customer: "customer-1".into(), total_cents: 10_000 };
            self.aws.seed(&seed).await.expect("the order is put");
            orders.push(order);
        }
        orders
    }

    /// Arms a drill (what it breaks stays broken) or disarms it.
    ///
    /// # Panics
    /// When the table cannot be written.
    pub async fn arm(&self, drill: &str, armed: bool) {
        let key = json!({ "pk": { "S": "drill" }, "sk": { "S": drill } });
        let (operation, name) = if armed { ("PutItem", "Item") } else { ("DeleteItem", "Key") };
        let body = json!({ "TableName": windlass_operator::stack::DESK_TABLE, name: key });
        self.aws.call(&format!("DynamoDB_20120810.{operation}"), &body).await.expect("the drill is written");
    }

    /// Invokes a function by the Lambda API; nothing when it could not be reached or failed.
    pub async fn invoke(&self, function: &str, event: &Value) -> Option<()> {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.address.aws);
        let answer = self.http.post(url).body(event.to_string()).send().await.ok()?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        (answer.status().is_success() && !failed).then_some(())
    }
}
