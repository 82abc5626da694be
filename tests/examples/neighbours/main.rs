//! Two tenants, one with a hundred times the load of the other: how long the quiet one waits from request to answer, alone and beside it,
//! with a queue that is fair and with one that is not. The kit runs on this machine with the binaries that ship and a model that takes
//! half a second for each answer.
//!
//! The noisy tenant's requests come by the queue, as background work does: so it is the queue that is measured, not how many processes
//! of the intake function fit on this machine. Its limit does not count there.
//!
//! `cargo run -p windlass-tests --example neighbours [SECONDS [QUIET_PER_SECOND]]`
//!
//! With `hostile [SECONDS [PARTS]]` the other tenant does everything that costs its neighbours something and that can be done from outside, at
//! once and beyond its limits: see [`hostile`].

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};
use windlass::clock::{Clock as _, SystemClock, Timestamp};
use windlass_local::Order;
use windlass_operator::{
    local,
    stack::{MODEL_KEY, Options, STEP_QUEUE},
};
use windlass_tests::{
    local_kit::{Kit, binaries},
    model_server::{Fault, Format, ModelServer},
};

mod hostile;

/// How much more the noisy tenant asks.
const TIMES: f64 = 100.0;

/// How long the model takes for an answer; a run takes two.
const THINKS_FOR: Duration = Duration::from_millis(500);

/// Invocations of the step function at once, each with up to ten runs.
const STEPS_AT_ONCE: usize = 4;

/// How many of the noisy tenant's requests are sent at once.
const BATCH: usize = 10;

/// How long the quiet tenant's last answers are waited for. What is not there by then counts as having taken so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured at once.
struct Phase {
    name: &'static str,
    order: Order,
    noise: bool,
}

const PHASES: [Phase; 3] = [
    Phase { name: "alone", order: Order::Fair, noise: false },
    Phase { name: "beside it, unfair queue", order: Order::Arrival, noise: true },
    Phase { name: "beside it, fair queue", order: Order::Fair, noise: true },
];

/// What came of a phase.
struct Measured {
    /// From request to answer, in order of length.
    spans: Vec<Duration>,
    /// How many were not answered in time.
    open: usize,
    /// The noisy tenant's requests.
    noise: usize,
    /// How many messages waited at the end.
    waiting: u64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "hostile").is_some() {
        let seconds: f64 = arguments.next().map_or(60.0, |text| text.parse().expect("a number of seconds"));
        let parts: u32 = arguments.next().map_or(20, |text| text.parse().expect("a number of parts"));
        return hostile::measure(Duration::from_secs_f64(seconds), parts.max(1)).await;
    }
    let seconds: f64 = arguments.next().map_or(40.0, |text| text.parse().expect("a number of seconds"));
    let quiet_per_second: f64 = arguments.next().map_or(0.6, |text| text.parse().expect("a number of requests"));
    let span = Duration::from_secs_f64(seconds);
    println!("quiet: {quiet_per_second} requests/s, noisy: {} requests/s, for {seconds} s", quiet_per_second * TIMES);
    println!(
        "{:24} {:>8} {:>8} {:>8} {:>7} {:>9} {:>7} {:>8}",
        "", "p50", "p95", "max", "ratio", "answered", "noisy", "waiting"
    );
    let mut alone = None;
    for phase in &PHASES {
        let measured = measure(phase, span, quiet_per_second).await;
        let seconds = |part| quantile(&measured.spans, part).as_secs_f64();
        let alone = *alone.get_or_insert(seconds(0.95));
        let answered = format!("{}/{}", measured.spans.len() - measured.open, measured.spans.len());
        println!(
            "{:24} {:>7.2}s {:>7.2}s {:>7.2}s {:>7.2} {answered:>9} {:>7} {:>8}",
            phase.name,
            seconds(0.5),
            seconds(0.95),
            seconds(1.0),
            seconds(0.95) / alone,
            measured.noise,
            measured.waiting,
        );
    }
}

