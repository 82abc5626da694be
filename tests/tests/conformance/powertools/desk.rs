//! Our side, and what both sides are asked.

use std::{io, time::Duration};

use serde_json::{Value, json};
use windlass::{
    aws::Records,
    clock::{Clock as _, SystemClock},
    idempotency::{
        once::{Done, Once, OnceError},
        powertools,
    },
    ids::SystemRandom,
    memory::ManualClock,
};
use windlass_local::{Stack, StackSpec, TableSpec};
use windlass_tests::python;

use super::{super::on_aws::start, peer::Peer};

/// What is installed.
const PACKAGES: &[&str] = &["aws-lambda-powertools==3.37.0", "boto3==1.44.5"];
/// Both sides' `key_prefix`.
pub const PREFIX: &str = "refunds";
/// Both sides' table.
const TABLE: &str = "test-idempotency";
/// How long an operation may take, on both sides.
const TIME_MAX: Duration = Duration::from_secs(60);
/// How long a result is remembered, on both sides.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Longer than any owner's time, shorter than a record counts.
pub const LATER: Duration = Duration::from_secs(1800);

/// Our side.
pub struct Desk {
    records: Records,
    clock: ManualClock,
    _stack: Stack,
}

/// Both sides on one table; `None` when Powertools cannot be had.
pub async fn both() -> Option<(Desk, Peer)> {
    let python = match python::with("powertools", PACKAGES) {
        Ok(python) => python,
        Err(problem) => {
            println!("skipped: Powertools cannot be had: {problem}");
            return None;
        }
    };
    let tables = windlass::aws::tables::all("test").into_iter();
    let tables = tables.map(|table| TableSpec { create: table.create, ttl_attribute: table.ttl_attribute }).collect();
    let (stack, clients) = start(StackSpec { tables, ..StackSpec::empty("test") }).await;
    let peer = Peer::start(&python, &stack.aws_url(), TABLE, PREFIX);
    let records = Records::new(clients.dynamodb(), TABLE);
    Some((Desk { records, clock: ManualClock::at(SystemClock.now()), _stack: stack }, peer))
}

impl Desk {
    /// Our clock is that much ahead of the machine's, by which Powertools goes.
    pub fn ahead(&self, by: Duration) {
        self.clock.set(SystemClock.now() + by);
    }

    /// Our clock is that much behind.
    pub fn behind(&self, by: Duration) {
        self.clock.set(SystemClock.now() - by);
    }

    /// Our clock is right.
    pub fn in_step(&self) {
        self.clock.set(SystemClock.now());
    }

    /// Our side does an order, once.
    pub async fn ours_with(
        &self,
        order: &Value,
        operation: impl AsyncFnOnce() -> Result<Value, io::Error>,
    ) -> Result<Done<Value>, OnceError<io::Error>> {
        let Desk { records, clock, .. } = self;
        let once = Once { records, clock, random: &SystemRandom, time_max: TIME_MAX, kept_for: KEPT_FOR };
        let key = powertools::key(PREFIX, &order["id"]).expect("a key");
        once.run(&key, &powertools::payload_hash(&order["amount"]), operation).await
    }

    /// The same with an answer that is at hand, in words.
    pub async fn ours(&self, order: &Value, answer: Value) -> String {
        in_words(self.ours_with(order, async || Ok(answer)).await)
    }
}

/// Powertools does an order, once, and would answer `theirs`; in words.
pub async fn theirs(peer: &mut Peer, order: &Value) -> String {
    let request = json!({
        "order": order,
        "answer": "theirs",
        "validate": true,
        "remaining_millis": u64::try_from(TIME_MAX.as_millis()).expect("it fits"),
        "expires_after_seconds": KEPT_FOR.as_secs(),
    });
    said(&peer.call(&request).await)
}

/// What came of it on our side.
pub fn in_words(result: Result<Done<Value>, OnceError<io::Error>>) -> String {
    match result {
        Ok(Done::Now(value)) => format!("done now: {value}"),
        Ok(Done::Before(value)) => format!("done before: {value}"),
        Ok(Done::Late(value)) => format!("done too late: {value}"),
        Err(OnceError::InProgress { .. }) => "in progress".to_owned(),
        Err(OnceError::Mismatch) => "mismatch".to_owned(),
        Err(OnceError::Operation(_)) => "failed".to_owned(),
        Err(other) => panic!("{other}"),
    }
}

/// What came of it on theirs.
pub fn said(answer: &Value) -> String {
    match (answer["error"].as_str(), &answer["ran"]) {
        (Some("IdempotencyAlreadyInProgressError"), Value::Bool(false)) => "in progress".to_owned(),
        (Some("IdempotencyValidationError"), Value::Bool(false)) => "mismatch".to_owned(),
        (Some("RuntimeError"), Value::Bool(true)) => "failed".to_owned(),
        (None, Value::Bool(true)) => format!("done now: {}", answer["answer"]),
        (None, Value::Bool(false)) => format!("done before: {}", answer["answer"]),
        _ => panic!("{answer}"),
    }
}

/// An order of this id.
pub fn under(id: &str) -> Value {
    json!({ "id": id, "amount": { "value": 12.5, "currency": "€" }, "note": "not compared" })
}

/// Another order of the same id.
pub fn other_amount(id: &str) -> Value {
    json!({ "id": id, "amount": { "value": 13.5, "currency": "€" } })
}

/// The table of cases.
pub struct Rows {
    first: &'static str,
    rows: Vec<(String, String)>,
}

impl Rows {
    /// Of what that side did first.
    pub fn of(first: &'static str) -> Rows {
        Rows { first, rows: Vec::new() }
    }

    /// Holds what the other side says to what it should.
    pub fn check(&mut self, case: &str, outcome: &str, expected: &str) {
        assert_eq!(outcome, expected, "{} first: {case}", self.first);
        self.rows.push((case.to_owned(), outcome.to_owned()));
    }

    /// Prints it.
    pub fn print(&self) {
        println!("{:<52} the other side says", format!("{} first", self.first));
        for (case, outcome) in &self.rows {
            println!("  {case:<50} {outcome}");
        }
    }
}
