//! Dies before and after every port call of the happy path and of the approval path, and fails there too; redelivers, cleans up,
//! and demands the same end and exactly one effect.

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use windlass::{clock::Clock as _, ids::RunId, run::state::RunState};
use windlass_operator::scenario::{self, Scenario};
use windlass_tests::simulation::{
    executor::run_to_end,
    faults::{Fault, Faults},
    faulty::show,
    world::{World, deadline},
};

/// Rounds in which a scenario must have ended: far more than one fault can cost.
const ROUNDS_MAX: u32 = 60;

fn scenarios() -> Vec<Scenario> {
    scenario::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/scenarios")).expect("the scenarios are there")
}

/// Drives a scenario to its end, whatever goes wrong once: the client repeats, the queue delivers again, the sweep looks after the
/// rest.
fn drive(world: &World, scenario: &Scenario) -> RunId {
    let answer: Rc<Cell<Option<RunId>>> = Rc::default();
    for _ in 0..ROUNDS_MAX {
        match answer.get() {
            None => run_to_end(&world.clock, world.client("key-1", scenario, answer.clone()), deadline(&world.clock)),
            Some(run) if world.is_over(run) && world.queue.receive(0).is_empty() && !has_message(world) => return run,
            Some(run) => {
                let received = world.queue.receive(10);
                if !received.is_empty() {
                    run_to_end(&world.clock, world.worker(received), deadline(&world.clock))
                } else if world.waits_for_a_person(run) {
                    run_to_end(&world.clock, world.approver(run, scenario.decision), deadline(&world.clock))
                } else {
                    world.clock.advance(Duration::from_secs(61));
                    run_to_end(&world.clock, world.cleaner(), deadline(&world.clock))
                }
            }
        };
        if let Some(run) = answer.get() {
            world.check_invariants(run);
        }
    }
    let journal = answer.get().map(|run| show(&world.entries(run))).unwrap_or_default();
    panic!("not over after {ROUNDS_MAX} rounds, fault at {:?}:\n{journal}", world.faults.hit());
}

fn has_message(world: &World) -> bool {
    world.queue.next_visible().is_some_and(|moment| moment <= world.clock.now())
}

fn check_end(world: &World, run: RunId, scenario: &Scenario) {
    let entries = world.entries(run);
    let context = || format!("{:?} in `{}`\n{}", world.faults.hit(), scenario.title, show(&entries));
    let state = RunState::fold(&entries).expect("the journal is sound");
    let windlass::run::state::Phase::Finished(outcome) = &state.phase else { panic!("unfinished: {}", context()) };
    assert_eq!(outcome.reason.word(), scenario.outcome, "{}", context());
    let records = world.ledger.records();
    assert_eq!(records.refunds.len(), scenario.refunds, "refunds: {}", context());
    assert_eq!(records.letters.len(), scenario.letters, "letters: {}", context());
    assert_eq!(world.runs.all_heads().len(), 1, "one request became several runs: {}", context());
}

#[test]
fn whatever_dies_or_fails_at_any_port_call_the_run_ends_the_same_with_each_effect_once() {
    let mut swept = 0;
    for scenario in scenarios() {
        let calm = World::new(1, Faults::none(), &scenario);
        let run = drive(&calm, &scenario);
        check_end(&calm, run, &scenario);
        let points = calm.faults.calls();
        for point in 0..points {
            for fault in [Fault::DieBefore, Fault::DieAfter, Fault::FailBefore, Fault::FailAfter] {
                let world = World::new(1, Faults::at(point, fault), &scenario);
                let run = drive(&world, &scenario);
                assert!(world.faults.hit().is_some(), "the fault was never met");
                check_end(&world, run, &scenario);
                swept += 1;
            }
        }
        println!("{:<55} {points:>3} port calls, 4 faults at each", scenario.title);
    }
    println!("swept {swept} points: die before, die after, fail before, fail after every port call");
    assert!(swept > 200, "only {swept} points");
}
