//! `windlass dead-letters`.

use expect_test::expect;
use windlass::journal::HeadStatus;

use super::world::World;

const WAKE_UP: &str = r#"{"type":"wake_up","run":"01JHD7Z3ZK8V6N5Q4R3S2T1W0X"}"#;

async fn troubled() -> World {
    let world = World::new();
    world.dead("the process died 5 times in call 1 of `refund_order`").await;
    world.dead("the process died 5 times in call 3 of `write_letter`").await;
    world.dead_message("hello\u{1b}[2J");
    world.dead_message(WAKE_UP);
    world
}

#[tokio::test]
async fn dead_letters_are_listed_grouped_and_shown() {
    let world = troubled().await;
    expect![[r#"
        KEY                             AT                        FINGERPRINT   REPLAYABLE  CAUSE
        message/message-2               2026-09-21T14:13:25.000Z  264bf79f033b  yes         a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 2
        message/message-1               2026-09-21T14:13:23.000Z  c7ea7baec5b9  no          foreign: not a step queue message: expected value at line 1 column 1
        run/01M3250WYG8WX5V4NW2A31GNZB  2026-09-21T14:13:22.000Z  12587d164edf  yes         the process died 5 times in call 3 of `write_letter`
        run/01M3250VZ835X03CDRZCQ0SGFQ  2026-09-21T14:13:21.000Z  12587d164edf  yes         the process died 5 times in call 1 of `refund_order`
    "#]].assert_eq(&world.types("dead-letters list").await);
    expect![[r#"
        {
          "dead_letters": [
            {
              "origin": {
                "origin": "message",
                "id": "message-2",
                "body": "{\"type\":\"wake_up\",\"run\":\"01JHD7Z3ZK8V6N5Q4R3S2T1W0X\"}",
                "receive_count": 3,
                "repetition": "starts_nothing"
              },
              "cause": "a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 3",
              "fingerprint": "264bf79f033b",
              "at": "2026-09-21T14:13:25.000Z",
              "replayable": true,
              "key": "message/message-2"
            },
            {
              "origin": {
                "origin": "message",
                "id": "message-1",
                "body": "hello\u001b[2J",
                "receive_count": 3,
                "repetition": "starts_nothing"
              },
              "cause": "foreign: not a step queue message: expected value at line 1 column 1",
              "fingerprint": "c7ea7baec5b9",
              "at": "2026-09-21T14:13:23.000Z",
              "replayable": false,
              "key": "message/message-1"
            },
            {
              "origin": {
                "origin": "run",
                "run": "01M3250WYG8WX5V4NW2A31GNZB",
                "release": "r1"
              },
              "cause": "the process died 5 times in call 3 of `write_letter`",
              "fingerprint": "12587d164edf",
              "at": "2026-09-21T14:13:22.000Z",
              "replayable": true,
              "key": "run/01M3250WYG8WX5V4NW2A31GNZB"
            },
            {
              "origin": {
                "origin": "run",
                "run": "01M3250VZ835X03CDRZCQ0SGFQ",
                "release": "r1"
              },
              "cause": "the process died 5 times in call 1 of `refund_order`",
              "fingerprint": "12587d164edf",
              "at": "2026-09-21T14:13:21.000Z",
              "replayable": true,
              "key": "run/01M3250VZ835X03CDRZCQ0SGFQ"
            }
          ],
          "more": false
        }
    "#]]
    .assert_eq(&world.types("dead-letters list --json").await);
    expect![[r#"
        FINGERPRINT   COUNT  REPLAYABLE  NEWEST                    EXAMPLE                         CAUSE
        12587d164edf  2      2           2026-09-21T14:13:22.000Z  run/01M3250WYG8WX5V4NW2A31GNZB  the process died 5 times in call 3 of `write_letter`
        264bf79f033b  1      1           2026-09-21T14:13:25.000Z  message/message-2               a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 4
        c7ea7baec5b9  1      0           2026-09-21T14:13:23.000Z  message/message-1               foreign: not a step queue message: expected value at line 1 column 1
    "#]].assert_eq(&world.types("dead-letters list --group").await);
    expect![[r#"
        {
          "groups": [
            {
              "fingerprint": "12587d164edf",
              "count": 2,
              "replayable": 2,
              "newest": "2026-09-21T14:13:22.000Z",
              "oldest": "2026-09-21T14:13:21.000Z",
              "example": "run/01M3250WYG8WX5V4NW2A31GNZB",
              "cause": "the process died 5 times in call 3 of `write_letter`"
            },
            {
              "fingerprint": "264bf79f033b",
              "count": 1,
              "replayable": 1,
              "newest": "2026-09-21T14:13:25.000Z",
              "oldest": "2026-09-21T14:13:25.000Z",
              "example": "message/message-2",
              "cause": "a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 5"
            },
            {
              "fingerprint": "c7ea7baec5b9",
              "count": 1,
              "replayable": 0,
              "newest": "2026-09-21T14:13:23.000Z",
              "oldest": "2026-09-21T14:13:23.000Z",
              "example": "message/message-1",
              "cause": "foreign: not a step queue message: expected value at line 1 column 1"
            }
          ],
          "more": false
        }
    "#]]
    .assert_eq(&world.types("dead-letters list --group --json").await);
    expect![[r#"
        key          message/message-1
        cause        foreign: not a step queue message: expected value at line 1 column 1
        fingerprint  c7ea7baec5b9
        at           2026-09-21T14:13:23.000Z
        replayable   no
        received     6
        body         hello [2J
    "#]]
    .assert_eq(&world.types("dead-letters show message/message-1").await);
    expect![[r#"
        ! error: there is no dead letter `run/none`
        ! hint: list keys with `windlass dead-letters list`
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters show run/none").await);
    expect![[r#"
        ! no dead letters
    "#]]
    .assert_eq(&World::new().types("dead-letters list").await);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let world = troubled().await;
    expect![[r#"
        KEY                             WOULD           CAUSE
        message/message-2               send again      a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 2
        message/message-1               leave: foreign  foreign: not a step queue message: expected value at line 1 column 1
        run/01M3250WYG8WX5V4NW2A31GNZB  revive the run  the process died 5 times in call 3 of `write_letter`
        run/01M3250VZ835X03CDRZCQ0SGFQ  revive the run  the process died 5 times in call 1 of `refund_order`
        ! dry run: 3 of 4 would be replayed; nothing was written
    "#]].assert_eq(&world.types("dead-letters plan --all --dry-run --by olga").await);
    expect![[r#"
        {
          "plan": null,
          "forecast": [
            {
              "key": "message/message-1",
              "fingerprint": "c7ea7baec5b9",
              "cause": "foreign: not a step queue message: expected value at line 1 column 1",
              "would": "leave_foreign"
            }
          ]
        }
    "#]]
    .assert_eq(&world.types("dead-letters plan --key message/message-1 --dry-run --json --by olga").await);
    expect![[r#"
        ! error: nothing that was selected can be replayed
        ! hint: see why with --dry-run; a foreign message can be discarded
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters plan --key message/message-1 --reason x --by olga").await);
    expect![[r#"
        ! error: no dead letter has the key `run/none`
        ! hint: list keys with `windlass dead-letters list`
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters plan --key run/none --dry-run --by olga").await);
    expect![[r#"
        ! no audit records
    "#]]
    .assert_eq(&world.types("dead-letters audit").await);
}

/// The plan's id in what making it said.
fn plan_of(said: &str) -> String {
    let made: serde_json::Value = serde_json::from_str(said).expect("JSON");
    made["plan"].as_str().expect("a plan").to_owned()
}

#[tokio::test]
async fn a_plan_is_made_replayed_and_audited() {
    let world = troubled().await;
    let made = world.types("dead-letters plan --all --reason 'the tool is mended' --by olga --json").await;
    expect![[r#"
        {
          "plan": "01M32510VG2VHCYCS5T4F8G09D",
          "forecast": [
            {
              "key": "message/message-2",
              "fingerprint": "264bf79f033b",
              "cause": "a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 2",
              "would": "send_again"
            },
            {
              "key": "message/message-1",
              "fingerprint": "c7ea7baec5b9",
              "cause": "foreign: not a step queue message: expected value at line 1 column 1",
              "would": "leave_foreign"
            },
            {
              "key": "run/01M3250WYG8WX5V4NW2A31GNZB",
              "fingerprint": "12587d164edf",
              "cause": "the process died 5 times in call 3 of `write_letter`",
              "would": "revive_run"
            },
            {
              "key": "run/01M3250VZ835X03CDRZCQ0SGFQ",
              "fingerprint": "12587d164edf",
              "cause": "the process died 5 times in call 1 of `refund_order`",
              "would": "revive_run"
            }
          ]
        }
    "#]]
    .assert_eq(&made);
    let replay = format!("dead-letters replay {} --rate 5 --by olga", plan_of(&made));
    expect![[r#"
        replayed now  3
        recovered     2
        failed        1
        undecided     0
        pending       0
        ! 2026-09-21T14:13:26.000Z  run/01M3250WYG8WX5V4NW2A31GNZB  replayed
        ! 2026-09-21T14:13:26.200Z  run/01M3250VZ835X03CDRZCQ0SGFQ  replayed
        ! 2026-09-21T14:13:26.400Z  message/message-2  replayed
        ! 2026-09-21T14:13:27.000Z  run/01M3250WYG8WX5V4NW2A31GNZB  recovered
        ! 2026-09-21T14:13:27.000Z  run/01M3250VZ835X03CDRZCQ0SGFQ  recovered
        ! 2026-09-21T14:13:27.000Z  message/message-2  failed: the run is gone
    "#]]
    .assert_eq(&world.types(&replay).await);
    expect![[r#"
        {
          "plan": "01M32510VG2VHCYCS5T4F8G09D",
          "acted_on": 0,
          "pending": 0,
          "undecided": 0,
          "recovered": 2,
          "failed": 1,
          "outside_memory": 0,
          "stopped": null,
          "items": [
            {
              "key": "message/message-2",
              "fingerprint": "264bf79f033b",
              "status": {
                "status": "failed",
                "message": "the run is gone"
              }
            },
            {
              "key": "run/01M3250WYG8WX5V4NW2A31GNZB",
              "fingerprint": "12587d164edf",
              "status": {
                "status": "recovered"
              }
            },
            {
              "key": "run/01M3250VZ835X03CDRZCQ0SGFQ",
              "fingerprint": "12587d164edf",
              "status": {
                "status": "recovered"
              }
            }
          ]
        }
    "#]]
    .assert_eq(&world.types(&format!("{replay} --json")).await);
    expect![[r#"
        KEY                AT                        FINGERPRINT   REPLAYABLE  CAUSE
        message/message-1  2026-09-21T14:13:23.000Z  c7ea7baec5b9  no          foreign: not a step queue message: expected value at line 1 column 1
    "#]].assert_eq(&world.types("dead-letters list").await);
    expect![[r#"
        AT                        BY    PRINCIPAL                            ACTION               SUBJECT                         DETAIL
        2026-09-21T14:13:26.400Z  olga  arn:aws:iam::111122223333:user/olga  dead_letters.replay  message/message-2               plan 01M32510VG2VHCYCS5T4F8G09D: the tool is mended
        2026-09-21T14:13:26.200Z  olga  arn:aws:iam::111122223333:user/olga  dead_letters.replay  run/01M3250VZ835X03CDRZCQ0SGFQ  plan 01M32510VG2VHCYCS5T4F8G09D: the tool is mended
        2026-09-21T14:13:26.000Z  olga  arn:aws:iam::111122223333:user/olga  dead_letters.plan    01M32510VG2VHCYCS5T4F8G09D      3 items: the tool is mended
        2026-09-21T14:13:26.000Z  olga  arn:aws:iam::111122223333:user/olga  dead_letters.replay  run/01M3250WYG8WX5V4NW2A31GNZB  plan 01M32510VG2VHCYCS5T4F8G09D: the tool is mended
    "#]].assert_eq(&world.types("dead-letters audit").await);
}

#[tokio::test]
async fn a_replay_that_stops_says_why_and_ends_with_1() {
    let world = World::new();
    for _ in 0..4 {
        world.dead("the process died").await;
    }
    let made = world.types("dead-letters plan --all --reason mended --by olga --json").await;
    let replay = format!("dead-letters replay {} --failures-max 1 --by olga", plan_of(&made));
    let again = world.types_while(&replay, async |world, run| world.die(run, "the process died").await).await;
    expect![[r#"
        replayed now  1
        recovered     0
        failed        1
        undecided     0
        pending       3
        ! 2026-09-21T14:13:24.000Z  run/01M3250YX03SRDWYB3ANBH75WD  replayed
        ! 2026-09-21T14:13:25.000Z  run/01M3250YX03SRDWYB3ANBH75WD  failed: the run is dead: the process died
        ! error: the replay stopped: failed replays of the plan: 1
        ! hint: look at the failures, then raise --failures-max to go on
        exit 1
    "#]]
    .assert_eq(&again);
    expect![[r#"
        ! error: there is no replay plan `none`
        ! hint: make one with `windlass dead-letters plan`
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters replay none --by olga").await);
}

#[tokio::test]
async fn a_foreign_message_can_be_discarded_and_one_of_ours_cannot() {
    let world = troubled().await;
    expect![[r#"
        discarded message/message-1; its text is in the audit trail
    "#]]
    .assert_eq(&world.types("dead-letters discard message/message-1 --reason spam --by olga").await);
    expect![[r#"
        ! error: `message/message-2` is a message of ours; it can be replayed
        ! hint: replay it with `windlass dead-letters plan --key KEY`
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters discard message/message-2 --reason spam --by olga").await);
    expect![[r#"
        ! error: `run/x` does not name a message (`message/…`)
        ! hint: only messages can be discarded; a run can be cancelled
        exit 1
    "#]]
    .assert_eq(&world.types("dead-letters discard run/x --reason spam --by olga").await);
    expect![[r#"
        {
          "audit": [
            {
              "id": "01M32510VG2VHCYCS5T4F8G09D",
              "at": "2026-09-21T14:13:26.000Z",
              "by": "olga",
              "principal": "arn:aws:iam::111122223333:user/olga",
              "action": "dead_letters.discard",
              "subject": "message/message-1",
              "detail": "spam; it said: hello\u001b[2J"
            }
          ]
        }
    "#]]
    .assert_eq(&world.types("dead-letters audit --json").await);
}

#[tokio::test]
async fn replayed_runs_go_on_and_end() {
    let world = World::new();
    let run = world.dead("the process died").await;
    let made = world.types(&format!("dead-letters plan --key run/{run} --reason mended --by olga --json")).await;
    world.types(&format!("dead-letters replay {} --by olga", plan_of(&made))).await;
    assert_eq!(world.status(run).await, HeadStatus::Finished { outcome: "completed".to_owned() });
}
