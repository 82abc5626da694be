//! `windlass runs`.

use std::time::Duration;

use expect_test::expect;
use windlass::{
    journal::HeadStatus,
    run::stored::{Body, Stored},
};

use super::world::World;

#[tokio::test]
async fn runs_are_listed_by_who_asked_by_what_they_wait_for_and_by_trouble() {
    let world = World::new();
    world.completed().await;
    world.dead("the process died 5 times in call 1 of `refund_order`").await;
    let waiting = world.accepted().await;
    world.work(waiting, vec![], HeadStatus::AwaitingApproval).await;
    expect![[""]].assert_eq(&world.types("runs list --tenant acme --actor ada").await);
    expect![[""]].assert_eq(&world.types("runs list --tenant acme --awaiting").await);
    expect![[""]].assert_eq(&world.types("runs list --troubled").await);
    expect![[""]].assert_eq(&world.types("runs list --troubled --json").await);
    expect![[""]].assert_eq(&world.types("runs list --tenant other --actor ada").await);
    expect![[""]].assert_eq(&world.types("runs list --tenant acme --actor ada --limit 1").await);
    expect![[""]].assert_eq(&world.types("runs list --tenant acme").await);
}

#[tokio::test]
async fn a_run_is_shown_with_what_it_used_its_calls_and_its_journal() {
    let world = World::new();
    let run = world.completed().await;
    expect![[""]].assert_eq(&world.types(&format!("runs show {run}")).await);
    expect![[""]].assert_eq(&world.types(&format!("runs show {run} --json")).await);
}

#[tokio::test]
async fn a_run_that_does_not_exist_is_said_not_to() {
    let said = World::new().types("runs show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X").await;
    expect![[""]].assert_eq(&said);
}

#[tokio::test]
async fn a_run_whose_journal_cannot_be_read_is_shown_as_far_as_its_head_tells() {
    let world = World::new();
    let run = world.accepted().await;
    world.work(run, vec![], HeadStatus::Unreadable { problem: "envelope version 9".to_owned() }).await;
    world.runs.plant(run, 2, Stored { version: 9, body: Body::Json("{}".to_owned()) });
    expect![[""]].assert_eq(&world.types(&format!("runs show {run}")).await);
}

#[tokio::test]
async fn a_run_is_cancelled_once() {
    let world = World::new();
    let run = world.accepted().await;
    let command = format!("runs cancel {run} --reason 'asked twice' --by olga");
    expect![[""]].assert_eq(&world.types_while(&command, async |_, _| {}).await);
    expect![[""]].assert_eq(&world.types_while(&command, async |_, _| {}).await);
    let over = world.completed().await;
    expect![[""]].assert_eq(&world.types(&format!("runs cancel {over} --reason late --by olga --json")).await);
    let missing = "runs cancel 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --reason x --by olga";
    expect![[""]].assert_eq(&world.types(missing).await);
}

#[tokio::test]
async fn a_run_is_watched_until_it_ends() {
    let world = World::new();
    let run = world.completed().await;
    expect![[""]].assert_eq(&world.types(&format!("runs watch {run}")).await);
    let json = world.types(&format!("runs watch {run} --json")).await;
    assert_eq!(json.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(), 2);
}

#[tokio::test]
async fn watching_ends_when_its_time_does() {
    let world = World::new();
    let run = world.accepted().await;
    let began = windlass::clock::Clock::now(&*world.clock);
    expect![[""]].assert_eq(&world.types(&format!("runs watch {run} --seconds 3")).await);
    assert_eq!(windlass::clock::Clock::now(&*world.clock), began + Duration::from_secs(3));
}
