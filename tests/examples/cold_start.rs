//! Sizes of the functions' binaries and the time from the start of a process to its first poll, for several builds side by side:
//!
//! ```console
//! $ cargo build --profile lambda -p intake -p step -p approval -p cleanup
//! $ cargo run -p windlass-tests --example cold_start -- 15 BEFORE/lambda target/lambda
//! ```
//!
//! The builds take turns, so that what else the machine does falls on all of them; times are compared within one run only.

use std::{path::PathBuf, time::Duration};

use windlass_local::Stack;
use windlass_operator::stack::{FUNCTIONS, Options, kit};

/// The fewest starts of which a median says something.
const STARTS_MIN: usize = 10;

struct Build {
    folder: PathBuf,
    stack: Stack,
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let starts = words.next().and_then(|word| word.parse().ok()).filter(|starts| *starts >= STARTS_MIN);
    let (Some(starts), folders) = (starts, words.map(PathBuf::from).collect::<Vec<_>>()) else {
        eprintln!("how often (at least {STARTS_MIN}), and one or more folders with the functions' binaries");
        std::process::exit(2);
    };
    let mut builds = Vec::new();
    for folder in folders {
        let stack = Stack::start(kit(&Options::new(folder.clone()))).await.expect("the stack starts");
        stack.pause_schedules();
        builds.push(Build { folder, stack });
    }
    println!(
        "{:<10} {:>12} {:>9} {:>9} {:>9} {:>7}  build",
        "function", "bytes", "median ms", "fastest", "slowest", "ratio"
    );
    for function in FUNCTIONS {
        measure(function, starts, &builds).await;
    }
    for build in builds {
        build.stack.shutdown().await;
    }
}

async fn measure(function: &str, starts: usize, builds: &[Build]) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); builds.len()];
    // One more than counts: the first one reads the binary from the disk.
    for start in 0..=starts {
        for (build, times) in builds.iter().zip(&mut times) {
            let took = build.stack.cold_start(function).await.expect("it polls");
            times.extend((start > 0).then_some(took));
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    let millis = |time: &Duration| time.as_secs_f64() * 1_000.0;
    let median = |times: &Vec<Duration>| millis(&times[times.len() / 2]);
    for (build, sorted) in builds.iter().zip(&times) {
        let bytes = std::fs::metadata(build.folder.join(function)).map_or(0, |file| file.len());
        let (fastest, slowest) = (millis(&sorted[0]), millis(&sorted[sorted.len() - 1]));
        let (half, ratio) = (median(sorted), median(sorted) / median(&times[0]));
        let folder = build.folder.display();
        println!("{function:<10} {bytes:>12} {half:>9.2} {fastest:>9.2} {slowest:>9.2} {ratio:>7.2}  {folder}");
    }
}
