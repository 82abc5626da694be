//! Writing to a run from outside its loop: intake, approvers, people who cancel.
//!
//! Whoever is outside holds no lease. They append under the next sequence number, and if somebody else was there first they
//! read what that was and ask themselves again whether they still want to.

use std::time::Duration;

use super::{
    entry::{Entry, Event, Seq, Writer},
    state::RunState,
};
use crate::{
    clock::{Clock, Timestamp},
    ids::{Random, Release, RunId, Tenant},
    journal::{Expected, Interjected, Journal, JournalError},
    queue::{Message, Share, WakeUps},
    retry::{Backoff, Retry},
    telemetry::{Observed, Teller},
};

/// How often a write from outside is tried, and how long it waits in between. A busy run appends a few entries a second, and
/// each attempt takes two round trips, so eight attempts lose against nothing but a storm.
const ATTEMPTS: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(500), attempts_max: 8 };

/// What somebody outside the loop writes with.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Where the journal is.
    pub journal: &'a dyn Journal,
    /// Where wake-ups are sent.
    pub wake_ups: &'a dyn WakeUps,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For ids and one-time marks.
    pub random: &'a dyn Random,
    /// The release that writes.
    pub release: &'a Release,
    /// Told what is written, if anybody is.
    pub telemetry: Option<&'a Teller>,
}

/// A run as it was read: its entries and what they amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Every entry, in order.
    pub entries: Vec<Entry>,
    /// The state after the last.
    pub state: RunState,
}

impl History {
    /// Reads a run.
    ///
    /// # Errors
    /// When the store does not answer, there is no such run, or its journal cannot be read.
    pub async fn load(journal: &dyn Journal, run: RunId) -> Result<History, JournalError> {
        let entries = journal.load(run, 1).await?;
        if entries.is_empty() {
            return Err(JournalError::Missing { run });
        }
        let state = RunState::fold(&entries).map_err(|source| JournalError::Illegal { run, source })?;
        Ok(History { entries, state })
    }

    /// Every event, in order, with the time of its entry.
    pub fn events(&self) -> impl Iterator<Item = (Timestamp, &Event)> {
        self.entries.iter().flat_map(|entry| entry.events.iter().map(|event| (entry.at, event)))
    }

    fn holds(&self, writer: &Writer) -> bool {
        self.entries.iter().any(|entry| entry.writer == *writer)
    }
}

/// What somebody outside wants, having read the run.
#[derive(Debug)]
pub enum Proposal<T> {
    /// Append this event and report that.
    Append(Event, T),
    /// Append nothing and report that.
    Leave(T),
}

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub enum InterjectError {
    /// The store did not do as asked, or the journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Others were faster every time.
    #[error("run `{run}` kept changing while it was written to")]
    Contended {
        /// The run.
        run: RunId,
    },
}

impl InterjectError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            InterjectError::Journal(error) => error.retry(),
            InterjectError::Contended { .. } => Retry::SOON,
        }
    }
}

/// An entry that may have been written.
struct Tried {
    seq: Seq,
    entry: Entry,
    observed: Observed,
}

impl Outside<'_> {
    /// Appends what `propose` wants of the run as it is, asking it again each time somebody else appended first, and wakes the
    /// run.
    ///
    /// ```text
    /// approver: load 1..6 ── open ── put entry 7 IF absent ── taken ──► load 1..7 ── still open ── put entry 8 ── written
    /// holder:                     └─ put entry 7 (an outcome)
    /// approver: put entry 7 ── no answer ──► load 1..7, entry 7 bears my mark ──► written after all
    /// ```
    ///
    /// # Errors
    /// When the store fails or others were faster every time.
    pub async fn interject<T>(
        &self,
        run: RunId,
        propose: impl Fn(&History, Timestamp) -> Proposal<T>,
    ) -> Result<T, InterjectError> {
        let writer = self.writer();
        let (mut attempt, mut tried) = (1, None);
        loop {
            let history = History::load(self.journal, run).await?;
            if let Some((value, tried)) = tried.take().filter(|_| history.holds(&writer)) {
                self.wrote(run, &history.state, tried).await;
                return Ok(value);
            }
            let now = self.clock.now();
            let (event, value) = match propose(&history, now) {
                Proposal::Append(event, value) => (event, value),
                Proposal::Leave(value) => return Ok(value),
            };
            if !history.state.takes_from_outside() {
                return Err(JournalError::Full { run }.into());
            }
            let event = event.bounded();
            let observed = self.telemetry.map(|teller| teller.observe(run, &history.state, &event, now));
            let entry = Entry { at: now, writer: writer.clone(), release: self.release.clone(), events: vec![event] };
            let tried_now = Tried { seq: history.state.seq + 1, entry, observed: observed.unwrap_or_default() };
            let result = self.journal.interject(run, tried_now.seq, &tried_now.entry, Expected::Unfinished).await;
            let failure = match result {
                Ok(Interjected::Written) => {
                    self.wrote(run, &history.state, tried_now).await;
                    return Ok(value);
                }
                Ok(Interjected::Taken | Interjected::Unexpected) => InterjectError::Contended { run },
                Err(error) => InterjectError::Journal(error),
            };
            let Retry::Transient { after } = failure.retry() else { return Err(failure) };
            let Some(wait) = ATTEMPTS.wait(attempt, after, self.random) else { return Err(failure) };
            self.clock.sleep_until(self.clock.now() + wait).await;
            (attempt, tried) = (attempt + 1, Some((value, tried_now)));
        }
    }

    /// Tells what is in the journal now, and wakes the run.
    async fn wrote(&self, run: RunId, state: &RunState, tried: Tried) {
        if let Some(teller) = self.telemetry {
            teller.wrote(run, state, tried.seq, &tried.entry, vec![tried.observed]);
        }
        self.wake(run, &state.request.tenant).await;
    }

    /// Tells the step function to look at a run. A message that cannot be sent is logged and no error: the due index finds the
    /// run a minute later.
    pub async fn wake(&self, run: RunId, tenant: &Tenant) {
        if let Err(error) =
            self.wake_ups.send(&Message::WakeUp { run }, &Share::Of(tenant.clone()), Duration::ZERO).await
        {
            tracing::warn!(%run, %error, "the wake-up was not sent; the due index will find the run");
        }
    }

    /// A mark that tells a repeated write from a lost race.
    pub fn writer(&self) -> Writer {
        Writer::Outside(format!("{:032x}", self.random.bits()))
    }
}

#[cfg(test)]
mod tests;
