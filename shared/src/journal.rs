//! The journal of a run, its head, and the ports to both.
//!
//! The journal is the truth. The head is what is needed to find a run and to claim it; everything it says
//! can be corrected from the journal, but for the first entry, which it may carry.

use std::{fmt, str::FromStr};

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    controls::admit::Admitted,
    ids::{Actor, Release, RunId, Tenant},
    retry::Retry,
    run::{
        entry::{Entry, Epoch, Seq},
        snapshot::Snapshot,
        state::{IllegalEntry, RunState},
        stored::{EntryTooLarge, Stored, Unreadable},
    },
};

mod accepting;
mod paging;
mod search;

pub use accepting::{Acceptance, HEAD_BYTES_MAX, NewRun, Opened, Recorded};
pub use paging::{EntryPage, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
pub use search::{Found, HEADS_MAX, KEYS_MAX, Reach, Search, Searched, Whose};

/// The most entries of a journal. No more are ever appended, and a journal that has more is unreadable. A run ends well before: see
/// [`RunState::journal_limit`](crate::run::state::RunState::journal_limit).
pub const ENTRIES_MAX: usize = 10_000;

/// How long after a run became ready somebody looks whether it got going. The message sent with it should have arrived long before;
/// a crash before the message is repaired after this. A little longer than a lease with the skew allowed for, so that the lease of
/// whoever claimed the run in its first seconds and died is over by then.
pub const RESCUE_AFTER: std::time::Duration = std::time::Duration::from_secs(35);

/// A run's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The run.
    pub run: RunId,
    /// Whose data it is.
    pub tenant: Tenant,
    /// Who asked.
    pub actor: Actor,
    /// What was asked, for listings.
    pub task: String,
    /// The release that accepted it.
    pub release: Release,
    /// When it was accepted.
    pub created: Timestamp,
    /// Where it stood when somebody last left it.
    pub status: HeadStatus,
    /// When somebody must look at it again. Unfinished runs always have one.
    pub due: Option<Timestamp>,
    /// From when on it can be claimed; none when it is over.
    pub ready_from: Option<Timestamp>,
    /// How often it has been claimed.
    pub epoch: Epoch,
    /// Claims since it was last left in order.
    pub strikes: u32,
    /// How often somebody outside the loop appended to the journal.
    pub interjections: u64,
    /// Who holds it, if anybody does.
    pub lease: Option<Lease>,
    /// When it may be deleted.
    pub expires: Timestamp,
    /// The journal's first entry, where it is kept with the head: see [`HEAD_BYTES_MAX`]. An entry of its own in the first place then
    /// counts for nothing.
    pub first: Option<Stored>,
    /// By which controls the run was let in, if its taker asked them.
    pub admitted: Option<Admitted>,
}

impl Head {
    /// The first entry of a run that was just claimed, where it is known to be the only one: nobody held the run before, and nobody
    /// outside appended. Then the journal need not be loaded. One that cannot be read is left to whoever loads the journal.
    pub(crate) fn only_entry(&self) -> Option<Entry> {
        self.first.as_ref().filter(|_| self.is_fresh())?.decode().ok()
    }

    /// Whether whoever has claimed the run is the first who works on it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.epoch == 1 && self.interjections == 0
    }
}

/// Where a run stood when somebody last left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStatus {
    /// Work can be done.
    Ready,
    /// It waits for a timer.
    Waiting,
    /// It waits for a person.
    AwaitingApproval,
    /// The controls hold it: a switch is off, or they cannot be read.
    Held {
        /// Which, in words.
        reason: String,
    },
    /// Its journal cannot be read by the release that tried.
    Unreadable {
        /// Why.
        problem: String,
    },
    /// It is over; the word is [`StopReason::word`](crate::run::entry::StopReason::word).
    Finished {
        /// How it ended.
        outcome: String,
    },
    /// It died and can be replayed.
    Dead {
        /// Equal for equal causes.
        fingerprint: String,
        /// What was seen last.
        cause: String,
    },
}

