//! What the first turn of a run need not read: its journal, which the claim brings, and the controls that let it in.

use std::{cell::Cell, rc::Rc, time::Duration};

use windlass::{
    clock::{CLOCK_SKEW_MAX, Clock as _},
    ids::RunId,
    lease::{Claim, Leases as _},
};
use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::scenarios,
    executor::run_to_end,
    faults::Faults,
    world::{Manner, SOUND, Size, World, deadline, now},
};

/// A world, and a scenario in which nothing but reading happens.
struct Desk {
    world: World,
    scenario: Scenario,
}

/// Reads.
#[derive(Debug, PartialEq, Eq)]
struct Reads {
    journals: u64,
    controls: u64,
}

impl Desk {
    fn of(request: Size) -> Desk {
        let scenario = scenarios().into_iter().find(|scenario| scenario.refunds + scenario.letters == 0);
        let scenario = scenario.expect("there is one");
        Desk { world: World::of(1, Faults::none(), &scenario, Manner { request, ..SOUND }), scenario }
    }

    fn reads(&self) -> Reads {
        let of = |name| self.world.faults.calls_of(name);
        Reads { journals: of("journal.page"), controls: of("controls.read") }
    }

    fn post(&self, key: &str) {
        let answer = Rc::new(Cell::new(None));
        let client = self.world.client(key, &self.scenario, Rc::clone(&answer));
        run_to_end(&self.world.clock, client, deadline(&self.world.clock));
        assert!(answer.get().is_some(), "it is taken on");
    }

    fn unfinished(&self) -> RunId {
        let heads = self.world.runs.all_heads();
        heads.iter().find(|head| !head.status.is_over()).expect("there is one").run
    }

    fn work(&self) {
        let received = self.world.queue.receive(10);
        assert_eq!(received.len(), 1);
        let run = self.unfinished();
        run_to_end(&self.world.clock, self.world.worker(received), deadline(&self.world.clock));
        assert!(self.world.is_over(run));
    }

    /// What is read for one request, with something done between taking it on and working on it.
    fn reads_of_one(&self, key: &str, between: impl Fn(&World)) -> Reads {
        let before = self.reads();
        self.post(key);
        between(&self.world);
        self.work();
        let after = self.reads();
        Reads { journals: after.journals - before.journals, controls: after.controls - before.controls }
    }
}

fn nothing(_: &World) {}

#[test]
fn a_fresh_run_goes_by_the_entry_in_its_head_and_the_controls_that_let_it_in() {
    let desk = Desk::of(Size::Small);
    assert_eq!(
        desk.reads_of_one("first", nothing),
        Reads { journals: 0, controls: 2 },
        "nobody knows the controls yet"
    );
    assert_eq!(
        desk.reads_of_one("second", nothing),
        Reads { journals: 0, controls: 1 },
        "they are asked as it is let in"
    );
}

#[test]
fn a_first_entry_beside_the_head_is_loaded() {
    let desk = Desk::of(Size::Large);
    desk.reads_of_one("first", nothing);
    assert_eq!(desk.reads_of_one("second", nothing), Reads { journals: 1, controls: 1 });
}

#[test]
fn controls_that_were_asked_a_second_ago_are_asked_again() {
    let desk = Desk::of(Size::Small);
    desk.reads_of_one("first", nothing);
    let a_moment = |world: &World| world.clock.advance(Duration::from_millis(999));
    assert_eq!(desk.reads_of_one("second", a_moment).controls, 1);
    let a_second = |world: &World| world.clock.advance(Duration::from_secs(1));
    assert_eq!(desk.reads_of_one("third", a_second).controls, 2);
}

#[test]
fn a_run_that_is_let_in_after_a_change_goes_by_the_change() {
    let desk = Desk::of(Size::Small);
    desk.reads_of_one("first", nothing);
    let world = &desk.world;
    for settings in [&["model=off"], &["model=on"]] {
        run_to_end(&world.clock, world.operator(settings), deadline(&world.clock));
    }
    assert_eq!(desk.reads_of_one("second", nothing).controls, 2, "the process knows another version");
    assert_eq!(desk.reads_of_one("third", nothing).controls, 1);
}

#[test]
fn a_run_that_was_claimed_before_is_loaded_and_asks_the_controls() {
    let desk = Desk::of(Size::Small);
    desk.reads_of_one("first", nothing);
    let before = desk.reads();
    desk.post("second");
    let run = desk.unfinished();
    // Somebody claims it and dies.
    let time = desk.world.clock.now();
    let claim = now(desk.world.runs.claim(run, "dead", time, time)).expect("the store answers");
    assert!(matches!(claim, Claim::Won(..)), "{claim:?}");
    desk.world.clock.advance(CLOCK_SKEW_MAX);
    desk.work();
    let after = desk.reads();
    assert_eq!((after.journals - before.journals, after.controls - before.controls), (1, 2));
}
