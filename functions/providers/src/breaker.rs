//! A circuit breaker: a model that keeps failing is left alone for a while.
//!
//! ```text
//!            failures_max in a row, or it asked us to wait
//!   Closed ────────────────────────────────────────────────► Open until …
//!     ▲                                                        │ time passes
//!     │ it answered                                            ▼
//!     └──────────────────────────────────────────────────── Probing, one request at a time
//!                                                              │ it failed: Open again
//! ```
//!
//! It lives as long as its process: a fresh sandbox asks the model anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{info, warn};
use windlass::{
    clock::{Clock, Timestamp},
    telemetry::{Teller, metrics::ModelNews},
};

/// Failures in a row after which a model is left alone: more than one turn of one run makes.
pub const FAILURES_MAX: u32 = 5;

/// How long a model that keeps failing is left alone, when it does not say itself.
pub const OPEN_FOR: Duration = Duration::from_secs(30);

/// How long somebody waits who is turned away while another probes.
const PROBE_FOR: Duration = Duration::from_secs(1);

/// What has come of the requests to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Answered, usably or not.
    pub answered: u64,
    /// Refused by the model or its provider.
    pub refused: u64,
    /// Without an answer.
    pub failed: u64,
    /// Not sent, since the breaker was open.
    pub turned_away: u64,
    /// How often the breaker opened.
    pub opened: u64,
}

/// A circuit breaker for one model.
pub struct Breaker {
    name: String,
    clock: Arc<dyn Clock>,
    teller: Option<Arc<Teller>>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    counters: Counters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp },
    Probing,
}

impl Default for State {
    fn default() -> Self {
        State::Closed { failures: 0 }
    }
}

/// Whether a request may be made.
pub enum Admission<'b> {
    /// It may; say what came of it.
    Granted(Permit<'b>),
    /// Not before then.
    Denied {
        /// When.
        until: Timestamp,
    },
}

/// One request that may be made. When nothing is said of it, it failed: whoever made it gave up waiting.
pub struct Permit<'b> {
    breaker: &'b Breaker,
    settled: bool,
}

impl Breaker {
    /// A closed breaker for the model of that name.
    pub fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.to_owned(), clock, teller: None, inner: Mutex::default() }
    }

    /// One whose requests and changes are told as metrics.
    pub fn told_by(self, teller: Arc<Teller>) -> Self {
        Self { teller: Some(teller), ..self }
    }

    fn tell(&self, news: impl IntoIterator<Item = ModelNews>) {
        let Some(teller) = &self.teller else { return };
        let now = self.clock.now();
        news.into_iter().for_each(|news| teller.model_news(&self.name, news, now));
    }

    /// Whether a request may be made now.
    pub fn admit(&self) -> Admission<'_> {
        match self.turn_away() {
            Some(until) => {
                self.tell([ModelNews::TurnedAway]);
                Admission::Denied { until }
            }
            None => Admission::Granted(Permit { breaker: self, settled: false }),
        }
    }

    /// Until when a request is not made; `None` when it is.
    fn turn_away(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let until = match inner.state {
            State::Open { until } if now < until => until,
            State::Probing => now + PROBE_FOR,
            State::Open { .. } => {
                inner.state = State::Probing;
                return None;
            }
            State::Closed { .. } => return None,
        };
        inner.counters.turned_away += 1;
        Some(until)
    }

    /// Until when the model is left alone; `None` when it may be asked.
    pub fn open_until(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        match self.lock().state {
            State::Open { until } if now < until => Some(until),
            State::Probing => Some(now + PROBE_FOR),
            State::Open { .. } | State::Closed { .. } => None,
        }
    }

    /// What has come of the requests so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, wait: Duration) {
        let opened = self.count_failure(wait).then_some(ModelNews::Opened);
        self.tell([ModelNews::Failed].into_iter().chain(opened));
    }

    /// Whether the breaker opened.
    fn count_failure(&self, wait: Duration) -> bool {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.counters.failed += 1;
        let failures = match inner.state {
            State::Closed { failures } => failures + 1,
            State::Open { .. } | State::Probing => FAILURES_MAX,
        };
        let opens_for = if wait.is_zero() && failures >= FAILURES_MAX { OPEN_FOR } else { wait };
        if opens_for.is_zero() {
            inner.state = State::Closed { failures };
            return false;
        }
        let was_open = matches!(inner.state, State::Open { .. });
        let until = match inner.state {
            State::Open { until } => until.max(now + opens_for),
            State::Closed { .. } | State::Probing => now + opens_for,
        };
        inner.counters.opened += u64::from(!was_open);
        inner.state = State::Open { until };
        warn!(model = self.name, %until, failures, "the model is left alone");
        !was_open
    }

    /// The model is there.
    fn close(&self, news: ModelNews, count: impl FnOnce(&mut Counters)) {
        let was_probing = {
            let mut inner = self.lock();
            count(&mut inner.counters);
            let was_probing = inner.state == State::Probing;
            // An answer to a request from before the breaker opened says nothing about now.
            if !matches!(inner.state, State::Open { .. }) {
                inner.state = State::default();
            }
            was_probing
        };
        if was_probing {
            info!(model = self.name, "the model is back");
        }
        self.tell([news].into_iter().chain(was_probing.then_some(ModelNews::Closed)));
    }
}

