//! Two tenants, one with a hundred times the load of the other: how long the quiet one waits from request to answer, alone and beside it,
//! with a queue that is fair and with one that is not. The kit runs on this machine with the binaries that ship and a model that takes
//! half a second for each answer.
//!
//! `cargo run -p windlass-tests --example neighbours [SECONDS [QUIET_PER_SECOND]]`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use windlass::clock::{Clock as _, SystemClock, Timestamp};
use windlass_local::Order;
use windlass_operator::{
    local,
    stack::{MODEL_KEY, Options},
};
use windlass_tests::{
    local_kit::{Kit, binaries},
    model_server::{Fault, Format, ModelServer},
};

/// How much more the noisy tenant asks.
const TIMES: f64 = 100.0;

/// How long the model takes for an answer; a run takes two.
const THINKS_FOR: Duration = Duration::from_millis(500);

/// Invocations of the step function at once, each with up to ten runs.
const STEPS_AT_ONCE: usize = 4;

/// The most of the noisy tenant's requests that are under way at once.
const UNDER_WAY_MAX: usize = 64;

/// How long the quiet tenant's last answers are waited for.
const PATIENCE: Duration = Duration::from_secs(240);

/// A limit that the noisy tenant goes far beyond, and the quiet one does not come near.
const LIMIT: &str = "600/60:20";

/// What is measured at once.
struct Phase {
    name: &'static str,
    order: Order,
    noise: bool,
    tenant_limit: &'static str,
}

const PHASES: [Phase; 4] = [
    Phase { name: "alone", order: Order::Fair, noise: false, tenant_limit: "off" },
    Phase { name: "beside it, unfair queue", order: Order::Arrival, noise: true, tenant_limit: "off" },
    Phase { name: "beside it, fair queue", order: Order::Fair, noise: true, tenant_limit: "off" },
    Phase { name: "beside it, fair queue and limits", order: Order::Fair, noise: true, tenant_limit: LIMIT },
];

/// What came of a phase.
struct Measured {
    /// From request to answer, in order of length.
    spans: Vec<Duration>,
    /// Of the noisy tenant's requests: taken on, and turned away.
    noise: (u64, u64),
    /// How many messages waited at the end.
    waiting: u64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(40.0, |text| text.parse().expect("a number of seconds"));
    let quiet_per_second: f64 = arguments.next().map_or(0.6, |text| text.parse().expect("a number of requests"));
    let span = Duration::from_secs_f64(seconds);
    println!("quiet: {quiet_per_second} requests/s, noisy: {} requests/s, for {seconds} s", quiet_per_second * TIMES);
    println!(
        "{:34} {:>8} {:>8} {:>8} {:>7} {:>10} {:>8} {:>8}",
        "the quiet tenant", "p50", "p95", "max", "ratio", "noisy: in", "refused", "waiting"
    );
    let mut alone = None;
    for phase in &PHASES {
        let measured = measure(phase, span, quiet_per_second).await;
        let p95 = quantile(&measured.spans, 0.95);
        let alone = *alone.get_or_insert(p95);
        println!(
            "{:34} {:>7.2}s {:>7.2}s {:>7.2}s {:>7.2} {:>10} {:>8} {:>8}",
            phase.name,
            quantile(&measured.spans, 0.5).as_secs_f64(),
            p95.as_secs_f64(),
            quantile(&measured.spans, 1.0).as_secs_f64(),
            p95.as_secs_f64() / alone.as_secs_f64(),
            measured.noise.0,
            measured.noise.1,
            measured.waiting,
        );
    }
}

