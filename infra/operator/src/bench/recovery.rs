//! Workers that are killed in the middle of runs whose steps take their time: until somebody else goes on, and until the end.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::json;
use windlass::{
    clock::{Clock as _, SystemClock, Timestamp},
    ids::RunId,
    journal::Journal as _,
    lease::LEASE_FOR,
    run::entry::Writer,
};

use super::{
    BenchError, Size,
    figures::{Aim, Figure, spread},
    rig::Kit,
    unexpected,
};

/// When workers are killed, in milliseconds after their runs were asked for: spread over what a batch takes.
const KILLS: [u64; 6] = [2_000, 6_000, 10_000, 14_000, 18_000, 22_000];

/// The same, within the first half second of a batch: its messages come back no sooner than the sweep finds its runs.
const EARLY_KILLS: [u64; 1] = [300];

/// Runs under way: one for each worker that the local stack starts at once, so that none waits for a place afterwards.
const RUNS: usize = 4;

/// What a step takes.
const PAUSE: Duration = Duration::from_millis(500);

/// Steps of a run: more than are made before the last kill.
const STEPS: usize = 60;

/// How long after the end of a lease somebody should have gone on.
const AFTER_LEASE: Duration = Duration::from_secs(5);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Longer than the sweep takes to find a run.
const STUCK_AFTER: Duration = Duration::from_secs(150);

pub(super) async fn measure(binaries: &Path, size: Size) -> Result<Vec<Figure>, BenchError> {
    let aim = (LEASE_FOR + AFTER_LEASE).as_secs_f64() * 1e3;
    let mut figures = killed(binaries, "was killed", &KILLS[..size.of(KILLS.len()).max(1)]).await?;
    figures.truncate(2);
    figures = figures.into_iter().map(|figure| figure.aim(Aim::AtMost(aim))).collect();
    figures.extend(killed(binaries, "was killed in its first half second", &EARLY_KILLS).await?.into_iter().take(2));
    Ok(figures)
}

/// Runs whose workers are killed at these moments, and how long it took until somebody went on.
async fn killed(binaries: &Path, how: &str, kills: &[u64]) -> Result<Vec<Figure>, BenchError> {
    let mut spans = Vec::new();
    for (round, after) in kills.iter().enumerate() {
        // Each in a kit of its own: the sweep's minute falls differently, and nothing is left of the round before.
        let kit = Kit::start(binaries, None).await?;
        let mut runs = Vec::new();
        for number in 0..RUNS {
            let payload = json!({ "steps": STEPS, "bytes": 64, "pause_ms": PAUSE.as_millis() as u64 });
            runs.push(kit.submit(&format!("kill-{round}-{number}"), "drill/steps", payload, false).await?);
        }
        tokio::time::sleep(Duration::from_millis(*after)).await;
        let killed_at = SystemClock.now();
        for process in kit.stack.processes("step") {
            let _ =
                std::process::Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status();
        }
        for run in runs {
            spans.extend(next_entry(&kit, run, killed_at).await?);
        }
        kit.stack.shutdown().await;
    }
    let workload = format!("{} runs whose worker {how}", spans.len());
    Ok(spread(&workload, "from kill to next entry", spans))
}

/// How long it took until another worker recorded something, when the run was under way; `None` when it was not yet.
async fn next_entry(kit: &Kit, run: RunId, killed_at: Timestamp) -> Result<Option<Duration>, BenchError> {
    let give_up_at = killed_at + STUCK_AFTER;
    loop {
        let entries = kit.runs.load(run, 1).await.map_err(unexpected)?;
        let was_under_way =
            entries.iter().any(|entry| entry.at <= killed_at && matches!(entry.writer, Writer::Holder(_)));
        let next = entries.iter().find(|entry| entry.at > killed_at);
        match next {
            Some(next) => return Ok(was_under_way.then(|| next.at.since(killed_at))),
            None if SystemClock.now() > give_up_at => return Err(unexpected(format!("run {run} does not get on"))),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
