//! The whole stack under load: requests over HTTP, the queue, the function processes, the store.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream};
use serde_json::json;
use windlass::journal::HeadStatus;
use windlass_local::Synchronous;

use super::{
    BenchError, Size,
    figures::{Aim, Figure, spread},
    rig::Kit,
    unexpected,
    usage::{of_all, peak_memory_mib},
};
use crate::{
    cost::{Cost, PEERS_USD_PER_MILLION},
    functions::checkout,
    scenario::SeedOrder,
    stack::{DESK_TABLE, FUNCTIONS},
};

const RUNS: usize = 200;
const STEPS: usize = 8;

/// Runs that wait for an approval.
const WAITING: usize = 100;

/// 200 runs of eight steps of 1 KB, one and sixteen at once, with the store in memory, in a file, and in one that is synced at every write.
pub(super) async fn steps(binaries: &Path, size: Size) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    let scratch = checkout().join("target").join("bench-data");
    let places =
        [("in memory", None), ("in a file", Some(Synchronous::Normal)), ("in a synced file", Some(Synchronous::Full))];
    for (place, synchronous) in places {
        let _ = std::fs::remove_dir_all(&scratch);
        let kit = Kit::start(binaries, synchronous.map(|synchronous| (scratch.as_path(), synchronous))).await?;
        // Whatever is done for the first time is not measured.
        stream::iter((0..8).map(Ok))
            .try_for_each_concurrent(8, |n| one(&kit, format!("warm-{n}")).map_ok(drop))
            .await?;
        for at_once in [1, 16] {
            figures.extend(at(&kit, place, at_once, size).await?);
        }
        kit.stack.shutdown().await;
    }
    let _ = std::fs::remove_dir_all(&scratch);
    let peers = PEERS_USD_PER_MILLION.iter();
    figures.extend(peers.map(|(of, usd, source)| Figure::new(format!("a million {of}"), *source, *usd, "USD")));
    Ok(figures)
}

async fn at(kit: &Kit, place: &str, at_once: usize, size: Size) -> Result<Vec<Figure>, BenchError> {
    let runs = size.of(RUNS);
    let workload = format!("stack {place}, {runs} runs of {STEPS} steps, {at_once} at once");
    let workers = || kit.stack.processes("step");
    let (before, meter, began) = (of_all(&workers()), kit.stack.meter(), Instant::now());
    let spans = stream::iter(0..runs).map(|n| one(kit, format!("{at_once}-{n}"))).buffer_unordered(at_once);
    let spans: Vec<Duration> = spans.try_collect().await?;
    let took = began.elapsed();
    let (steps, cost) = ((runs * STEPS) as f64, Cost::of(&kit.stack.meter().since(&meter), DESK_TABLE));
    let rate = Figure::new(&workload, "steps", steps / took.as_secs_f64(), "/s");
    let aim = if at_once == 1 { 1_200.0 } else { 2_700.0 };
    let processor = of_all(&workers()).saturating_sub(before).as_secs_f64() * 1e3 / steps;
    let mut figures = vec![if place == "in memory" { rate.aim(Aim::AtLeast(aim)) } else { rate }];
    figures.extend(spread(&workload, "from request to end", spans));
    figures.push(
        Figure::new(&workload, "processor time of the workers, of a step", processor, "ms").aim(Aim::AtMost(0.2)),
    );
    for function in FUNCTIONS {
        let peak = kit.stack.processes(function).into_iter().map(peak_memory_mib).fold(0.0, f64::max);
        if peak > 0.0 {
            figures.push(Figure::new(&workload, format!("peak memory of a {function} process"), peak, "MiB"));
        }
    }
    let of_a_step = |total: f64| total / steps;
    figures.extend([
        Figure::new(&workload, "write units of a step", of_a_step(cost.write_units + cost.refused_writes as f64), ""),
        Figure::new(&workload, "read units of a step", of_a_step(cost.read_units), ""),
        Figure::new(&workload, "queue requests of a step", of_a_step(cost.queue_requests as f64), ""),
        Figure::new(&workload, "a million steps on AWS", of_a_step(cost.usd()) * 1e6, "USD").aim(Aim::AtMost(1.5)),
        Figure::new(&workload, "log bytes of a step", of_a_step(cost.log_bytes as f64), "bytes"),
        Figure::new(&workload, "logs of a million steps on AWS", of_a_step(cost.logs_usd()) * 1e6, "USD"),
    ]);
    Ok(figures)
}

async fn one(kit: &Kit, key: String) -> Result<Duration, BenchError> {
    let began = Instant::now();
    let run = kit.submit_steps(&key, STEPS, false).await?;
    kit.ends.of_run(run).await?;
    Ok(began.elapsed())
}

/// A hundred runs that wait for a person, who approves them all at once; and requests that wait for their answer.
pub(super) async fn approvals(binaries: &Path, size: Size) -> Result<Vec<Figure>, BenchError> {
    let kit = Kit::start(binaries, None).await?;
    let endpoint =
        crate::aws_endpoint::AwsEndpoint::new(reqwest::Client::builder().no_proxy().build()?, &kit.address.aws);
    let mut waiting = Vec::new();
    for number in 0..size.of(WAITING) {
        let order = format!("bench-{number}");
        let seed = SeedOrder { order: order.clone(), customer: "customer-1".into(), total_cents: 20_000 };
        endpoint.seed(&seed).await.map_err(unexpected)?;
        let payload = json!({ "order": order, "amount_cents": 12_000 });
        waiting.push(kit.submit(&order, "refund", payload, false).await?);
    }
    let approver = &kit.address.tokens.approver;
    let mut questions = Vec::new();
    for run in &waiting {
        kit.until(*run, |status| *status == HeadStatus::AwaitingApproval).await?;
        let shown = kit.get(&format!("/runs/{run}"), &kit.address.tokens.operator).await?;
        let id = shown["escalation"][0]["id"].as_str().unwrap_or_default().to_owned();
        let question = kit.get(&format!("/approvals/{id}"), approver).await?;
        questions.push((*run, id, question["token"].clone()));
    }
    let approved = stream::iter(questions).map(|(run, id, token)| {
        let kit = &kit;
        async move {
            let body = json!({ "decision": "approved", "token": token });
            let began = Instant::now();
            kit.send(&format!("/approvals/{id}"), approver, "", &body, false).await?;
            kit.ends.of_run(run).await?;
            Ok::<Duration, BenchError>(began.elapsed())
        }
    });
    let spans: Vec<Duration> = approved.buffer_unordered(waiting.len()).try_collect().await?;
    let workload = format!("{} runs approved together", waiting.len());
    let mut figures = spread(&workload, "from approval to end", spans);
    if let Some(first) = figures.first_mut() {
        *first = first.clone().aim(Aim::AtMost(150.0));
    }
    let mut spans = Vec::new();
    for number in 0..size.of(RUNS) {
        let began = Instant::now();
        kit.submit_steps(&format!("wait-{number}"), STEPS, true).await?;
        spans.push(began.elapsed());
    }
    figures.extend(spread("POST /runs with Prefer: wait, 8 steps", "from request to answer", spans));
    kit.stack.shutdown().await;
    Ok(figures)
}
