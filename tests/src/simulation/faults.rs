//! What goes wrong at which port call.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

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
    /// A tool says that the call did not take effect; any other port fails and did nothing.
    Refuse,
    /// A transaction meets another one; any other port fails and did nothing.
    Conflict,
    /// A message is lost though it was sent; nothing to any other port.
    Lose,
    /// A message is sent twice; nothing to any other port.
    Twice,
    /// A message comes late, after others; nothing to any other port.
    Delay,
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
        /// Calls so far, by name.
        named: Mutex<BTreeMap<&'static str, u64>>,
    },
    /// Faults as a schedule has them.
    Scripted {
        /// What happens to the next call.
        armed: Mutex<Fault>,
        /// The store's next so many calls are throttled.
        throttled: AtomicU64,
        /// Calls so far.
        calls: AtomicU64,
        /// Faults so far.
        injected: AtomicU64,
    },
    /// While it lasts, every call of these names fails and does nothing.
    Outage {
        /// Which.
        names: &'static [&'static str],
        /// Whether it does.
        lasts: AtomicBool,
        /// Calls so far.
        calls: AtomicU64,
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
        Faults::At { point, fault, calls: AtomicU64::new(0), hit: Mutex::new(None), named: Mutex::default() }
    }

    /// No faults, until an outage begins: then calls of these names fail until the world is healed.
    pub fn outage(names: &'static [&'static str]) -> Self {
        Faults::Outage { names, lasts: AtomicBool::new(false), calls: AtomicU64::new(0), injected: AtomicU64::new(0) }
    }

    /// Faults as they are armed.
    pub fn scripted() -> Self {
        Faults::Scripted {
            armed: Mutex::new(Fault::None),
            throttled: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            injected: AtomicU64::new(0),
        }
    }

    /// What happens to the next call, if there is one before this is said again.
    pub fn arm(&self, fault: Fault) {
        if let Faults::Scripted { armed, .. } = self {
            *armed.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        }
    }

    /// The store's next so many calls are throttled.
    pub fn throttle(&self, calls: u64) {
        if let Faults::Scripted { throttled, .. } = self {
            throttled.store(calls, Ordering::SeqCst);
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        match self {
            Faults::At { calls, .. } | Faults::Scripted { calls, .. } | Faults::Outage { calls, .. } => {
                calls.load(Ordering::SeqCst)
            }
        }
    }

    /// Calls of this name so far, where one fault at most goes wrong.
    pub fn calls_of(&self, name: &str) -> u64 {
        match self {
            Faults::At { named, .. } => {
                named.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
            }
            Faults::Scripted { .. } | Faults::Outage { .. } => 0,
        }
    }

    /// Faults injected so far.
    pub fn injected(&self) -> u64 {
        match self {
            Faults::At { hit, .. } => u64::from(hit.lock().unwrap_or_else(PoisonError::into_inner).is_some()),
            Faults::Scripted { injected, .. } | Faults::Outage { injected, .. } => injected.load(Ordering::SeqCst),
        }
    }

    /// What the call at the point was.
    pub fn hit(&self) -> Option<&'static str> {
        match self {
            Faults::At { hit, .. } => *hit.lock().unwrap_or_else(PoisonError::into_inner),
            Faults::Scripted { .. } | Faults::Outage { .. } => None,
        }
    }

    /// The outage begins, if there is to be one.
    pub fn begin(&self) {
        if let Faults::Outage { lasts, .. } = self {
            lasts.store(true, Ordering::SeqCst);
        }
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.arm(Fault::None);
        self.throttle(0);
        if let Faults::Outage { lasts, .. } = self {
            lasts.store(false, Ordering::SeqCst);
        }
    }

    fn next(&self, name: &'static str) -> Fault {
        match self {
            Faults::At { point, fault, calls, hit, named } => {
                *named.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
                if calls.fetch_add(1, Ordering::SeqCst) != *point {
                    return Fault::None;
                }
                *hit.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
                *fault
            }
            Faults::Scripted { armed, throttled, calls, injected } => {
                calls.fetch_add(1, Ordering::SeqCst);
                let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
                let mut fault = std::mem::replace(&mut *armed, Fault::None);
                let at_store =
                    !name.starts_with("wake_ups") && !name.starts_with("ledger") && !name.starts_with("model");
                let one_less = |left: u64| left.checked_sub(1);
                if at_store && throttled.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                    fault = Fault::FailBefore;
                }
                injected.fetch_add(u64::from(fault != Fault::None), Ordering::SeqCst);
                fault
            }
            Faults::Outage { names, lasts, calls, injected } => {
                calls.fetch_add(1, Ordering::SeqCst);
                let fails = lasts.load(Ordering::SeqCst) && names.contains(&name);
                injected.fetch_add(u64::from(fails), Ordering::SeqCst);
                if fails { Fault::FailBefore } else { Fault::None }
            }
        }
    }

    /// What happens to a call that is about to be made. Other processes run before it.
    pub async fn before(&self, name: &'static str) -> Fault {
        yield_now().await;
        self.next(name)
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
        let fault = self.before(name).await;
        self.around_with(fault, unavailable, call).await
    }

    /// [`Faults::around`], once it is known what happens.
    ///
    /// # Errors
    /// As there.
    pub async fn around_with<T, E>(
        &self,
        fault: Fault,
        unavailable: impl Fn() -> E,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match fault {
            Fault::DieBefore => die().await,
            Fault::FailBefore | Fault::Refuse | Fault::Conflict => return Err(unavailable()),
            _ => {}
        }
        let result = call.await;
        match fault {
            Fault::DieAfter => die().await,
            Fault::FailAfter => return Err(unavailable()),
            _ => {}
        }
        yield_now().await;
        result
    }
}
