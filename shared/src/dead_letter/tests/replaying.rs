//! Replaying plans: at most once, at a bounded rate, until too many fail again.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use super::{
    world::{KEY_KEPT_FOR, World, dead, quick},
    yielding::Yielding,
};
use crate::{
    clock::{Clock as _, Timestamp},
    dead_letter::{
        ItemStatus, ReplayPlans as _,
        audit::Trail,
        plan::{Selection, Would, forecast},
        replay::{FAILURES_DEFAULT, OutsideMemory, Pace, RATE_MAX, Replay, ReplayError, UNDECIDED_AT_FIRST},
    },
    ids::RunId,
    journal::HeadStatus,
    schedule::rescue::Sweeper,
};

#[tokio::test]
async fn a_dead_run_is_replayed_to_its_end() {
    let world = World::new();
    let run = world.dead_run("the process died").await;
    let plan = world.plan(Selection::All).await;
    let report = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((report.acted_on, report.recovered, report.failed, report.pending), (1, 1, 0, 0));
    assert_eq!(world.status(run).await, HeadStatus::Finished { outcome: "completed".to_owned() });
    assert_eq!(world.replays_in_journal(run).await, 1);
    assert_eq!(world.audit().await, ["dead_letters.plan", "dead_letters.replay"]);
    assert_eq!(world.letters().await, []);
}

#[tokio::test]
async fn a_message_of_ours_is_sent_again_and_leaves_the_dead_letter_queue() {
    let world = World::new();
    let run = world.run().await;
    world.dead_message(&format!(r#"{{"type":"wake_up","run":"{run}"}}"#));
    world.dead_message("not ours");
    let start = r#"{"type":"start","idempotency_key":"k","source":"queue",
        "request":{"tenant":"acme","actor":"ada","task":"refund","payload":{}}}"#;
    world.dead_message(start);
    let plan = world.plan(Selection::All).await;
    let report = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((report.acted_on, report.recovered, report.undecided), (2, 1, 1), "a request names no run to watch");
    let left: Vec<String> = world.letters().await.iter().map(|letter| letter.origin.key()).collect();
    assert_eq!(left, ["message/message-2"], "the foreign one stays");
}

/// A request is sent, fails, and is planned while its key is remembered; whether it was taken on before, nobody can say a day later.
#[tokio::test]
async fn a_request_outside_the_memory_of_keys_is_left_until_somebody_says_again() {
    let world = World::new();
    let start = r#"{"type":"start","idempotency_key":"k","source":"queue",
        "request":{"tenant":"acme","actor":"ada","task":"refund","payload":{}}}"#;
    world.dead_message(start);
    let would = async || {
        let forecasts = forecast(&world.letters().await, &Selection::All).expect("the keys are known");
        forecasts.into_iter().map(|forecast| forecast.would).collect::<Vec<_>>()
    };
    assert_eq!(would().await, [Would::SendAgain]);
    let plan = world.plan(Selection::All).await;
    world.clock.advance(KEY_KEPT_FOR);
    assert_eq!(would().await, [Would::StartAgain]);
    let report = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((report.acted_on, report.pending, report.outside_memory), (0, 1, 1));
    assert_eq!(world.letters().await.len(), 1, "it stays where it is");
    let told = Replay { outside_memory: OutsideMemory::Send, ..world.replay(&|_, _| {}) };
    let report = world.while_working(told.replay(&plan.id, quick())).await.expect("it runs");
    assert_eq!((report.acted_on, report.pending, report.outside_memory), (1, 0, 0));
    assert_eq!(world.letters().await, []);
}

#[tokio::test]
async fn a_plan_is_replayed_at_most_once_however_often_it_is_run() {
    let world = World::new();
    let runs = [world.dead_run("a").await, world.dead_run("b").await];
    let plan = world.plan(Selection::All).await;
    for expected in [2, 0, 0] {
        assert_eq!(world.replayed(&plan.id, quick()).await.expect("it runs").acted_on, expected);
    }
    for run in runs {
        assert_eq!(world.replays_in_journal(run).await, 1);
    }
}

