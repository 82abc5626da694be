//! Listing, grouping, planning and discarding.

use std::collections::BTreeSet;

use super::world::World;
use crate::{
    dead_letter::{
        ItemStatus, Origin, PLAN_ITEMS_MAX, ReplayPlans as _,
        discard::{DiscardError, discard},
        group::group,
        list::{MESSAGES_MAX, RUNS_MAX, list},
        plan::{Forecast, PlanningError, Selection, Would, forecast, make},
    },
    journal::HeadStatus,
};

const WAKE_UP: &str = r#"{"type":"wake_up","run":"01JHD7Z3ZK8V6N5Q4R3S2T1W0X"}"#;

#[tokio::test]
async fn messages_and_runs_are_listed_together_newest_first_and_can_be_listed_again() {
    let world = World::new();
    let older = world.dead_run("the tool timed out after 30 s").await;
    world.dead_message("not ours");
    let newer = world.dead_run("the tool timed out after 45 s").await;
    world.dead_message(WAKE_UP);
    for _ in 0..2 {
        let letters = world.letters().await;
        let keys: Vec<String> = letters.iter().map(|letter| letter.origin.key()).collect();
        let expected = [
            "message/message-2".to_owned(),
            format!("run/{newer}"),
            "message/message-1".to_owned(),
            format!("run/{older}"),
        ];
        assert_eq!(keys, expected);
        assert_eq!(letters.iter().map(|letter| letter.replayable).collect::<Vec<_>>(), [true, true, false, true]);
    }
}

#[tokio::test]
async fn a_listing_is_bounded_and_says_so() {
    let world = World::new();
    for _ in 0..MESSAGES_MAX + 1 {
        world.dead_message("x");
    }
    let listed = list(&world.queue, &world.runs, world.keys(), RUNS_MAX).await.expect("memory");
    assert_eq!((listed.letters.len(), listed.more), (MESSAGES_MAX, true));
}

#[tokio::test]
async fn causes_that_differ_in_numbers_only_are_one_group() {
    let world = World::new();
    world.dead_run("the tool timed out after 30 s").await;
    world.dead_message("not ours");
    let newest = world.dead_run("the tool timed out after 45 s").await;
    let groups = group(&world.letters().await);
    assert_eq!(groups.iter().map(|group| (group.count, group.replayable)).collect::<Vec<_>>(), [(2, 2), (1, 0)]);
    assert_eq!(groups[0].example, format!("run/{newest}"));
    assert_eq!(groups[0].cause, "the tool timed out after 45 s");
}

#[tokio::test]
async fn a_forecast_says_what_would_happen_to_each_and_writes_nothing() {
    let world = World::new();
    let unreadable = world.run().await;
    world
        .fates
        .lock()
        .expect("no panic")
        .insert(unreadable, HeadStatus::Unreadable { problem: "version 9".to_owned() });
    world.queue.send_body(&WAKE_UP.replace("01JHD7Z3ZK8V6N5Q4R3S2T1W0X", &unreadable.to_string()), Default::default());
    world.while_working(world.working_once()).await;
    world.dead_run("x").await;
    world.dead_message("not ours");
    world.dead_message(WAKE_UP);
    let forecasts = forecast(&world.letters().await, &Selection::All).expect("all are known");
    let would: Vec<Would> = forecasts.iter().map(|forecast| forecast.would).collect();
    assert_eq!(would, [Would::SendAgain, Would::LeaveForeign, Would::ReviveRun, Would::LeaveUnreadable]);
    assert_eq!(world.audit().await, Vec::<String>::new());
    let plan = make(world.trail(), &forecasts, "mended").await.expect("two can be replayed");
    assert_eq!(plan.items.len(), 2);
    assert!(plan.items.iter().all(|item| item.status == ItemStatus::Pending));
    assert_eq!(world.plans.plan(&plan.id).await.expect("memory"), Some(plan));
    assert_eq!(world.audit().await, ["dead_letters.plan"]);
}

#[tokio::test]
async fn a_plan_covers_what_was_selected_and_nothing_else() {
    let world = World::new();
    let one = world.dead_run("the tool timed out").await;
    world.dead_run("the model timed out").await;
    let letters = world.letters().await;
    let by_fingerprint = Selection::Fingerprint(letters[1].fingerprint.clone());
    let by_key = Selection::Keys(BTreeSet::from([format!("run/{one}")]));
    for selection in [by_fingerprint, by_key] {
        let keys = forecast(&letters, &selection).map(|found| found.into_iter().map(|f| f.key).collect::<Vec<_>>());
        assert_eq!(keys, Ok(vec![format!("run/{one}")]));
    }
    let unknown = forecast(&letters, &Selection::Keys(BTreeSet::from(["run/none".to_owned()])));
    assert_eq!(unknown, Err(PlanningError::UnknownKeys { keys: vec!["run/none".to_owned()] }));
}

#[tokio::test]
async fn a_plan_without_items_or_reason_or_with_too_many_items_is_not_made() {
    let world = World::new();
    let item = |would| Forecast { key: "run/x".to_owned(), fingerprint: "f".to_owned(), cause: "c".to_owned(), would };
    let make = async |forecasts: Vec<Forecast>, reason| make(world.trail(), &forecasts, reason).await.map(|_| ());
    assert_eq!(make(vec![item(Would::LeaveForeign)], "why").await, Err(PlanningError::NothingToReplay));
    assert_eq!(make(vec![item(Would::ReviveRun)], "  ").await, Err(PlanningError::NoReason));
    let many = vec![item(Would::ReviveRun); PLAN_ITEMS_MAX + 1];
    assert_eq!(make(many, "why").await, Err(PlanningError::TooMany { items: PLAN_ITEMS_MAX + 1 }));
    assert_eq!(world.audit().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_foreign_message_is_discarded_once_and_its_text_is_in_the_audit_trail() {
    let world = World::new();
    world.dead_message("not ours");
    world.dead_message(WAKE_UP);
    let discard = async |key: &str| discard(&world.queue, world.trail(), key, "spam").await;
    assert_eq!(discard("message/message-1").await.as_deref(), Ok("not ours"));
    let gone = DiscardError::Missing { key: "message/message-1".to_owned() };
    assert_eq!(discard("message/message-1").await, Err(gone));
    let ours = DiscardError::Ours { key: "message/message-2".to_owned() };
    assert_eq!(discard("message/message-2").await, Err(ours));
    let run = DiscardError::NotAMessage { key: "run/x".to_owned() };
    assert_eq!(discard("run/x").await, Err(run));
    let left = world.letters().await;
    assert!(matches!(&left[..], [letter] if matches!(&letter.origin, Origin::Message { id, .. } if id == "message-2")));
    let trail = world.plans.audit_trail(10).await.expect("memory");
    assert_eq!(trail.len(), 1);
    assert_eq!(
        (trail[0].action.as_str(), trail[0].detail.as_str()),
        ("dead_letters.discard", "spam; it said: not ours")
    );
}
