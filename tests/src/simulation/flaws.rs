//! Ports that break one guarantee: what the simulation must notice.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use step::refund_desk::ledger::{Ledger, Order, Refund};
use windlass::{
    agent::{
        history::History,
        policy::{Policy, PolicyQuestion, Reminder, Ruling},
        tool::{CallContext, Effect, Tool, ToolError, ToolSpec},
    },
    clock::{Clock, Timestamp},
    ids::{Role, RunId, Tenant},
    journal::{
        Appended, Due, DueQueue, EntryPage, Expected, Head, Heads, Interjected, Journal, JournalError, Lease, Listing,
        NewRun, Opened, Position, Postponed, Recorded, Waiting,
    },
    lease::{Claim, Leases, Leave, Left},
    memory::Runs,
    run::{
        entry::{Entry, Event, Seq},
        snapshot::Snapshot,
        state::RunState,
        stored::Stored,
    },
    windows::Window,
};

/// A guarantee that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// An entry replaces the one that has its place.
    AppendReplaces,
    /// Who lost the race for a place is told that the entry is in.
    LostRaceIsWritten,
    /// An intent is acknowledged and not kept.
    IntentNotFlushed,
    /// An approval or a cancellation is put into the journal only; the head is not told.
    InterjectWithoutHead,
    /// An approval or a cancellation is written without looking at what was written since.
    ApprovalNotAskedAgain,
    /// Leaving does not ask whether somebody interjected.
    LeaveWithoutInterjections,
    /// Parking drops the due time.
    DueDroppedAtPark,
    /// The sweep moves runs out of sight instead of a minute on.
    SweepDropsDue,
    /// A client is told of a run that was not written.
    AnswerBeforeWrite,
    /// A run that is recorded under a key is taken for one that was opened.
    RecordedIsOpen,
    /// Opening a run replaces what it was opened with.
    OpenReplaces,
    /// An `Irreversible` tool says that it is `Idempotent`.
    IrreversibleRepeated,
    /// Each attempt has a key of its own.
    KeyPerAttempt,
    /// Clocks differ by more than is allowed for.
    ClocksFarApart,
    /// The provider forgets that a refund was taken back, and makes it again.
    UndoForgotten,
    /// A tool's answered errors are said to mean that nothing happened, and do not.
    AnsweredErrorIsNotDone,
    /// A call is judged as if its run had no other.
    JudgedBeforeSiblings,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 17] = [
        Flaw::AppendReplaces,
        Flaw::LostRaceIsWritten,
        Flaw::IntentNotFlushed,
        Flaw::InterjectWithoutHead,
        Flaw::ApprovalNotAskedAgain,
        Flaw::LeaveWithoutInterjections,
        Flaw::DueDroppedAtPark,
        Flaw::SweepDropsDue,
        Flaw::AnswerBeforeWrite,
        Flaw::RecordedIsOpen,
        Flaw::OpenReplaces,
        Flaw::IrreversibleRepeated,
        Flaw::KeyPerAttempt,
        Flaw::ClocksFarApart,
        Flaw::UndoForgotten,
        Flaw::AnsweredErrorIsNotDone,
        Flaw::JudgedBeforeSiblings,
    ];

    /// A seed shortly before one that shows it; where the search begins, so that it is short.
    pub const fn shows_from(self) -> u64 {
        match self {
            Flaw::AppendReplaces | Flaw::LostRaceIsWritten => 170,
            Flaw::ApprovalNotAskedAgain => 80,
            Flaw::LeaveWithoutInterjections => 695,
            Flaw::SweepDropsDue => 120,
            Flaw::OpenReplaces => 640,
            Flaw::IrreversibleRepeated => 10,
            Flaw::AnsweredErrorIsNotDone => 655,
            _ => 1,
        }
    }
}

/// The runs table, with a flaw or without one.
pub struct Store {
    /// What does the work.
    pub runs: Arc<Runs>,
    /// What is broken.
    pub flaw: Option<Flaw>,
    /// The head of the last request that was recorded, for flaws.
    pub recorded: Mutex<Option<Head>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    async fn interject_unasked(&self, run: RunId, entry: &Entry) -> Result<Interjected, JournalError> {
        let next = self.runs.load(run, 1).await?.len() as Seq + 1;
        self.runs.interject(run, next, entry, Expected::Unfinished).await
    }
}

#[async_trait]
impl Journal for Store {
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        *locked(&self.recorded) = Some(new.head()?);
        self.runs.record(new).await
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        let there = self.runs.opened(run).await?;
        let recorded = locked(&self.recorded).clone().filter(|_| self.has(Flaw::RecordedIsOpen));
        Ok(there.or(recorded.map(|head| Head { run, ..head })))
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        if self.has(Flaw::AnswerBeforeWrite) {
            return Ok(Opened::Written);
        }
        let opened = self.runs.open(head).await?;
        match (&opened, &head.first) {
            (Opened::Taken(_), Some(first)) if self.has(Flaw::OpenReplaces) => {
                self.runs.plant(head.run, 1, first.clone());
                Ok(Opened::Written)
            }
            _ => Ok(opened),
        }
    }

    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        self.runs.page(run, from, limit).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        self.runs.snapshot(run).await
    }

    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        self.runs.save_snapshot(run, snapshot, expires).await
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        let intent = entry.events.iter().any(|event| matches!(event, Event::ToolAttempted { .. }));
        if self.has(Flaw::IntentNotFlushed) && intent {
            return Ok(Appended::Written);
        }
        let appended = self.runs.append(run, seq, entry, expires).await?;
        if appended == Appended::Taken && self.has(Flaw::AppendReplaces) {
            self.runs.plant(run, seq, Stored::encode(entry)?);
            return Ok(Appended::Written);
        }
        Ok(if self.has(Flaw::LostRaceIsWritten) { Appended::Written } else { appended })
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        match self.flaw {
            Some(Flaw::InterjectWithoutHead) => {
                let far = Timestamp::from_millis(i64::MAX / 2);
                let appended = self.runs.append(run, seq, entry, far).await?;
                Ok(if appended == Appended::Written { Interjected::Written } else { Interjected::Taken })
            }
            Some(Flaw::ApprovalNotAskedAgain) if expected == Expected::Unfinished => {
                self.interject_unasked(run, entry).await
            }
            _ => self.runs.interject(run, seq, entry, expected).await,
        }
    }
}