impl HeadStatus {
    /// The word under which runs are listed.
    pub fn word(&self) -> &str {
        match self {
            HeadStatus::Ready => "ready",
            HeadStatus::Waiting => "waiting",
            HeadStatus::AwaitingApproval => "awaiting_approval",
            HeadStatus::Held { .. } => "held",
            HeadStatus::Unreadable { .. } => "unreadable",
            HeadStatus::Finished { outcome } => outcome,
            HeadStatus::Dead { .. } => "dead",
        }
    }

    /// Where the run is listed when somebody leaves it so.
    pub(crate) const fn inbox(&self) -> Option<Inbox> {
        match self {
            HeadStatus::AwaitingApproval => Some(Inbox::Approval),
            HeadStatus::Held { .. } => Some(Inbox::Held),
            HeadStatus::Unreadable { .. } | HeadStatus::Dead { .. } => Some(Inbox::Trouble),
            HeadStatus::Ready | HeadStatus::Waiting | HeadStatus::Finished { .. } => None,
        }
    }

    /// Whether nobody has to look at the run again.
    pub const fn is_over(&self) -> bool {
        matches!(self, HeadStatus::Finished { .. } | HeadStatus::Dead { .. })
    }
}

/// Which listing of runs that need a person a run is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inbox {
    /// Its tenant's approvals.
    Approval,
    /// What operators have to look at.
    Trouble,
    /// What the controls hold, in as many parts as the due index: one switch may hold thousands within seconds.
    Held,
}

/// The right to advance a run for a short time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The claim's number.
    pub epoch: Epoch,
    /// A mark of the holder, new with each claim.
    pub holder: String,
    /// Until when it holds.
    pub until: Timestamp,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The entry is in the journal (also when an earlier try of this write, whose answer was lost, put it there).
    Written,
    /// Another entry has the place.
    Taken,
}

/// What an interjection expects of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The run is not over.
    Unfinished,
    /// The run is dead.
    Dead,
}

impl Expected {
    /// Whether `head` is as expected.
    pub(crate) const fn is_met_by(self, head: &Head) -> bool {
        match self {
            Expected::Unfinished => head.ready_from.is_some(),
            Expected::Dead => matches!(head.status, HeadStatus::Dead { .. }),
        }
    }
}

/// What came of an interjection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interjected {
    /// The entry is in the journal and the run is ready.
    Written,
    /// Another entry has the place: load again.
    Taken,
    /// The head is not as expected.
    Unexpected,
}

/// Why a store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store could not be reached, throttles, or did not answer in time. What was asked may or may not have happened.
    #[error("the store is unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// The store refuses what was asked.
    #[error("the store refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// There is no such run.
    #[error("there is no run `{run}`")]
    Missing {
        /// The run.
        run: RunId,
    },
    /// The journal has as many entries as a journal may have.
    #[error("the journal of run `{run}` is full")]
    Full {
        /// The run.
        run: RunId,
    },
    /// The entry does not fit.
    #[error(transparent)]
    TooLarge(#[from] EntryTooLarge),
    /// An entry cannot be read.
    #[error("run `{run}`, entry {seq}: {source}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// The entry.
        seq: Seq,
        /// Why.
        source: Unreadable,
    },
    /// An entry does not follow from the ones before it.
    #[error("run `{run}`: {source}")]
    Illegal {
        /// The run.
        run: RunId,
        /// Why.
        source: IllegalEntry,
    },
    /// A head cannot be read.
    #[error("the head of run `{run}`: {problem}")]
    DamagedHead {
        /// The run's key, as found.
        run: String,
        /// What is wrong.
        problem: String,
    },
}

/// Whether there is an entry `seq`.
///
/// # Errors
/// [`JournalError::Full`] beyond [`ENTRIES_MAX`].
pub(crate) const fn check_place(run: RunId, seq: Seq) -> Result<(), JournalError> {
    if seq as usize > ENTRIES_MAX { Err(JournalError::Full { run }) } else { Ok(()) }
}

