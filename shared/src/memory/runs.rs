//! Journals and heads.

use std::{
    collections::{BTreeMap, btree_map::Entry as MapEntry},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{Records, locked, records::Record};
use crate::{
    clock::{Clock, Timestamp},
    door::{KeyMemory, Requests},
    idempotency::{Key, PayloadHash},
    ids::RunId,
    journal::{
        Appended, DueQueue, ENTRIES_MAX, EntryPage, Expected, Head, HeadStatus, Inbox, Interjected, Journal,
        JournalError, NewRun, Opened, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, RESCUE_AFTER, Recorded, check_place,
    },
    run::{
        entry::{Entry, Seq},
        snapshot::Snapshot,
        state::RunState,
        stored::{Stored, Unreadable},
    },
};

/// Journals, heads and leases in memory. It shares the idempotency records that [`Journal::record`] writes with [`Records`].
pub struct Runs {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tables: Mutex<Tables>,
    pub(super) records: Records,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) heads: BTreeMap<RunId, Row>,
    pub(super) entries: BTreeMap<(RunId, Seq), Item>,
    pub(super) snapshots: BTreeMap<RunId, (Snapshot, Timestamp)>,
}

/// A head as it is kept.
pub(super) struct Row {
    pub(super) head: Head,
    pub(super) inbox: Option<(Inbox, Timestamp)>,
    pub(super) due_queue: DueQueue,
}

pub(super) struct Item {
    stored: Stored,
    pub(super) expires: Timestamp,
}

impl Runs {
    /// No runs yet.
    pub fn new(clock: Arc<dyn Clock>, records: &Records) -> Self {
        Self { clock, tables: Mutex::default(), records: records.clone() }
    }

    /// Puts a stored entry where it would be, whatever is there: damaged ones, ones of a later version.
    pub fn plant(&self, run: RunId, seq: Seq, stored: Stored) {
        let mut tables = locked(&self.tables);
        if let Some(first) = tables.heads.get_mut(&run).and_then(|row| row.head.first.as_mut()).filter(|_| seq == 1) {
            *first = stored;
            return;
        }
        let expires = tables.heads.get(&run).map_or(Timestamp::from_millis(i64::MAX), |row| row.head.expires);
        tables.entries.insert((run, seq), Item { stored, expires });
    }

    /// Every head, expired ones too, oldest run first: for what a simulation demands of all runs.
    pub fn all_heads(&self) -> Vec<Head> {
        locked(&self.tables).heads.values().map(|row| row.head.clone()).collect()
    }
}

impl Tables {
    /// A head that has not expired.
    pub(super) fn live(&mut self, run: RunId, now: Timestamp) -> Option<&mut Row> {
        self.heads.get_mut(&run).filter(|row| !row.head.expires.has_expired(now))
    }

    /// The entries of a run from `from` on, in order, that have not expired, each with its place.
    fn live_entries(&self, run: RunId, from: Seq, now: Timestamp) -> impl Iterator<Item = (Seq, &Stored)> {
        let head = self.heads.get(&run).map(|row| &row.head).filter(|head| from == 1 && !head.expires.has_expired(now));
        let first = head.and_then(|head| head.first.as_ref());
        let items = self.entries.range((run, if first.is_some() { 2 } else { from })..=(run, Seq::MAX));
        let live = items.filter(move |(_, item)| !item.expires.has_expired(now));
        first.map(|first| (1, first)).into_iter().chain(live.map(|((_, seq), item)| (*seq, &item.stored)))
    }

    /// Puts an entry unless its place is taken.
    fn put(&mut self, run: RunId, seq: Seq, stored: Stored, expires: Timestamp) -> Appended {
        match self.entries.get(&(run, seq)) {
            Some(there) if there.stored == stored => Appended::Written,
            Some(_) => Appended::Taken,
            None => {
                self.entries.insert((run, seq), Item { stored, expires: expires.whole_second() });
                Appended::Written
            }
        }
    }
}

