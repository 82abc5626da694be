//! `windlass schedules`.

use std::time::Duration;

use expect_test::expect;
use windlass::schedule::run_job::{Worked, run_job};

use super::world::{START, World};

#[tokio::test]
async fn jobs_are_listed_with_how_they_stand() {
    let world = World::new();
    expect![[r#"
        JOB                EVERY   STANDING   ENDED  HANDLED  DETAIL
        rescue-runs        60 s    never ran  -      -
        enforce-retention  3600 s  never ran  -      -
    "#]]
    .assert_eq(&world.types("schedules list").await);
    let failed = |_| async {
        Worked { handled: 2, error: Some("the queue is unavailable: down".to_owned()), ..Worked::default() }
    };
    let (records, clock, random) = (&*world.records, &*world.clock, &*world.random);
    run_job(records, clock, random, "rescue-runs", START, failed).await.expect("it runs");
    let well = |_| async { Worked { handled: 1, ..Worked::default() } };
    run_job(records, clock, random, "start-run/nightly", START, well).await.expect("it runs");
    expect![[r#"
        JOB                EVERY   STANDING   ENDED                     HANDLED  DETAIL
        rescue-runs        60 s    failed     2026-09-21T14:13:20.000Z  2        the queue is unavailable: down
        enforce-retention  3600 s  never ran  -                         -
        start-run/nightly  -       on time    2026-09-21T14:13:20.000Z  1
    "#]]
    .assert_eq(&world.types("schedules list").await);
    world.clock.advance(Duration::from_secs(600));
    expect![[r#"
        JOB                EVERY   STANDING   ENDED                     HANDLED  DETAIL
        rescue-runs        60 s    missed     2026-09-21T14:13:20.000Z  2        540 s late
        enforce-retention  3600 s  never ran  -                         -
        start-run/nightly  -       on time    2026-09-21T14:13:20.000Z  1
    "#]]
    .assert_eq(&world.types("schedules list").await);
    expect![[r#"
        {
          "jobs": [
            {
              "job": "rescue-runs",
              "every_seconds": 60,
              "standing": "missed",
              "last": {
                "scheduled_for": "1970-01-01T00:00:00.000Z",
                "started": "2026-09-21T14:13:20.000Z",
                "ended": "2026-09-21T14:13:20.000Z",
                "handled": 2,
                "error": "the queue is unavailable: down"
              }
            },
            {
              "job": "enforce-retention",
              "every_seconds": 3600,
              "standing": "never_ran",
              "last": null
            },
            {
              "job": "start-run/nightly",
              "every_seconds": null,
              "standing": "on_time",
              "last": {
                "scheduled_for": "2026-09-21T14:13:20.000Z",
                "started": "2026-09-21T14:13:20.000Z",
                "ended": "2026-09-21T14:13:20.000Z",
                "handled": 1,
                "error": null
              }
            }
          ]
        }
    "#]]
    .assert_eq(&world.types("schedules list --json").await);
}

#[tokio::test]
async fn a_job_is_run_from_here_once_for_its_time() {
    let world = World::new();
    world.accepted().await;
    world.clock.advance(Duration::from_secs(60));
    let time = windlass::clock::Clock::now(&*world.clock);
    let command = format!("schedules run rescue-runs --scheduled-for {time}");
    expect![[r#"
        rescue-runs: handled 1
    "#]]
    .assert_eq(&world.types(&command).await);
    expect![[r#"
        rescue-runs: done for 2026-09-21T14:14:21.000Z or later
    "#]]
    .assert_eq(&world.types(&command).await);
    expect![[r#"
        {
          "result": "ran",
          "scheduled_for": "2026-09-21T14:14:21.000Z",
          "started": "2026-09-21T14:14:21.000Z",
          "ended": "2026-09-21T14:14:21.000Z",
          "handled": 0,
          "error": null
        }
    "#]]
    .assert_eq(&world.types("schedules run enforce-retention --json").await);
    expect![[r#"
        ! error: the job is scheduled for 2126-01-01T00:00:00.000Z, which has not come yet
        ! hint: give a time that has come with --scheduled-for
        exit 1
    "#]]
    .assert_eq(&world.types("schedules run rescue-runs --scheduled-for 2126-01-01T00:00:00Z").await);
}
