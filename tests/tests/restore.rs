//! After a restore no run of before acts until an operator says so: what it did after the moment that was restored is not in its journal,
//! so it would do it again.

use std::{cell::Cell, rc::Rc, time::Duration};

use windlass::{
    clock::Clock as _,
    controls::change::Hand,
    ids::RunId,
    journal::{DUE_SHARDS, HeadStatus, Heads as _, Listing},
};
use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::{check_end, drive, scenarios},
    executor::run_to_end,
    faults::Faults,
    world::{World, deadline, now},
};

/// Rounds of sweeps and messages, each a minute: enough for every scenario's end.
const ROUNDS: u32 = 60;

fn set(world: &World, setting: &str) {
    let by = "olga".parse().expect("an actor");
    let (controls, clock, random) = (world.controls.as_ref(), world.clock.as_ref(), world.random.as_ref());
    let hand = Hand { controls, clock, random, by: &by, why: "a drill" };
    now(hand.change(None, |settings| settings.set(setting))).expect("it is set");
}

/// Marks that the tables were restored now.
fn restore(world: &World) {
    world.clock.advance(Duration::from_secs(1));
    set(world, &format!("restored={}", world.clock.now()));
}

/// Takes the scenario's request on.
fn accept(world: &World, key: &str, scenario: &Scenario) -> RunId {
    let answer = Rc::<Cell<Option<RunId>>>::default();
    run_to_end(&world.clock, world.client(key, scenario, Rc::clone(&answer)), deadline(&world.clock));
    answer.get().expect("it is taken on")
}

/// Delivers messages, sweeps, and answers what `run` asks.
fn pass(world: &World, scenario: &Scenario, run: RunId, rounds: u32) {
    for _ in 0..rounds {
        let received = world.queue.receive(10);
        if !received.is_empty() {
            run_to_end(&world.clock, world.worker(received), deadline(&world.clock));
        } else if world.waits_for_a_person(run) {
            run_to_end(&world.clock, world.approver(run, scenario.decision), deadline(&world.clock));
        }
        world.clock.advance(Duration::from_secs(61));
        run_to_end(&world.clock, world.cleaner(), deadline(&world.clock));
    }
}

/// Every held run with its reason.
fn held(world: &World) -> Vec<(RunId, String)> {
    let listed = (0..DUE_SHARDS).flat_map(|shard| now(world.runs.list(&Listing::Held { shard }, 100)).expect("memory"));
    listed
        .filter_map(|head| match head.status {
            HeadStatus::Held { reason } => Some((head.run, reason)),
            _ => None,
        })
        .collect()
}

fn effects(world: &World) -> usize {
    let records = world.ledger.records();
    records.refunds.len() + records.letters.len()
}

#[test]
fn a_run_of_before_a_restore_does_nothing_until_it_is_released_and_then_comes_to_its_end() {
    for scenario in scenarios() {
        let world = World::new(1, Faults::none(), &scenario);
        let run = accept(&world, "key-1", &scenario);
        restore(&world);
        pass(&world, &scenario, run, ROUNDS);
        let journal = world.entries(run);
        assert_eq!(effects(&world), 0, "{}", scenario.title);
        assert_eq!(journal.len(), 2, "`{}`: that it was accepted, and that it is held", scenario.title);
        let [(listed, reason)] = &held(&world)[..] else { panic!("`{}` is not listed once", scenario.title) };
        assert_eq!(*listed, run);
        assert!(reason.starts_with("the tables were restored at "), "{reason}");
        set(&world, &format!("restored.{run}=released"));
        assert_eq!(drive(&world, &scenario, &Rc::new(Cell::new(Some(run)))), run);
        check_end(&world, run, &scenario);
    }
}

#[test]
fn what_was_approved_before_or_after_a_restore_is_not_done_before_the_release() {
    for scenario in scenarios().into_iter().filter(|scenario| scenario.decision.is_some()) {
        let world = World::new(1, Faults::none(), &scenario);
        let run = accept(&world, "key-1", &scenario);
        while !world.waits_for_a_person(run) {
            let received = world.queue.receive(10);
            assert!(!received.is_empty(), "`{}` asks nobody", scenario.title);
            run_to_end(&world.clock, world.worker(received), deadline(&world.clock));
        }
        let before = effects(&world);
        restore(&world);
        pass(&world, &scenario, run, ROUNDS);
        assert_eq!(effects(&world), before, "{}", scenario.title);
        assert!(!world.is_over(run));
        set(&world, "restored=none");
        drive(&world, &scenario, &Rc::new(Cell::new(Some(run))));
        check_end(&world, run, &scenario);
    }
}

#[test]
fn a_run_that_is_accepted_after_a_restore_is_not_held() {
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    restore(&world);
    let run = accept(&world, "key-1", &scenario);
    drive(&world, &scenario, &Rc::new(Cell::new(Some(run))));
    check_end(&world, run, &scenario);
}

#[test]
fn a_run_that_is_held_over_its_wall_time_is_neither_ended_nor_undone() {
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    let run = accept(&world, "key-1", &scenario);
    restore(&world);
    pass(&world, &scenario, run, 3);
    world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    pass(&world, &scenario, run, 3);
    assert_eq!(held(&world).len(), 1, "somebody has to look at it first");
    set(&world, "restored=none");
    pass(&world, &scenario, run, ROUNDS);
    assert!(world.is_over(run));
    assert_eq!(effects(&world), 0, "its time was over");
}
