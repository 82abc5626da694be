//! Ports that behave as [`Faults`] decide and otherwise do what the port behind them does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use step::refund_desk::ledger::{Ledger, Order, Refund};
use windlass::{
    agent::{
        answers::{AnswerKey, AnswersError, KeptAnswer, KeptAnswers},
        model::{Answer, Model, ModelError, Question, Usage},
        tool::ToolError,
    },
    audit::AuditRecord,
    budgets::{Account, Allowance, Balance, BudgetError, Budgets, Reservation, Reserved, Spend},
    clock::Timestamp,
    controls::{Changed, Controls, ControlsError, Document, Initialised},
    ids::{RunId, Tenant},
    journal::{
        Appended, Due, DueQueue, EntryPage, Expected, Head, Heads, Interjected, Journal, JournalError, Lease, Listing,
        NewRun, Opened, Position, Postponed, Recorded, Waiting,
    },
    lease::{Claim, Leases, Leave, Left},
    queue::{Deliveries, Delivery, Message, QueueError, Share, Sleeper, WakeUps},
    run::{
        entry::{Entry, Seq},
        snapshot::Snapshot,
        state::RunState,
    },
    windows::{Became, CountReservation, CountReserved, Counted, Counter, WindowError, Windows},
};

use super::faults::{Fault, Faults};

/// How late a late message is: after those that were sent when it should have come.
const LATE: Duration = Duration::from_secs(20);

/// A port with faults.
pub struct Faulty<P: ?Sized> {
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// What does the work.
    pub inner: Arc<P>,
}

impl<P: ?Sized> Clone for Faulty<P> {
    fn clone(&self) -> Self {
        Self { faults: Arc::clone(&self.faults), inner: Arc::clone(&self.inner) }
    }
}

fn store() -> JournalError {
    JournalError::Unavailable { message: "injected".to_owned() }
}

fn queue() -> QueueError {
    QueueError::Unavailable { message: "injected".to_owned() }
}

fn answers() -> AnswersError {
    AnswersError { message: "injected".to_owned() }
}

fn tool(fault: Fault) -> impl Fn() -> ToolError {
    move || match fault {
        Fault::Refuse | Fault::Conflict => {
            ToolError::Unavailable { message: "injected".to_owned(), retry_after: Duration::ZERO }
        }
        _ => ToolError::Unknown { message: "injected".to_owned() },
    }
}

#[async_trait]
impl<P: Journal + ?Sized> Journal for Faulty<P> {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        self.faults.around("journal.record", store, self.inner.record(new)).await
    }
    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.faults.around("journal.opened", store, self.inner.opened(run)).await
    }
    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        self.faults.around("journal.open", store, self.inner.open(head)).await
    }
    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        self.faults.around("journal.page", store, self.inner.page(run, from, limit)).await
    }
    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        self.faults.around("journal.snapshot", store, self.inner.snapshot(run)).await
    }
    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        self.faults.around("journal.save_snapshot", store, self.inner.save_snapshot(run, snapshot, expires)).await
    }
    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        self.faults.around("journal.append", store, self.inner.append(run, seq, entry, expires)).await
    }
    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        self.faults.around("journal.interject", store, self.inner.interject(run, seq, entry, expected)).await
    }
}

#[async_trait]
impl<P: Leases + ?Sized> Leases for Faulty<P> {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        let claim = self.faults.around("leases.claim", store, self.inner.claim(run, holder, now, until)).await?;
        if let Claim::Won(head, _) = &claim {
            assert!(!head.expires.has_expired(now), "an expired run was claimed");
        }
        Ok(claim)
    }
    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError> {
        self.faults.around("leases.renew", store, self.inner.renew(run, lease, until)).await
    }
    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError> {
        self.faults.around("leases.leave", store, self.inner.leave(run, lease, leave)).await
    }
}

#[async_trait]
impl<P: Heads + ?Sized> Heads for Faulty<P> {
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.faults.around("heads.head", store, self.inner.head(run)).await
    }
    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError> {
        self.faults.around("heads.due", store, self.inner.due(queue, shard, now, after, limit)).await
    }
    async fn postpone_due(
        &self,
        run: RunId,
        seen: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Postponed>, JournalError> {
        self.faults.around("heads.postpone_due", store, self.inner.postpone_due(run, seen, to)).await
    }
    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError> {
        self.faults.around("heads.list", store, self.inner.list(listing, limit)).await
    }
    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError> {
        self.faults.around("heads.waiting", store, self.inner.waiting(tenant, after, limit)).await
    }
}

#[async_trait]
impl<P: WakeUps + ?Sized> WakeUps for Faulty<P> {
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError> {
        let fault = self.faults.before("wake_ups.send").await;
        let sending = async {
            match fault {
                Fault::Lose => return Ok(()),
                Fault::Twice => self.inner.send(message, share, delay).await?,
                _ => {}
            }
            let late = if fault == Fault::Delay { LATE } else { Duration::ZERO };
            self.inner.send(message, share, delay + late).await
        };
        self.faults.around_with(fault, queue, sending).await
    }
    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        self.faults.around("wake_ups.send_batch", queue, self.inner.send_batch(sleepers)).await
    }
}

#[async_trait]
impl<P: Deliveries + ?Sized> Deliveries for Faulty<P> {
    async fn receive(&self, limit: usize, span: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.faults.around("deliveries.receive", queue, self.inner.receive(limit, span)).await
    }
    async fn hide(&self, receipts: &[(&str, Duration)]) -> Result<(), QueueError> {
        self.faults.around("deliveries.hide", queue, self.inner.hide(receipts)).await
    }
    async fn acknowledge(&self, receipt: &str) -> Result<(), QueueError> {
        self.faults.around("deliveries.acknowledge", queue, self.inner.acknowledge(receipt)).await
    }
}

