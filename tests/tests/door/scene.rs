//! What is attacked: a run of `ada` at `acme` that waits for the finance role's approval.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use windlass_local::{Meter, Stack};
use windlass_operator::stack::{Options, TENANT};
use windlass_tests::local_kit::{Kit, binaries, http};

use super::{tokens, wire};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(3600);

/// How long the run may take to come to its question.
const SOON: Duration = Duration::from_secs(20);

/// Where anything is stored.
const TABLES: [&str; 5] =
    ["windlass-runs", "windlass-idempotency", "windlass-controls", "windlass-memory", "windlass-desk"];

/// What takes a token from a bucket.
const TAKE: &str = "DynamoDB.UpdateItem";

/// How the partitions of buckets begin.
const BUCKETS: &str = "rate#";

/// What writes anything else.
const WRITES: [&str; 7] = [
    "DynamoDB.PutItem",
    "DynamoDB.DeleteItem",
    "DynamoDB.BatchWriteItem",
    "DynamoDB.TransactWriteItems",
    "SQS.SendMessage",
    "SQS.SendMessageBatch",
    "SecretsManager.PutSecretValue",
];

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Updates, each of which may have taken a token of a bucket.
    pub tokens: u64,
    /// Everything else.
    pub others: u64,
}

/// The kit with its victim.
pub struct Scene {
    pub kit: Kit,
    foreign: Stack,
    jwks: Value,
    /// What `{name}` stands for in a row.
    pub names: BTreeMap<&'static str, String>,
}

impl Scene {
    pub async fn start() -> Scene {
        let kit = Kit::start(&Options::new(binaries().await)).await;
        let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
        let run = kit.submit("victim", "refund", payload).await.body["run_id"].as_str().expect("a run").to_owned();
        let shown = kit.until(&run, &["awaiting_approval"], SOON).await;
        let approval = shown["escalation"][0]["id"].as_str().expect("an approval").to_owned();
        let path = format!("/approvals/{approval}");
        let token = kit.send("GET", &path, &kit.address.tokens.approver, None, None).await.body["token"].clone();
        kit.stack.pause_schedules();
        let keys = format!("{}/.well-known/jwks.json", kit.address.api);
        let jwks = http().get(keys).send().await.expect("the keys").text().await.expect("text");
        let jwks = serde_json::from_str(&jwks).expect("JSON");
        let token = token.as_str().expect("a token").to_owned();
        let names = BTreeMap::from([("run", run), ("approval", approval), ("token", token)]);
        Scene { kit, foreign: tokens::foreign().await, jwks, names }
    }

    /// The value of `Authorization` of somebody in the table; `None` for nobody.
    fn authorization(&self, who: &str) -> Option<String> {
        let issuer = self.kit.stack.issuer();
        let token = match who {
            "nobody" => return None,
            "ada" => self.kit.address.tokens.submitter.clone(),
            "fin" => self.kit.address.tokens.approver.clone(),
            "ops" => self.kit.address.tokens.operator.clone(),
            "bob, a colleague" => tokens::good(issuer, TENANT, "bob", &["submitter"]),
            "fay, who approves for finance too" => tokens::good(issuer, TENANT, "fay", &["approver", "finance"]),
            "clerk, who approves other things" => tokens::good(issuer, TENANT, "clerk", &["approver"]),
            "eve, who is everything elsewhere" => {
                tokens::good(issuer, "umbrella", "eve", &["submitter", "approver", "finance", "operator"])
            }
            "ada of another tenant" => tokens::good(issuer, "umbrella", "ada", &["submitter", "finance", "approver"]),
            forged => tokens::forged(forged, issuer, self.foreign.issuer(), &self.jwks),
        };
        Some(format!("Bearer {token}"))
    }

    /// Replaces `{run}` and the like.
    pub fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// The bytes of a request.
    pub fn request(&self, who: &str, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let has = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        let mut head = format!("{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", self.fill(line));
        if let Some(authorization) = self.authorization(who).filter(|_| !has("authorization")) {
            head.push_str(&format!("authorization: {authorization}\r\n"));
        }
        if !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            let value = self.fill(value).replace("{good}", &self.authorization("ops").unwrap_or_default());
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    pub async fn send(&self, bytes: &[u8]) -> wire::Answer {
        wire::send(&self.kit.address.api, bytes).await
    }

    /// What has been written so far.
    pub fn written(&self) -> Written {
        let meter: Meter = self.kit.stack.meter();
        let failed = |name: &str| {
            let of = format!("{name} ");
            meter.errors.iter().filter(|(error, _)| error.starts_with(&of)).map(|(_, count)| count).sum::<u64>()
        };
        let done = |name: &str| meter.requests_of(name) - failed(name);
        Written { tokens: done(TAKE), others: WRITES.iter().map(|name| done(name)).sum() }
    }

    /// Every item that is stored, by its table and key, but for the buckets.
    pub async fn stored(&self) -> BTreeMap<String, Value> {
        let mut stored = BTreeMap::new();
        for table in TABLES {
            let body = json!({ "TableName": table, "ConsistentRead": true });
            let found = self.kit.aws.call("DynamoDB_20120810.Scan", &body).await.expect("the table answers");
            assert!(found["LastEvaluatedKey"].is_null(), "`{table}` has more than a page");
            for item in found["Items"].as_array().into_iter().flatten() {
                let (pk, sk) = (&item["pk"]["S"], &item["sk"]["S"]);
                if !pk.as_str().is_some_and(|pk| pk.starts_with(BUCKETS)) {
                    stored.insert(format!("{table} {pk} {sk}"), item.clone());
                }
            }
        }
        stored
    }

    pub async fn shutdown(self) {
        self.foreign.shutdown().await;
        self.kit.stack.shutdown().await;
    }
}
