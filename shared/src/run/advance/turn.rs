//! One holder's turn with a run: what it has seen, what it has not yet written, and how it ends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{debug, info, warn};

use super::{
    Advanced, Engine, INLINE_WAIT_MAX, LEAVE_MARGIN,
    counting::settled_before,
    switches::{LastLook, that_let_in},
};
use crate::{
    clock::Timestamp,
    controls::Document,
    ids::{CallId, RunId},
    journal::{Appended, Head, HeadStatus, JournalError, Lease, RESCUE_AFTER},
    lease::{LEASE_FOR, Leave, Left},
    prompts::Prompt,
    queue::{DELAY_MAX, Message, Share},
    retry::{Backoff, Retry},
    run::{
        entry::{Entry, Event, StopReason, Writer},
        snapshot::recall_and_save,
        state::{Phase, RunState},
        stored::EntryTooLarge,
    },
    telemetry::Observed,
};

/// How a write of the turn is repeated when the store does not answer: what has happened in the world must not be forgotten
/// for a moment's throttling. Below the lease's length in all.
const WRITE_RETRY: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2), attempts_max: 6 };

/// How often a turn goes back to a run that somebody interjected into just as it was leaving.
const LEAVES_MAX: u32 = 16;

/// Why a turn ends at once.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The lease is somebody else's.
    Lost,
    /// The store did not do as asked.
    Store(JournalError),
    /// The journal holds what this release cannot read.
    Unreadable(JournalError),
}

impl From<JournalError> for Interrupted {
    fn from(error: JournalError) -> Self {
        Interrupted::Store(error)
    }
}

/// What came of writing what was pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// It is in the journal.
    Written,
    /// Somebody else appended first: the state is new, and of what was pending only facts are left.
    Reloaded,
}

pub(super) struct Turn<'e> {
    pub(super) engine: &'e Engine,
    pub(super) run: RunId,
    pub(super) lease: Lease,
    /// The fold of the journal and of `pending`.
    pub(super) state: RunState,
    /// When this process is dead for certain.
    pub(super) deadline: Timestamp,
    /// Claims that came to nothing so far, this one included.
    pub(super) strikes: u32,
    /// The controls as they were last read in this turn.
    pub(super) controls: Option<Arc<Document>>,
    /// When that was.
    pub(super) controls_read_at: Timestamp,
    /// What came of the last look at them.
    pub(super) last_look: LastLook,
    /// What the model is asked with.
    pub(super) prompt: Arc<Prompt>,
    /// Calls whose counts in windows need nothing more.
    pub(super) counts_settled: BTreeSet<CallId>,
    expires: Timestamp,
    pending: Vec<Event>,
    /// What is to be told of each that is pending.
    observed: Vec<Observed>,
    /// Entries written in this turn.
    written: u32,
    leaves: u32,
    /// Claims that died before this one when the model was to be asked: each may have asked it.
    pub(super) asked_in_vain: u32,
}

/// Claims since the last that moved the run on, this one apart, if what each of them did first was to ask the model.
fn asked_in_vain(state: &RunState, lease: &Lease, strikes: u32) -> u32 {
    match state.phase {
        Phase::Planning | Phase::Waiting { .. } => {
            let claims = lease.epoch.saturating_sub(state.progress_epoch);
            strikes.min(u32::try_from(claims).unwrap_or(u32::MAX)).saturating_sub(1)
        }
        _ => 0,
    }
}

impl<'e> Turn<'e> {
    pub(super) fn new(engine: &'e Engine, head: &Head, lease: Lease, state: RunState, deadline: Timestamp) -> Self {
        let (run, expires, strikes) = (head.run, head.expires, head.strikes);
        let prompt = Arc::new(engine.agent.prompt.clone());
        let asked_in_vain = asked_in_vain(&state, &lease, strikes);
        let known = that_let_in(&engine.live, head, engine.clock.now());
        let (controls, read_at) = known.map_or((None, Timestamp::from_millis(0)), |(known, at)| (Some(known), at));
        let counts_settled = settled_before(&state);
        Self {
            engine,
            run,
            lease,
            state,
            deadline,
            strikes,
            controls,
            controls_read_at: read_at,
            last_look: LastLook::Answered,
            prompt,
            counts_settled,
            expires,
            pending: Vec::new(),
            observed: Vec::new(),
            written: 0,
            leaves: 0,
            asked_in_vain,
        }
    }

