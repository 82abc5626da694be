//! How long a run is held up by a death, whenever the process dies and however the minute of the sweep falls: the real code over ports
//! in memory, with a clock that is driven.

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use windlass::{
    clock::{CLOCK_SKEW_MAX, Clock as _, Timestamp},
    ids::RunId,
    lease::{Claim, LEASE_FOR, Leases as _},
    queue::{Message, Share, WakeUps as _},
    schedule::Job,
};
use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::{check_end, scenarios},
    executor::{Polled, run_to_end},
    faults::{Fault, Faults},
    world::{Manner, SOUND, Size, World, deadline, now},
};

/// Seconds after the request at which the first sweep comes.
const PHASES: [u64; 6] = [0, 7, 20, 34, 45, 59];

/// The longest that a run may be held up: until the next sweep but for what it looks ahead, or until a call in doubt is settled, and the
/// two seconds by which clocks and whole seconds of delay may be off, each way.
const HELD_UP_MAX: Duration = Duration::from_secs(60 + 1 + 4);

/// Far more than one fault can cost.
const EVENTS_MAX: u32 = 200;

/// How long the store fails here: an attempt a minute would use up every strike that a run has, four times over.
const OUTAGE: Duration = Duration::from_secs(20 * 60);

/// Plays a scenario in which nothing happens but by messages and by a sweep a minute; from the death to the end, if anybody died.
fn play(world: &World, scenario: &Scenario, first_sweep: Timestamp) -> (RunId, Option<Duration>) {
    play_on(world, scenario, Rc::default(), first_sweep)
}

/// [`play`], perhaps with a run that was taken on before.
fn play_on(
    world: &World,
    scenario: &Scenario,
    answer: Rc<Cell<Option<RunId>>>,
    mut sweep_at: Timestamp,
) -> (RunId, Option<Duration>) {
    let (clock, mut died_at) = (&world.clock, None);
    for _ in 0..EVENTS_MAX {
        let process = match answer.get() {
            None => world.client("key-1", scenario, Rc::clone(&answer)),
            Some(run) if world.is_over(run) => return (run, died_at.map(|died_at| clock.now().since(died_at))),
            Some(run) if world.waits_for_a_person(run) => world.approver(run, scenario.decision),
            Some(_) => {
                let message_at = world.queue.next_visible().filter(|visible| *visible < sweep_at);
                clock.set(message_at.unwrap_or(sweep_at).max(clock.now()));
                match message_at {
                    Some(_) => world.worker(world.queue.receive(10)),
                    None => {
                        sweep_at = sweep_at + Job::RescueRuns.every();
                        world.cleaner()
                    }
                }
            }
        };
        if run_to_end(clock, process, deadline(clock)) == Polled::Died {
            died_at = died_at.or(Some(clock.now()));
        }
    }
    panic!("`{}` is not over after {EVENTS_MAX} events, fault at {:?}", scenario.title, world.faults.hit());
}

