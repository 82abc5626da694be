//! Between whoever writes a journal and the store: what was written is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tracing::warn;

use super::{
    Narrative, Narrator, Telemetry,
    event::{Body, TelemetryEvent},
    gathered::Gathered,
    metrics::{Metrics, ModelNews},
    narrative::{Timed, Timings},
};
use crate::{
    clock::Timestamp,
    config::Config,
    ids::{Release, RunId},
    journal::{
        Acceptance, Appended, Expected, Head, Interjected, Journal, JournalError, Lease, NewRun, Opened, Recorded,
    },
    lease::{Claim, Leases, Leave, Left},
    run::entry::{Entry, Seq},
};

/// Runs remembered by one process: more than one invocation works on. One that was forgotten is read again.
const RUNS_MAX: usize = 64;

/// Tells what is written through it.
pub struct Teller {
    telemetry: Arc<dyn Telemetry>,
    narrator: Narrator,
    release: Release,
    known: Mutex<Known>,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Known {
    runs: BTreeMap<RunId, Run>,
    /// Rises with every use.
    uses: u64,
}

#[derive(Default)]
struct Run {
    narrative: Option<Narrative>,
    /// What was sent to the store without an answer: told once it is found there.
    unanswered: Option<(Seq, Entry)>,
    timings: Timings,
    used: u64,
}

impl Known {
    fn run(&mut self, id: RunId) -> &mut Run {
        self.uses += 1;
        if !self.runs.contains_key(&id) && self.runs.len() >= RUNS_MAX {
            let oldest = self.runs.iter().min_by_key(|(_, run)| run.used).map(|(id, _)| *id);
            oldest.map(|oldest| self.runs.remove(&oldest));
        }
        let run = self.runs.entry(id).or_default();
        run.used = self.uses;
        run
    }
}

impl Teller {
    /// Tells to `telemetry` as a function with this configuration.
    pub fn new(telemetry: Arc<dyn Telemetry>, config: &Config) -> Arc<Teller> {
        let environment = config.runtime.environment.name();
        let redactions = Arc::new(config.observability.redactions.clone());
        Teller::telling(telemetry, Narrator { environment, redactions }, config.runtime.release.clone())
    }

    /// Tells to `telemetry`.
    pub fn telling(telemetry: Arc<dyn Telemetry>, narrator: Narrator, release: Release) -> Arc<Teller> {
        Arc::new(Teller { telemetry, narrator, release, known: Mutex::default(), gathered: Mutex::default() })
    }

    /// `inner`, of which every successful write is told.
    pub fn journal(self: &Arc<Self>, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Told { inner, teller: Arc::clone(self) })
    }

    /// `inner`, of which every claim after one in vain is counted; before a run is left, what was gathered is told.
    pub fn leases(self: &Arc<Self>, inner: Arc<dyn Leases>) -> Arc<dyn Leases> {
        Arc::new(Told { inner, teller: Arc::clone(self) })
    }

    /// Tells what came of a request to a model, or of its circuit breaker, as metrics alone: no entry holds it.
    pub fn model_news(&self, model: &str, news: ModelNews, at: Timestamp) {
        let metrics = Metrics::of_model(model, news, at, self.narrator.environment, &self.release);
        let now = match news {
            ModelNews::Opened | ModelNews::Closed => Some(metrics),
            ModelNews::Answered
            | ModelNews::Refused
            | ModelNews::Failed
            | ModelNews::Unanswered
            | ModelNews::TurnedAway => self.gathered().add(metrics),
        };
        self.write(now.iter().map(Metrics::line).collect());
    }

    /// Tells the numbers that were gathered. Whoever leaves a run through [`Teller::leases`] need not.
    pub fn flush(&self) {
        let gathered = self.gathered().take();
        self.write(gathered.iter().map(Metrics::line).collect());
    }

    /// Notes how long something took, to be told with its entry.
    pub(super) fn took(&self, run: RunId, what: Timed, span: Duration) {
        *self.known().run(run).timings.entry(what).or_default() += span;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, events: &[TelemetryEvent]) {
        let mut lines = Vec::new();
        for event in events {
            lines.push(event.line());
            let metrics = Metrics::of(event).and_then(|metrics| match event.body {
                // Every step has them.
                Body::Model(_) | Body::Policy(_) | Body::Tool(_) => self.gathered().add(metrics),
                _ => Some(metrics),
            });
            lines.extend(metrics.as_ref().map(Metrics::line));
        }
        self.write(lines);
    }

