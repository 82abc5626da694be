//! Told by whoever writes to journals what was written: it keeps nothing of any run but how long things took.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Narrator, Telemetry,
    event::{Body, TelemetryEvent},
    gathered::Gathered,
    metrics::{self, Metrics, ModelNews},
    narrative::{self, Observed, Of, Timed},
    timings::Kept,
};
use crate::{
    clock::Timestamp,
    config::Config,
    ids::{Release, RunId},
    journal::{JournalError, Lease},
    lease::{Claim, Leases, Leave, Left},
    run::{
        entry::{Entry, Event, Seq},
        state::RunState,
    },
};

/// Tells what was written to journals.
pub struct Teller {
    telemetry: Arc<dyn Telemetry>,
    narrator: Narrator,
    /// Of its metrics.
    namespace: String,
    release: Release,
    timings: Mutex<Kept>,
    gathered: Mutex<Gathered>,
}

impl Teller {
    /// Tells to `telemetry` as a function with this configuration.
    pub fn new(telemetry: Arc<dyn Telemetry>, config: &Config) -> Arc<Teller> {
        let environment = config.runtime.environment.name();
        let redactions = Arc::new(config.observability.redactions.clone());
        let (service, release) = (&config.runtime.service_name, config.runtime.release.clone());
        Arc::new(Teller::of(telemetry, Narrator { environment, redactions }, service, release))
    }

    /// Tells to `telemetry` as a service of no particular name.
    pub fn telling(telemetry: Arc<dyn Telemetry>, narrator: Narrator, release: Release) -> Arc<Teller> {
        Arc::new(Teller::of(telemetry, narrator, "windlass", release))
    }

    fn of(telemetry: Arc<dyn Telemetry>, narrator: Narrator, service: &str, release: Release) -> Teller {
        let namespace = metrics::namespace(service);
        Teller { telemetry, narrator, namespace, release, timings: Mutex::default(), gathered: Mutex::default() }
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
        self.write(now.iter().map(|metrics| metrics.line(&self.namespace)).collect());
    }

    /// Tells the numbers that were gathered. Whoever leaves a run through [`Teller::leases`] need not.
    pub fn flush(&self) {
        let gathered = self.gathered().take();
        self.write(gathered.iter().map(|metrics| metrics.line(&self.namespace)).collect());
    }

    /// Notes how long something took, to be told with its entry.
    pub(super) fn took(&self, run: RunId, what: Timed, span: Duration) {
        self.timings().add(run, what, span);
    }

    /// How many times wait to be told.
    #[cfg(test)]
    pub(super) fn times(&self) -> usize {
        self.timings().len()
    }

    fn timings(&self) -> MutexGuard<'_, Kept> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner)
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
            lines.extend(metrics.as_ref().map(|metrics| metrics.line(&self.namespace)));
        }
        self.write(lines);
    }

    fn write(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.telemetry.lines(&lines);
        }
    }

    /// Tells that a run was taken on with this entry.
    pub(crate) fn accepted(&self, run: RunId, entry: &Entry) {
        self.tell(&narrative::tell_first(run, entry, &self.narrator));
    }

    /// What is to be told of an event, once it is written, from the state that it happens to.
    pub(crate) fn observe(&self, run: RunId, before: &RunState, event: &Event, at: Timestamp) -> Observed {
        let mut timings = self.timings().take(run);
        let observed = narrative::observe((run, before), event, at, &self.narrator, &mut timings);
        self.timings().put_back(run, timings);
        observed
    }

    /// Tells an entry that was written.
    pub(crate) fn wrote(&self, run: RunId, state: &RunState, seq: Seq, entry: &Entry, observed: Vec<Observed>) {
        self.tell(&narrative::tell(Of { run, state, seq }, entry, observed, &self.narrator));
    }
}

struct Told {
    inner: Arc<dyn Leases>,
    teller: Arc<Teller>,
}

#[async_trait]
impl Leases for Told {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        let claim = self.inner.claim(run, holder, now, until).await?;
        // The claim itself is the first strike; more than one means that the last claim came to nothing.
        if matches!(&claim, Claim::Won(head, _) if head.strikes > 1) {
            let strike = Metrics::strike(now, self.teller.narrator.environment, &self.teller.release);
            self.teller.telemetry.lines(&[strike.line(&self.teller.namespace)]);
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
