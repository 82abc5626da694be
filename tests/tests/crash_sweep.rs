//! Dies before and after every port call of the happy path and of the approval path, and fails there too; redelivers, cleans up,
//! and demands the same end and exactly one effect.

use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::{check_end, drive, in_parts, scenarios},
    faults::{Fault, Faults},
    world::{Manner, SOUND, Size, World},
};

#[test]
fn whatever_dies_or_fails_at_any_port_call_the_run_ends_the_same_with_each_effect_once() {
    let swept: u64 = scenarios().iter().map(|scenario| sweep(scenario, Size::Small)).sum();
    println!("swept {swept} points: die before, die after, fail before, fail after every port call");
    assert!(swept > 200, "only {swept} points");
}

#[test]
fn whatever_dies_or_fails_the_first_entry_of_a_large_request_is_there_before_its_head() {
    let scenario = scenarios().into_iter().next().expect("there is one");
    let swept = sweep(&scenario, Size::Large);
    println!("swept {swept} points with a large request");
    assert!(swept > 50, "only {swept} points");
}

#[test]
fn whatever_dies_or_fails_a_refund_in_parts_is_judged_as_one() {
    let swept = sweep(&in_parts(), Size::Small);
    println!("swept {swept} points of a refund in parts");
    assert!(swept > 200, "only {swept} points");
}

/// One fault at every port call of a scenario; how many there were.
fn sweep(scenario: &Scenario, request: Size) -> u64 {
    let manner = Manner { request, ..SOUND };
    let calm = World::of(1, Faults::none(), scenario, manner);
    let run = drive(&calm, scenario, &Default::default());
    check_end(&calm, run, scenario);
    let points = calm.faults.calls();
    for point in 0..points {
        for fault in [Fault::DieBefore, Fault::DieAfter, Fault::FailBefore, Fault::FailAfter] {
            let world = World::of(1, Faults::at(point, fault), scenario, manner);
            let run = drive(&world, scenario, &Default::default());
            assert!(world.faults.hit().is_some(), "the fault was never met");
            check_end(&world, run, scenario);
        }
    }
    println!("{:<55} {points:>3} port calls, 4 faults at each", scenario.title);
    4 * points
}
