//! Snapshots: what a run's state was after an entry, kept so that nobody folds its journal from the beginning.
//!
//! A snapshot is a cache of the fold and nothing else. What it holds depends on entries 1 to `seq` alone, so it does not matter who
//! writes it, when, or what else is there:
//!
//! ```text
//! A (frozen, its lease is lost): fold 1..40 ─────────────────────────────────── save 40
//! B:                                        append 41..90 ── fold 1..90 ── save 90 ┘ replaced by the older one
//! C: read snapshot 40 ── load 41.. ── the state that it has from 90 and 91..
//! ```
//!
//! A snapshot that is not there, cannot be read, or was made by code that folds otherwise counts for nothing: then the journal is
//! folded from its first entry. One that later entries do not follow from counts for nothing either.
//!
//! Whoever has folded many entries saves one, a reader too: the next one starts there.

use tracing::{debug, warn};

use super::{
    entry::{Entry, Seq},
    state::{IllegalEntry, RunState},
    stored::{deflate, inflate},
};
use crate::{
    clock::Timestamp,
    ids::RunId,
    journal::{EntryPage, Journal, JournalError, PAGE_ENTRIES_MAX},
};

/// Fewer entries than this beyond the last snapshot are read again each time: they are a read unit or two each.
pub const SNAPSHOT_ENTRIES_MIN: Seq = 32;

/// A snapshot is saved when the entries since the last one have so many times its bytes. Writing a kilobyte costs as much as reading
/// forty (0.625 and 0.125 USD a million units of 1 and of 8 KB, read with eventual consistency,
/// <https://aws.amazon.com/dynamodb/pricing/on-demand/>), and each claim reads what came since: at four, the snapshots of a run
/// cost at most a quarter of its entries, and a claim reads at most five snapshots' worth.
pub const SNAPSHOT_WORTH: u64 = 4;

/// The most bytes of a snapshot as stored. A run whose state does not fit is folded from its last snapshot that did, or from its first
/// entry.
pub const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of a snapshot's JSON, so that a damaged one cannot fill memory when it is inflated.
pub const SNAPSHOT_JSON_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which code made a snapshot: a digest of everything that says what the fold of a journal is. So no change of it is forgotten here, and
/// all functions of one release have the same.
pub const SNAPSHOT_VERSION: u64 = version();

const fn version() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    hash = fnv(hash, include_bytes!("state.rs"));
    hash = fnv(hash, include_bytes!("state/fold.rs"));
    hash = fnv(hash, include_bytes!("state/hold.rs"));
    hash = fnv(hash, include_bytes!("state/kept.rs"));
    hash = fnv(hash, include_bytes!("state/transitions.rs"));
    hash = fnv(hash, include_bytes!("entry.rs"));
    hash = fnv(hash, include_bytes!("limits.rs"));
    hash = fnv(hash, include_bytes!("request.rs"));
    hash = fnv(hash, include_bytes!("../json_bounds.rs"));
    hash = fnv(hash, include_bytes!("../approval/mod.rs"));
    hash = fnv(hash, include_bytes!("../agent/model.rs"));
    hash = fnv(hash, include_bytes!("../agent/redaction.rs"));
    hash = fnv(hash, include_bytes!("../redaction/mod.rs"));
    // Attribute values of DynamoDB hold it as a number in any language.
    fnv(hash, include_bytes!("../agent/tool.rs")) >> 1
}

/// FNV-1a (<https://www.rfc-editor.org/rfc/rfc9923>): told apart are versions of our own code, not forgeries.
const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// A snapshot as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is in it.
    pub seq: Seq,
    /// Which code made it.
    pub version: u64,
    /// The state as JSON, compressed with DEFLATE (RFC 1951).
    pub deflated: Vec<u8>,
}

