//! Random schedules: processes interleaved at every port call; duplicated, reordered, delayed and lost messages; a store that fails
//! before or after taking effect, throttles and conflicts; processes that die, freeze and thaw; clocks that differ; keys that
//! rotate; people who cancel, replay and flip switches. What must hold is checked after every event. Then the faults stop, and every
//! run must end as it should.
//!
//! `SEED=17 cargo test -p windlass-tests --test random_schedules` replays one seed, `SCHEDULE='17: c p0 …'` a schedule as it was
//! printed; `SEEDS=100000` takes more, from `FIRST_SEED` on. A failing seed is printed with the shortest schedule found.

use std::time::Instant;

use windlass_tests::simulation::{
    drive::scenarios,
    play::{Tally, play},
    schedule::Schedule,
    shrink::shrink,
};

/// Schedules in one run of the test, unless `SEEDS` says otherwise.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_random_schedule_converges_to_one_end_with_each_effect_once() {
    let scenarios = scenarios();
    if let Ok(text) = std::env::var("SCHEDULE") {
        let schedule: Schedule = text.parse().expect("`SCHEDULE` is a schedule");
        println!("{:?}", play(&schedule, &scenarios, None).unwrap_or_else(|violation| panic!("{violation}")));
        return;
    }
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FIRST_SEED").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS)),
    };
    let began = Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let play_some = |worker: u64| {
            let mut tally = Tally::default();
            for seed in (first + worker..first + count).step_by(workers as usize) {
                match play(&Schedule::of(seed), &scenarios, None) {
                    Ok(one) => tally += one,
                    Err(violation) => report(seed, &scenarios, &violation),
                }
            }
            tally
        };
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || play_some(worker))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a schedule failed, see above")).collect()
    });
    let mut sum = Tally::default();
    tallies.into_iter().for_each(|tally| sum += tally);
    println!("seeds {first}..{}: {sum:#?} in {:.1?}", first + count, began.elapsed());
    assert_eq!(sum.schedules, count);
}

fn report(seed: u64, scenarios: &[windlass_operator::scenario::Scenario], violation: &str) {
    let shortest = shrink(Schedule::of(seed), |candidate| play(candidate, scenarios, None).is_err());
    let again = play(&shortest, scenarios, None).expect_err("what was found fails again");
    panic!(
        "seed {seed} fails: {violation}\n\nshortest schedule found ({} steps):\nSCHEDULE='{shortest}'\n\n{again}",
        shortest.steps.len()
    );
}
