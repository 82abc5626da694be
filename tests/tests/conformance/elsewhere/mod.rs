//! The same suite over implementations of AWS's APIs by others: what the adapters rely on is then not one emulator's reading of the
//! documentation. Without PyPI the tests say so and end.
//!
//! `cargo test -p windlass-tests --test conformance elsewhere -- --nocapture` prints the tables.

mod emulator;
mod gaps;

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream};
use windlass_tests::conformance::{Case, Stores, queues::Queues};

use self::{
    emulator::{Emulator, MINISTACK, MOTO, Running},
    gaps::{Gap, Holds},
};

/// How many cases run at once: an emulator is one Python process.
const AT_ONCE: usize = 4;

/// How long a case may take.
const CASE_WITHIN: Duration = Duration::from_secs(30);

/// A case, and why it did not hold.
type Judged = (&'static str, Option<String>);

async fn judge<P>(case: Case<P>, ports: P) -> Judged {
    let caught = AssertUnwindSafe((case.run)(&ports)).catch_unwind();
    let problem = match tokio::time::timeout(CASE_WITHIN, caught).await {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(said(panic.as_ref())),
        Err(_) => Some(format!("took longer than {CASE_WITHIN:?}")),
    };
    (case.name, problem)
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

async fn judge_all(running: &Running) -> Vec<Judged> {
    let stores: Vec<Case<Stores>> = windlass_tests::store_cases!(case_list Stores);
    let stores = (1..).zip(stores);
    let stores = stores.map(|(n, case)| async move { judge(case, running.stores(n).await).await });
    let queues: Vec<Case<Queues>> = windlass_tests::queue_cases!(case_list Queues);
    let queues = (1..).zip(queues);
    let queues = queues.map(|(n, case)| async move { judge(case, running.queues(n).await).await });
    let mut judged: Vec<Judged> = stream::iter(stores).buffer_unordered(AT_ONCE).collect().await;
    judged.extend(stream::iter(queues).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    let secrets = running.secrets().await;
    let cases: Vec<Case<windlass::aws::SecretsManager>> =
        windlass_tests::secret_cases!(case_list windlass::aws::SecretsManager);
    for case in cases {
        judged.push(judge(case, secrets.clone()).await);
    }
    judged
}

/// Runs every case and holds the emulator to its known gaps: a case that fails unexpectedly is ours to explain, one that holds
/// unexpectedly is a gap to strike off.
async fn compare(emulator: &Emulator, gaps: &[Gap]) {
    let running = match emulator.start().await {
        Ok(running) => running,
        Err(problem) => {
            println!("skipped: `{}` cannot be had: {problem}", emulator.name);
            return;
        }
    };
    let judged = judge_all(&running).await;
    let held = judged.iter().filter(|(_, problem)| problem.is_none()).count();
    println!("{}: {} cases, {held} hold", emulator.packages[0], judged.len());
    for gap in gaps {
        println!("  {:<12} {:<58} {}", gap.holds.word(), gap.case, gap.why);
    }
    let surprises = surprises(&judged, gaps);
    assert!(surprises.is_empty(), "{}:\n{}", emulator.name, surprises.join("\n"));
}

/// What differs from the table of gaps.
fn surprises(judged: &[Judged], gaps: &[Gap]) -> Vec<String> {
    let unknown = gaps.iter().filter(|gap| !judged.iter().any(|(case, _)| *case == gap.case));
    let mut surprises: Vec<String> = unknown.map(|gap| format!("{} is no case", gap.case)).collect();
    for (case, problem) in judged {
        match (problem, gaps.iter().find(|gap| gap.case == *case).map(|gap| gap.holds)) {
            (Some(problem), None) => surprises.push(format!("{case} failed: {problem}")),
            (None, Some(Holds::Never)) => surprises.push(format!("{case} holds: it is no gap any more")),
            (Some(_), Some(Holds::Never | Holds::NotAlways)) | (None, Some(Holds::NotAlways) | None) => {}
        }
    }
    surprises
}

#[tokio::test]
async fn the_adapters_hold_on_moto_but_for_its_known_gaps() {
    compare(&MOTO, gaps::MOTO).await;
}

#[tokio::test]
async fn the_adapters_hold_on_ministack_but_for_its_known_gaps() {
    compare(&MINISTACK, gaps::MINISTACK).await;
}

#[test]
fn a_case_that_fails_or_holds_against_the_table_is_noticed() {
    let gap = |case, holds| Gap { case, holds, why: "" };
    let gaps = [gap("a", Holds::Never), gap("b", Holds::NotAlways), gap("gone", Holds::Never)];
    let problem = || Some("no".to_owned());
    assert_eq!(surprises(&[("a", problem()), ("b", problem()), ("c", None)], &gaps), ["gone is no case"]);
    let other = surprises(&[("a", None), ("b", None), ("c", problem()), ("gone", problem())], &gaps);
    assert_eq!(other, ["a holds: it is no gap any more", "c failed: no"]);
}
