//! What goes wrong at which port call.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rand::{RngExt as _, rngs::StdRng};

use super::executor::{die, yield_now};

/// What happens at one port call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The process dies before the call does anything.
    DieBefore,
    /// The process dies after the call took effect.
    DieAfter,
    /// The call fails and did nothing.
    FailBefore,
    /// The call fails although it took effect.
    FailAfter,
}

/// Decides what goes wrong.
pub enum Faults {
    /// One fault, at one call.
    At {
        /// Which call, counted from 0.
        point: u64,
        /// What happens there.
        fault: Fault,
        /// Calls so far.
        calls: AtomicU64,
        /// What the call at `point` was.
        hit: Mutex<Option<&'static str>>,
    },
    /// Faults by chance.
    Random {
        /// The chances.
        rng: Box<Mutex<StdRng>>,
        /// Faults in a thousand calls; 0 once the world has healed.
        per_thousand: AtomicU64,
        /// Faults so far.
        injected: AtomicU64,
    },
}

impl Faults {
    /// No faults; counts calls.
    pub fn none() -> Self {
        Self::at(u64::MAX, Fault::None)
    }

    /// One fault at one call.
    pub fn at(point: u64, fault: Fault) -> Self {
        Faults::At { point, fault, calls: AtomicU64::new(0), hit: Mutex::new(None) }
    }

    /// Faults by chance.
    pub fn random(rng: StdRng, per_thousand: u64) -> Self {
        Faults::Random {
            rng: Box::new(Mutex::new(rng)),
            per_thousand: AtomicU64::new(per_thousand),
            injected: AtomicU64::new(0),
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        match self {
            Faults::At { calls, .. } => calls.load(Ordering::SeqCst),
            Faults::Random { .. } => 0,
        }
    }

    /// Faults injected so far.
    pub fn injected(&self) -> u64 {
        match self {
            Faults::At { hit, .. } => u64::from(hit.lock().unwrap_or_else(PoisonError::into_inner).is_some()),
            Faults::Random { injected, .. } => injected.load(Ordering::SeqCst),
        }
    }

    /// What the call at the point was.
    pub fn hit(&self) -> Option<&'static str> {
        match self {
            Faults::At { hit, .. } => *hit.lock().unwrap_or_else(PoisonError::into_inner),
            Faults::Random { .. } => None,
        }
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        if let Faults::Random { per_thousand, .. } = self {
            per_thousand.store(0, Ordering::SeqCst);
        }
    }

    fn next(&self, name: &'static str) -> Fault {
        match self {
            Faults::At { point, fault, calls, hit } => {
                if calls.fetch_add(1, Ordering::SeqCst) != *point {
                    return Fault::None;
                }
                *hit.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
                *fault
            }
            Faults::Random { rng, per_thousand, injected } => {
                let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                if rng.random_range(0..1_000) >= per_thousand.load(Ordering::SeqCst) {
                    return Fault::None;
                }
                injected.fetch_add(1, Ordering::SeqCst);
                let faults = [Fault::DieBefore, Fault::DieAfter, Fault::FailBefore, Fault::FailAfter];
                faults[rng.random_range(0..faults.len())]
            }
        }
    }

    /// Makes a call, or does not, as decided. Other processes run before and after it.
    ///
    /// # Errors
    /// The call's own, or `unavailable` when that is what goes wrong.
    pub async fn around<T, E>(
        &self,
        name: &'static str,
        unavailable: impl Fn() -> E,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        yield_now().await;
        let fault = self.next(name);
        match fault {
            Fault::DieBefore => die().await,
            Fault::FailBefore => return Err(unavailable()),
            Fault::None | Fault::DieAfter | Fault::FailAfter => {}
        }
        let result = call.await;
        match fault {
            Fault::DieAfter => die().await,
            Fault::FailAfter => return Err(unavailable()),
            Fault::None | Fault::DieBefore | Fault::FailBefore => {}
        }
        yield_now().await;
        result
    }
}
