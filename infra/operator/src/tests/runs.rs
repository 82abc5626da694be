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
    expect![[r#"
        RUN                         STATUS             TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  awaiting_approval  acme    ada    refund  2026-09-21T14:13:23.250Z  2026-09-21T15:13:23.250Z  1
        01M3250X6A8WX5V4NW2A31GNZB  dead               acme    ada    refund  2026-09-21T14:13:22.250Z  -                         1       the process died 5 times in call 1 of `refund_order`
        01M3250VZ835X03CDRZCQ0SGFQ  completed          acme    ada    refund  2026-09-21T14:13:21.000Z  -                         1
    "#]].assert_eq(&world.types("runs list --tenant acme --actor ada").await);
    expect![[r#"
        RUN                         STATUS             TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  awaiting_approval  acme    ada    refund  2026-09-21T14:13:23.250Z  2026-09-21T15:13:23.250Z  1
    "#]].assert_eq(&world.types("runs list --tenant acme --awaiting").await);
    expect![[r#"
        RUN                         STATUS  TENANT  ACTOR  TASK    CREATED                   DUE  CLAIMS  CAUSE
        01M3250X6A8WX5V4NW2A31GNZB  dead    acme    ada    refund  2026-09-21T14:13:22.250Z  -    1       the process died 5 times in call 1 of `refund_order`
    "#]].assert_eq(&world.types("runs list --troubled").await);
    expect![[r#"
        {
          "runs": [
            {
              "run": "01M3250X6A8WX5V4NW2A31GNZB",
              "status": "dead",
              "over": true,
              "cause": "the process died 5 times in call 1 of `refund_order`",
              "fingerprint": "12587d164edf",
              "tenant": "acme",
              "actor": "ada",
              "task": "refund",
              "release": "r1",
              "created": "2026-09-21T14:13:22.250Z",
              "due": null,
              "ready_from": null,
              "claims": 1,
              "strikes": 0,
              "interjections": 0,
              "leased_until": null,
              "expires": "2026-10-21T14:13:22.000Z"
            }
          ],
          "more": false,
          "next": null
        }
    "#]]
    .assert_eq(&world.types("runs list --troubled --json").await);
    expect![[r#"
        ! no runs
    "#]]
    .assert_eq(&world.types("runs list --tenant other --actor ada").await);
    expect![[r#"
        RUN                         STATUS             TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  awaiting_approval  acme    ada    refund  2026-09-21T14:13:23.250Z  2026-09-21T15:13:23.250Z  1
        ! there may be more: --before 01M3250Y5J2VHCYCS5T4F8G09D
    "#]].assert_eq(&world.types("runs list --tenant acme --actor ada --limit 1").await);
}

#[tokio::test]
async fn runs_of_everybody_are_listed_the_newest_first_by_status_and_age_with_what_is_in_their_way() {
    let world = World::new();
    world.completed().await;
    let resting = world.accepted().await;
    world.rests(resting, "openai:x: the provider does not answer: connection refused").await;
    let failed = world.accepted().await;
    world.fails(failed, "the model refuses: no agent for the task").await;
    expect![[r#"
        RUN                         STATUS     TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  failed     acme    ada    refund  2026-09-21T14:13:23.250Z  -                         1       the model refuses: no agent for the task; call 1 of `refund_order` stands
        01M3250X6A8WX5V4NW2A31GNZB  waiting    acme    ada    refund  2026-09-21T14:13:22.250Z  2026-09-21T15:13:22.250Z  1       the model was asked 1 times in a row without an answer: openai:x: the provider does not answer: connection refused
        01M3250VZ835X03CDRZCQ0SGFQ  completed  acme    ada    refund  2026-09-21T14:13:21.000Z  -                         1
    "#]].assert_eq(&world.types("runs list").await);
    expect![[r#"
        RUN                         STATUS   TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  failed   acme    ada    refund  2026-09-21T14:13:23.250Z  -                         1       the model refuses: no agent for the task; call 1 of `refund_order` stands
        01M3250X6A8WX5V4NW2A31GNZB  waiting  acme    ada    refund  2026-09-21T14:13:22.250Z  2026-09-21T15:13:22.250Z  1       the model was asked 1 times in a row without an answer: openai:x: the provider does not answer: connection refused
        ! there may be more: --before 01M3250X6A8WX5V4NW2A31GNZB
    "#]].assert_eq(&world.types("runs list --limit 2").await);
    expect![[r#"
        RUN                         STATUS     TENANT  ACTOR  TASK    CREATED                   DUE  CLAIMS  CAUSE
        01M3250VZ835X03CDRZCQ0SGFQ  completed  acme    ada    refund  2026-09-21T14:13:21.000Z  -    1
    "#]]
    .assert_eq(&world.types(&format!("runs list --tenant acme --before {resting}")).await);
    expect![[r#"
        {
          "runs": [
            {
              "run": "01M3250Y5J2VHCYCS5T4F8G09D",
              "status": "failed",
              "over": true,
              "cause": "the model refuses: no agent for the task; call 1 of `refund_order` stands",
              "fingerprint": null,
              "tenant": "acme",
              "actor": "ada",
              "task": "refund",
              "release": "r1",
              "created": "2026-09-21T14:13:23.250Z",
              "due": null,
              "ready_from": null,
              "claims": 1,
              "strikes": 0,
              "interjections": 0,
              "leased_until": null,
              "expires": "2026-10-21T14:13:23.000Z"
            }
          ],
          "more": false,
          "next": null
        }
    "#]]
    .assert_eq(&world.types("runs list --status failed --since 1h --json").await);
    expect![[r#"
        RUN                         STATUS  TENANT  ACTOR  TASK    CREATED                   DUE  CLAIMS  CAUSE
        01M3250Y5J2VHCYCS5T4F8G09D  failed  acme    ada    refund  2026-09-21T14:13:23.250Z  -    1       the model refuses: no agent for the task; call 1 of `refund_order` stands
    "#]].assert_eq(&world.types("runs list --status failed --since 0s").await);
    expect![[r#"
        ! no runs
    "#]]
    .assert_eq(&world.types("runs list --tenant other").await);
    expect![[r#"
        run      01M3250Y5J2VHCYCS5T4F8G09D
        status   failed
        cause    the model refuses: no agent for the task
        tenant   acme
        actor    ada
        task     refund
        release  r1
        created  2026-09-21T14:13:23.250Z
        claims   1, 0 since it was last left in order
        used     1 steps, 0 tokens, 0.000000 USD
        trace    88c3eac393a12974c7c2112c6a646578
        ended    2026-09-21T14:13:23.250Z: failed, the model refuses: no agent for the task
        answer   null
        left     call 1 of `refund_order` stands

        CALL  TOOL          STATUS     EFFECT      ATTEMPTS  ARGUMENTS
        1     refund_order  succeeded  idempotent  1         {"order":"A-1"}

        SEQ  AT                        WRITER   WHAT HAPPENED
        1    2026-09-21T14:13:23.250Z  outside  accepted `refund` of ada for acme
        2    2026-09-21T14:13:23.250Z  claim 1  planned refund_order {"order":"A-1"} (call 1); policy allows call 1: small; call 1: attempt 1; call 1: succeeded {"ok":true}; abandoned: failed, the model refuses: no agent for the task; stopped: failed, the model refuses: no agent for the task
    "#]].assert_eq(&world.types(&format!("runs show {failed}")).await);
    expect![[r#"
        run      01M3250X6A8WX5V4NW2A31GNZB
        status   waiting
        cause    the model was asked 1 times in a row without an answer: openai:x: the provider does not answer: connection refused
        tenant   acme
        actor    ada
        task     refund
        release  r1
        created  2026-09-21T14:13:22.250Z
        due      2026-09-21T15:13:22.250Z
        claims   1, 0 since it was last left in order
        used     1 steps, 1000 tokens, cost unknown (no price for `openai:x`)
        trace    2eebc73657911920a77b4a13f2a481e4

        SEQ  AT                        WRITER   WHAT HAPPENED
        1    2026-09-21T14:13:22.250Z  outside  accepted `refund` of ada for acme
        2    2026-09-21T14:13:22.250Z  claim 1  1 questions without an answer: a time-out; waits until 2026-09-21T14:14:22.250Z: openai:x: the provider does not answer: connection refused
    "#]].assert_eq(&world.types(&format!("runs show {resting}")).await);
}

#[tokio::test]
async fn a_run_is_shown_with_what_it_used_its_calls_and_its_journal() {
    let world = World::new();
    let run = world.completed().await;
    expect![[r#"
        run      01M3250VZ835X03CDRZCQ0SGFQ
        status   completed
        tenant   acme
        actor    ada
        task     refund
        release  r1
        created  2026-09-21T14:13:21.000Z
        claims   1, 0 since it was last left in order
        used     2 steps, 2000 tokens, 0.008400 USD
        trace    745c0d6185ece0d9a7288dfbd4d187a8
        ended    2026-09-21T14:13:21.250Z: completed
        answer   {"text":"refunded"}

        CALL  TOOL          STATUS     EFFECT      ATTEMPTS  ARGUMENTS
        1     refund_order  succeeded  idempotent  1         {"order":"A-1","cents":1200}

        SEQ  AT                        WRITER   WHAT HAPPENED
        1    2026-09-21T14:13:21.000Z  outside  accepted `refund` of ada for acme
        2    2026-09-21T14:13:21.250Z  claim 1  planned refund_order {"order":"A-1","cents":1200} (call 1); policy allows call 1: small; call 1: attempt 1; call 1: succeeded {"ok":true}; planned the answer; answered {"text":"refunded"}; stopped: completed
    "#]].assert_eq(&world.types(&format!("runs show {run}")).await);
    expect![[r#"
        {
          "run": "01M3250VZ835X03CDRZCQ0SGFQ",
          "status": "completed",
          "over": true,
          "cause": null,
          "fingerprint": null,
          "tenant": "acme",
          "actor": "ada",
          "task": "refund",
          "release": "r1",
          "created": "2026-09-21T14:13:21.000Z",
          "due": null,
          "ready_from": null,
          "claims": 1,
          "strikes": 0,
          "interjections": 0,
          "leased_until": null,
          "expires": "2026-10-21T14:13:21.000Z",
          "totals": {
            "steps": 2,
            "tokens": 2000,
            "cost_micro_usd": 8400,
            "no_price_for": []
          },
          "trace": "745c0d6185ece0d9a7288dfbd4d187a8",
          "calls": [
            {
              "call": 1,
              "tool": "refund_order",
              "status": "succeeded",
              "effect": "idempotent",
              "attempts": 1,
              "arguments": {
                "order": "A-1",
                "cents": 1200
              },
              "message": null
            }
          ],
          "journal": [
            {
              "seq": 1,
              "at": "2026-09-21T14:13:21.000Z",
              "writer": {
                "outside": "intake"
              },
              "release": "r1",
              "events": [
                {
                  "event": "accepted",
                  "request": {
                    "tenant": "acme",
                    "actor": "ada",
                    "task": "refund",
                    "payload": {
                      "order": "A-1"
                    }
                  },
                  "source": "http",
                  "trace": "745c0d6185ece0d9a7288dfbd4d187a8",
                  "limits": {
                    "steps_max": 64,
                    "tokens_max": 500000,
                    "cost_max_micro_usd": 5000000,
                    "wall_time_max_seconds": 604800
                  }
                }
              ]
            },
            {
              "seq": 2,
              "at": "2026-09-21T14:13:21.250Z",
              "writer": {
                "holder": 1
              },
              "release": "r1",
              "events": [
                {
                  "event": "planned",
                  "plan": {
                    "kind": "call",
                    "calls": [
                      {
                        "id": 1,
                        "tool": "refund_order",
                        "arguments": {
                          "order": "A-1",
                          "cents": 1200
                        }
                      }
                    ]
                  },
                  "usage": {
                    "input_tokens": 900,
                    "output_tokens": 100,
                    "cost_micro_usd": 4200
                  },
                  "model": "script",
                  "prompt_version": "p1"
                },
                {
                  "event": "policy_decided",
                  "call": 1,
                  "decision": {
                    "decision": "allow",
                    "reason": "small"
                  },
                  "policy_version": "1"
                },
                {
                  "event": "tool_attempted",
                  "call": 1,
                  "attempt": 1,
                  "effect": "idempotent",
                  "compensable": false,
                  "deadline": "2026-09-21T14:13:41.250Z"
                },
                {
                  "event": "tool_returned",
                  "call": 1,
                  "attempt": 1,
                  "outcome": {
                    "outcome": "succeeded",
                    "value": {
                      "ok": true
                    }
                  }
                },
                {
                  "event": "planned",
                  "plan": {
                    "kind": "answer",
                    "response": {
                      "text": "refunded"
                    }
                  },
                  "usage": {
                    "input_tokens": 900,
                    "output_tokens": 100,
                    "cost_micro_usd": 4200
                  },
                  "model": "script",
                  "prompt_version": "p1"
                },
                {
                  "event": "responded",
                  "response": {
                    "text": "refunded"
                  }
                },
                {
                  "event": "stopped",
                  "reason": {
                    "reason": "completed"
                  },
                  "standing": [],
                  "in_doubt": []
                }
              ]
            }
          ],
          "outcome": {
            "reason": {
              "reason": "completed"
            },
            "response": {
              "text": "refunded"
            },
            "at": "2026-09-21T14:13:21.250Z",
            "standing": [],
            "in_doubt": []
          }
        }
    "#]]
    .assert_eq(&world.types(&format!("runs show {run} --json")).await);
}

#[tokio::test]
async fn a_run_that_does_not_exist_is_said_not_to() {
    let said = World::new().types("runs show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X").await;
    expect![[r#"
        ! error: there is no run `01JHD7Z3ZK8V6N5Q4R3S2T1W0X`
        ! hint: list runs with `windlass runs list`
        exit 1
    "#]]
    .assert_eq(&said);
}

#[tokio::test]
async fn a_run_whose_journal_cannot_be_read_is_shown_as_far_as_its_head_tells() {
    let world = World::new();
    let run = world.accepted().await;
    world.work(run, vec![], HeadStatus::Unreadable { problem: "envelope version 9".to_owned() }).await;
    world.runs.plant(run, 2, Stored { version: 9, body: Body::Json("{}".to_owned()) });
    expect![[r#"
        run      01M3250VZ835X03CDRZCQ0SGFQ
        status   unreadable
        cause    envelope version 9
        tenant   acme
        actor    ada
        task     refund
        release  r1
        created  2026-09-21T14:13:21.000Z
        due      2026-09-21T15:13:21.000Z
        claims   1, 0 since it was last left in order
        ! error: run `01M3250VZ835X03CDRZCQ0SGFQ`, entry 2: envelope version 9; this release reads up to 1
        ! hint: check the table and queue names (`windlass --help` lists them) and the permissions of your credentials
        exit 1
    "#]]
    .assert_eq(&world.types(&format!("runs show {run}")).await);
}

#[tokio::test]
async fn a_run_is_cancelled_once() {
    let world = World::new();
    let run = world.accepted().await;
    let command = format!("runs cancel {run} --reason 'asked twice' --by olga");
    expect![[r#"
        01M3250VZ835X03CDRZCQ0SGFQ: cancellation requested: it undoes what it did and ends
    "#]]
    .assert_eq(&world.types_while(&command, async |_, _| {}).await);
    expect![[r#"
        01M3250VZ835X03CDRZCQ0SGFQ: cancellation already ending: cancelled
    "#]]
    .assert_eq(&world.types_while(&command, async |_, _| {}).await);
    let over = world.completed().await;
    expect![[r#"
        {
          "run": "01M3250WYG2VHCYCS5T4F8G09D",
          "cancellation": "already_over",
          "detail": "completed"
        }
    "#]]
    .assert_eq(&world.types(&format!("runs cancel {over} --reason late --by olga --json")).await);
    let missing = "runs cancel 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --reason x --by olga";
    expect![[r#"
        ! error: there is no run `01JHD7Z3ZK8V6N5Q4R3S2T1W0X`
        ! hint: list runs with `windlass runs list`
        exit 1
    "#]]
    .assert_eq(&world.types(missing).await);
}

#[tokio::test]
async fn a_run_is_watched_until_it_ends() {
    let world = World::new();
    let run = world.completed().await;
    expect![[r#"
        1     2026-09-21T14:13:21.000Z  outside    accepted `refund` of ada for acme
        2     2026-09-21T14:13:21.250Z  claim 1    planned refund_order {"order":"A-1","cents":1200} (call 1); policy allows call 1: small; call 1: attempt 1; call 1: succeeded {"ok":true}; planned the answer; answered {"text":"refunded"}; stopped: completed
    "#]].assert_eq(&world.types(&format!("runs watch {run}")).await);
    let json = world.types(&format!("runs watch {run} --json")).await;
    assert_eq!(json.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(), 2);
}

#[tokio::test]
async fn watching_ends_when_its_time_does() {
    let world = World::new();
    let run = world.accepted().await;
    let began = windlass::clock::Clock::now(&*world.clock);
    expect![[r#"
        1     2026-09-21T14:13:21.000Z  outside    accepted `refund` of ada for acme
        ! error: run `01M3250VZ835X03CDRZCQ0SGFQ` has not ended within 3 s
        ! hint: see what it waits for with `windlass runs show RUN`
        exit 1
    "#]]
    .assert_eq(&world.types(&format!("runs watch {run} --seconds 3")).await);
    assert_eq!(windlass::clock::Clock::now(&*world.clock), began + Duration::from_secs(3));
}

#[tokio::test]
async fn a_run_is_rebuilt_from_its_journal_and_from_what_was_told_alike() {
    let world = World::new();
    let run = world.completed().await;
    let from_journal = world.types(&format!("runs trace {run}")).await;
    expect![[r#"
        run          01M3250VZ835X03CDRZCQ0SGFQ
        trace        745c0d6185ece0d9a7288dfbd4d187a8
        tenant       acme
        environment  unknown
        release      r1

        SEQ  AFTER   EVENT   STATUS     TOOK    WHAT
        1    0 ms    run     accepted   -       `refund` of ada
        2    250 ms  model   call       -       script, prompt p1, 900 in, 100 out
        2    250 ms  policy  allow      -       refund_order (call 1) by none: small
        2    250 ms  tool    attempted  -       refund_order {"order":"A-1","cents":1200} (call 1, by policy 1)
        2    250 ms  tool    succeeded  -       refund_order {"order":"A-1","cents":1200} (call 1, by policy 1)
        2    250 ms  model   answer     -       script, prompt p1, 900 in, 100 out
        2    250 ms  run     responded  -
        2    250 ms  run     completed  250 ms  2 steps, 2000 tokens
    "#]]
    .assert_eq(&from_journal);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("step.log");
    let told = world.types(&format!("runs trace {run} --json")).await;
    let noise = "START RequestId: 1\n{\"message\":\"advanced\"}\n\u{fffd}{}\n";
    std::fs::write(&file, format!("{noise}{told}{told}")).expect("the file is written");
    let file = file.display();
    assert_eq!(world.types(&format!("runs trace {run} --events {file}")).await, from_journal);
    let missing = world.types(&format!("runs trace 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --events {file}")).await;
    assert!(missing.contains("there are no events of run `01JHD7Z3ZK8V6N5Q4R3S2T1W0X` in "), "{missing}");
}

#[tokio::test]
async fn two_releases_are_set_side_by_side() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("step.log");
    let (one, two) = (world.completed().await, world.completed().await);
    let one = world.types(&format!("runs trace {one} --json")).await;
    let dead = world.dead("the process died").await;
    let dead = world.types(&format!("runs trace {dead} --json")).await;
    let two = world.types(&format!("runs trace {two} --json")).await + &dead;
    let told = one + &two.replace(r#""release":"r1""#, r#""release":"r2""#);
    std::fs::write(&file, told).expect("the file is written");
    let file = file.display();
    expect![[r#"
        WHAT                         BEFORE           AFTER
        release                      r1               r2
        runs accepted                1                2
        runs completed               1                1
        runs dead                    0                1
        run, p50 / p95 / p99 ms      250 / 250 / 250  0 / 250 / 250
        model, p50 / p95 / p99 ms    -                -
        tool, p50 / p95 / p99 ms     -                -
        tokens in                    1800             1800
        tokens out                   200              200
        USD per run                  0.008400         0.004200
        tool refund_order succeeded  1                1
        policy allow                 1                1
    "#]]
    .assert_eq(&world.types(&format!("runs compare r1 r2 --events {file}")).await);
    let missing = world.types(&format!("runs compare r1 r3 --events {file}")).await;
    assert!(missing.contains("there are no events of release `r3`"), "{missing}");
}