#[async_trait]
impl Requests for Runs {
    async fn memory(&self, key: &Key) -> Result<KeyMemory, JournalError> {
        Ok(match self.records.lock().get(key.as_str()) {
            None => KeyMemory::Blank,
            Some(record) if record.has_expired(self.clock.now()) => KeyMemory::Expired,
            Some(_) => KeyMemory::Remembered,
        })
    }

    async fn recorded(&self, key: &Key, hash: &PayloadHash) -> Result<Option<Recorded>, JournalError> {
        let records = self.records.lock();
        let live = records.get(key.as_str()).filter(|record| !record.is_free(self.clock.now()));
        live.map(|record| record.recorded(key, hash)).transpose()
    }
}

#[async_trait]
impl Journal for Runs {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        let mut records = self.records.lock();
        if let Some(record) = records.get(new.key.as_str()).filter(|record| !record.is_free(new.entry.at)) {
            return record.recorded(&new.key, &new.payload_hash).map(Some);
        }
        records.insert(new.key.as_str().to_owned(), Record::accepted(new));
        Ok(None)
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        Ok(locked(&self.tables).heads.get(&run).map(|row| row.head.clone()))
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        match locked(&self.tables).heads.entry(head.run) {
            MapEntry::Occupied(there) => Ok(Opened::Taken(Box::new(there.get().head.clone()))),
            MapEntry::Vacant(free) => {
                free.insert(Row { head: head.clone(), inbox: None, due_queue: DueQueue::Repair });
                Ok(Opened::Written)
            }
        }
    }

    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        let tables = locked(&self.tables);
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let (mut page, mut bytes) = (EntryPage { entries: Vec::new(), more: false }, 0);
        for ((seq, stored), wanted) in tables.live_entries(run, from, self.clock.now()).zip(from..) {
            bytes += stored.body.len();
            if page.entries.len() == limit || (bytes > PAGE_BYTES_MAX && !page.entries.is_empty()) {
                page.more = true;
                break;
            }
            let entry = match seq == wanted {
                _ if wanted as usize > ENTRIES_MAX => Err(Unreadable::TooLong),
                true => stored.decode(),
                false => Err(Unreadable::missing()),
            };
            page.entries.push(entry.map_err(|source| JournalError::Unreadable { run, seq: wanted, source })?);
        }
        Ok(page)
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        let tables = locked(&self.tables);
        let live = tables.snapshots.get(&run).filter(|(_, expires)| !expires.has_expired(self.clock.now()));
        Ok(live.and_then(|(snapshot, _)| snapshot.decode()))
    }

    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        locked(&self.tables).snapshots.insert(run, (snapshot.clone(), expires.whole_second()));
        Ok(())
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        check_place(run, seq)?;
        let stored = Stored::encode(entry)?;
        Ok(locked(&self.tables).put(run, seq, stored, expires))
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        check_place(run, seq)?;
        let stored = Stored::encode(entry)?;
        let mut tables = locked(&self.tables);
        let Some(Row { head, .. }) = tables.live(run, self.clock.now()) else {
            return Err(JournalError::Missing { run });
        };
        let (as_expected, expires) = (expected.is_met_by(head), head.expires);
        match tables.entries.get(&(run, seq)) {
            Some(there) if there.stored == stored => return Ok(Interjected::Written),
            _ if !as_expected => return Ok(Interjected::Unexpected),
            Some(_) => return Ok(Interjected::Taken),
            None => tables.put(run, seq, stored, expires),
        };
        if let Some(row) = tables.heads.get_mut(&run) {
            row.inbox = None;
            row.head.status = HeadStatus::Ready;
            row.head.ready_from = Some(entry.at);
            row.head.due = Some(entry.at + RESCUE_AFTER);
            row.due_queue = DueQueue::Repair;
            row.head.strikes = 0;
            row.head.interjections += 1;
        }
        Ok(Interjected::Written)
    }
}
