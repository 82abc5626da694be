use secrecy::ExposeSecret as _;

use super::*;
use crate::memory::ManualClock;

mockall::mock! {
    Store {}
    #[async_trait::async_trait]
    impl Secrets for Store {
        async fn get(&self, name: &str) -> Result<SecretString, SecretError>;
        async fn exists(&self, name: &str) -> Result<(), SecretError>;
    }
}

/// A store that gives these answers, in order, and is asked no more often.
fn answering(answers: &[Result<&'static str, ()>]) -> Arc<dyn Secrets> {
    let mut store = MockStore::new();
    let mut order = mockall::Sequence::new();
    for answer in answers.iter().copied() {
        store.expect_get().times(1).in_sequence(&mut order).returning(move |name| match answer {
            Ok(text) => Ok(text.into()),
            Err(()) => Err(SecretError::Unavailable { name: name.to_owned(), message: "timeout".to_owned() }),
        });
    }
    Arc::new(store)
}

fn cache(answers: &[Result<&'static str, ()>]) -> (Arc<ManualClock>, SecretCache<String>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
    let parse = |text: &SecretString| match text.expose_secret() {
        "bad" => Err("not good".to_owned()),
        good => Ok(good.to_owned()),
    };
    (clock.clone(), SecretCache::new(answering(answers), clock, "windlass/x", parse))
}

fn value(result: Result<Arc<String>, SecretError>) -> String {
    result.expect("there is one").to_string()
}

#[tokio::test]
async fn a_young_secret_is_served_without_asking() {
    let (clock, cache) = cache(&[Ok("one")]);
    assert_eq!(value(cache.get().await), "one");
    clock.advance(REFRESH_AFTER - Duration::from_millis(1));
    assert_eq!(value(cache.get().await), "one");
}

#[tokio::test]
async fn a_rotated_secret_is_seen_without_a_deploy() {
    let (clock, cache) = cache(&[Ok("one"), Ok("two")]);
    assert_eq!(value(cache.get().await), "one");
    clock.advance(REFRESH_AFTER);
    assert_eq!(value(cache.get().await), "two");
}

#[tokio::test]
async fn a_stale_secret_is_served_while_the_store_is_away_but_no_longer_than_the_bound() {
    let (clock, cache) = cache(&[Ok("one"), Err(()), Ok("bad"), Err(())]);
    assert_eq!(value(cache.get().await), "one");
    clock.advance(REFRESH_AFTER);
    assert_eq!(value(cache.get().await), "one", "the store is away");
    assert_eq!(value(cache.get().await), "one", "it is not asked again at once");
    clock.advance(ATTEMPT_AFTER_MIN);
    assert_eq!(value(cache.get().await), "one", "the new one is malformed");
    clock.advance(STALENESS_MAX - REFRESH_AFTER - ATTEMPT_AFTER_MIN);
    assert!(matches!(cache.get().await, Err(SecretError::Unavailable { .. })));
}

#[tokio::test]
async fn refreshing_on_demand_asks_at_most_once_in_ten_seconds() {
    let (clock, cache) = cache(&[Ok("one"), Ok("two")]);
    assert_eq!(value(cache.get().await), "one");
    for _ in 0..100 {
        assert_eq!(value(cache.refresh().await), "one", "the last attempt was just now");
    }
    clock.advance(ATTEMPT_AFTER_MIN);
    for _ in 0..100 {
        assert_eq!(value(cache.refresh().await), "two");
    }
}

#[tokio::test]
async fn a_malformed_secret_is_an_error_that_says_what_is_wrong_with_it() {
    let (_, cache) = cache(&[Ok("bad")]);
    let wanted = SecretError::Malformed { name: "windlass/x".to_owned(), problem: "not good".to_owned() };
    assert_eq!(cache.get().await, Err(wanted));
}