#[tokio::test]
async fn two_operators_who_run_one_plan_at_once_replay_each_item_once() {
    let world = World::new();
    let mut runs = BTreeSet::new();
    for n in 0..20 {
        runs.insert(world.dead_run(&format!("cause {n}")).await);
    }
    for _ in 0..5 {
        let run = world.run().await;
        world.dead_message(&format!(r#"{{"type":"wake_up","run":"{run}"}}"#));
        runs.insert(run);
    }
    let plan = world.plan(Selection::All).await;
    let silent = |_: &str, _: &ItemStatus| {};
    let (one, two) = (world.replay(&silent), world.replay(&silent));
    let both = futures::future::join(one.replay(&plan.id, quick()), two.replay(&plan.id, quick()));
    let (one, two) = world.while_working(both).await;
    let (one, two) = (one.expect("it runs"), two.expect("it runs"));
    assert_eq!(one.acted_on + two.acted_on, 25);
    let worked = world.worked.lock().expect("no panic").clone();
    assert_eq!((worked.len(), BTreeSet::from_iter(worked)), (25, runs));
    assert_eq!(world.audit().await.iter().filter(|action| *action == "dead_letters.replay").count(), 25);
}

/// Polls a replay `polls` times between its effects, then drops it; whether it was still under way.
async fn die_after(world: &World, plan: &str, polls: usize) -> bool {
    let (plans, journal) = (Yielding(&world.plans), Yielding(&world.runs));
    let trail = Trail { plans: &plans, ..world.trail() };
    let dying = Replay { trail, journal: &journal, ..world.replay(&|_, _| {}) };
    let mut dying = Box::pin(dying.replay(plan, Pace::default()));
    for _ in 0..polls {
        if futures::poll!(&mut dying).is_ready() {
            return false;
        }
        if let Some(next) = world.clock.next_wake() {
            world.clock.set(next);
        }
    }
    true
}

#[tokio::test]
async fn an_operator_who_dies_anywhere_leaves_nothing_to_be_replayed_twice() {
    let mut points = 0;
    for polls in 1.. {
        let world = World::new();
        let runs = [world.dead_run("a").await, world.dead_run("b").await, world.dead_run("c").await];
        let plan = world.plan(Selection::All).await;
        if !die_after(&world, &plan.id, polls).await || points >= 60 {
            break;
        }
        points += 1;
        world.clock.advance(Duration::from_secs(61));
        // A run that was revived and not woken is due.
        let (random, clock) = (&world.random, &*world.clock);
        Sweeper { heads: &world.runs, wake_ups: &world.queue, random, clock }.sweep().await;
        let report = world.replayed(&plan.id, quick()).await.expect("it runs");
        assert_eq!((report.pending, report.undecided), (0, 0), "died after {polls} polls");
        assert!(report.failed <= 1, "at most the one it had in hand: {report:?}");
        for run in runs {
            let recovered = world.status(run).await.word() == "completed";
            assert_eq!(world.replays_in_journal(run).await, usize::from(recovered), "died after {polls} polls");
        }
    }
    assert!(points >= 30, "{points} points only");
}

#[tokio::test]
async fn two_operators_who_take_turns_at_every_step_replay_each_item_once() {
    let world = World::new();
    for n in 0..10 {
        world.dead_run(&format!("cause {n}")).await;
    }
    let plan = world.plan(Selection::All).await;
    let (plans, journal) = (Yielding(&world.plans), Yielding(&world.runs));
    let operator =
        || Replay { trail: Trail { plans: &plans, ..world.trail() }, journal: &journal, ..world.replay(&|_, _| {}) };
    let (one, two) = (operator(), operator());
    let both = futures::future::join(one.replay(&plan.id, quick()), two.replay(&plan.id, quick()));
    let (one, two) = world.while_working(both).await;
    assert_eq!(one.expect("it runs").acted_on + two.expect("it runs").acted_on, 10);
    let worked = world.worked.lock().expect("no panic").clone();
    assert_eq!((worked.len(), BTreeSet::from_iter(worked).len()), (10, 10));
}

#[tokio::test]
async fn an_item_that_was_begun_and_not_revived_is_not_begun_again_and_is_found_to_be_dead() {
    let world = World::new();
    let run = world.dead_run("a").await;
    let plan = world.plan(Selection::All).await;
    let begun = ItemStatus::Replayed { at: world.clock.now() };
    world.plans.advance(&plan.id, &format!("run/{run}"), &ItemStatus::Pending, &begun).await.expect("memory");
    let soon = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((soon.acted_on, soon.undecided), (0, 1), "somebody else may be at it");
    world.clock.advance(Duration::from_secs(61));
    let later = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((later.acted_on, later.failed), (0, 1));
    assert_eq!(world.replays_in_journal(run).await, 0);
}

#[tokio::test]
async fn a_replay_stops_when_too_many_have_failed_again_and_leaves_the_rest_pending() {
    let world = World::new();
    for n in 0..30 {
        let run = world.dead_run(&format!("cause {n}")).await;
        world.fates.lock().expect("no panic").insert(run, dead("the same again"));
    }
    let plan = world.plan(Selection::All).await;
    let slow = Pace { per_second: 1, ..Pace::default() };
    let report = world.replayed(&plan.id, slow).await.expect("it runs");
    assert_eq!(report.stopped.as_deref(), Some("failed replays of the plan: 3"));
    assert!((3..=5).contains(&report.acted_on), "{}", report.acted_on);
    assert_eq!(report.pending, 30 - report.acted_on);
    assert!(
        report.items.iter().any(|item| {
            item.status == ItemStatus::Failed { message: "the run is dead: the same again".to_owned() }
        })
    );
    assert_eq!(world.audit().await.last().map(String::as_str), Some("dead_letters.stop"));

    let again = world.replayed(&plan.id, slow).await.expect("it runs");
    assert_eq!(again.acted_on, 0, "running it again does not get round the guard");
    let further = Pace { failures_max: again.failed as u32 + 1, ..slow };
    assert!(world.replayed(&plan.id, further).await.expect("it runs").acted_on > 0, "saying so does");
}

#[tokio::test]
async fn replays_keep_to_their_rate() {
    for per_second in [1, 10, RATE_MAX] {
        let world = World::new();
        for _ in 0..12 {
            world.dead_run("a").await;
        }
        let plan = world.plan(Selection::All).await;
        let begun: Mutex<Vec<Timestamp>> = Mutex::default();
        let observe = |_: &str, status: &ItemStatus| {
            if let ItemStatus::Replayed { at } = status {
                begun.lock().expect("no panic").push(*at);
            }
        };
        let replay = world.replay(&observe);
        let pace = Pace { per_second, ..Pace::default() };
        world.while_working(replay.replay(&plan.id, pace)).await.expect("it runs");
        let begun = begun.lock().expect("no panic");
        assert_eq!(begun.len(), 12);
        let interval = Duration::from_secs(1) / per_second;
        assert!(begun.windows(2).all(|pair| pair[1].since(pair[0]) >= interval), "{per_second}: {begun:?}");
    }
}

/// Twenty-five at first, twice as many as have recovered from then on: what an outage has ended takes minutes, not hours.
#[tokio::test]
async fn a_thousand_runs_of_a_minute_each_are_replayed_in_minutes() {
    let world = World::new();
    for _ in 0..1_000 {
        world.dead_run("the provider was away").await;
    }
    let plan = world.plan(Selection::All).await;
    let replay = world.replay(&|_, _| {});
    let pace = Pace { per_second: RATE_MAX, ..Pace::default() };
    let began = world.clock.now();
    let minute = Duration::from_secs(60);
    let report = world.while_working_slowly(minute, replay.replay(&plan.id, pace)).await.expect("it runs");
    assert_eq!((report.recovered, report.pending, report.undecided), (1_000, 0, 0));
    let took = world.clock.now().since(began);
    assert!(took <= 9 * minute, "{took:?}");
}

#[tokio::test]
async fn a_cause_that_is_not_mended_stops_a_fast_replay_before_many_are_begun() {
    let world = World::new();
    for n in 0..200 {
        let run = world.dead_run(&format!("cause {n}")).await;
        world.fates.lock().expect("no panic").insert(run, dead("the same again"));
    }
    let plan = world.plan(Selection::All).await;
    let replay = world.replay(&|_, _| {});
    let pace = Pace { per_second: RATE_MAX, ..Pace::default() };
    let minute = Duration::from_secs(60);
    let report = world.while_working_slowly(minute, replay.replay(&plan.id, pace)).await.expect("it runs");
    assert!(report.acted_on <= UNDECIDED_AT_FIRST + FAILURES_DEFAULT as usize, "{}", report.acted_on);
    assert!(report.stopped.is_some());
}

#[tokio::test]
async fn a_replay_that_was_cut_off_goes_on_with_what_is_left() {
    let world = World::new();
    for _ in 0..60 {
        world.dead_run("the provider was away").await;
    }
    let plan = world.plan(Selection::All).await;
    let pace = Pace { per_second: RATE_MAX, ..Pace::default() };
    assert!(die_after(&world, &plan.id, 100).await);
    world.clock.advance(Duration::from_secs(61));
    let (random, clock) = (&world.random, &*world.clock);
    Sweeper { heads: &world.runs, wake_ups: &world.queue, random, clock }.sweep().await;
    let report = world.replayed(&plan.id, pace).await.expect("it runs");
    assert!(report.acted_on < 60, "what was begun is not begun again");
    assert_eq!((report.pending, report.undecided), (0, 0));
    assert!(report.failed <= 1, "at most the one it had in hand: {report:?}");
}

#[tokio::test]
async fn a_run_that_neither_ends_nor_dies_is_watched_for_a_while_and_left_undecided() {
    let world = World::new();
    let run = world.dead_run("a").await;
    world.fates.lock().expect("no panic").insert(run, HeadStatus::Waiting);
    let plan = world.plan(Selection::All).await;
    let began = world.clock.now();
    let report = world.replayed(&plan.id, quick()).await.expect("it runs");
    assert_eq!((report.undecided, report.recovered, report.failed), (1, 0, 0));
    assert!(world.clock.now().since(began) <= quick().watch_for + Duration::from_secs(2));
}

#[tokio::test]
async fn a_run_that_is_not_dead_any_more_is_a_failure_of_its_item_and_left_alone() {
    let world = World::new();
    let run: RunId = world.dead_run("a").await;
    let (one, other) = (world.plan(Selection::All).await, world.plan(Selection::All).await);
    world.replayed(&one.id, quick()).await.expect("it runs");
    let report = world.replayed(&other.id, quick()).await.expect("it runs");
    assert_eq!(report.items[0].status, ItemStatus::Failed { message: "the run is not dead any more".to_owned() });
    assert_eq!(world.replays_in_journal(run).await, 1);
}

#[tokio::test]
async fn a_plan_that_does_not_exist_and_a_pace_out_of_bounds_are_refused() {
    let world = World::new();
    let missing = world.replayed("none", quick()).await.expect_err("there is none");
    assert_eq!(missing, ReplayError::MissingPlan { plan: "none".to_owned() });
    for (per_second, failures_max) in [(0, 3), (RATE_MAX + 1, 3), (1, 0)] {
        let pace = Pace { per_second, failures_max, ..Pace::default() };
        assert_eq!(world.replayed("none", pace).await.expect_err("out of bounds"), ReplayError::Pace);
    }
}
