//! Hostile input to every boundary that parses: nothing panics, nothing is taken for what it is not. How to run more of it is said in
//! `docs/proof.md`.

use std::{
    env,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use peak_alloc::PeakAlloc;
use windlass_tests::fuzz::{MemoryMeter, Said, Target, execute, fuzz, targets::TARGETS};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What there was when counting began.
static AT_REST: AtomicUsize = AtomicUsize::new(0);

/// How much an execution may take, and what else this process does meanwhile: 64 KB of the densest JSON are 4 MB, and a boundary has a few
/// copies of it.
const EXECUTION_BYTES_MAX: usize = 128 * 1024 * 1024;

fn restart() {
    AT_REST.store(MEMORY.current_usage(), Ordering::Relaxed);
    MEMORY.reset_peak_usage();
}

fn peak_bytes() -> usize {
    MEMORY.peak_usage().saturating_sub(AT_REST.load(Ordering::Relaxed))
}

/// Executions of each target in the suite, before its share.
const EXECUTIONS: u64 = 2_000;

/// How long one execution may take, with a debug build on a busy machine.
const EXECUTION_MAX: Duration = Duration::from_secs(20);

/// Where inputs that once failed are kept, in a folder for each target.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hostile");

/// Where inputs that fail now are written.
const FOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fuzz-found");

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

#[test]
fn no_boundary_panics_whatever_it_is_given() {
    let (executions, seed) = (number("FUZZ_EXECUTIONS", EXECUTIONS), number("FUZZ_SEED", 1));
    let only = env::var("FUZZ_TARGET").ok();
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)).collect();
    assert!(!targets.is_empty(), "no such target");
    println!(
        "{:<16} {:>10} {:>8} {:>6} {:>8} {:>10} {:>10}",
        "boundary", "executions", "taken", "kinds", "crashes", "slowest", "memory"
    );
    let mut problems = Vec::new();
    for target in targets {
        let report = fuzz(target, (executions / target.share).max(1), seed, MemoryMeter { restart, peak_bytes });
        println!(
            "{:<16} {:>10} {:>7.1}% {:>6} {:>8} {:>8.1}ms {:>8.1}MB",
            target.name,
            report.executions,
            report.taken as f64 * 100.0 / report.executions as f64,
            report.kinds,
            report.crashes.len(),
            report.slowest.as_secs_f64() * 1000.0,
            report.peak_bytes as f64 / 1e6,
        );
        for (n, crash) in report.crashes.iter().enumerate() {
            let file = Path::new(FOUND).join(target.name).join(format!("{seed}-{n}"));
            let _ = std::fs::create_dir_all(file.parent().expect("it has a folder"));
            let _ = std::fs::write(&file, &crash.input);
            let input = String::from_utf8_lossy(&crash.input);
            problems.push(format!("{}: {}\n    {} {input:.300}", target.name, crash.message, file.display()));
        }
        let slow = (report.slowest > EXECUTION_MAX).then(|| format!("took {:?}", report.slowest));
        let large = report.peak_bytes > EXECUTION_BYTES_MAX;
        let large = large.then(|| format!("took {} bytes of memory", report.peak_bytes));
        for (what, problem, input) in [("slow", slow, &report.slowest_input), ("large", large, &report.peak_input)] {
            let Some(problem) = problem else { continue };
            let file = Path::new(FOUND).join(target.name).join(format!("{seed}-{what}"));
            let _ = std::fs::create_dir_all(file.parent().expect("it has a folder"));
            let _ = std::fs::write(&file, input);
            problems.push(format!("{}: {problem}: {}", target.name, file.display()));
        }
    }
    assert!(problems.is_empty(), "seed {seed}:\n{}", problems.join("\n"));
}

#[test]
fn examples_are_read_at_every_boundary() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let taken = seeds.iter().filter(|seed| matches!((target.read)(seed), Said::Taken(_))).count();
        let said = seeds.iter().map(|seed| (target.read)(seed)).collect::<Vec<_>>();
        assert!(taken > 0, "{}: no example is read: {said:?}", target.name);
    }
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for target in TARGETS {
        let Ok(files) = std::fs::read_dir(Path::new(KEPT).join(target.name)) else { continue };
        for file in files {
            let path = file.expect("it can be listed").path();
            let input = std::fs::read(&path).expect("it can be read");
            if let Err(message) = execute(target, &input) {
                panic!("{}: {message}", path.display());
            }
        }
    }
}