    /// Claims that came to nothing before this one, unless this one has come to something.
    pub(super) fn strikes_before(&self) -> u32 {
        if self.written == 0 { self.strikes.saturating_sub(1) } else { 0 }
    }

    fn writer(&self) -> Writer {
        Writer::Holder(self.lease.epoch)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state.phase, Phase::Finished(_))
    }

    /// Takes an event into the state, to be written with the next flush.
    pub(super) fn record(&mut self, event: Event) -> Result<(), Interrupted> {
        let event = event.bounded();
        let now = self.engine.clock.now();
        let observed = self.observe(&self.state, &event, now);
        self.state.note(&event, &self.writer(), now).map_err(|problem| self.illegal(problem))?;
        self.pending.push(event);
        self.observed.push(observed);
        Ok(())
    }

    fn observe(&self, before: &RunState, event: &Event, now: Timestamp) -> Observed {
        let teller = self.engine.telemetry.as_ref();
        teller.map(|teller| teller.observe(self.run, before, event, now)).unwrap_or_default()
    }

    /// Takes note that an entry is in the journal, and tells it.
    fn wrote(&mut self, entry: &Entry, observed: Vec<Observed>) {
        self.state.wrote(entry);
        self.written += 1;
        if let Some(teller) = &self.engine.telemetry {
            teller.wrote(self.run, &self.state, self.state.seq, entry, observed);
        }
    }

    pub(super) fn illegal(&self, problem: String) -> Interrupted {
        let source = crate::run::state::IllegalEntry { seq: self.state.seq + 1, problem };
        Interrupted::Store(JournalError::Illegal { run: self.run, source })
    }

    /// Writes what is pending as one entry.
    pub(super) async fn flush(&mut self) -> Result<Flushed, Interrupted> {
        if self.pending.is_empty() {
            return Ok(Flushed::Written);
        }
        let entry = Entry {
            at: self.engine.clock.now(),
            writer: self.writer(),
            release: self.engine.release.clone(),
            events: std::mem::take(&mut self.pending),
        };
        let observed = std::mem::take(&mut self.observed);
        match self.append(&entry).await {
            Ok(Appended::Written) => {
                self.wrote(&entry, observed);
                self.settle_counts().await;
                Ok(Flushed::Written)
            }
            Ok(Appended::Taken) => self.reload(entry.events).await.map(|()| Flushed::Reloaded),
            Err(JournalError::TooLarge(too_large)) => self.split_or_fail(entry, observed, too_large).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn append(&self, entry: &Entry) -> Result<Appended, JournalError> {
        let mut attempt = 1;
        loop {
            let error = match self.engine.journal.append(self.run, self.state.seq + 1, entry, self.expires).await {
                Err(error) if error.retry() != Retry::Terminal => error,
                result => return result,
            };
            self.back_off(attempt, error).await?;
            attempt += 1;
        }
    }

    async fn back_off(&self, attempt: u32, error: JournalError) -> Result<(), JournalError> {
        let Some(wait) = WRITE_RETRY.wait(attempt, Duration::ZERO, self.engine.random.as_ref()) else {
            return Err(error);
        };
        let now = self.engine.clock.now();
        if now + wait >= self.lease.until.min(self.deadline) {
            return Err(error);
        }
        debug!(%error, attempt, "a write is repeated");
        self.engine.clock.sleep_until(now + wait).await;
        Ok(())
    }

    /// An entry of several events that is too large is written one event at a time.
    async fn split_or_fail(
        &mut self,
        entry: Entry,
        observed: Vec<Observed>,
        too_large: EntryTooLarge,
    ) -> Result<Flushed, Interrupted> {
        if entry.events.len() == 1 {
            return self.shrink_or_give_up(entry, too_large).await;
        }
        let mut events = entry.events.into_iter();
        let mut observed = observed.into_iter();
        while let Some(event) = events.next() {
            let part =
                Entry { events: vec![event], writer: entry.writer.clone(), release: entry.release.clone(), ..entry };
            let appended = match self.append(&part).await {
                Err(JournalError::TooLarge(too_large)) => {
                    // What follows it was decided with it in mind.
                    let facts = events.filter(Event::is_fact).collect::<Vec<_>>();
                    self.shrink_or_give_up(part, too_large).await?;
                    return self.reload(facts).await.map(|()| Flushed::Reloaded);
                }
                appended => appended?,
            };
            match appended {
                Appended::Written => self.wrote(&part, observed.next().into_iter().collect()),
                Appended::Taken => {
                    let rest = part.events.into_iter().chain(events).collect();
                    return self.reload(rest).await.map(|()| Flushed::Reloaded);
                }
            }
        }
        Ok(Flushed::Written)
    }

    /// A single event that is too large although every text and value in it is bounded. What happened in the world is recorded with its
    /// answer replaced by a note of its size; anything else ends the run, since it would be too large each time it is decided anew.
    async fn shrink_or_give_up(&mut self, entry: Entry, too_large: EntryTooLarge) -> Result<Flushed, Interrupted> {
        warn!(%too_large, "an event does not fit into an entry");
        let events: Vec<Event> =
            match entry.events.into_iter().next().and_then(|event| event.without_answer(too_large.bytes)) {
                Some(shorter) => vec![shorter],
                None => vec![Event::Abandoned { reason: StopReason::Failed { message: too_large.to_string() } }],
            };
        let entry = Entry { events, ..entry };
        match self.append(&entry).await? {
            Appended::Written => self.written += 1,
            Appended::Taken => {}
        }
        // The state holds what was not written.
        self.reload(entry.events).await.map(|()| Flushed::Reloaded)
    }

    /// Reads the journal again after somebody else appended. What was planned but not yet done is dropped (it is decided anew);
    /// what has happened in the world is kept.
    pub(super) async fn reload(&mut self, unwritten: Vec<Event>) -> Result<(), Interrupted> {
        let recalled = recall_and_save(self.engine.journal.as_ref(), self.run, self.expires).await;
        self.state = recalled.map_err(|error| match error {
            JournalError::Unreadable { .. } | JournalError::Illegal { .. } => Interrupted::Unreadable(error),
            error => Interrupted::Store(error),
        })?;
        let lost = self.state.last_holder > self.lease.epoch;
        self.pending.clear();
        self.observed.clear();
        for fact in unwritten.into_iter().filter(Event::is_fact) {
            let (mut state, now) = (self.state.clone(), self.engine.clock.now());
            match state.note(&fact, &self.writer(), now) {
                Ok(()) => {
                    self.observed.push(self.observe(&self.state, &fact, now));
                    self.state = state;
                    self.pending.push(fact);
                }
                Err(problem) => warn!(%problem, "an outcome came too late to be recorded"),
            }
        }
        if lost {
            self.save_facts().await?;
            return Err(Interrupted::Lost);
        }
        Ok(())
    }

    /// A holder that lost its lease still says what it did, if nobody has decided it yet. One try: whoever has the lease now goes on
    /// meanwhile, and decides by the effect class.
    async fn save_facts(&mut self) -> Result<(), Interrupted> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.pending);
        let entry =
            Entry { at: self.engine.clock.now(), writer: self.writer(), release: self.engine.release.clone(), events };
        let observed = std::mem::take(&mut self.observed);
        if self.engine.journal.append(self.run, self.state.seq + 1, &entry, self.expires).await? == Appended::Written {
            self.wrote(&entry, observed);
        }
        Ok(())
    }

    /// Whether something that may take `needed` fits into what is left of this invocation.
    pub(super) fn has_time_for(&self, needed: Duration) -> bool {
        self.engine.clock.now() + needed + LEAVE_MARGIN <= self.deadline
    }

    /// Makes sure that the lease outlasts something that may take `needed`.
    pub(super) async fn hold_for(&mut self, needed: Duration) -> Result<(), Interrupted> {
        let now = self.engine.clock.now();
        if self.holds_for(needed) {
            return Ok(());
        }
        let until = (now + LEASE_FOR).max(now + needed + LEAVE_MARGIN);
        match self.engine.leases.renew(self.run, &self.lease, until).await? {
            Some(lease) => {
                self.lease = lease;
                Ok(())
            }
            None => Err(Interrupted::Lost),
        }
    }

    /// Whether the lease outlasts something that may take `needed`.
    pub(super) fn holds_for(&self, needed: Duration) -> bool {
        self.engine.clock.now() + needed + LEAVE_MARGIN <= self.lease.until
    }

    /// Waits, or parks the run until then.
    pub(super) async fn wait(&mut self, until: Timestamp) -> Result<Option<Advanced>, Interrupted> {
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let span = until.since(self.engine.clock.now());
        if span <= INLINE_WAIT_MAX && self.has_time_for(span) {
            self.hold_for(span).await?;
            self.engine.clock.sleep_until(until).await;
            return Ok(None);
        }
        self.park(until).await
    }

    /// Gives the lease back until then. A timer in reach of the queue's delay gets its own wake-up.
    pub(super) async fn park(&mut self, until: Timestamp) -> Result<Option<Advanced>, Interrupted> {
        let asked = self.state.open_approvals().next().is_some();
        let status = if asked { HeadStatus::AwaitingApproval } else { HeadStatus::Waiting };
        let left = self.leave(status, Some(until), Some(until)).await?;
        let delay = until.since(self.engine.clock.now());
        if left.is_none() || asked || delay > DELAY_MAX {
            return Ok(left.map(|()| Advanced::Parked { until }));
        }
        self.wake(delay).await;
        Ok(Some(Advanced::Parked { until }))
    }

    /// Ends the turn with work left, for a new invocation to go on. A turn that came to nothing keeps its strike: what never fits
    /// into an invocation must not be handed over for ever.
    pub(super) async fn hand_over(&mut self) -> Result<Option<Advanced>, Interrupted> {
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let now = self.engine.clock.now();
        let left = self.leave(HeadStatus::Ready, Some(now), Some(now + RESCUE_AFTER)).await?;
        if left.is_some() {
            // A metric of `infra/template.yaml` is read from this line.
            info!(claims = self.lease.epoch, steps = self.state.totals.steps, "the run is handed over");
            self.wake(Duration::ZERO).await;
        }
        Ok(left.map(|()| Advanced::HandedOver))
    }

    /// [`Turn::hand_over`], whatever is interjected meanwhile: that makes the run ready by itself.
    pub(super) async fn hand_over_now(&mut self) -> Result<Advanced, Interrupted> {
        Ok(self.hand_over().await?.unwrap_or(Advanced::HandedOver))
    }

    /// Corrects the head of a run that is over.
    pub(super) async fn finish(&mut self) -> Result<Option<Advanced>, Interrupted> {
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let Phase::Finished(outcome) = &self.state.phase else { return Ok(None) };
        let word = outcome.reason.word();
        let status = match &outcome.reason {
            StopReason::Dead { cause, fingerprint } => {
                HeadStatus::Dead { cause: cause.clone(), fingerprint: fingerprint.clone() }
            }
            _ => HeadStatus::Finished { outcome: word.to_owned() },
        };
        let totals = self.state.totals;
        // The metrics of `infra/template.yaml` are read from this line.
        info!(
            outcome = word,
            steps = totals.steps,
            entries = self.state.seq,
            tokens = totals.tokens,
            cost_micro_usd = totals.cost_micro_usd,
            "the run is over"
        );
        Ok(self.leave(status, None, None).await?.map(|()| Advanced::Finished { outcome: word }))
    }

    /// Gives the lease back; `None` when somebody interjected, and the turn goes on with what they said.
    pub(super) async fn leave(
        &mut self,
        status: HeadStatus,
        ready_from: Option<Timestamp>,
        due: Option<Timestamp>,
    ) -> Result<Option<()>, Interrupted> {
        self.leaves += 1;
        let now = self.engine.clock.now();
        let in_vain = self.written == 0 && status == HeadStatus::Ready;
        let strikes = if in_vain { self.strikes } else { 0 };
        let leave = Leave { status, ready_from, due, now, interjections: self.state.interjections, strikes };
        let mut attempt = 1;
        let left = loop {
            match self.engine.leases.leave(self.run, &self.lease, &leave).await {
                Err(error) if error.retry() != Retry::Terminal => self.back_off(attempt, error).await?,
                result => break result?,
            }
            attempt += 1;
        };
        match left {
            Left::Done => Ok(Some(())),
            Left::Lost => Err(Interrupted::Lost),
            Left::Interjected { .. } if self.leaves < LEAVES_MAX => self.reload(Vec::new()).await.map(|()| None),
            Left::Interjected { .. } => {
                Err(JournalError::Unavailable { message: "too many interjections".into() }.into())
            }
        }
    }

    /// A wake-up that is lost is made up for by the due time.
    pub(super) async fn wake(&self, delay: Duration) {
        let message = Message::WakeUp { run: self.run };
        let share = Share::Of(self.state.request.tenant.clone());
        if let Err(error) = self.engine.wake_ups.send(&message, &share, delay).await {
            warn!(%error, "a wake-up was not sent; the due time makes up for it");
        }
    }
}
