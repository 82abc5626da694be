//! Dies before and after every port call of the happy path and of the approval path, and fails there too; redelivers, cleans up,
//! and demands the same end and exactly one effect.

use windlass_tests::simulation::{
    drive::{check_end, drive, scenarios},
    faults::{Fault, Faults},
    world::World,
};

#[test]
fn whatever_dies_or_fails_at_any_port_call_the_run_ends_the_same_with_each_effect_once() {
    let mut swept = 0;
    for scenario in scenarios() {
        let calm = World::new(1, Faults::none(), &scenario);
        let run = drive(&calm, &scenario, &Default::default());
        check_end(&calm, run, &scenario);
        let points = calm.faults.calls();
        for point in 0..points {
            for fault in [Fault::DieBefore, Fault::DieAfter, Fault::FailBefore, Fault::FailAfter] {
                let world = World::new(1, Faults::at(point, fault), &scenario);
                let run = drive(&world, &scenario, &Default::default());
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
