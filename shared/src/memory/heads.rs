//! Finding runs.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::{Runs, locked, runs::Row};
use crate::{
    clock::Timestamp,
    ids::{RunId, Tenant},
    journal::{
        Due, DueQueue, Found, Head, Heads, Inbox, JournalError, Listing, Position, Postponed, Reach, Search, Searched,
        Waiting, Whose, due_shard,
    },
};

#[async_trait]
impl Heads for Runs {
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        Ok(locked(&self.tables).live(run, self.clock.now()).map(|row| row.head.clone()))
    }

    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError> {
        let tables = locked(&self.tables);
        let live = tables.heads.values().filter(|row| !row.head.expires.has_expired(now));
        let mut due: Vec<Due> = live
            .filter(|row| due_shard(row.head.run) == shard && row.due_queue == queue)
            .filter_map(|row| Some(Due { run: row.head.run, due: row.head.due.filter(|due| *due <= now)? }))
            .collect();
        let key = |due: &Due| (due.due, due.run);
        due.retain(|due| after.is_none_or(|after| key(&after) < key(due)));
        due.sort_by_key(key);
        due.truncate(limit);
        Ok(due)
    }

    async fn postpone_due(
        &self,
        run: RunId,
        seen: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Postponed>, JournalError> {
        let mut tables = locked(&self.tables);
        let Some(row) = tables.heads.get_mut(&run).filter(|row| row.head.due == Some(seen)) else { return Ok(None) };
        row.head.due = Some(to);
        row.due_queue = DueQueue::Repair;
        Ok(Some(Postponed { tenant: row.head.tenant.clone(), strikes: row.head.strikes }))
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError> {
        let now = self.clock.now();
        let tables = locked(&self.tables);
        let mut rows: Vec<&Row> = tables.heads.values().filter(|row| !row.head.expires.has_expired(now)).collect();
        rows.retain(|row| match (listing, &row.inbox) {
            (Listing::Of { tenant, actor }, _) => row.head.tenant == *tenant && row.head.actor == *actor,
            (Listing::AwaitingApproval { tenant }, Some((Inbox::Approval, _))) => row.head.tenant == *tenant,
            (Listing::Troubled, Some((Inbox::Trouble, _))) => true,
            (Listing::Held { shard }, Some((Inbox::Held, _))) => due_shard(row.head.run) == *shard,
            _ => false,
        });
        let since = |row: &&Row| row.inbox.as_ref().map(|(_, since)| *since);
        match listing {
            Listing::Of { .. } => rows.sort_by_key(|row| Reverse(row.head.created)),
            Listing::AwaitingApproval { .. } | Listing::Held { .. } => rows.sort_by_key(since),
            Listing::Troubled => rows.sort_by_key(|row| Reverse(since(row))),
        }
        Ok(rows.into_iter().take(limit).map(|row| row.head.clone()).collect())
    }

    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError> {
        let now = self.clock.now();
        let tables = locked(&self.tables);
        let mut rows: Vec<(Position, &Head)> = tables
            .heads
            .values()
            .filter(|row| row.head.tenant == *tenant && !row.head.expires.has_expired(now))
            .filter_map(|row| match row.inbox {
                Some((Inbox::Approval, since)) => Some((Position { since, run: row.head.run }, &row.head)),
                _ => None,
            })
            .filter(|(position, _)| after.is_none_or(|after| *position > after))
            .collect();
        rows.sort_by_key(|(position, _)| *position);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(position, _)| *position);
        Ok(Waiting { heads: rows.into_iter().map(|(_, head)| head.clone()).collect(), next })
    }
}

#[async_trait]
impl Searched for Runs {
    async fn search(&self, search: &Search, limit: usize) -> Result<Found, JournalError> {
        let now = self.clock.now();
        let tables = locked(&self.tables);
        let live = tables.heads.values().map(|row| &row.head).filter(|head| !head.expires.has_expired(now));
        let mut heads: Vec<&Head> = live
            .filter(|head| match &search.whose {
                Whose::Everybody => true,
                Whose::Tenant(tenant) => head.tenant == *tenant,
                Whose::Actor { tenant, actor } => head.tenant == *tenant && head.actor == *actor,
            })
            .filter(|head| search.may_find(head.run) && search.finds(head))
            .collect();
        heads.sort_by_key(|head| Reverse(head.run));
        let more = heads.len() > limit;
        heads.truncate(limit);
        let next = heads.last().filter(|_| more).map(|head| head.run);
        Ok(Found { heads: heads.into_iter().cloned().collect(), next, reach: Reach::All })
    }
}