impl Snapshot {
    /// Encodes a state; `None` when it is too large.
    pub fn encode(state: &RunState) -> Option<Snapshot> {
        let json = serde_json::to_vec(state).ok().filter(|json| json.len() <= SNAPSHOT_JSON_BYTES_MAX)?;
        let deflated = deflate(&json).filter(|deflated| deflated.len() <= SNAPSHOT_BYTES_MAX)?;
        Some(Snapshot { seq: state.seq, version: SNAPSHOT_VERSION, deflated })
    }

    /// The state; `None` when other code made it or it is damaged.
    pub fn decode(&self) -> Option<RunState> {
        if self.version != SNAPSHOT_VERSION {
            return None;
        }
        let json = inflate(&self.deflated, SNAPSHOT_JSON_BYTES_MAX).ok()?;
        let state: RunState = serde_json::from_slice(&json).ok()?;
        (state.seq == self.seq).then_some(state)
    }
}

/// What a run is now, from its last snapshot and the entries after it.
///
/// # Errors
/// [`JournalError::Missing`] when there are no entries; the store's; [`JournalError::Illegal`] when an entry does not follow.
pub async fn recall<J: Journal + ?Sized>(journal: &J, run: RunId) -> Result<RunState, JournalError> {
    recalled(journal, run).await.map(|(state, _)| state)
}

/// The same, and saves a snapshot when that pays. It expires with the run's head.
///
/// # Errors
/// As [`recall`]. That a snapshot could not be saved is none.
pub async fn recall_and_save<J: Journal + ?Sized>(
    journal: &J,
    run: RunId,
    expires: Timestamp,
) -> Result<RunState, JournalError> {
    let (state, known) = recalled(journal, run).await?;
    if state.seq.saturating_sub(known.seq) < SNAPSHOT_ENTRIES_MIN {
        return Ok(state);
    }
    let since = state.journal_bytes.saturating_sub(known.journal_bytes);
    if let Some(snapshot) = Snapshot::encode(&state)
        && since >= SNAPSHOT_WORTH * snapshot.deflated.len() as u64
    {
        debug!(%run, seq = snapshot.seq, bytes = snapshot.deflated.len(), "a snapshot is saved");
        if let Err(error) = journal.save_snapshot(run, &snapshot, expires).await {
            debug!(%run, %error, "a snapshot is not saved; whoever comes next may");
        }
    }
    Ok(state)
}

/// What a snapshot covered.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    seq: Seq,
    journal_bytes: u64,
}

async fn recalled<J: Journal + ?Sized>(journal: &J, run: RunId) -> Result<(RunState, Known), JournalError> {
    let Some(snapshot) = journal.snapshot(run).await? else {
        return Ok((fold_on(journal, run, None).await?, Known::default()));
    };
    let known = Known { seq: snapshot.seq, journal_bytes: snapshot.journal_bytes };
    match fold_on(journal, run, Some(snapshot)).await {
        Err(error @ JournalError::Illegal { .. }) => {
            warn!(%run, %error, "a snapshot is passed over: the journal does not follow from it");
            Ok((fold_on(journal, run, None).await?, Known::default()))
        }
        folded => Ok((folded?, known)),
    }
}

async fn fold_on<J: Journal + ?Sized>(
    journal: &J,
    run: RunId,
    mut state: Option<RunState>,
) -> Result<RunState, JournalError> {
    let illegal = |source: IllegalEntry| JournalError::Illegal { run, source };
    loop {
        let from = state.as_ref().map_or(1, |state| state.seq + 1);
        let EntryPage { entries, more } = journal.page(run, from, PAGE_ENTRIES_MAX).await?;
        for entry in &entries {
            state = Some(next(state.take(), entry).map_err(illegal)?);
        }
        if entries.is_empty() || !more {
            return state.ok_or(JournalError::Missing { run });
        }
    }
}

fn next(state: Option<RunState>, entry: &Entry) -> Result<RunState, IllegalEntry> {
    match state {
        None => RunState::accept(entry),
        Some(state) => state.apply(entry),
    }
}
