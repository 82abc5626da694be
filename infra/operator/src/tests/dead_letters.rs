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
    expect![[""]].assert_eq(&world.types("dead-letters list").await);
    expect![[""]].assert_eq(&world.types("dead-letters list --json").await);
    expect![[""]].assert_eq(&world.types("dead-letters list --group").await);
    expect![[""]].assert_eq(&world.types("dead-letters list --group --json").await);
    expect![[""]].assert_eq(&world.types("dead-letters show message/message-1").await);
    expect![[""]].assert_eq(&world.types("dead-letters show run/none").await);
    expect![[""]].assert_eq(&World::new().types("dead-letters list").await);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let world = troubled().await;
    expect![[""]].assert_eq(&world.types("dead-letters plan --all --dry-run --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters plan --key message/message-1 --dry-run --json --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters plan --key message/message-1 --reason x --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters plan --key run/none --dry-run --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters audit").await);
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
    expect![[""]].assert_eq(&made);
    let replay = format!("dead-letters replay {} --rate 5 --by olga", plan_of(&made));
    expect![[""]].assert_eq(&world.types(&replay).await);
    expect![[""]].assert_eq(&world.types(&format!("{replay} --json")).await);
    expect![[""]].assert_eq(&world.types("dead-letters list").await);
    expect![[""]].assert_eq(&world.types("dead-letters audit").await);
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
    expect![[""]].assert_eq(&again);
    expect![[""]].assert_eq(&world.types("dead-letters replay none --by olga").await);
}

#[tokio::test]
async fn a_foreign_message_can_be_discarded_and_one_of_ours_cannot() {
    let world = troubled().await;
    expect![[""]].assert_eq(&world.types("dead-letters discard message/message-1 --reason spam --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters discard message/message-2 --reason spam --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters discard run/x --reason spam --by olga").await);
    expect![[""]].assert_eq(&world.types("dead-letters audit --json").await);
}

#[tokio::test]
async fn replayed_runs_go_on_and_end() {
    let world = World::new();
    let run = world.dead("the process died").await;
    let made = world.types(&format!("dead-letters plan --key run/{run} --reason mended --by olga --json")).await;
    world.types(&format!("dead-letters replay {} --by olga", plan_of(&made))).await;
    assert_eq!(world.status(run).await, HeadStatus::Finished { outcome: "completed".to_owned() });
}
