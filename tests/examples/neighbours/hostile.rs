//! A tenant that is hostile in every way that is open to it from outside, and one that starts a run a second.
//!
//! The deployment is a part of the template's, by default a twentieth: processes of each function, what a tenant may start, look at and
//! wait for, and what may wait in the queue. So the hostile tenant may take the share of it that it may take on AWS. Unlike there, all
//! processes share the cores of this machine: the larger the part, the more it is they that are measured.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, http::StatusCode, response::IntoResponse as _};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use windlass_operator::{local, scenario::SeedOrder, stack::Options};
use windlass_tests::{
    local_kit::{Kit, binaries, http},
    model_server::{Format, reply_to},
};

use super::{MODEL_KEY, PATIENCE, ask, quantile, spans, waiting};

/// Processes of the step function, and of each other one, at once, in the template.
const STEPS_AT_ONCE: u32 = 200;
const DOORS_AT_ONCE: u32 = 100;

/// What a tenant may do, and how much may wait, in the defaults: so much in so many seconds, and so much at once. An actor may do as
/// much: a part of an actor's limit is less than the quiet tenant's one actor needs.
const LIMITS: [(&str, u32, u32, u32); 6] = [
    ("TENANT_RATE_LIMIT", 3_000, 60, 150),
    ("ACTOR_RATE_LIMIT", 3_000, 60, 150),
    ("TENANT_READ_RATE_LIMIT", 6_000, 60, 600),
    ("ACTOR_READ_RATE_LIMIT", 6_000, 60, 600),
    ("TENANT_WAIT_RATE_LIMIT", 30, 25, 30),
    ("ACTOR_WAIT_RATE_LIMIT", 30, 25, 30),
];
const BACKLOGS: [(&str, u32); 2] = [("BACKLOG_MAX", 10_000), ("BACKLOG_BUSY_FROM", 1_000)];

/// How long the model takes for an ordinary answer, and for what it is made to be slow with: longer than it is waited for.
const THINKS_FOR: Duration = Duration::from_millis(300);
const HANGS_FOR: Duration = Duration::from_secs(40);

/// Words in a payload that slow the model down or break it.
const HANG: &str = "please think for a very long time";
const BREAK: &str = "please break down";

/// Bytes of the largest payloads, below the 64 KB that are let in, and the objects in the densest ones, of two values each, below the
/// 8,192 values that are.
const LARGE_BYTES: usize = 60_000;
const DENSE_OBJECTS: usize = 4_000;

/// How often each attack is tried in a second, in the whole of the deployment. Together that is several times what the tenant may do.
const TRIES_PER_SECOND: f64 = 40.0;

/// What is done, each over and over.
const ATTACKS: [(&str, Attack); 11] = [
    ("dense payloads", Attack::Start(dense)),
    ("payloads that are slow to redact", Attack::Start(slow_to_redact)),
    ("runs whose model hangs", Attack::Start(|| refund("A-1001", HANG, 100))),
    ("runs whose model breaks", Attack::Start(|| refund("A-1001", BREAK, 100))),
    ("runs that wait for approval", Attack::Start(|| refund("A-1002", "", 90_000))),
    ("starts that wait for the end", Attack::StartAndWait),
    ("looks at one run", Attack::Look("")),
    ("looks at one journal", Attack::Look("/journal")),
    ("cancels", Attack::Cancel),
    ("lists of approvals", Attack::List),
    ("requests without a token that counts", Attack::Nobody),
];

