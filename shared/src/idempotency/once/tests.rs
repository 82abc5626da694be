use std::{cell::Cell, io};

use super::*;
use crate::memory::{ManualClock, Records, SeededRandom};

const TIME_MAX: Duration = Duration::from_secs(10);
const KEPT_FOR: Duration = Duration::from_secs(3_600);

struct Desk {
    records: Records,
    clock: ManualClock,
    random: SeededRandom,
}

impl Desk {
    fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_768_000_000_000));
        Self { records: Records::new(), clock, random: SeededRandom::new(3) }
    }

    fn once(&self) -> Once<'_> {
        let Desk { records, clock, random } = self;
        Once { records, clock, random, time_max: TIME_MAX, kept_for: KEPT_FOR }
    }
}

fn key() -> Key {
    let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
    Key::of("letters", &tenant, &actor, "order-1").expect("a key")
}

fn hash(of: &str) -> PayloadHash {
    PayloadHash::of(&of.into())
}

#[tokio::test]
async fn an_operation_is_done_once_and_its_result_given_again() {
    let (desk, done) = (Desk::new(), Cell::new(0));
    let operation = async || {
        done.set(done.get() + 1);
        Ok::<_, io::Error>(done.get())
    };
    let run = async || desk.once().run(&key(), &hash("a"), operation).await.expect("it is done");
    assert_eq!([run().await, run().await, run().await], [Done::Now(1), Done::Before(1), Done::Before(1)]);
    desk.clock.advance(KEPT_FOR + Duration::from_secs(1));
    assert_eq!(run().await, Done::Now(2), "an expired record counts as absent");
}

#[tokio::test]
async fn a_key_is_not_used_for_two_operations() {
    let desk = Desk::new();
    let operation = async || Ok::<_, io::Error>(1);
    desk.once().run(&key(), &hash("a"), operation).await.expect("it is done");
    let other = desk.once().run(&key(), &hash("b"), operation).await;
    assert!(matches!(other, Err(OnceError::Mismatch)));
}

#[tokio::test]
async fn a_failed_operation_frees_its_key() {
    let desk = Desk::new();
    let failed = desk.once().run(&key(), &hash("a"), async || Err::<u8, _>(io::Error::other("no"))).await;
    assert!(matches!(failed, Err(OnceError::Operation(_))));
    let again = desk.once().run(&key(), &hash("a"), async || Ok::<_, io::Error>(1_u8)).await;
    assert_eq!(again.expect("the key is free"), Done::Now(1));
}

#[tokio::test]
async fn somebody_else_waits_while_it_is_under_way() {
    let desk = Desk::new();
    let outer = desk
        .once()
        .run(&key(), &hash("a"), async || {
            let inner = desk.once().run(&key(), &hash("a"), async || Ok::<_, io::Error>(2)).await;
            let Err(error @ OnceError::InProgress { .. }) = inner else { panic!("{inner:?}") };
            assert_eq!(error.retry(), Retry::Transient { after: TIME_MAX });
            Ok::<_, io::Error>(1)
        })
        .await;
    assert_eq!(outer.expect("it is done"), Done::Now(1));
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_dropped_and_can_be_taken_over() {
    let desk = Desk::new();
    let slow = desk
        .once()
        .run(&key(), &hash("a"), async || {
            desk.clock.advance(TIME_MAX + Duration::from_secs(1));
            std::future::pending::<Result<u8, io::Error>>().await
        })
        .await;
    assert!(matches!(slow, Err(OnceError::TimedOut { .. })));
    let again = desk.once().run(&key(), &hash("a"), async || Ok::<_, io::Error>(2_u8)).await;
    assert_eq!(again.expect("its time is over"), Done::Now(2));
}

#[tokio::test]
async fn a_late_owner_cannot_replace_the_result_of_whoever_took_over() {
    let desk = Desk::new();
    let late = desk
        .once()
        .run(&key(), &hash("a"), async || {
            // Frozen without noticing, so that its own time limit does not stop it.
            desk.clock.advance(TIME_MAX + Duration::from_secs(1));
            let taken_over = desk.once().run(&key(), &hash("a"), async || Ok::<_, io::Error>(2)).await;
            assert_eq!(taken_over.expect("the first owner's time is over"), Done::Now(2));
            Ok::<_, io::Error>(1)
        })
        .await;
    assert_eq!(late.expect("it was done"), Done::Late(1));
    let again = desk.once().run(&key(), &hash("a"), async || Ok::<_, io::Error>(3)).await;
    assert_eq!(again.expect("there is a record"), Done::Before(2));
}

#[tokio::test]
async fn a_result_that_does_not_fit_a_record_is_refused() {
    let desk = Desk::new();
    let large = async || Ok::<_, io::Error>("x".repeat(RESULT_BYTES_MAX));
    let result = desk.once().run(&key(), &hash("a"), large).await;
    assert!(matches!(result, Err(OnceError::TooLarge { bytes }) if bytes > RESULT_BYTES_MAX));
}