async fn measure(phase: &Phase, span: Duration, quiet_per_second: f64) -> Measured {
    let slow = vec![Fault::Slow(THINKS_FOR); 200_000];
    let server = ModelServer::start(Format::OpenAi, &slow).await;
    let mut options = Options::new(binaries().await).with_environment(|variable| match variable {
        "MODEL" => Some("openai:test".to_owned()),
        "MODEL_BASE_URL" => Some(server.url.clone()),
        "MODEL_PRICES" => Some(r#"{"openai:test":{"input":0,"output":0}}"#.to_owned()),
        "MODEL_SECRET" => Some("windlass/model-key".to_owned()),
        MODEL_KEY => Some("sk-load-0123456789".to_owned()),
        _ => None,
    });
    for limit in [
        "TENANT_RATE_LIMIT",
        "ACTOR_RATE_LIMIT",
        "ACTOR_READ_RATE_LIMIT",
        "TENANT_READ_RATE_LIMIT",
        "BACKLOG_MAX",
        "BACKLOG_BUSY_FROM",
    ] {
        options.env.insert(limit.to_owned(), "off".to_owned());
    }
    (options.queue_order, options.step_concurrency_max) = (phase.order, STEPS_AT_ONCE);
    let kit = Kit::start(&options).await;
    let quiet = local::token(kit.stack.issuer(), "quiet", "somebody", &["submitter"]);
    let noise = async {
        match phase.noise {
            true => make_noise(&kit, quiet_per_second * TIMES, span).await,
            false => 0,
        }
    };
    let (asked, noise) = tokio::join!(ask(&kit, &quiet, "quiet", quiet_per_second, span), noise);
    let waiting = waiting(&kit).await;
    let (spans, open) = spans(&kit, &quiet, asked).await;
    kit.stack.shutdown().await;
    Measured { spans, open, noise, waiting }
}

/// How long each run took from request to answer, in order of length; and how many were not answered in time.
async fn spans(kit: &Kit, quiet: &str, asked: Vec<(String, Timestamp)>) -> (Vec<Duration>, usize) {
    let (mut spans, mut open, until) = (Vec::new(), 0, Instant::now() + PATIENCE);
    for (run, sent) in asked {
        match answered(kit, quiet, &run, until).await {
            Some(at) => spans.push(at.since(sent)),
            None => {
                open += 1;
                spans.push(SystemClock.now().since(sent));
            }
        }
    }
    spans.sort();
    (spans, open)
}

fn request() -> Value {
    json!({ "task": "refund", "payload": { "order": "A-404", "amount_cents": 100 } })
}

/// The quiet tenant's requests, one after the other at even times, each with when it was sent.
async fn ask(kit: &Kit, token: &str, keys: &str, per_second: f64, span: Duration) -> Vec<(String, Timestamp)> {
    let (mut asked, end) = (Vec::new(), Instant::now() + span);
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
    while Instant::now() < end {
        ticks.tick().await;
        let (key, sent) = (format!("{keys}-{}", asked.len()), SystemClock.now());
        // As a client does: what is refused for the moment is sent again, and the time counts.
        loop {
            let answer = kit.send("POST", "/runs", token, Some(&key), Some(&request())).await;
            if let Some(run) = answer.body["run_id"].as_str() {
                break asked.push((run.to_owned(), sent));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
    asked
}

/// The noisy tenant's requests, in its share of the queue; how many.
async fn make_noise(kit: &Kit, per_second: f64, span: Duration) -> usize {
    let (mut sent, end) = (0, Instant::now() + span);
    let mut ticks = interval(Duration::from_secs_f64(BATCH as f64 / per_second));
    while Instant::now() < end {
        ticks.tick().await;
        let entry = |number: usize| {
            let mut asked = request();
            asked["tenant"] = "noisy".into();
            asked["actor"] = "somebody".into();
            let start = json!({ "type": "start", "idempotency_key": format!("n-{number}"), "source": "queue", "request": asked });
            json!({ "Id": number.to_string(), "MessageBody": start.to_string(), "MessageGroupId": "noisy" })
        };
        let entries: Vec<Value> = (sent..sent + BATCH).map(entry).collect();
        let body = json!({ "QueueUrl": kit.stack.queue_url(STEP_QUEUE), "Entries": entries });
        kit.aws.call("AmazonSQS.SendMessageBatch", &body).await.expect("the messages are sent");
        sent += BATCH;
    }
    sent
}

/// When a run had its answer, by its own record; `None` when it has none by `until`.
async fn answered(kit: &Kit, token: &str, run: &str, until: Instant) -> Option<Timestamp> {
    loop {
        let shown = kit.send("GET", &format!("/runs/{run}"), token, None, None).await.body;
        if let Some(at) = shown["outcome"]["at"].as_str() {
            return at.parse().ok();
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn waiting(kit: &Kit) -> u64 {
    let queue = kit.stack.queue_url(STEP_QUEUE);
    let body = json!({ "QueueUrl": queue, "AttributeNames": ["ApproximateNumberOfMessages"] });
    let answer = kit.aws.call("AmazonSQS.GetQueueAttributes", &body).await.expect("the queue answers");
    answer["Attributes"]["ApproximateNumberOfMessages"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The span that so large a part does not exceed.
fn quantile(spans: &[Duration], part: f64) -> Duration {
    let place = ((spans.len() as f64 * part).ceil() as usize).clamp(1, spans.len().max(1));
    spans.get(place - 1).copied().unwrap_or_default()
}
