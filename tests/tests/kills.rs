//! Real function processes, killed at random: every run ends, every effect happened exactly once.
//!
//! `KILLS=200 RUNS=1000 cargo test -p windlass-tests --test kills -- --nocapture` does more of it.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use windlass_operator::{aws_endpoint::Effects, stack::Options};
use windlass_tests::local_kit::{Kit, binaries};

/// What all of it may take: a killed run is taken up again after a minute, and some are killed more than once.
const WITHIN: Duration = Duration::from_secs(420);

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Posts a request until somebody answers it: a client that repeats under its key.
async fn submit(kit: &Kit, order: &str) -> String {
    let body = json!({ "task": "refund", "payload": { "order": order, "amount_cents": 1_000 } });
    for _ in 0..200 {
        let token = &kit.address.tokens.submitter;
        match kit.try_send("POST", "/runs", token, Some(order), Some(&body)).await {
            Some(answer) if answer.status < 300 => {
                return answer.body["run_id"].as_str().expect("a run id").to_owned();
            }
            Some(answer) if answer.status < 500 => panic!("{order}: {answer:?}"),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("{order} was never taken on")
}

/// Kills function processes, most of them workers, while there is work.
async fn kill(kit: &Kit, kills: usize) -> BTreeMap<&'static str, usize> {
    let mut killed: BTreeMap<&'static str, usize> = BTreeMap::new();
    while killed.values().sum::<usize>() < kills {
        let (pause, choice, pick) = {
            let mut rng = rand::rng();
            (rng.random_range(5..60), rng.random_range(0..10), rng.random_range(0..usize::MAX))
        };
        sleep(Duration::from_millis(pause)).await;
        let function = if choice < 8 { "step" } else { "intake" };
        let processes = kit.stack.processes(function);
        if processes.is_empty() {
            continue;
        }
        let process = processes[pick % processes.len()].to_string();
        let kill = Command::new("kill").args(["-9", &process]).stderr(Stdio::null()).status();
        if kill.is_ok_and(|status| status.success()) {
            *killed.entry(function).or_default() += 1;
        }
    }
    killed
}

/// A person who looks into the ledger whether a letter was sent, and says so.
async fn settle_doubts(kit: &Kit, waiting: &Value) -> usize {
    let mut settled = 0;
    for question in waiting["escalation"].as_array().into_iter().flatten() {
        let order = question["action"]["arguments"]["order"].as_str().unwrap_or_default();
        let Ok(Effects { letters, .. }) = kit.aws.effects(order).await else { continue };
        let decision = if letters > 0 { "happened" } else { "not_happened" };
        if kit.decide(question["id"].as_str().unwrap_or_default(), decision).await.status == 200 {
            settled += 1;
        }
    }
    settled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_ends_with_each_effect_once_while_processes_are_killed() {
    let (runs, kills) = (number("RUNS", 200), number("KILLS", 50));
    // One actor asks for more than one actor may.
    let env =
        [("ACTOR_RATE_LIMIT".to_owned(), "off".to_owned()), ("TENANT_RATE_LIMIT".to_owned(), "off".to_owned())].into();
    let kit = Kit::start(&Options { env, ..Options::new(binaries().await) }).await;
    let orders = kit.seed("K", runs).await;
    let began = Instant::now();
    let submitting = stream::iter(&orders).map(|order| submit(&kit, order)).buffered(8).collect::<Vec<_>>();
    let (started, killed) = futures::join!(submitting, kill(&kit, kills));
    let mut open = started.clone();
    let mut doubts = 0;
    while !open.is_empty() {
        assert!(began.elapsed() < WITHIN, "{} runs are not over: {:?}", open.len(), open.first());
        kit.sweep().await;
        let mut still = Vec::new();
        for run in open {
            let shown = kit.run(&run).await.body;
            match shown["status"].as_str().unwrap_or_default() {
                "completed" => continue,
                "awaiting_approval" => doubts += settle_doubts(&kit, &shown).await,
                "ready" | "waiting" => {}
                other => panic!("run {run} is {other}: {shown}"),
            }
            still.push(run);
        }
        open = still;
        sleep(Duration::from_millis(500)).await;
    }
    let took = began.elapsed();
    for order in &orders {
        let effects = kit.aws.effects(order).await.expect("the ledger answers");
        assert_eq!(effects, Effects { refunds: 1, letters: 1 }, "{order}");
    }
    println!(
        "{runs} runs, {killed:?} processes killed, {doubts} letters in doubt settled by a person: \
         {runs} ended, {runs} refunds, {runs} letters, lost 0, doubled 0, in {:.1} s",
        took.as_secs_f64()
    );
    kit.stack.shutdown().await;
}
