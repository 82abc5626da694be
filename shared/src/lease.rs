//! Leases: the right to advance a run for a short time. A lease only saves work; the unique sequence
//! number of each entry is what keeps two holders apart.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::RunId,
    journal::{Head, HeadStatus, JournalError, Lease},
};

/// How long a lease lasts unless a call needs longer: short, so that a crash is repaired in about a minute, long enough
/// that a run of ordinary steps is rarely interrupted by a renewal.
pub const LEASE_FOR: Duration = Duration::from_secs(30);

impl Lease {
    /// Whether somebody else may take the run over: the lease is over by every clock.
    pub(crate) fn is_lapsed(&self, now: Timestamp) -> bool {
        self.until + CLOCK_SKEW_MAX <= now
    }

    /// Whether this is `other`, perhaps renewed.
    pub(crate) fn is_of(&self, other: &Lease) -> bool {
        self.epoch == other.epoch && self.holder == other.holder
    }
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The caller holds the run; the head as it is now, with the lease.
    Won(Box<Head>, Lease),
    /// Somebody else holds it.
    Held {
        /// Until when the lease runs. It can be taken over [`CLOCK_SKEW_MAX`] later.
        until: Timestamp,
    },
    /// It is parked.
    Parked {
        /// Until when.
        until: Timestamp,
    },
    /// It is over.
    Over(HeadStatus),
    /// There is no such run.
    Missing,
}

impl Claim {
    /// Why `head` could not be claimed by `holder`, or that it had been by an earlier try whose answer was lost.
    pub(crate) fn refused(head: Option<Head>, holder: &str, now: Timestamp) -> Claim {
        let Some(head) = head.filter(|head| !head.expires.has_expired(now)) else { return Claim::Missing };
        match (head.lease.clone(), head.ready_from) {
            (Some(lease), _) if lease.holder == holder => Claim::Won(Box::new(head), lease),
            (_, None) => Claim::Over(head.status),
            (Some(lease), Some(_)) if !lease.is_lapsed(now) => Claim::Held { until: lease.until },
            (_, Some(until)) => Claim::Parked { until },
        }
    }
}

/// How a holder leaves a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// Where it stands.
    pub status: HeadStatus,
    /// From when on it can be claimed; `None` when it is over.
    pub ready_from: Option<Timestamp>,
    /// When somebody must look at it again; `None` when it is over.
    pub due: Option<Timestamp>,
    /// The time, for the inbox.
    pub now: Timestamp,
    /// The head's count when the holder last read the journal.
    pub interjections: u64,
    /// Claims that came to nothing so far: none, unless this one has too.
    pub strikes: u32,
}

/// What came of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The head is as wanted and the lease is gone.
    Done,
    /// Somebody appended to the journal meanwhile: load again and go on. The count is the head's now.
    Interjected {
        /// The head's count now.
        interjections: u64,
    },
    /// The lease was lost.
    Lost,
}

impl Left {
    /// Why `head` could not be left by the holder of `lease`, or that it had been by an earlier try whose answer was lost.
    pub(crate) fn refused(head: Option<&Head>, lease: &Lease) -> Left {
        match head {
            Some(Head { lease: Some(held), interjections, .. }) if held.is_of(lease) => {
                Left::Interjected { interjections: *interjections }
            }
            // Only its holder takes a lease off without a new epoch: this is a repetition.
            Some(Head { lease: None, epoch, .. }) if *epoch == lease.epoch => Left::Done,
            _ => Left::Lost,
        }
    }
}

/// Where leases are kept.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Claims a run until `until`: epoch and strikes rise by one.
    ///
    /// ```text
    /// A: update head IF ready AND unleased or lease expired ── won (epoch 4) ── …freezes…
    /// B:          … the same, A's lease has 20 s to go ── held until …
    /// B:          … the same, A's lease is over (and the skew allowed for) ── won (epoch 5)
    /// A: …thaws ── append ── taken, or renew IF epoch mine ── lost
    /// ```
    ///
    /// A repeat by the same `holder` whose first answer was lost wins again with the same lease.
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError>;

    /// Extends a lease to `until` and moves the due time there; `None` when it was lost.
    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError>;

    /// Gives a lease back.
    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError>;
}
