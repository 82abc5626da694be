//! Deleting what has outlived its retention.

use windlass::{
    clock::Timestamp,
    schedule::retention::{PARTS, Place},
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores};

/// Far more pages than these few items have.
const PAGES_MAX: usize = 100;

impl Stores {
    /// What looking through every part deletes.
    async fn purge(&self, before: Timestamp) -> u64 {
        let mut deleted = 0;
        for part in 0..PARTS {
            deleted += self.purge_part(part, before).await;
        }
        deleted
    }

    /// What looking through one part deletes, its place written down and read between pages.
    async fn purge_part(&self, part: u32, before: Timestamp) -> u64 {
        let (mut place, mut deleted) = (Some(Place::beginning(part)), 0);
        for _ in 0..PAGES_MAX {
            let Some(at) = place else { return deleted };
            let at = Place::parse(&at.cursor()).expect("a cursor is read as it was written");
            let purged = self.retention.purge(&at, before).await.expect("the store answers");
            deleted += purged.deleted;
            place = purged.next;
        }
        panic!("the part has no end");
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
    for part in 0..PARTS {
        seen.push(stores.purge_part(part, over).await);
    }
    assert_eq!(seen.iter().sum::<u64>(), 3);
    assert!(seen.iter().filter(|deleted| **deleted > 0).count() <= 3, "{seen:?}");
}

pub async fn a_place_behind_the_last_table_is_the_end_of_its_part(stores: &Stores) {
    let place = Place { part: 0, table: 99, after: None };
    let purged = stores.retention.purge(&place, stores.now()).await.expect("the store answers");
    assert_eq!((purged.looked_at, purged.next), (0, None));
}
