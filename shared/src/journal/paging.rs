//! Journals, a page at a time.

use super::{Journal, JournalError};
use crate::{
    ids::RunId,
    run::entry::{Entry, Seq},
};

/// The most entries of one page.
pub const PAGE_ENTRIES_MAX: usize = 256;

/// The most bytes of one page's entries as they are stored, unless the first alone has more. A page of a query has as many
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>).
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Entries of a journal that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryPage {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Whether there may be more after them.
    pub more: bool,
}

/// What [`Journal::load`] does.
pub(super) async fn load<J: Journal + ?Sized>(journal: &J, run: RunId, from: Seq) -> Result<Vec<Entry>, JournalError> {
    let mut all = Vec::new();
    loop {
        let next = from.saturating_add(all.len() as Seq);
        let EntryPage { entries, more } = journal.page(run, next, PAGE_ENTRIES_MAX).await?;
        let last = entries.is_empty() || !more;
        all.extend(entries);
        if last {
            return Ok(all);
        }
    }
}