async fn measure(phase: &Phase, span: Duration, quiet_per_second: f64) -> Measured {
    let slow = vec![Fault::Slow(THINKS_FOR); 200_000];
    let server = ModelServer::start(Format::OpenAi, &slow).await;
    let mut options = Options::new(binaries().await).with_model_of(|variable| match variable {
        "MODEL" => Some("openai:test".to_owned()),
        "MODEL_BASE_URL" => Some(server.url.clone()),
        "MODEL_PRICES" => Some(r#"{"openai:test":{"input":0,"output":0}}"#.to_owned()),
        "MODEL_SECRET" => Some("windlass/model-key".to_owned()),
        MODEL_KEY => Some("sk-load-0123456789".to_owned()),
        _ => None,
    });
    let limits = [
        ("TENANT_RATE_LIMIT", phase.tenant_limit),
        ("ACTOR_RATE_LIMIT", "off"),
        ("BACKLOG_MAX", "off"),
        ("BACKLOG_BUSY_FROM", "off"),
    ];
    options.env.extend(limits.map(|(name, value)| (name.to_owned(), value.to_owned())));
    (options.queue_order, options.step_concurrency_max) = (phase.order, STEPS_AT_ONCE);
    let kit = Arc::new(Kit::start(&options).await);
    let token = |tenant| local::token(kit.stack.issuer(), tenant, "somebody", &["submitter"]);
    let (quiet, noisy) = (token("quiet"), token("noisy"));
    let noise = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let making = phase
        .noise
        .then(|| tokio::spawn(make_noise(Arc::clone(&kit), noisy, quiet_per_second * TIMES, span, Arc::clone(&noise))));
    let asked = ask(&kit, &quiet, quiet_per_second, span).await;
    if let Some(making) = making {
        making.await.expect("the noise ends");
    }
    let waiting = waiting(&kit).await;
    let mut spans = Vec::new();
    for (run, sent) in asked {
        spans.push(answered(&kit, &quiet, &run, sent).await);
    }
    spans.sort();
    if let Ok(kit) = Arc::try_unwrap(kit) {
        kit.stack.shutdown().await;
    }
    Measured { spans, noise: (noise.0.load(Ordering::Relaxed), noise.1.load(Ordering::Relaxed)), waiting }
}

fn request() -> Value {
    json!({ "task": "refund", "payload": { "order": "A-404", "amount_cents": 100 } })
}

/// The quiet tenant's requests, one after the other at even times, each with when it was sent.
async fn ask(kit: &Kit, token: &str, per_second: f64, span: Duration) -> Vec<(String, Timestamp)> {
    let (mut asked, end) = (Vec::new(), Instant::now() + span);
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
    while Instant::now() < end {
        ticks.tick().await;
        let (key, sent) = (format!("quiet-{}", asked.len()), SystemClock.now());
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

/// The noisy tenant's requests, whether or not they are answered.
async fn make_noise(
    kit: Arc<Kit>,
    token: String,
    per_second: f64,
    span: Duration,
    counts: Arc<(AtomicU64, AtomicU64)>,
) {
    let (end, under_way) = (Instant::now() + span, Arc::new(Semaphore::new(UNDER_WAY_MAX)));
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sending = JoinSet::new();
    for number in 0_u64.. {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { break };
        let (kit, token, counts) = (Arc::clone(&kit), token.clone(), Arc::clone(&counts));
        sending.spawn(async move {
            let answer =
                kit.try_send("POST", "/runs", &token, Some(&format!("noisy-{number}")), Some(&request())).await;
            let taken = answer.is_some_and(|answer| answer.status < 300);
            if taken { &counts.0 } else { &counts.1 }.fetch_add(1, Ordering::Relaxed);
            drop(permit);
        });
        while sending.try_join_next().is_some() {}
    }
    while sending.join_next().await.is_some() {}
}

/// How long a run took from its request to its answer, by its own record of when it ended.
async fn answered(kit: &Kit, token: &str, run: &str, sent: Timestamp) -> Duration {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = kit.send("GET", &format!("/runs/{run}"), token, None, None).await.body;
        if let Some(at) = shown["outcome"]["at"].as_str() {
            return at.parse::<Timestamp>().expect("a time").since(sent);
        }
        assert!(Instant::now() < end, "no answer within {PATIENCE:?}: {shown}");
        sleep(Duration::from_millis(250)).await;
    }
}

async fn waiting(kit: &Kit) -> u64 {
    let queue = kit.stack.queue_url(windlass_operator::stack::STEP_QUEUE);
    let body = json!({ "QueueUrl": queue, "AttributeNames": ["ApproximateNumberOfMessages"] });
    let answer = kit.aws.call("AmazonSQS.GetQueueAttributes", &body).await.expect("the queue answers");
    answer["Attributes"]["ApproximateNumberOfMessages"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The span that so large a part does not exceed.
fn quantile(spans: &[Duration], part: f64) -> Duration {
    let place = ((spans.len() as f64 * part).ceil() as usize).clamp(1, spans.len().max(1));
    spans.get(place - 1).copied().unwrap_or_default()
}
