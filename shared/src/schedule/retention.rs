//! Deletes what has outlived its retention and DynamoDB's time to live has not deleted.
//!
//! Expired items are never read, so this is about keeping a promise and not about being right: DynamoDB deletes "within a few
//! days" (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html>) and not at all when somebody
//! has switched it off. Each run of the job looks through one part of the tables, so that a day's runs see all of them.

use std::time::Duration;

use async_trait::async_trait;

use crate::{clock::Timestamp, journal::JournalError};

/// How long after its end an item is left to DynamoDB's own deletion, which costs nothing.
pub const GRACE: Duration = Duration::from_secs(2 * 24 * 3600);

/// Into how many parts the tables are divided; the job is at another one each hour.
pub const PARTS: u32 = 24;

/// The most items looked at in one run of the job: at 1 KB an item and half a read unit each, about 0.01 US dollars a day.
pub const LOOKED_AT_MAX: usize = 50_000;

/// The most items deleted in one run of the job.
pub const DELETED_MAX: usize = 5_000;

/// One of [`PARTS`] parts of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// 0 to `of` - 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// What was found in a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Items looked at.
    pub looked_at: u64,
    /// Items deleted.
    pub deleted: u64,
    /// Whether the bounds were met before the part's end.
    pub more: bool,
}

/// Where expired items are found and deleted.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Deletes the items of `part` whose time to live ended before `before`: a delete each, IF it still has ended (a record under the
    /// same key may be a new one by now). At most [`LOOKED_AT_MAX`] are looked at and [`DELETED_MAX`] deleted.
    async fn purge(&self, part: Part, before: Timestamp) -> Result<Purged, JournalError>;
}

/// The part that is due at `scheduled_for`.
pub fn part_at(scheduled_for: Timestamp) -> Part {
    let hour = scheduled_for.as_seconds().div_euclid(3600);
    Part { index: hour.rem_euclid(i64::from(PARTS)) as u32, of: PARTS }
}

/// Deletes what has been over for longer than [`GRACE`] in the part that is due.
///
/// # Errors
/// When the store does not do as asked; what was deleted until then stays deleted.
pub async fn enforce(
    retention: &dyn Retention,
    scheduled_for: Timestamp,
    now: Timestamp,
) -> Result<Purged, JournalError> {
    let purged = retention.purge(part_at(scheduled_for), now - GRACE).await?;
    if purged.deleted > 0 {
        tracing::warn!(deleted = purged.deleted, "expired items were still there: is time to live switched on?");
    }
    Ok(purged)
}
