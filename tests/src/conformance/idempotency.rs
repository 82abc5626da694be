//! Idempotency records.

use futures::future::join_all;
use windlass::{
    clock::Timestamp,
    idempotency::{Begun, Key, PayloadHash, Turn},
};

use super::{BEGINNING, KEY_KEPT_FOR, SECOND, Stores};

/// How long an owner may be at it.
const TURN: std::time::Duration = std::time::Duration::from_secs(60);
const EXPIRES: Timestamp = Timestamp::from_millis(BEGINNING.as_millis() + KEY_KEPT_FOR.as_millis() as i64);

fn key() -> Key {
    Key::of("refund", &"acme".parse().expect("a tenant"), &"ada".parse().expect("an actor"), "k").expect("a key")
}

fn hash() -> PayloadHash {
    PayloadHash::of(&"a request".into())
}

impl Stores {
    async fn begin_as(&self, owner: &str) -> Begun {
        self.begin_with(owner, &hash()).await
    }

    async fn begin_with(&self, owner: &str, hash: &PayloadHash) -> Begun {
        let now = self.now();
        let turn = Turn { owner: owner.to_owned(), now, in_progress_until: now + TURN, expires: now + KEY_KEPT_FOR };
        self.records.begin(&key(), hash, &turn).await.expect("the store answers")
    }

    async fn complete_as(&self, owner: &str, data: &str) -> bool {
        self.records.complete(&key(), owner, data, EXPIRES).await.expect("the store answers")
    }

    async fn release_as(&self, owner: &str) -> bool {
        self.records.release(&key(), owner).await.expect("the store answers")
    }
}

fn completed(data: &str) -> Begun {
    Begun::Completed { data: data.to_owned() }
}

pub async fn the_first_to_begin_does_it_and_the_second_waits(stores: &Stores) {
    assert_eq!(stores.begin_as("a").await, Begun::Started);
    assert_eq!(stores.begin_as("b").await, Begun::InProgress { until: stores.now() + TURN });
}

pub async fn of_many_who_begin_one_does_it(stores: &Stores) {
    let owners: Vec<String> = (0..16).map(|n| format!("owner {n}")).collect();
    let begun = join_all(owners.iter().map(|owner| stores.begin_as(owner))).await;
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Started).count(), 1);
}

pub async fn a_repeated_begin_whose_answer_was_lost_starts(stores: &Stores) {
    assert_eq!(stores.begin_as("a").await, Begun::Started);
    assert_eq!(stores.begin_as("a").await, Begun::Started);
}

pub async fn what_was_done_is_answered_with_its_result(stores: &Stores) {
    stores.begin_as("a").await;
    assert!(stores.complete_as("a", r#"{"refund":1}"#).await);
    assert_eq!(stores.begin_as("b").await, completed(r#"{"refund":1}"#));
    assert_eq!(stores.begin_as("a").await, completed(r#"{"refund":1}"#));
}

pub async fn a_key_used_for_something_else_mismatches_at_every_stage(stores: &Stores) {
    let other = PayloadHash::of(&"another request".into());
    stores.begin_as("a").await;
    assert_eq!(stores.begin_with("b", &other).await, Begun::Mismatch);
    assert_eq!(stores.begin_with("a", &other).await, Begun::Mismatch);
    stores.complete_as("a", "1").await;
    assert_eq!(stores.begin_with("b", &other).await, Begun::Mismatch);
}

pub async fn an_expired_record_counts_as_absent(stores: &Stores) {
    stores.begin_as("a").await;
    stores.complete_as("a", "1").await;
    stores.clock.set(EXPIRES);
    assert_eq!(stores.begin_as("b").await, completed("1"));
    stores.clock.set(EXPIRES + SECOND);
    assert_eq!(stores.begin_with("b", &PayloadHash::of(&"another request".into())).await, Begun::Started);
}

pub async fn an_owner_out_of_time_is_taken_over_and_too_late(stores: &Stores) {
    assert_eq!(stores.begin_as("a").await, Begun::Started);
    stores.clock.advance(TURN);
    assert!(matches!(stores.begin_as("b").await, Begun::InProgress { .. }));
    stores.clock.advance(SECOND);
    assert_eq!(stores.begin_as("b").await, Begun::Started);
    assert!(!stores.complete_as("a", "late").await);
    assert!(!stores.release_as("a").await);
    assert!(stores.complete_as("b", "in time").await);
    assert!(!stores.complete_as("a", "late").await);
    assert_eq!(stores.begin_as("c").await, completed("in time"));
}

pub async fn an_owner_out_of_time_whom_nobody_took_over_completes(stores: &Stores) {
    stores.begin_as("a").await;
    stores.clock.advance(TURN + SECOND);
    assert!(stores.complete_as("a", "1").await);
}

pub async fn a_released_key_is_free(stores: &Stores) {
    stores.begin_as("a").await;
    assert!(stores.release_as("a").await);
    assert!(!stores.release_as("a").await);
    assert!(!stores.complete_as("a", "1").await);
    assert_eq!(stores.begin_with("b", &PayloadHash::of(&"another request".into())).await, Begun::Started);
}

pub async fn nobody_else_completes_or_releases(stores: &Stores) {
    stores.begin_as("a").await;
    assert!(!stores.complete_as("b", "1").await);
    assert!(!stores.release_as("b").await);
    assert!(matches!(stores.begin_as("b").await, Begun::InProgress { .. }));
}

pub async fn a_repeated_completion_is_true_and_another_result_is_not_taken(stores: &Stores) {
    stores.begin_as("a").await;
    assert!(stores.complete_as("a", "1").await);
    assert!(stores.complete_as("a", "1").await);
    assert!(!stores.complete_as("a", "2").await);
    assert_eq!(stores.begin_as("b").await, completed("1"));
}

pub async fn what_was_done_is_not_released(stores: &Stores) {
    stores.begin_as("a").await;
    stores.complete_as("a", "1").await;
    assert!(!stores.release_as("a").await);
    assert_eq!(stores.begin_as("b").await, completed("1"));
}

pub async fn what_was_never_begun_is_neither_completed_nor_released(stores: &Stores) {
    assert!(!stores.complete_as("a", "1").await);
    assert!(!stores.release_as("a").await);
    assert_eq!(stores.begin_as("a").await, Begun::Started);
}