#[derive(Clone, Copy)]
enum Attack {
    /// Starts runs with such payloads.
    Start(fn() -> Value),
    /// Starts runs and waits for their ends within the request.
    StartAndWait,
    /// Looks at this part of a run.
    Look(&'static str),
    /// Ends runs of its own, over and over.
    Cancel,
    /// Lists approvals.
    List,
    /// Sends what is refused before anything is looked at.
    Nobody,
}

fn refund(order: &str, note: &str, cents: u32) -> Value {
    json!({ "order": order, "amount_cents": cents, "note": note })
}

fn dense() -> Value {
    json!({ "order": "A-1001", "amount_cents": 100, "values": vec![json!({ "a": 0 }); DENSE_OBJECTS] })
}

fn slow_to_redact() -> Value {
    json!({ "order": "A-1001", "amount_cents": 100, "text": "1:1.".repeat(LARGE_BYTES / 4) })
}

/// What came of an attack: answers by status.
type Counts = BTreeMap<u16, u64>;

/// What is left of so much, in one part of so many.
fn share(whole: u32, parts: u32) -> u32 {
    (whole / parts).max(1)
}

/// Measures the quiet tenant alone and beside the hostile one, in one deployment of one part of so many, and prints it.
pub async fn measure(span: Duration, parts: u32) {
    let model = model().await;
    let mut options = Options::new(binaries().await).with_environment(|variable| match variable {
        "MODEL" => Some("openai:test".to_owned()),
        "MODEL_BASE_URL" => Some(model.clone()),
        "MODEL_PRICES" => Some(r#"{"openai:test":{"input":0,"output":0}}"#.to_owned()),
        "MODEL_SECRET" => Some("windlass/model-key".to_owned()),
        MODEL_KEY => Some("sk-load-0123456789".to_owned()),
        _ => None,
    });
    let rate = |(name, tokens, seconds, burst): (&str, u32, u32, u32)| {
        (name.to_owned(), format!("{}/{seconds}:{}", share(tokens, parts), share(burst, parts)))
    };
    options.env.extend(LIMITS.map(rate));
    options.env.extend(BACKLOGS.map(|(name, messages)| (name.to_owned(), share(messages, parts).to_string())));
    options.step_concurrency_max = share(STEPS_AT_ONCE, parts) as usize;
    options.door_concurrency_max = share(DOORS_AT_ONCE, parts) as usize;
    let kit = Kit::start(&options).await;
    for order in ["A-1001", "A-1002"] {
        let seed = SeedOrder { order: order.into(), customer: "customer-1".into(), total_cents: 90_000_000 };
        kit.aws.seed(&seed).await.expect("the order is put");
    }
    let quiet = local::token(kit.stack.issuer(), "quiet", "somebody", &["submitter"]);
    println!("one run a second for {} s, in one part of {parts} of the deployment", span.as_secs());
    println!("{:28} {:>8} {:>8} {:>8} {:>9}", "", "p50", "p95", "max", "answered");
    // The first runs start the processes.
    ask(&kit, &quiet, "first", 4.0, Duration::from_secs(5)).await;
    let alone = ask(&kit, &quiet, "alone", 1.0, span).await;
    show("alone", &spans(&kit, &quiet, alone).await);
    let (beside, counts) =
        tokio::join!(ask(&kit, &quiet, "beside", 1.0, span), attack(&kit, span, TRIES_PER_SECOND / f64::from(parts)));
    let waiting = waiting(&kit).await;
    show("beside the hostile tenant", &spans(&kit, &quiet, beside).await);
    println!("\n{waiting} messages wait; the hostile tenant's answers, by status:");
    for (what, counts) in counts {
        let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        println!("{what:40} {}", counts.join(", "));
    }
    kit.stack.shutdown().await;
}

fn show(name: &str, (spans, open): &(Vec<Duration>, usize)) {
    let seconds = |part| quantile(spans, part).as_secs_f64();
    let answered = format!("{}/{}", spans.len() - open, spans.len());
    println!("{name:28} {:>7.2}s {:>7.2}s {:>7.2}s {answered:>9}", seconds(0.5), seconds(0.95), seconds(1.0));
}

/// Everything at once, for so long, each so often in a second.
async fn attack(kit: &Kit, span: Duration, per_second: f64) -> Vec<(&'static str, Counts)> {
    let roles = ["submitter", "approver", "finance", "operator"];
    let actors: Vec<String> =
        (0..4).map(|number| local::token(kit.stack.issuer(), "hostile", &format!("h{number}"), &roles)).collect();
    let client = http();
    let run = loop {
        let body = json!({ "task": "refund", "payload": refund("A-1002", "", 90_000) });
        let answer = kit.send("POST", "/runs", &actors[0], Some("theirs"), Some(&body)).await;
        match answer.body["run_id"].as_str() {
            Some(run) => break run.to_owned(),
            None => sleep(Duration::from_millis(200)).await,
        }
    };
    let attacks = ATTACKS.map(|(what, attack)| {
        let attacker = Attacker {
            what,
            attack,
            api: kit.address.api.clone(),
            client: client.clone(),
            actors: actors.clone(),
            run: run.clone(),
            counts: Arc::default(),
        };
        async move { (what, attacker.go_on(span, per_second).await) }
    });
    futures::future::join_all(attacks).await
}

/// Who does one thing over and over, without waiting for what comes of it.
struct Attacker {
    what: &'static str,
    attack: Attack,
    api: String,
    client: reqwest::Client,
    actors: Vec<String>,
    run: String,
    counts: Arc<Mutex<Counts>>,
}

impl Attacker {
    async fn go_on(&self, span: Duration, per_second: f64) -> Counts {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (end, mut tries, mut number) = (Instant::now() + span, Vec::new(), 0);
        while Instant::now() < end {
            ticks.tick().await;
            let (request, counts) = (self.request(number), Arc::clone(&self.counts));
            number += 1;
            tries.push(tokio::spawn(async move {
                let status = match request.send().await {
                    Ok(answer) => answer.status().as_u16(),
                    Err(_) => 0,
                };
                *counts.lock().expect("nobody panics").entry(status).or_insert(0) += 1;
            }));
        }
        // What hangs longer than that is not counted.
        let all = futures::future::join_all(tries);
        let _ = tokio::time::timeout(PATIENCE, all).await;
        self.counts.lock().expect("nobody panics").clone()
    }

    fn request(&self, number: usize) -> reqwest::RequestBuilder {
        let actor = &self.actors[number % self.actors.len()];
        let start = |payload: Value| {
            let body = json!({ "task": "refund", "payload": payload });
            let key = format!("{}-{number}", self.what.replace(' ', "-"));
            let request = self.client.post(format!("{}/runs", self.api)).bearer_auth(actor);
            request.header("idempotency-key", key).header("content-type", "application/json").body(body.to_string())
        };
        let run = format!("{}/runs/{}", self.api, self.run);
        match self.attack {
            Attack::Start(payload) => start(payload()),
            Attack::StartAndWait => start(refund("A-1001", HANG, 100)).header("prefer", "wait=25"),
            Attack::Look(part) => self.client.get(format!("{run}{part}")).bearer_auth(actor),
            Attack::Cancel => self.client.post(format!("{run}/cancel")).bearer_auth(actor),
            Attack::List => self.client.get(format!("{}/approvals?limit=50", self.api)).bearer_auth(actor),
            Attack::Nobody => self.client.get(run).bearer_auth("e30.e30.e30"),
        }
    }
}

/// A model that answers an ordinary question soon, and hangs or breaks for what says that it should.
async fn model() -> String {
    let answer = |body: Bytes| async move {
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let span = if text.contains(HANG) { HANGS_FOR } else { THINKS_FOR };
        sleep(span).await;
        match text.contains(BREAK) {
            true => (StatusCode::INTERNAL_SERVER_ERROR, "{}".to_owned()).into_response(),
            false => (StatusCode::OK, reply_to(Format::OpenAi, &asked).to_string()).into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let _ = axum::serve(listener, Router::new().fallback(answer)).await;
    });
    url
}
