//! A circuit breaker: a model that keeps failing is left alone for a while.
//!
//! ```text
//!            failures_max in a row, for failing_for
//!   Closed ─────────────────────────────────► Open until …
//!     ▲                                         │ time passes
//!     │ it answered                             ▼
//!     └───────────────────────────────────── Probing, one request at a time
//!                                               │ it failed: Open again; one failure, if it had opened because it was asked to wait
//! ```
//!
//! There is one circuit for everybody, which opens when there is no connection, and one for each tenant, which opens when the provider
//! answers that tenant with errors: what one tenant's prompts do to a provider says nothing about others. A request without an answer says
//! nothing either: a long answer takes long.
//!
//! It lives as long as its process: a fresh sandbox asks the model anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{info, warn};
use windlass::{
    clock::{Clock, Timestamp},
    ids::Tenant,
    telemetry::{Teller, metrics::ModelNews},
};

/// Failures in a row after which a model is left alone: more than one turn of one run makes.
pub const FAILURES_MAX: u32 = 5;

/// For how long it must have failed without an answer in between: of many requests at once a few fail one after the other by chance, and
/// nobody is to stop working for that.
pub const FAILING_FOR: Duration = Duration::from_secs(2);

/// How long a model that keeps failing is left alone, when it does not say itself.
pub const OPEN_FOR: Duration = Duration::from_secs(30);

/// How long it is left alone at most before somebody looks again, whatever it says: one request a minute harms nobody.
pub const OPEN_MAX: Duration = Duration::from_secs(60);

/// How long somebody waits who is turned away while another probes.
const PROBE_FOR: Duration = Duration::from_secs(1);

/// The most tenants whose failures are counted at a time; those beyond are asked for all the same.
const TENANTS_MAX: usize = 1_000;

/// What has come of the requests to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Answered, usably or not.
    pub answered: u64,
    /// Refused by the model or its provider.
    pub refused: u64,
    /// Not reached, or answered that it cannot now.
    pub failed: u64,
    /// Sent, and not answered.
    pub unanswered: u64,
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
    everybody: Circuit,
    tenants: BTreeMap<Tenant, Circuit>,
    counters: Counters,
}

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    /// The last failure asked to be left alone.
    Asked,
    /// It kept failing.
    Failing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circuit {
    Closed { failures: u32, since: Timestamp },
    Open { until: Timestamp, because: Because },
    Probing { because: Because },
}

impl Default for Circuit {
    fn default() -> Self {
        Circuit::Closed { failures: 0, since: Timestamp::from_millis(0) }
    }
}

/// What a request is to a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    One,
    Probe,
}

impl Circuit {
    /// Until when a request is turned away; `None` when it may be made.
    fn closed_until(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Circuit::Open { until, .. } if now < until => Some(until),
            Circuit::Probing { .. } => Some(now + PROBE_FOR),
            Circuit::Open { .. } | Circuit::Closed { .. } => None,
        }
    }

    /// Lets a request through that is not turned away.
    fn enter(&mut self) -> Role {
        match *self {
            Circuit::Open { because, .. } => {
                *self = Circuit::Probing { because };
                Role::Probe
            }
            Circuit::Closed { .. } | Circuit::Probing { .. } => Role::One,
        }
    }

    /// The request failed, and was asked to wait so long; until when the circuit has opened, if it has.
    fn failed(&mut self, role: Role, wait: Duration, now: Timestamp) -> Option<Timestamp> {
        let (failures, since) = match (*self, role) {
            (Circuit::Closed { failures: 0, .. }, _) => (1, now),
            (Circuit::Closed { failures, since }, _) => (failures.saturating_add(1), since),
            (Circuit::Probing { because: Because::Failing }, Role::Probe) => (FAILURES_MAX, now - FAILING_FOR),
            (Circuit::Probing { because: Because::Asked }, Role::Probe) => (1, now),
            // It was sent before the circuit opened, and says nothing about now.
            (Circuit::Open { .. } | Circuit::Probing { .. }, _) => return None,
        };
        if failures < FAILURES_MAX || now.since(since) < FAILING_FOR {
            *self = Circuit::Closed { failures, since };
            return None;
        }
        let (span, because) =
            if wait.is_zero() { (OPEN_FOR, Because::Failing) } else { (wait.min(OPEN_MAX), Because::Asked) };
        *self = Circuit::Open { until: now + span, because };
        Some(now + span)
    }

    /// The model is there; whether that closed the circuit.
    fn answered(&mut self, role: Role) -> bool {
        match (*self, role) {
            (Circuit::Closed { .. }, _) => *self = Circuit::default(),
            (Circuit::Probing { .. }, Role::Probe) => {
                *self = Circuit::default();
                return true;
            }
            // An answer to a request from before the circuit opened says nothing about now.
            (Circuit::Open { .. } | Circuit::Probing { .. }, _) => {}
        }
        false
    }

    /// Nothing is known of the request: the next one may probe.
    fn nothing_known(&mut self, role: Role, now: Timestamp) {
        if let (Circuit::Probing { because }, Role::Probe) = (*self, role) {
            *self = Circuit::Open { until: now, because };
        }
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

/// One request that may be made. When nothing is said of it, whoever made it gave up waiting.
pub struct Permit<'b> {
    breaker: &'b Breaker,
    tenant: Tenant,
    /// To the circuit of everybody, and to the tenant's.
    roles: (Role, Role),
    settled: bool,
}