impl JournalError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            JournalError::Unavailable { .. } => Retry::SOON,
            JournalError::Refused { .. }
            | JournalError::Missing { .. }
            | JournalError::Full { .. }
            | JournalError::TooLarge(_)
            | JournalError::Unreadable { .. }
            | JournalError::Illegal { .. }
            | JournalError::DamagedHead { .. } => Retry::Terminal,
        }
    }
}

/// Where journals are kept.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Takes on a run: records it under its key, then opens it. It is there, and somebody may be told of it, once it is open.
    ///
    /// ```text
    /// client ── POST key=k ──► A: record k = run A IF free ── written ── open A IF absent ── written ──► run A
    ///        ── POST key=k ──► B: record k = run B IF free ── refused: A ── A is open ──────────────────► run A again
    ///
    /// A: record k = run A IF free ── written ── †, or frozen
    /// B: record k = run B IF free ── refused: A ── A is not open ── open A IF absent ── written ──► run A, with B's entry
    /// C: …the same at the same time                                └ open A IF absent ── taken: B's ──► run A again
    /// A: …thaws                                                    └ open A IF absent ── taken: B's ──► run A again
    /// ```
    ///
    /// Whoever repeats a request whose taker died opens the run with an entry of their own: the payload is the same, and nobody was told
    /// of another. Nobody opens a run a second time: a head outlives the record that names it.
    ///
    /// # Errors
    /// The store's. The run may have been recorded, and perhaps opened: a repetition under the key tells.
    async fn accept(&self, new: &NewRun) -> Result<Acceptance, JournalError> {
        accepting::accept(self, new).await
    }

    /// Records a request under its key, completed with the run's id, if the key is free: without a record, with one that has expired, or
    /// with one whose owner ran out of time. `None` when it did, else what is recorded.
    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError>;

    /// A run's head, read consistently, whether or not it has expired; `None` as long as nobody has opened the run.
    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError>;

    /// Opens a run: puts its head, if there is none. The head is ready now and due after [`RESCUE_AFTER`]. A first entry that it
    /// does not carry must have been appended.
    async fn open(&self, head: &Head) -> Result<Opened, JournalError>;

    /// Entries from `from` on, in order, read consistently: at most `limit` and [`PAGE_ENTRIES_MAX`], and about [`PAGE_BYTES_MAX`]; at
    /// least one if there is one. None when there are none, or when they have expired. A gap is [`Unreadable`], and so is an entry beyond
    /// [`ENTRIES_MAX`]: nothing is left out in silence. The first is the head's, if that carries one.
    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError>;

    /// Every entry from `from` on, page by page. For who needs a journal whole; who needs its state asks
    /// [`recall`](crate::run::snapshot::recall).
    ///
    /// # Errors
    /// As [`Journal::page`].
    async fn load(&self, run: RunId, from: Seq) -> Result<Vec<Entry>, JournalError> {
        paging::load(self, run, from).await
    }

    /// The state of the run's last snapshot, perhaps an older one; `None` when there is none, it cannot be read, or other code made it.
    /// See [`snapshot`](crate::run::snapshot).
    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError>;

    /// Saves a snapshot in the place of whatever is there, newer ones too: it changes no state, see
    /// [`snapshot`](crate::run::snapshot).
    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError>;

    /// Appends an entry at `seq`, if nobody else has. `expires` is the head's.
    ///
    /// ```text
    /// A: put entry 7 IF absent ── written
    /// B: put entry 7 IF absent ── taken ──► reload
    /// A: put entry 7 IF absent (a repeat, the first answer was lost) ── there, and equal ──► written
    /// ```
    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError>;

    /// Appends an entry from outside the loop and makes the run ready now (due after [`RESCUE_AFTER`], no strikes,
    /// one more interjection, out of the inbox), both or neither. The entry expires with the head; without a head it is
    /// [`JournalError::Missing`]. A lease stays as it is.
    ///
    /// ```text
    /// holder:   … append 6 ──────────── leave IF epoch mine AND interjections as claimed ── refused ──► reload, go on
    /// canceller:        └─ transact{entry 7 absent, head unfinished, interjections + 1} ── written
    /// ```
    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError>;
}

/// A run to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The run.
    pub run: RunId,
    /// When it was due.
    pub due: Timestamp,
}

