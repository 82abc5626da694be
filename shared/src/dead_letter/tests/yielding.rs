//! Ports that give way before and after each call, so that whoever polls a future can drop it between any two effects.

use async_trait::async_trait;
use tokio::task::yield_now;

use crate::{
    clock::Timestamp,
    dead_letter::{AuditRecord, ItemStatus, Plan, PlanError, ReplayPlans},
    ids::RunId,
    journal::{Appended, EntryPage, Expected, Head, Interjected, Journal, JournalError, NewRun, Opened, Recorded},
    run::{
        entry::{Entry, Seq},
        snapshot::Snapshot,
        state::RunState,
    },
};

pub(super) struct Yielding<'a, P>(pub(super) &'a P);

async fn between<T>(call: impl Future<Output = T>) -> T {
    yield_now().await;
    let value = call.await;
    yield_now().await;
    value
}

#[async_trait]
impl<P: Journal> Journal for Yielding<'_, P> {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        between(self.0.record(new)).await
    }
    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        between(self.0.opened(run)).await
    }
    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        between(self.0.open(head)).await
    }
    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        between(self.0.page(run, from, limit)).await
    }
    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        between(self.0.snapshot(run)).await
    }
    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        between(self.0.save_snapshot(run, snapshot, expires)).await
    }
    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        between(self.0.append(run, seq, entry, expires)).await
    }
    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        between(self.0.interject(run, seq, entry, expected)).await
    }
}

#[async_trait]
impl<P: ReplayPlans> ReplayPlans for Yielding<'_, P> {
    async fn create(&self, plan: &Plan) -> Result<(), PlanError> {
        between(self.0.create(plan)).await
    }
    async fn plan(&self, id: &str) -> Result<Option<Plan>, PlanError> {
        between(self.0.plan(id)).await
    }
    async fn advance(&self, plan: &str, key: &str, seen: &ItemStatus, to: &ItemStatus) -> Result<bool, PlanError> {
        between(self.0.advance(plan, key, seen, to)).await
    }
    async fn audit(&self, record: &AuditRecord) -> Result<(), PlanError> {
        between(self.0.audit(record)).await
    }
    async fn audit_trail(&self, limit: usize) -> Result<Vec<AuditRecord>, PlanError> {
        between(self.0.audit_trail(limit)).await
    }
}
