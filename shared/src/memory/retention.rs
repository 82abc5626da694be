//! Deleting what has expired.

use async_trait::async_trait;

use super::{Runs, locked};
use crate::{
    clock::Timestamp,
    journal::JournalError,
    schedule::retention::{DELETED_MAX, Part, Purged, Retention},
};

#[async_trait]
impl Retention for Runs {
    async fn purge(&self, part: Part, before: Timestamp) -> Result<Purged, JournalError> {
        let mut purge = Purge { part, before, purged: Purged::default() };
        let mut tables = locked(&self.tables);
        tables.heads.retain(|run, row| !purge.takes(run.spread(), row.head.expires));
        tables.entries.retain(|(run, _), item| !purge.takes(run.spread(), item.expires));
        tables.snapshots.retain(|run, (_, expires)| !purge.takes(run.spread(), *expires));
        let spread = |id: &str| id.bytes().map(u64::from).sum();
        self.records.lock().retain(|id, record| !purge.takes(spread(id), record.expires));
        Ok(purge.purged)
    }
}

/// One purge on its way through the maps.
struct Purge {
    part: Part,
    before: Timestamp,
    purged: Purged,
}

impl Purge {
    /// Whether an item is to be deleted.
    fn takes(&mut self, spread: u64, expires: Timestamp) -> bool {
        if spread % u64::from(self.part.of.max(1)) != u64::from(self.part.index) {
            return false;
        }
        self.purged.looked_at += 1;
        let over = expires.has_expired(self.before);
        let bounded = self.purged.deleted >= DELETED_MAX as u64;
        self.purged.more |= over && bounded;
        self.purged.deleted += u64::from(over && !bounded);
        over && !bounded
    }
}