#[test]
fn whoever_dies_and_whenever_the_run_has_ended_a_minute_later() {
    let mut spans = Vec::new();
    for scenario in scenarios() {
        let calm = World::new(1, Faults::none(), &scenario);
        let (run, died) = play(&calm, &scenario, calm.clock.now() + Duration::from_secs(1));
        check_end(&calm, run, &scenario);
        assert_eq!(died, None);
        for (point, fault, phase) in (0..calm.faults.calls()).flat_map(|point| {
            let faults = [Fault::DieBefore, Fault::DieAfter];
            faults.into_iter().flat_map(move |fault| PHASES.map(|phase| (point, fault, phase)))
        }) {
            let world = World::new(1, Faults::at(point, fault), &scenario);
            let (run, held_up) = play(&world, &scenario, world.clock.now() + Duration::from_secs(phase));
            check_end(&world, run, &scenario);
            let Some(held_up) = held_up else { continue };
            let hit = world.faults.hit();
            assert!(held_up <= HELD_UP_MAX, "`{}`: {held_up:?}, {fault:?} at {point} {hit:?}, {phase}", scenario.title);
            spans.push(held_up);
        }
    }
    spans.sort();
    let at = |part: f64| spans[((spans.len() - 1) as f64 * part) as usize].as_secs_f64();
    println!(
        "{} deaths: from death to end p50 {:.1} s, p95 {:.1} s, max {:.1} s",
        spans.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    assert!(spans.len() > 500, "only {} deaths", spans.len());
}

#[test]
fn a_store_that_fails_for_long_is_no_strike_against_a_run() {
    let outages: [(&'static [&'static str], Size); 7] = [
        (&["journal.append"], Size::Small),
        (&["journal.load"], Size::Large),
        (&["journal.append", "journal.load"], Size::Large),
        (&["leases.claim"], Size::Small),
        (&["controls.read"], Size::Small),
        (&["budgets.reserve"], Size::Small),
        (&["budgets.settle"], Size::Small),
    ];
    for (names, request) in outages {
        let scenario = scenarios().remove(0);
        let world = World::of(1, Faults::outage(names), &scenario, Manner { request, ..SOUND });
        let (clock, answer) = (&world.clock, Rc::<Cell<Option<RunId>>>::default());
        run_to_end(clock, world.client("key-1", &scenario, Rc::clone(&answer)), deadline(clock));
        world.faults.begin();
        let (heals_at, mut sweep_at, mut attempts) = (clock.now() + OUTAGE, clock.now() + Job::RescueRuns.every(), 0);
        while clock.now() < heals_at {
            let message_at = world.queue.next_visible().filter(|visible| *visible < sweep_at);
            clock.set(message_at.unwrap_or(sweep_at).max(clock.now()));
            let process = match message_at {
                Some(_) => {
                    attempts += 1;
                    world.worker(world.queue.receive(10))
                }
                None => {
                    sweep_at = sweep_at + Job::RescueRuns.every();
                    world.cleaner()
                }
            };
            run_to_end(clock, process, deadline(clock));
        }
        println!("{names:?} failed {} times in {attempts} attempts", world.faults.injected());
        // The model may be asked, and paid, in each of them.
        assert!(attempts <= 3 * OUTAGE.as_secs() / 60, "{attempts}");
        world.faults.heal();
        let (run, _) = play_on(&world, &scenario, answer, sweep_at);
        check_end(&world, run, &scenario);
    }
}

#[test]
fn a_request_on_the_queue_outlives_half_an_hour_without_a_store() {
    // After this many receipts the queue gives a message up: `maxReceiveCount` in the template.
    const RECEIPTS: usize = 10;
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::outage(&["journal.record"]), &scenario);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/queue-start-run.json");
    world.queue.send_body(&std::fs::read_to_string(path).expect("the event is there"), Duration::ZERO);
    world.faults.begin();
    let began = world.clock.now();
    for receipt in 1..=RECEIPTS {
        if receipt == RECEIPTS {
            world.faults.heal();
        }
        world.clock.set(world.queue.next_visible().expect("it comes back"));
        let received = world.queue.receive(10);
        assert_eq!(received.iter().map(|message| message.receive_count as usize).collect::<Vec<_>>(), [receipt]);
        run_to_end(&world.clock, world.worker(received), deadline(&world.clock));
        assert_eq!(world.runs.all_heads().len(), usize::from(receipt == RECEIPTS));
    }
    let took = world.clock.now().since(began);
    println!("received {RECEIPTS} times in {} s", took.as_secs());
    assert!(took >= Duration::from_secs(30 * 60), "{took:?}");
}

#[test]
fn a_wake_up_that_meets_a_lease_is_put_back_until_it_is_over_and_twice_at_most() {
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    let answer = Rc::<Cell<Option<RunId>>>::default();
    run_to_end(&world.clock, world.client("key-1", &scenario, Rc::clone(&answer)), deadline(&world.clock));
    let run = answer.get().expect("the request is taken on");
    world.queue.lose_all();
    let began = world.clock.now();
    let until = began + LEASE_FOR;
    let Ok(Claim::Won(_, lease)) = now(world.runs.claim(run, "h", began, until)) else { panic!("it can be claimed") };
    let share = Share::Of("acme".parse().expect("a tenant"));
    now(world.queue.send(&Message::WakeUp { run }, &share, Duration::ZERO)).expect("memory");
    let work = || run_to_end(&world.clock, world.worker(world.queue.receive(10)), deadline(&world.clock));

    work();
    let back = world.queue.next_visible().expect("it was put back");
    assert!(back >= until + CLOCK_SKEW_MAX, "{back} is before the lease is over");
    // The holder lives: it has renewed. The second time the message may have come back from a worker that died.
    now(world.runs.renew(run, &lease, back + LEASE_FOR)).expect("memory").expect("it is held");
    world.clock.set(back);
    work();
    let again = world.queue.next_visible().expect("it was put back once more");
    assert!(again >= back + LEASE_FOR + CLOCK_SKEW_MAX, "{again} is before the lease is over");
    // Should the holder die now, the sweep looks after the run.
    now(world.runs.renew(run, &lease, again + LEASE_FOR)).expect("memory").expect("it is held");
    world.clock.set(again);
    work();
    assert_eq!(world.queue.next_visible(), None);
}