/// What came of a request, as far as circuits care.
enum Came {
    Answered,
    Refused,
    Failed(Duration),
    Unreachable,
    Unanswered,
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

    /// Whether a request may be made now for `tenant`.
    pub fn admit(&self, tenant: &Tenant) -> Admission<'_> {
        let now = self.clock.now();
        let entered = {
            let mut inner = self.lock();
            let own = inner.tenants.get(tenant).copied().unwrap_or_default();
            let until = [inner.everybody, own].into_iter().filter_map(|circuit| circuit.closed_until(now)).max();
            match until {
                Some(until) => {
                    inner.counters.turned_away += 1;
                    Err(until)
                }
                None => {
                    let everybody = inner.everybody.enter();
                    Ok((everybody, inner.tenants.get_mut(tenant).map_or(Role::One, Circuit::enter)))
                }
            }
        };
        match entered {
            Ok(roles) => Admission::Granted(Permit { breaker: self, tenant: tenant.clone(), roles, settled: false }),
            Err(until) => {
                self.tell([ModelNews::TurnedAway]);
                Admission::Denied { until }
            }
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

    fn settle(&self, tenant: &Tenant, roles: (Role, Role), came: &Came) {
        let now = self.clock.now();
        let (mut opened, mut closed) = (None, false);
        let news = {
            let mut guard = self.lock();
            let Inner { everybody, tenants, counters } = &mut *guard;
            let mut own = tenants.get(tenant).copied().unwrap_or_default();
            let news = match came {
                Came::Answered | Came::Refused => {
                    closed = everybody.answered(roles.0) | own.answered(roles.1);
                    if matches!(came, Came::Answered) { ModelNews::Answered } else { ModelNews::Refused }
                }
                Came::Failed(wait) => {
                    closed = everybody.answered(roles.0);
                    opened = own.failed(roles.1, *wait, now);
                    ModelNews::Failed
                }
                Came::Unreachable => {
                    opened = everybody.failed(roles.0, Duration::ZERO, now);
                    own.nothing_known(roles.1, now);
                    ModelNews::Failed
                }
                Came::Unanswered => {
                    everybody.nothing_known(roles.0, now);
                    own.nothing_known(roles.1, now);
                    ModelNews::Unanswered
                }
            };
            match news {
                ModelNews::Answered => counters.answered += 1,
                ModelNews::Refused => counters.refused += 1,
                ModelNews::Unanswered => counters.unanswered += 1,
                _ => counters.failed += 1,
            }
            counters.opened += u64::from(opened.is_some());
            if own == Circuit::default() {
                tenants.remove(tenant);
            } else if tenants.len() < TENANTS_MAX || tenants.contains_key(tenant) {
                tenants.insert(tenant.clone(), own);
            }
            news
        };
        if let Some(until) = opened {
            warn!(model = self.name, %until, "the model is left alone");
        }
        if closed {
            info!(model = self.name, "the model is back");
        }
        let changes = [opened.map(|_| ModelNews::Opened), closed.then_some(ModelNews::Closed)];
        self.tell([news].into_iter().chain(changes.into_iter().flatten()));
    }
}

impl Permit<'_> {
    fn settle(mut self, came: &Came) {
        self.settled = true;
        self.breaker.settle(&self.tenant, self.roles, came);
    }

    /// The model answered.
    pub fn answered(self) {
        self.settle(&Came::Answered);
    }

    /// The model is there and refuses.
    pub fn refused(self) {
        self.settle(&Came::Refused);
    }

    /// The model answered that it cannot now; it asked to be left alone for `wait`, which may be zero.
    pub fn failed(self, wait: Duration) {
        self.settle(&Came::Failed(wait));
    }

    /// There was no way to the model.
    pub fn unreachable(self) {
        self.settle(&Came::Unreachable);
    }

    /// The model was asked and did not answer.
    pub fn unanswered(self) {
        self.settle(&Came::Unanswered);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(&self.tenant, self.roles, &Came::Unanswered);
        }
    }
}

#[cfg(test)]
mod tests;