    fn write(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.telemetry.lines(&lines);
        }
    }

    fn accepted(&self, run: RunId, entry: &Entry) {
        let Some(narrative) = Narrative::begin(run, entry) else { return };
        if self.known().run(run).narrative.is_some() {
            return;
        }
        self.tell(&narrative.tell_first(entry, &self.narrator));
        self.known().run(run).narrative = Some(narrative);
    }

    /// Tells an entry if all before it are known; says whether they were.
    fn appended(&self, run: RunId, seq: Seq, entry: &Entry) -> bool {
        let events = {
            let mut known = self.known();
            let known = known.run(run);
            known.unanswered = None;
            match &mut known.narrative {
                Some(narrative) if narrative.seq + 1 == seq => {
                    narrative.tell(entry, &self.narrator, &mut known.timings)
                }
                // A repetition of what was told.
                Some(narrative) if narrative.seq >= seq => return true,
                Some(_) | None => return false,
            }
        };
        self.tell(&events);
        true
    }

    /// Takes in a journal that was read from its start. What was sent without an answer and is in it is told now.
    fn loaded(&self, run: RunId, entries: &[Entry]) {
        let unanswered = self.known().run(run).unanswered.take();
        let arrived = unanswered.filter(|(seq, entry)| entries.get(*seq as usize - 1) == Some(entry));
        let Some((seq, entry)) = arrived else {
            self.known().run(run).narrative = Narrative::of(run, entries);
            return;
        };
        self.known().run(run).narrative = Narrative::of(run, &entries[..seq as usize - 1]);
        self.appended(run, seq, &entry);
        self.known().run(run).narrative = Narrative::of(run, entries);
    }
}

struct Told<P: ?Sized> {
    inner: Arc<P>,
    teller: Arc<Teller>,
}

impl Told<dyn Journal> {
    async fn written(&self, run: RunId, seq: Seq, entry: &Entry) {
        if self.teller.appended(run, seq, entry) {
            return;
        }
        // Whoever appends has read the run; only one that was forgotten since is read again.
        match self.inner.load(run, 1).await {
            Ok(entries) if entries.len() >= seq as usize => {
                self.teller.known().run(run).narrative = Narrative::of(run, &entries[..seq as usize - 1]);
                self.teller.appended(run, seq, entry);
            }
            Ok(_) => {}
            Err(error) => warn!(%run, seq, %error, "an entry is not told"),
        }
    }

    fn unanswered(&self, run: RunId, seq: Seq, entry: &Entry) {
        self.teller.known().run(run).unanswered = Some((seq, entry.clone()));
    }
}

#[async_trait]
impl Journal for Told<dyn Journal> {
    async fn accept(&self, new: &NewRun) -> Result<Acceptance, JournalError> {
        let result = self.inner.accept(new).await;
        if let Ok(Acceptance::Created { run }) = &result {
            self.teller.accepted(*run, &new.entry);
        }
        result
    }

    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        self.inner.record(new).await
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.inner.opened(run).await
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        self.inner.open(head).await
    }

    async fn load(&self, run: RunId, from: Seq) -> Result<Vec<Entry>, JournalError> {
        let entries = self.inner.load(run, from).await?;
        if from == 1 && !entries.is_empty() {
            self.teller.loaded(run, &entries);
        }
        Ok(entries)
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        let result = self.inner.append(run, seq, entry, expires).await;
        match &result {
            Ok(Appended::Written) => self.written(run, seq, entry).await,
            Ok(Appended::Taken) => {}
            Err(_) => self.unanswered(run, seq, entry),
        }
        result
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        let result = self.inner.interject(run, seq, entry, expected).await;
        match &result {
            Ok(Interjected::Written) => self.written(run, seq, entry).await,
            Ok(Interjected::Taken | Interjected::Unexpected) => {}
            Err(_) => self.unanswered(run, seq, entry),
        }
        result
    }
}

#[async_trait]
impl Leases for Told<dyn Leases> {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        let claim = self.inner.claim(run, holder, now, until).await?;
        // The claim itself is the first strike; more than one means that the last claim came to nothing.
        if matches!(&claim, Claim::Won(head, _) if head.strikes > 1) {
            let strike = Metrics::strike(now, self.teller.narrator.environment, &self.teller.release);
            self.teller.telemetry.lines(&[strike.line()]);
        }
        // Whoever claims a fresh run has its journal with the claim.
        if let Claim::Won(head, _) = &claim
            && let Some(first) = head.only_entry()
        {
            self.teller.loaded(run, &[first]);
        }
        Ok(claim)
    }

    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError> {
        self.inner.renew(run, lease, until).await
    }

    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError> {
        self.teller.flush();
        self.inner.leave(run, lease, leave).await
    }
}