impl Permit<'_> {
    /// The model answered.
    pub fn answered(mut self) {
        self.settled = true;
        self.breaker.close(ModelNews::Answered, |counters| counters.answered += 1);
    }

    /// The model is there and refuses.
    pub fn refused(mut self) {
        self.settled = true;
        self.breaker.close(ModelNews::Refused, |counters| counters.refused += 1);
    }

    /// There was no answer; the model asked to be left alone for `wait`, which may be zero.
    pub fn failed(mut self, wait: Duration) {
        self.settled = true;
        self.breaker.fail(wait);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.fail(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass::{
        memory::ManualClock,
        redaction::Redactions,
        telemetry::{Collected, Narrator},
    };

    use super::*;

    fn breaker() -> (Arc<ManualClock>, Breaker) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
        (clock.clone(), Breaker::new("m", clock))
    }

    fn permit(breaker: &Breaker) -> Permit<'_> {
        match breaker.admit() {
            Admission::Granted(permit) => permit,
            Admission::Denied { until } => panic!("open until {until}"),
        }
    }

    fn is_open(breaker: &Breaker) -> bool {
        matches!(breaker.admit(), Admission::Denied { .. })
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_answer_between_them_does_not() {
        let (_, breaker) = breaker();
        (1..FAILURES_MAX).for_each(|_| permit(&breaker).failed(Duration::ZERO));
        permit(&breaker).answered();
        (1..FAILURES_MAX).for_each(|_| permit(&breaker).failed(Duration::ZERO));
        assert_eq!(breaker.open_until(), None);
        permit(&breaker).failed(Duration::ZERO);
        assert!(is_open(&breaker));
    }

    #[test]
    fn one_request_probes_when_the_time_is_over_and_its_outcome_decides() {
        let (clock, breaker) = breaker();
        (0..FAILURES_MAX).for_each(|_| permit(&breaker).failed(Duration::ZERO));
        clock.advance(OPEN_FOR - Duration::from_millis(1));
        assert!(is_open(&breaker));
        clock.advance(Duration::from_millis(1));
        let probe = permit(&breaker);
        assert!(is_open(&breaker), "a second one may not probe");
        probe.failed(Duration::ZERO);
        assert!(is_open(&breaker), "one failure is enough now");
        clock.advance(OPEN_FOR);
        permit(&breaker).answered();
        permit(&breaker).answered();
        let counters = breaker.counters();
        assert_eq!((counters.answered, counters.failed, counters.opened), (2, u64::from(FAILURES_MAX) + 1, 2));
        assert_eq!(counters.turned_away, 3);
    }

    #[test]
    fn what_a_provider_asks_for_is_kept_from_its_first_failure_on() {
        let (clock, breaker) = breaker();
        permit(&breaker).failed(Duration::from_secs(7));
        assert_eq!(breaker.open_until(), Some(clock.now() + Duration::from_secs(7)));
        clock.advance(Duration::from_secs(7));
        permit(&breaker).answered();
        assert_eq!(breaker.open_until(), None);
    }

    #[test]
    fn a_request_that_is_given_up_counts_as_a_failure_and_does_not_block_the_probe() {
        let (clock, breaker) = breaker();
        (0..FAILURES_MAX).for_each(|_| drop(permit(&breaker)));
        assert!(is_open(&breaker));
        clock.advance(OPEN_FOR);
        drop(permit(&breaker));
        assert!(is_open(&breaker));
        clock.advance(OPEN_FOR);
        permit(&breaker).answered();
        assert!(!is_open(&breaker));
    }

    #[test]
    fn a_late_answer_does_not_close_a_breaker_that_opened_meanwhile() {
        let (_, breaker) = breaker();
        let late = permit(&breaker);
        (0..FAILURES_MAX).for_each(|_| permit(&breaker).failed(Duration::ZERO));
        late.answered();
        assert!(is_open(&breaker));
    }

    #[test]
    fn every_request_and_every_change_is_told_as_a_metric() {
        let (clock, breaker) = breaker();
        let kept = Arc::new(Collected::default());
        let narrator = Narrator { environment: "dev", redactions: Arc::new(Redactions::default()) };
        let teller = Teller::telling(kept.clone(), narrator, "r1".parse().expect("a release"));
        let breaker = breaker.told_by(teller.clone());
        (0..FAILURES_MAX).for_each(|_| permit(&breaker).failed(Duration::ZERO));
        assert!(is_open(&breaker));
        clock.advance(OPEN_FOR);
        permit(&breaker).refused();
        permit(&breaker).answered();
        assert_eq!(kept.lines().len(), 2, "what the breaker does is told at once");
        teller.flush();
        let told = kept.lines().into_iter().map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
            let defined = &line["_aws"]["CloudWatchMetrics"][0];
            let name = defined["Metrics"][0]["Name"].as_str().expect("a name").to_owned();
            assert_eq!((&line["Model"], &line["Release"]), (&"m".into(), &"r1".into()));
            assert!(!defined["Dimensions"].to_string().contains("Model"), "{defined}");
            format!("{name} {} {}", line["Outcome"].as_str().unwrap_or_default(), line[&name])
        });
        let failed = vec!["1.0"; FAILURES_MAX as usize].join(",");
        let wanted = [
            "BreakerOpened  1.0",
            "BreakerClosed  1.0",
            &format!("ModelRequests failed [{failed}]"),
            "ModelRequests turned_away 1.0",
            "ModelRequests refused 1.0",
            "ModelRequests answered 1.0",
        ];
        assert_eq!(told.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_refusal_is_no_failure() {
        let (_, breaker) = breaker();
        (0..2 * FAILURES_MAX).for_each(|_| permit(&breaker).refused());
        assert!(!is_open(&breaker));
    }
}