fn controls() -> ControlsError {
    ControlsError::Unavailable { message: "injected".to_owned() }
}

fn budgets() -> BudgetError {
    BudgetError::Unavailable { message: "injected".to_owned() }
}

#[async_trait]
impl<P: Controls + ?Sized> Controls for Faulty<P> {
    async fn read(&self) -> Result<Arc<Document>, ControlsError> {
        self.faults.around("controls.read", controls, self.inner.read()).await
    }
    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError> {
        self.faults.around("controls.init", controls, self.inner.init(audit)).await
    }
    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        self.faults.around("controls.change", controls, self.inner.change(document, audit)).await
    }
    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError> {
        self.faults.around("controls.history", controls, self.inner.history(limit)).await
    }
    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError> {
        self.faults.around("controls.version", controls, self.inner.version(version)).await
    }
}

#[async_trait]
impl<P: Budgets + ?Sized> Budgets for Faulty<P> {
    async fn reserve(
        &self,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, BudgetError> {
        self.faults.around("budgets.reserve", budgets, self.inner.reserve(reservation, allowance, now)).await
    }
    async fn settle(&self, reservation: &Reservation, used: Spend) -> Result<bool, BudgetError> {
        self.faults.around("budgets.settle", budgets, self.inner.settle(reservation, used)).await
    }
    async fn balance(&self, account: &Account) -> Result<Balance, BudgetError> {
        self.faults.around("budgets.balance", budgets, self.inner.balance(account)).await
    }
}

fn windows() -> WindowError {
    WindowError::Unavailable { message: "injected".to_owned() }
}

#[async_trait]
impl<P: Windows + ?Sized> Windows for Faulty<P> {
    async fn total(&self, counter: &Counter) -> Result<u128, WindowError> {
        self.faults.around("windows.total", windows, self.inner.total(counter)).await
    }
    async fn reserve(
        &self,
        reservation: &CountReservation,
        seen: u128,
        now: Timestamp,
    ) -> Result<CountReserved, WindowError> {
        self.faults.around("windows.reserve", windows, self.inner.reserve(reservation, seen, now)).await
    }
    async fn settle(&self, counted: &Counted, id: &str, became: Became) -> Result<bool, WindowError> {
        self.faults.around("windows.settle", windows, self.inner.settle(counted, id, became)).await
    }
}

#[async_trait]
impl<P: Model + ?Sized> Model for Faulty<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        self.inner.worst_case(question)
    }

    fn can_ask(&self, name: &str) -> bool {
        self.inner.can_ask(name)
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        // A provider that says that it cannot answer has not, and bills nothing.
        let fault = match self.faults.before("model.answer").await {
            Fault::FailAfter => Fault::FailBefore,
            fault => fault,
        };
        let unavailable = || ModelError::Unavailable { message: "injected".to_owned(), retry_after: Duration::ZERO };
        self.faults.around_with(fault, unavailable, self.inner.answer(question)).await
    }
}

#[async_trait]
impl<P: Ledger + ?Sized> Ledger for Faulty<P> {
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError> {
        let fault = self.faults.before("ledger.order").await;
        self.faults.around_with(fault, tool(fault), self.inner.order(tenant, order)).await
    }
    async fn refund(&self, tenant: &Tenant, order: &str, cents: u64, key: &str) -> Result<Refund, ToolError> {
        let fault = self.faults.before("ledger.refund").await;
        self.faults.around_with(fault, tool(fault), self.inner.refund(tenant, order, cents, key)).await
    }
    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError> {
        let fault = self.faults.before("ledger.reverse").await;
        self.faults.around_with(fault, tool(fault), self.inner.reverse(tenant, order, key)).await
    }
    async fn send_letter(&self, tenant: &Tenant, order: &str, text: &str) -> Result<String, ToolError> {
        let fault = self.faults.before("ledger.send_letter").await;
        let says = || match fault {
            // It took effect, and its answer is an error.
            Fault::FailAfter => ToolError::Failed { message: "injected".to_owned() },
            _ => tool(fault)(),
        };
        self.faults.around_with(fault, says, self.inner.send_letter(tenant, order, text)).await
    }
    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError> {
        let fault = self.faults.before("ledger.is_armed").await;
        self.faults.around_with(fault, tool(fault), self.inner.is_armed(drill)).await
    }
}

#[async_trait]
impl<P: KeptAnswers + ?Sized> KeptAnswers for Faulty<P> {
    async fn get(&self, key: &AnswerKey, now: Timestamp) -> Result<Option<KeptAnswer>, AnswersError> {
        let found = self.faults.around("answers.get", answers, self.inner.get(key, now)).await?;
        assert!(found.as_ref().is_none_or(|answer| now < answer.expires_at), "an expired answer was read");
        Ok(found)
    }
    async fn keep(&self, key: &AnswerKey, answer: &KeptAnswer) -> Result<(), AnswersError> {
        self.faults.around("answers.keep", answers, self.inner.keep(key, answer)).await
    }
}

/// For the journals that a harness prints when something is wrong.
pub fn show(entries: &[Entry]) -> String {
    let lines = entries.iter().zip(1..).map(|(entry, seq)| {
        let events: Value = serde_json::to_value(&entry.events).unwrap_or_default();
        format!("{seq:>3} {} {:?} {events}", entry.at, entry.writer)
    });
    lines.collect::<Vec<_>>().join("\n")
}
