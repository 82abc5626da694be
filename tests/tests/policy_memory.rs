//! A policy with a memory, over runs: two runs refund the same order in parts, worked on at once by processes that die, and never pay
//! back more than the window has room for without a person.

use std::{cell::Cell, rc::Rc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use windlass::{clock::Clock as _, ids::RunId};
use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::{check_end, drive, in_parts},
    executor::{Polled, Process, poll, run_to_end},
    faults::{Fault, Faults},
    flaws::Flaw,
    world::{SOUND, World, deadline},
};

const SEEDS: u64 = 400;

/// What no person has to permit, in cents.
const LIMIT: u64 = 5_000;

/// Steps of one schedule before the world heals.
const STEPS: u32 = 220;

/// Rounds in which everything is over once nothing goes wrong any more.
const ROUNDS_MAX: u32 = 400;

/// A run that refunds 3,000 of an order that another run refunds as well.
fn one_of_two() -> Scenario {
    let scenario = json!({
        "title": "One of two refunds of an order",
        "orders": [{ "order": "A-1009", "customer": "customer-61", "total_cents": 20_000 }],
        "request": { "task": "refund/parts", "payload": { "order": "A-1009", "parts": [2_000, 1_000] } },
        "outcome": "completed",
        "refunds": 0,
        "letters": 0,
    });
    serde_json::from_value(scenario).expect("a scenario")
}

fn refunded(world: &World) -> u64 {
    world.ledger.records().refunds.values().flatten().map(|refund| refund.amount_cents).sum()
}

/// Two runs under a schedule drawn from `seed`; what was paid back in the end, and what the window counted.
fn play(seed: u64, flaw: Option<Flaw>) -> (u64, u128) {
    let scenario = one_of_two();
    let world =
        World::of(seed, Faults::scripted(), &scenario, windlass_tests::simulation::world::Manner { flaw, ..SOUND });
    let mut rng = StdRng::seed_from_u64(seed);
    let answers: [Rc<Cell<Option<RunId>>>; 2] = Default::default();
    for (key, answer) in ["one", "two"].into_iter().zip(&answers) {
        run_to_end(&world.clock, world.client(key, &scenario, Rc::clone(answer)), deadline(&world.clock));
    }
    let mut processes: Vec<Process> = Vec::new();
    for _ in 0..STEPS {
        match rng.random_range(0..20) {
            0..=2 if processes.len() < 4 => {
                let received = world.queue.receive(1);
                if !received.is_empty() {
                    processes.push(world.worker(received));
                }
            }
            3 => world.clock.advance(Duration::from_secs(rng.random_range(1..90))),
            4 => processes.push(world.cleaner()),
            5 if rng.random_range(0..3) == 0 && !processes.is_empty() => {
                drop(processes.swap_remove(rng.random_range(0..processes.len())));
            }
            _ if processes.is_empty() => {}
            _ => {
                let faults = [Fault::DieBefore, Fault::DieAfter, Fault::FailBefore, Fault::FailAfter];
                if rng.random_range(0..25) == 0 {
                    world.faults.arm(faults[rng.random_range(0..faults.len())]);
                }
                let index = rng.random_range(0..processes.len());
                match poll(&mut processes[index]) {
                    Polled::Ended | Polled::Died => drop(processes.swap_remove(index)),
                    Polled::Waiting => {
                        if let Some(moment) = world.clock.next_wake() {
                            world.clock.set(moment.max(world.clock.now()));
                        }
                    }
                    Polled::Ready => {}
                }
                world.faults.arm(Fault::None);
            }
        }
        if flaw.is_none() {
            assert!(refunded(&world) <= LIMIT, "seed {seed}: {} cents without a person", refunded(&world));
        }
    }
    drop(processes);
    world.faults.heal();
    let runs = answers.map(|answer| answer.get().expect("the client was told"));
    for _ in 0..ROUNDS_MAX {
        if runs.iter().all(|run| world.is_over(*run)) {
            break;
        }
        let received = world.queue.receive(10);
        if received.is_empty() {
            for run in runs.iter().filter(|run| world.waits_for_a_person(**run)) {
                run_to_end(&world.clock, world.approver(*run, None), deadline(&world.clock));
            }
            for run in runs.iter().filter(|run| world.is_dead(**run)) {
                run_to_end(&world.clock, world.replayer(*run), deadline(&world.clock));
            }
            world.clock.advance(Duration::from_secs(61));
            run_to_end(&world.clock, world.cleaner(), deadline(&world.clock));
        } else {
            run_to_end(&world.clock, world.worker(received), deadline(&world.clock));
        }
    }
    for run in runs {
        assert!(world.is_over(run), "seed {seed}: not over");
    }
    (refunded(&world), world.windows.all().iter().map(|(_, total, _)| *total).max().unwrap_or_default())
}

#[test]
fn two_runs_that_are_judged_at_once_never_pay_back_more_than_the_window_has_room_for() {
    let (mut most, mut over_counted) = (0, 0);
    for seed in 0..SEEDS {
        let (paid, counted) = play(seed, None);
        assert!(paid <= LIMIT, "seed {seed}: {paid} cents without a person");
        assert!(u128::from(paid) <= counted, "seed {seed}: {paid} paid back, {counted} counted");
        most = most.max(paid);
        over_counted += u32::from(u128::from(paid) < counted);
    }
    println!("{SEEDS} schedules: at most {most} cents paid back, more counted than paid back in {over_counted}");
    assert_eq!(most, LIMIT, "what there is room for is paid back in some schedule");
}

#[test]
fn a_policy_without_a_memory_pays_back_more() {
    assert!((0..SEEDS).any(|seed| play(seed, Some(Flaw::JudgedBeforeSiblings)).0 > LIMIT));
}

#[test]
fn four_refunds_in_one_plan_are_judged_as_one() {
    let scenario = in_parts();
    let world = World::of(1, Faults::none(), &scenario, SOUND);
    let run = drive(&world, &scenario, &Default::default());
    check_end(&world, run, &scenario);
    assert_eq!(refunded(&world), 0);
}
