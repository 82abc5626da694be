//! What a run of eight 1 KB steps in one invocation consumes, as the store reports it, and what a million such steps cost.

use std::time::Duration;

use serde_json::json;
use windlass_operator::{
    cost::Cost,
    stack::{DESK_TABLE, Options},
};
use windlass_tests::local_kit::{Kit, binaries};

/// Runs measured; their cost is the same but for the queue, which batches when it can.
const RUNS: u32 = 20;

/// Steps of one run.
const STEPS: u32 = 8;

/// The aim of the design, for store and queue.
const USD_PER_MILLION_STEPS_MAX: f64 = 1.5;

/// What a step may write to the logs: more would cost as much as all else. Events are 2.1 KB of it.
const LOG_BYTES_MAX: f64 = 3_000.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_steps_of_one_kilobyte_cost_at_most_a_dollar_and_a_half() {
    let kit = Kit::start(&Options::new(binaries().await)).await;
    kit.stack.pause_schedules();
    let mut total = Cost::default();
    let mut per_operation = std::collections::BTreeMap::<String, f64>::new();
    for number in 0..RUNS {
        let before = kit.stack.meter();
        let payload = json!({ "steps": STEPS, "bytes": 1_024 });
        let run = kit.submit(&format!("cost-{number}"), "drill/steps", payload).await.body["run_id"].clone();
        // Asking how it goes would be counted: the last thing a run does is to leave, and its message is deleted after that.
        while kit.stack.meter().since(&before).requests_of("SQS.DeleteMessageBatch") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let meter = kit.stack.meter().since(&before);
        let cost = Cost::of(&meter, DESK_TABLE);
        total.write_units += cost.write_units;
        total.read_units += cost.read_units;
        total.queue_requests += cost.queue_requests;
        total.refused_writes += cost.refused_writes;
        total.log_bytes += cost.log_bytes;
        for (operation, tables) in &meter.capacity_units {
            *per_operation.entry(operation.clone()).or_default() += tables.values().sum::<f64>();
        }
        let run = run.as_str().expect("a run id");
        let shown = kit.until(run, &["completed"], Duration::from_secs(20)).await;
        assert_eq!(shown["response"]["steps"], STEPS);
    }
    let runs = f64::from(RUNS);
    let usd = total.usd() / f64::from(RUNS * STEPS) * 1e6;
    for (operation, units) in per_operation {
        println!("{operation:<32} {:>6.2} units a run", units / runs);
    }
    println!(
        "a run of {STEPS} steps of 1 KB: {:.2} write units, {:.2} read units, {:.2} queue requests, {:.2} refused writes: {usd:.2} USD per million steps",
        total.write_units / runs,
        total.read_units / runs,
        total.queue_requests as f64 / runs,
        total.refused_writes as f64 / runs,
    );
    let steps = f64::from(RUNS * STEPS);
    let (log_bytes, logs_usd) = (total.log_bytes as f64 / steps, total.logs_usd() / steps * 1e6);
    println!("logs: {log_bytes:.0} bytes a step: {logs_usd:.2} USD per million steps");
    assert!(usd <= USD_PER_MILLION_STEPS_MAX, "{usd:.2} USD per million steps");
    assert!(log_bytes <= LOG_BYTES_MAX, "{log_bytes:.0} bytes of logs a step");
    kit.stack.shutdown().await;
}
