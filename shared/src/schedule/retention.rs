//! Deletes what has outlived its retention and DynamoDB's time to live has not deleted.
//!
//! Expired items are never read, so this is about keeping a promise and not about being right: DynamoDB deletes "within a few
//! days" (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html>) and not at all when somebody
//! has switched it off.
//!
//! The tables are divided into [`PARTS`] segments, one of which is due each hour. A run of the job scans the due segment of every table. A
//! run that meets a bound before the end records its cursor, and the next run goes on there, so that every table and every segment gets
//! its turn however large they are. What is left is told as [`Enforced::behind`].

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, Timestamp},
    journal::JournalError,
};

/// How long after its end an item is left to DynamoDB's own deletion, which costs nothing.
pub const GRACE: Duration = Duration::from_secs(2 * 24 * 3600);

/// Into how many parts the tables are divided; the job is at another one each hour.
pub const PARTS: u32 = 24;

/// The most items looked at in one run of the job, to a page: 6 million a day, of which a scan reads 4 KB for half a read unit
/// (<https://aws.amazon.com/dynamodb/pricing/on-demand/>): at 1 KB an item about 0.10 US dollars a day.
pub const LOOKED_AT_MAX: u64 = 250_000;

/// The most items deleted in one run of the job, to a page: a write unit for each KB.
pub const DELETED_MAX: u64 = 5_000;

/// How long a run of the job goes on: well within its lock ([`LOCK_FOR`](super::run_job::LOCK_FOR)), since a page takes a second or two when
/// all of it is deleted.
pub const PURGE_FOR: Duration = Duration::from_secs(20);

/// How much time a part has until the next one is due.
const PART_EVERY: Duration = Duration::from_secs(3600);

/// The most characters of a cursor: two keys of a table, the longest of which have 2 KB and 1 KB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
const CURSOR_CHARS_MAX: usize = 8 * 1024;

/// A place in the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which of the [`PARTS`], from 0.
    pub part: u32,
    /// Which of the tables, from 0.
    pub table: u32,
    /// Behind which item of it, as the store writes its key; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Place {
    /// The beginning of a part.
    pub const fn beginning(part: u32) -> Place {
        Place { part: part % PARTS, table: 0, after: None }
    }

    /// Reads a cursor; `None` when it is none of this release's.
    pub fn parse(cursor: &str) -> Option<Place> {
        let place = (cursor.len() <= CURSOR_CHARS_MAX).then(|| serde_json::from_str::<Place>(cursor).ok())??;
        (place.part < PARTS).then_some(place)
    }

    /// The cursor of this place.
    pub fn cursor(&self) -> String {
        // Two numbers and a text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What was found in a page of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Items looked at.
    pub looked_at: u64,
    /// Items deleted.
    pub deleted: u64,
    /// Where the part goes on; `None` at the end of its last table.
    pub next: Option<Place>,
}

/// Where expired items are found and deleted.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Looks through a page of a table and deletes the items whose time to live ended before `before`: a delete each, IF it still has
    /// ended (a record under the same key may be a new one by now). A place in a table that is not there is the end of its part.
    async fn purge(&self, place: &Place, before: Timestamp) -> Result<Purged, JournalError>;
}

/// What a run of the job did.
#[derive(Debug, Default)]
pub struct Enforced {
    /// Items deleted.
    pub deleted: u64,
    /// Where the next run goes on; `None` when the part that is due has been looked through.
    pub next: Option<Place>,
    /// For how long the part at [`Enforced::next`] has been due.
    pub behind: Option<Duration>,
    /// What ended it before its bounds, if anything. What was deleted until then stays deleted.
    pub error: Option<JournalError>,
}

/// The part that is due at `scheduled_for`.
pub fn part_at(scheduled_for: Timestamp) -> u32 {
    let hour = scheduled_for.as_seconds().div_euclid(PART_EVERY.as_secs() as i64);
    hour.rem_euclid(i64::from(PARTS)) as u32
}

/// Deletes what has been over for longer than [`GRACE`], from where the last run stopped up to the end of the part that is due.
pub async fn enforce(
    retention: &dyn Retention,
    clock: &dyn Clock,
    scheduled_for: Timestamp,
    stopped_at: Option<Place>,
) -> Enforced {
    let (started, due) = (clock.now(), part_at(scheduled_for));
    let mut place = stopped_at.unwrap_or(Place::beginning(due));
    let (mut looked_at, mut enforced) = (0, Enforced::default());
    loop {
        let spent = looked_at >= LOOKED_AT_MAX || enforced.deleted >= DELETED_MAX || clock.now() >= started + PURGE_FOR;
        if spent || enforced.error.is_some() {
            let parts = (due + PARTS - place.part) % PARTS;
            enforced.behind = Some(PART_EVERY * parts);
            enforced.next = Some(place);
            break;
        }
        match retention.purge(&place, clock.now() - GRACE).await {
            Ok(purged) => {
                looked_at += purged.looked_at;
                enforced.deleted += purged.deleted;
                match purged.next {
                    Some(next) => place = next,
                    None if place.part == due => break,
                    None => place = Place::beginning(place.part + 1),
                }
            }
            Err(error) => enforced.error = Some(error),
        }
    }
    if enforced.deleted > 0 {
        tracing::warn!(deleted = enforced.deleted, "expired items were still there: is time to live switched on?");
    }
    enforced
}

#[cfg(test)]
mod tests;
