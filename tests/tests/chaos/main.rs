//! Real processes, a store in a file, and everything that can happen to them at once: every run ends, and what the journals say was done
//! is what was done. `docs/proof.md` has the figures.
//!
//! `RUNS=3000 CYCLES=5 cargo test -p windlass-tests --test chaos -- --nocapture` does more of it.

mod blows;
mod load;
mod report;
mod scene;

use std::time::Duration;

use tokio::time::timeout;
use windlass_tests::chaos::proxy::Weather;

use self::{
    blows::{Window, freeze, jump, kill_functions, wreck},
    load::{attend, load, sweep_every_minute},
    report::report,
    scene::Scene,
};

/// What runs may take once the faults have stopped: a wake-up is at most two sweeps away, and a call in doubt as long as its worker
/// could have lived.
const ENDS_WITHIN: Duration = Duration::from_secs(240);

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_real_processes_every_run_ends_and_did_what_its_journal_says() {
    let (runs, cycles) = (number("RUNS", 150), number("CYCLES", 1));
    let scene = Scene::start().await;
    let orders = scene.caller.seed("C", runs).await;
    let window = Window::of(u32::try_from(cycles).expect("a few cycles"));
    scene.proxy.set_weather(Weather::Bad);
    let trouble = async {
        futures::join!(
            kill_functions(&scene, window),
            wreck(&scene, window),
            freeze(&scene, window),
            jump(&scene, window)
        );
        scene.proxy.set_weather(Weather::Fair);
    };
    let everything = async { futures::join!(load(&scene, &orders, window), attend(&scene, runs), trouble) };
    let within = window.span() + ENDS_WITHIN;
    tokio::select! {
        ended = timeout(within, everything) => assert!(ended.is_ok(), "not over after {within:?}: {}", scene.open_runs()),
        () = sweep_every_minute(&scene) => unreachable!("sweeps go on"),
    }
    report(&scene, &orders).await;
}
