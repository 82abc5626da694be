//! Deleting what has expired.

use async_trait::async_trait;

use super::{Runs, locked};
use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::JournalError,
    schedule::retention::{DELETED_MAX, Part, Purged, Retention},
};

#[async_trait]
impl Retention for Runs {
    async fn purge(&self, part: Part, before: Timestamp) -> Result<Purged, JournalError> {
        let in_part = |run: RunId| run.spread() % u64::from(part.of.max(1)) == u64::from(part.index);
        let mut tables = locked(&self.tables);
        let mut purged = Purged::default();
        let mut is_over = |run: RunId, expires: Timestamp| {
            if !in_part(run) {
                return false;
            }
            purged.looked_at += 1;
            let over = expires.has_expired(before);
            let bounded = purged.deleted >= DELETED_MAX as u64;
            purged.more |= over && bounded;
            purged.deleted += u64::from(over && !bounded);
            over && !bounded
        };
        tables.heads.retain(|run, row| !is_over(*run, row.head.expires));
        tables.entries.retain(|(run, _), item| !is_over(*run, item.expires));
        Ok(purged)
    }
}
