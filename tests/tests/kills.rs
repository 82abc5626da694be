//! Real function processes, killed at random: every run ends, every effect happened exactly once.
//!
//! `KILLS=200 RUNS=1000 cargo test -p windlass-tests --test kills -- --nocapture` does more of it.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use rand::RngExt as _;
use tokio::time::{Instant, sleep};
use windlass_operator::{aws_endpoint::Effects, stack::Options};
use windlass_tests::{
    local_kit::{Kit, binaries},
    people::{answer, submit},
    signals,
};

/// What all of it may take: a killed run is taken up again after a minute, and some are killed more than once.
const WITHIN: Duration = Duration::from_secs(420);

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
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
        if signals::send("KILL", processes[pick % processes.len()]) {
            *killed.entry(function).or_default() += 1;
        }
    }
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_ends_with_each_effect_once_while_processes_are_killed() {
    let (runs, kills) = (number("RUNS", 200), number("KILLS", 50));
    // One actor asks for more than one actor may.
    let env = windlass_operator::stack::without_limits().collect();
    let kit = Kit::start(&Options { env, ..Options::new(binaries().await) }).await;
    let orders = kit.seed("K", runs).await;
    let began = Instant::now();
    let submitting = stream::iter(&orders).map(|order| submit(&kit, order, 1_000)).buffered(8).collect::<Vec<_>>();
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
                "awaiting_approval" => doubts += answer(&kit, &shown).await.doubts,
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
