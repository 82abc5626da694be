//! `windlass schedules`.

use std::time::Duration;

use expect_test::expect;
use windlass::schedule::run_job::{Worked, run_job};

use super::world::{START, World};

#[tokio::test]
async fn jobs_are_listed_with_how_they_stand() {
    let world = World::new();
    expect![[""]].assert_eq(&world.types("schedules list").await);
    let failed = async { Worked { handled: 2, error: Some("the queue is unavailable: down".to_owned()) } };
    let (records, clock, random) = (&*world.records, &*world.clock, &*world.random);
    run_job(records, clock, random, "rescue-runs", START, failed).await.expect("it runs");
    let well = async { Worked { handled: 1, error: None } };
    run_job(records, clock, random, "start-run/nightly", START, well).await.expect("it runs");
    expect![[""]].assert_eq(&world.types("schedules list").await);
    world.clock.advance(Duration::from_secs(600));
    expect![[""]].assert_eq(&world.types("schedules list").await);
    expect![[""]].assert_eq(&world.types("schedules list --json").await);
}

#[tokio::test]
async fn a_job_is_run_from_here_once_for_its_time() {
    let world = World::new();
    world.accepted().await;
    world.clock.advance(Duration::from_secs(60));
    let time = windlass::clock::Clock::now(&*world.clock);
    let command = format!("schedules run rescue-runs --scheduled-for {time}");
    expect![[""]].assert_eq(&world.types(&command).await);
    expect![[""]].assert_eq(&world.types(&command).await);
    expect![[""]].assert_eq(&world.types("schedules run enforce-retention --json").await);
    expect![[""]].assert_eq(&world.types("schedules run rescue-runs --scheduled-for 2126-01-01T00:00:00Z").await);
}
