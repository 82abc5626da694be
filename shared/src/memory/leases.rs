//! Leases on heads.

use async_trait::async_trait;

use super::{Runs, locked, runs::Row};
use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::{DueQueue, JournalError, Lease},
    lease::{Claim, Leases, Leave, Left},
};

impl Row {
    fn can_be_claimed(&self, now: Timestamp) -> bool {
        self.head.ready_from.is_some_and(|from| from <= now)
            && self.head.lease.as_ref().is_none_or(|lease| lease.is_lapsed(now))
    }

    fn is_held_under(&self, lease: &Lease) -> bool {
        self.head.lease.as_ref().is_some_and(|held| held.is_of(lease))
    }
}

#[async_trait]
impl Leases for Runs {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        let mut tables = locked(&self.tables);
        let Some(row) = tables.live(run, now).filter(|row| row.can_be_claimed(now)) else {
            return Ok(Claim::refused(tables.heads.get(&run).map(|row| row.head.clone()), holder, now));
        };
        row.head.epoch += 1;
        row.head.strikes += 1;
        let lease = Lease { epoch: row.head.epoch, holder: holder.to_owned(), until };
        row.head.lease = Some(lease.clone());
        Ok(Claim::Won(Box::new(row.head.clone()), lease))
    }

    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError> {
        let mut tables = locked(&self.tables);
        let Some(row) = tables.heads.get_mut(&run).filter(|row| row.is_held_under(lease)) else { return Ok(None) };
        row.head.due = Some(until);
        row.due_queue = DueQueue::Repair;
        row.head.lease = Some(Lease { until, ..lease.clone() });
        Ok(row.head.lease.clone())
    }

    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError> {
        let mut tables = locked(&self.tables);
        let unchanged = |row: &&mut Row| row.is_held_under(lease) && row.head.interjections == leave.interjections;
        let Some(row) = tables.heads.get_mut(&run).filter(unchanged) else {
            return Ok(Left::refused(tables.heads.get(&run).map(|row| &row.head), lease));
        };
        row.inbox = leave.status.inbox().map(|inbox| (inbox, leave.now));
        row.head.status = leave.status.clone();
        row.head.ready_from = leave.ready_from;
        row.head.due = leave.due;
        row.due_queue = DueQueue::of(&leave.status);
        row.head.strikes = leave.strikes;
        row.head.lease = None;
        Ok(Left::Done)
    }
}
