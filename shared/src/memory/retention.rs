//! Deleting what has expired.

use async_trait::async_trait;

use super::{Runs, locked};
use crate::{
    clock::Timestamp,
    journal::JournalError,
    schedule::retention::{PARTS, Place, Purged, Retention},
};

/// Heads, entries, snapshots, records: a page is a table's whole part.
const TABLES: u32 = 4;

#[async_trait]
impl Retention for Runs {
    async fn purge(&self, place: &Place, before: Timestamp) -> Result<Purged, JournalError> {
        let mut purge = Purge { part: place.part, before, purged: Purged::default() };
        let mut tables = locked(&self.tables);
        let spread = |id: &str| id.bytes().map(u64::from).sum();
        match place.table {
            0 => tables.heads.retain(|run, row| !purge.takes(run.spread(), row.head.expires)),
            1 => tables.entries.retain(|(run, _), item| !purge.takes(run.spread(), item.expires)),
            2 => tables.snapshots.retain(|run, (_, expires)| !purge.takes(run.spread(), *expires)),
            3 => self.records.lock().retain(|id, record| !purge.takes(spread(id), record.expires)),
            _ => {}
        }
        let next = place.table + 1;
        purge.purged.next = (next < TABLES).then(|| Place { table: next, after: None, ..place.clone() });
        Ok(purge.purged)
    }
}

/// One purge on its way through the maps.
struct Purge {
    part: u32,
    before: Timestamp,
    purged: Purged,
}

impl Purge {
    /// Whether an item is to be deleted.
    fn takes(&mut self, spread: u64, expires: Timestamp) -> bool {
        if spread % u64::from(PARTS) != u64::from(self.part) {
            return false;
        }
        self.purged.looked_at += 1;
        let over = expires.has_expired(self.before);
        self.purged.deleted += u64::from(over);
        over
    }
}
