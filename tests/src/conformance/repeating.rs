//! What is recorded of requests before.

use windlass::{door::KeyMemory, idempotency::PayloadHash, journal::Recorded};

use super::{KEY_KEPT_FOR, SECOND, Stores};

pub async fn a_request_that_was_taken_on_is_known_by_its_key(stores: &Stores) {
    let new = stores.new_run("k");
    let recorded = async || stores.requests.recorded(&new.key, &new.payload_hash).await.expect("the store answers");
    assert_eq!(recorded().await, None);
    stores.journal.accept(&new).await.expect("the store answers");
    assert_eq!(recorded().await, Some(Recorded::As { run: new.run }));
    let other = stores.requests.recorded(&new.key, &PayloadHash::of(&"another request".into())).await;
    assert_eq!(other, Ok(Some(Recorded::Mismatch)));
    stores.clock.advance(KEY_KEPT_FOR + SECOND);
    assert_eq!(recorded().await, None, "it has expired");
}

pub async fn what_a_key_was_used_for_is_remembered_until_it_expires_and_said_while_it_is_there(stores: &Stores) {
    let new = stores.new_run("k");
    let memory = async || stores.requests.memory(&new.key).await.expect("the store answers");
    assert_eq!(memory().await, KeyMemory::Blank);
    stores.journal.accept(&new).await.expect("the store answers");
    assert_eq!(memory().await, KeyMemory::Remembered);
    stores.clock.advance(KEY_KEPT_FOR + SECOND);
    assert_eq!(memory().await, KeyMemory::Expired);
}