#[async_trait]
impl Leases for Store {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        self.runs.claim(run, holder, now, until).await
    }

    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError> {
        self.runs.renew(run, lease, until).await
    }

    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError> {
        let mut leave = leave.clone();
        if self.has(Flaw::DueDroppedAtPark) && leave.ready_from.is_some() {
            leave.due = None;
        }
        if self.has(Flaw::LeaveWithoutInterjections) {
            let head = self.runs.head(run).await?;
            leave.interjections = head.map_or(leave.interjections, |head| head.interjections);
        }
        self.runs.leave(run, lease, &leave).await
    }
}

#[async_trait]
impl Heads for Store {
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.runs.head(run).await
    }

    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError> {
        self.runs.due(queue, shard, now, after, limit).await
    }

    async fn postpone_due(
        &self,
        run: RunId,
        seen: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Postponed>, JournalError> {
        let far = Duration::from_secs(365 * 24 * 3600);
        let to = if self.has(Flaw::SweepDropsDue) { to + far } else { to };
        self.runs.postpone_due(run, seen, to).await
    }

    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError> {
        self.runs.list(listing, limit).await
    }

    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError> {
        self.runs.waiting(tenant, after, limit).await
    }
}

/// The desk's records, with a flaw or without one.
pub struct Books {
    /// What does the work.
    pub ledger: Arc<dyn Ledger>,
    /// What is broken.
    pub flaw: Option<Flaw>,
    /// Calls so far.
    pub calls: AtomicU64,
}

#[async_trait]
impl Ledger for Books {
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError> {
        self.ledger.order(tenant, order).await
    }

    async fn refund(&self, tenant: &Tenant, order: &str, amount_cents: u64, key: &str) -> Result<Refund, ToolError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.flaw {
            Some(Flaw::KeyPerAttempt) => {
                self.ledger.refund(tenant, order, amount_cents, &format!("{key}-{call}")).await
            }
            _ => self.ledger.refund(tenant, order, amount_cents, key).await,
        }
    }

    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError> {
        match self.flaw {
            Some(Flaw::UndoForgotten) => Ok(()),
            _ => self.ledger.reverse(tenant, order, key).await,
        }
    }

    async fn send_letter(&self, tenant: &Tenant, order: &str, text: &str) -> Result<String, ToolError> {
        self.ledger.send_letter(tenant, order, text).await
    }

    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError> {
        self.ledger.is_armed(drill).await
    }
}

/// A tool under another label than its own: mostly, that repeating it does no harm.
pub struct Mislabelled {
    inner: Arc<dyn Tool>,
    spec: ToolSpec,
}

impl Mislabelled {
    /// `inner`, mislabelled.
    pub fn new(inner: Arc<dyn Tool>) -> Self {
        let spec = ToolSpec { effect: Effect::Idempotent, ..inner.spec().clone() };
        Self { inner, spec }
    }

    /// `inner` under another label.
    pub fn labelled(inner: Arc<dyn Tool>, label: impl FnOnce(ToolSpec) -> ToolSpec) -> Self {
        let spec = label(inner.spec().clone());
        Self { inner, spec }
    }
}

#[async_trait]
impl Tool for Mislabelled {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn check(&self, arguments: &Value) -> Result<(), String> {
        self.inner.check(arguments)
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        self.inner.call(context, arguments).await
    }

    async fn compensate(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        self.inner.compensate(context, arguments).await
    }
}

/// A policy that sees neither the other calls of a run nor what was counted.
pub struct Forgetful {
    /// What judges.
    pub inner: Arc<dyn Policy>,
}

impl Policy for Forgetful {
    fn version(&self) -> &str {
        self.inner.version()
    }

    fn approval_expires_after(&self) -> Duration {
        self.inner.approval_expires_after()
    }

    fn reminder(&self) -> Option<Reminder> {
        self.inner.reminder()
    }

    fn doubt_role(&self) -> Role {
        self.inner.doubt_role()
    }

    fn decide(&self, question: &PolicyQuestion<'_>) -> Ruling {
        let (history, windows) = (History::default(), question.windows.keys().map(|name| (name.clone(), 0)).collect());
        self.inner.decide(&PolicyQuestion { history: &history, windows: &windows, ..*question })
    }

    fn windows(&self) -> &[Window] {
        self.inner.windows()
    }
}

/// A clock that is ahead.
pub struct Ahead {
    /// The true time.
    pub clock: Arc<dyn Clock>,
    /// By how much.
    pub by: Duration,
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.by
    }

    async fn sleep_until(&self, until: Timestamp) {
        self.clock.sleep_until(until - self.by).await;
    }
}
