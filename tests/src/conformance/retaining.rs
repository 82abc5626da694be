//! Deleting what has outlived its retention.

use windlass::{
    clock::Timestamp,
    schedule::retention::{PARTS, Part},
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores};

impl Stores {
    /// What looking through every part deletes.
    async fn purge(&self, before: Timestamp) -> u64 {
        let mut deleted = 0;
        for index in 0..PARTS {
            let purged = self.retention.purge(Part { index, of: PARTS }, before).await.expect("the store answers");
            assert!(!purged.more);
            deleted += purged.deleted;
        }
        deleted
    }
}

pub async fn what_is_long_over_is_deleted_once_and_nothing_else(stores: &Stores) {
    stores.take_on(stores.large_run("old")).await;
    let over = BEGINNING + KEPT_FOR + SECOND;
    stores.clock.set(BEGINNING + KEPT_FOR - SECOND * 10);
    let young = stores.run("young").await;
    stores.clock.set(over);
    assert_eq!(stores.purge(over).await, 3, "a head, an entry and an idempotency record");
    assert_eq!(stores.purge(over).await, 0);
    assert_eq!(stores.head(young).await.run, young);
    assert_eq!(stores.load(young).await.len(), 1);
}

pub async fn a_part_that_is_not_looked_at_keeps_everything(stores: &Stores) {
    stores.take_on(stores.large_run("old")).await;
    let over = BEGINNING + KEPT_FOR + SECOND;
    let mut seen = Vec::new();
    for index in 0..PARTS {
        let purged = stores.retention.purge(Part { index, of: PARTS }, over).await.expect("the store answers");
        seen.push(purged.deleted);
    }
    assert_eq!(seen.iter().sum::<u64>(), 3);
    assert!(seen.iter().filter(|deleted| **deleted > 0).count() <= 3, "{seen:?}");
}
