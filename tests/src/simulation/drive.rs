//! Drives a scenario to its end in a world where something went wrong.

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use serde_json::json;
use windlass::{
    clock::Clock as _,
    ids::RunId,
    run::state::{Phase, RunState},
};
use windlass_operator::scenario::{self, Scenario};

use super::{
    executor::run_to_end,
    faulty::show,
    world::{World, deadline},
};

/// Rounds in which a scenario must have ended: far more than one fault can cost.
const ROUNDS_MAX: u32 = 60;

/// The scenarios of `events/scenarios/`.
///
/// # Panics
/// When they cannot be read.
pub fn scenarios() -> Vec<Scenario> {
    scenario::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/scenarios")).expect("the scenarios are there")
}

/// A refund of one order in parts that are small each and large together, all in one plan. Nobody permits it.
///
/// # Panics
/// Never: it is a scenario.
pub fn in_parts() -> Scenario {
    let scenario = json!({
        "title": "A refund in four parts is one refund",
        "orders": [{ "order": "A-1008", "customer": "customer-61", "total_cents": 20_000 }],
        "request": { "task": "refund/parts", "payload": { "order": "A-1008", "parts": [5_000, 5_000, 5_000, 5_000] } },
        "decision": "denied",
        "outcome": "completed",
        "refunds": 0,
        "letters": 1,
    });
    serde_json::from_value(scenario).expect("a scenario")
}

/// Drives a scenario to its end, whatever goes wrong once: the client repeats, the queue delivers again, the sweep looks after the
/// rest. `answer` is the run that a client was told of before.
///
/// # Panics
/// When it does not end.
pub fn drive(world: &World, scenario: &Scenario, answer: &Rc<Cell<Option<RunId>>>) -> RunId {
    for round in 0..ROUNDS_MAX {
        match answer.get() {
            None => run_to_end(&world.clock, world.client("key-1", scenario, answer.clone()), deadline(&world.clock)),
            Some(run) if world.is_dead(run) => run_to_end(&world.clock, world.replayer(run), deadline(&world.clock)),
            Some(run) if world.is_over(run) && world.queue.receive(0).is_empty() && !has_message(world) => return run,
            Some(run) => {
                let received = world.queue.receive(10);
                if !received.is_empty() {
                    run_to_end(&world.clock, world.worker(received), deadline(&world.clock))
                } else if round % 2 == 0 && world.waits_for_a_person(run) {
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

/// Demands the scenario's end and its effects, each once.
///
/// # Panics
/// When it is another.
pub fn check_end(world: &World, run: RunId, scenario: &Scenario) {
    let entries = world.entries(run);
    let context = || format!("{:?} in `{}`\n{}", world.faults.hit(), scenario.title, show(&entries));
    let state = RunState::fold(&entries).expect("the journal is sound");
    let Phase::Finished(outcome) = &state.phase else { panic!("unfinished: {}", context()) };
    assert_eq!(outcome.reason.word(), scenario.outcome, "{}", context());
    let records = world.ledger.records();
    assert_eq!(records.refunds.len(), scenario.refunds, "refunds: {}", context());
    assert_eq!(records.letters.len(), scenario.letters, "letters: {}", context());
    assert_eq!(world.runs.all_heads().len(), 1, "one request became several runs: {}", context());
}