/// A run whose due time was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// Whose data it is.
    pub tenant: Tenant,
    /// Claims since it was last left in order.
    pub strikes: u32,
}

/// Which queue of the due index a run is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueQueue {
    /// A worker has it or will have it soon: it is accepted, handed over, interjected into, renewed or woken. When it is due, a worker died
    /// or a message was lost.
    Repair,
    /// It waits until then: for a time, a person or a switch.
    Timer,
}

impl DueQueue {
    /// In the order in which they are swept.
    pub const ALL: [DueQueue; 2] = [DueQueue::Repair, DueQueue::Timer];

    /// The queue of a run that its holder leaves as `status`.
    pub(crate) const fn of(status: &HeadStatus) -> DueQueue {
        match status {
            HeadStatus::Ready => DueQueue::Repair,
            _ => DueQueue::Timer,
        }
    }
}

/// Into how many parts each queue of the due index is split, so that no one partition takes every write
/// (1,000 write units a second each, <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>).
pub const DUE_SHARDS: u8 = 4;

/// The part of the due index that a run is in.
pub fn due_shard(run: RunId) -> u8 {
    (run.spread() % u64::from(DUE_SHARDS)) as u8
}

/// Which runs to list. Every listing is newest first, except waiting ones (longest waiting first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// What one actor of a tenant asked.
    Of {
        /// The tenant.
        tenant: Tenant,
        /// The actor.
        actor: Actor,
    },
    /// A tenant's runs that wait for a person.
    AwaitingApproval {
        /// The tenant.
        tenant: Tenant,
    },
    /// Dead and unreadable runs, of all tenants.
    Troubled,
    /// Runs that the controls hold, of all tenants, one part of the index; the longest held first.
    Held {
        /// The part, below [`DUE_SHARDS`].
        shard: u8,
    },
}

/// A page of waiting runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The runs, the longest waiting first.
    pub heads: Vec<Head>,
    /// Where the next page starts, if there may be one.
    pub next: Option<Position>,
}

/// A place among a tenant's waiting runs: behind this run, which waits since then. It names no tenant: that of whoever asks counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Since when, in milliseconds.
    pub since: Timestamp,
    /// The run.
    pub run: RunId,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.since.as_millis(), self.run)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (since, run) = text.split_once('-')?;
            let position = Position { since: Timestamp::from_millis(since.parse().ok()?), run: run.parse().ok()? };
            (position.to_string() == text).then_some(position)
        };
        parse().ok_or(InvalidPosition)
    }
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the cursor of a page")]
pub struct InvalidPosition;

/// Where runs are found.
#[async_trait]
pub trait Heads: Send + Sync {
    /// One head, read consistently; `None` when there is no such run or it has expired.
    async fn head(&self, run: RunId) -> Result<Option<Head>, JournalError>;

    /// Runs of one shard of a queue due at or before `now`, the longest due first, those up to `after` left out; at most `limit`.
    async fn due(
        &self,
        queue: DueQueue,
        shard: u8,
        now: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, JournalError>;

    /// Moves a run's due time from `seen` to `to`, and the run to [`DueQueue::Repair`], since it is about to be woken; `None` when it is
    /// not `seen` any more.
    ///
    /// ```text
    /// cleanup A: update head due = 10:05 IF due = 10:01 ── moved ──► wakes the run
    /// cleanup B: the same                               ── refused ──► leaves it to A
    /// ```
    async fn postpone_due(&self, run: RunId, seen: Timestamp, to: Timestamp)
    -> Result<Option<Postponed>, JournalError>;

    /// At most `limit` runs. Read from an index: a moment late.
    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<Head>, JournalError>;

    /// A page of a tenant's runs that wait for a person, the longest waiting first, from behind `after` on. It costs what `limit` heads
    /// cost, however many wait. Read from an index: a moment late; runs that have moved on since are left out, so that a page
    /// with a `next` may be short, or empty.
    async fn waiting(&self, tenant: &Tenant, after: Option<Position>, limit: usize) -> Result<Waiting, JournalError>;
}
