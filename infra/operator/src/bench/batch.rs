//! One invocation with ten waiting runs, beside ten invocations with one each.

use std::{path::Path, time::Instant};

use serde_json::{Value, json};

use super::{
    BenchError, Size,
    figures::Figure,
    rig::{Kit, engine, take_on},
    unexpected,
    usage::of_all,
};

const BATCH: usize = 10;
const STEPS: usize = 8;
const ROUNDS: usize = 20;

pub(super) async fn measure(binaries: &Path, size: Size) -> Result<Vec<Figure>, BenchError> {
    let kit = Kit::start(binaries, None).await?;
    kit.stack.pause_schedules();
    // Nobody tells the queue of these runs.
    let engine = engine(&kit.address.aws)?;
    let mut figures = Vec::new();
    for (name, batch) in [("ten invocations", 1), ("one invocation", BATCH)] {
        let (mut millis, mut processor) = (0.0, 0.0);
        for round in 0..size.of(ROUNDS) {
            let mut runs = Vec::new();
            for number in 0..BATCH {
                runs.push(take_on(&engine, &format!("batch-{batch}-{round}-{number}"), STEPS).await?.to_string());
            }
            let before = of_all(&kit.stack.processes("step"));
            let began = Instant::now();
            for part in runs.chunks(batch) {
                let answer = kit.stack.invoke("step", event(part)).await.map_err(unexpected)?;
                if answer["batchItemFailures"].as_array().is_some_and(|failures| !failures.is_empty()) {
                    return Err(unexpected(format!("not every run was advanced: {answer}")));
                }
            }
            millis += began.elapsed().as_secs_f64() * 1e3;
            processor += of_all(&kit.stack.processes("step")).saturating_sub(before).as_secs_f64() * 1e3;
        }
        let rounds = size.of(ROUNDS) as f64;
        figures.extend([
            Figure::new(
                format!("{BATCH} waiting runs of {STEPS} steps in {name}"),
                "billed time",
                millis / rounds,
                "ms",
            ),
            Figure::new(
                format!("{BATCH} waiting runs of {STEPS} steps in {name}"),
                "processor time",
                processor / rounds,
                "ms",
            ),
        ]);
    }
    kit.stack.shutdown().await;
    Ok(figures)
}

fn event(runs: &[String]) -> Value {
    let record = |run: &String| {
        json!({
            "messageId": run, "receiptHandle": run, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:windlass-step", "attributes": {}, "messageAttributes": {},
            "body": json!({ "type": "wake_up", "run": run }).to_string(),
        })
    };
    json!({ "Records": runs.iter().map(record).collect::<Vec<Value>>() })
}
