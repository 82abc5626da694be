//! Processor time of the step function for each step of a run, for several builds side by side:
//!
//! ```console
//! $ cargo build --profile lambda -p intake -p step -p approval -p cleanup
//! $ cargo run -p windlass-tests --example step_cost -- 15 BEFORE/lambda target/lambda
//! ```
//!
//! The builds take turns, so that what else the machine does falls on all of them; figures are compared within one run only. The stack
//! itself may be of any build: only the function's processes are counted.

use std::{path::PathBuf, time::Duration};

use serde_json::json;
use windlass_operator::stack::Options;
use windlass_tests::local_kit::Kit;

/// Steps of a run, of 1 KB each: enough that claiming and leaving it does not count, and fewer than use all of its tokens.
const STEPS: u32 = 300;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Build {
    folder: PathBuf,
    kit: Kit,
    micros: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let runs = words.next().and_then(|word| word.parse::<u32>().ok()).filter(|runs| *runs > 0);
    let (Some(runs), folders) = (runs, words.map(PathBuf::from).collect::<Vec<_>>()) else {
        eprintln!("how many runs, and one or more folders with the functions' binaries");
        std::process::exit(2);
    };
    let mut builds = Vec::new();
    for folder in folders {
        let mut options = Options::new(folder.clone());
        let env = [("LOG_LEVEL", "warn"), ("STEPS_MAX", "1000")];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.env = env.chain(windlass_operator::stack::without_limits()).collect();
        builds.push(Build { folder, kit: Kit::start(&options).await, micros: Vec::new() });
    }
    // One more than counts: whatever is done for the first time is not measured.
    for run in 0..=runs {
        for build in &mut builds {
            let micros = one(&build.kit, run).await;
            build.micros.extend((run > 0).then_some(micros));
        }
    }
    println!("{:>12} {:>9} {:>9}  build", "median µs", "least", "most");
    for Build { folder, kit, mut micros } in builds {
        micros.sort_by(f64::total_cmp);
        let (least, half, most) = (micros[0], micros[micros.len() / 2], micros[micros.len() - 1]);
        println!("{half:>12.1} {least:>9.1} {most:>9.1}  {}", folder.display());
        kit.stack.shutdown().await;
    }
}

/// Microseconds of processor time for each step of one run.
async fn one(kit: &Kit, number: u32) -> f64 {
    let workers = || kit.stack.processes("step").into_iter().map(nanos).sum::<f64>();
    let before = workers();
    let taken =
        kit.submit(&format!("step-cost-{number}"), "drill/steps", json!({ "steps": STEPS, "bytes": 1_024 })).await;
    let run = taken.body["run_id"].as_str().expect("it is taken on").to_owned();
    kit.until(&run, &["completed"], PATIENCE).await;
    (workers() - before) / 1_000.0 / f64::from(STEPS)
}

/// Nanoseconds that a process, of one thread, has been on a processor (<https://docs.kernel.org/scheduler/sched-stats.html>).
fn nanos(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    stat.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}
