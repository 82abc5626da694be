//! Runs futures by hand, one poll at a time, in an order that a seed decides.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use windlass::clock::{Clock, Timestamp};

/// When the simulated world begins.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_768_000_000_000);

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub struct VirtualClock {
    now: AtomicI64,
    awaited: Mutex<BTreeMap<Timestamp, u32>>,
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self { now: AtomicI64::new(BEGINNING.as_millis()), awaited: Mutex::default() }
    }
}

impl VirtualClock {
    /// Moves time on.
    pub fn advance(&self, span: Duration) {
        self.now.fetch_add(span.as_millis() as i64, Ordering::SeqCst);
    }

    /// Moves time on to `moment`, if that lies ahead.
    pub fn advance_to(&self, moment: Timestamp) {
        self.now.fetch_max(moment.as_millis(), Ordering::SeqCst);
    }

    /// The next moment that somebody waits for.
    pub fn next_awaited(&self) -> Option<Timestamp> {
        let now = self.now();
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.retain(|moment, _| *moment > now);
        awaited.keys().next().copied()
    }

    /// Forgets who waits: the waiting processes are gone.
    pub fn forget_awaited(&self) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    async fn sleep_until(&self, until: Timestamp) {
        std::future::poll_fn(|_| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            *self.awaited.lock().unwrap_or_else(PoisonError::into_inner).entry(until).or_default() += 1;
            Poll::Pending
        })
        .await;
    }
}

thread_local! {
    /// What the task that is being polled asked of the executor.
    static ASKED: RefCell<Asked> = const { RefCell::new(Asked { yielded: false, died: false }) };
}

struct Asked {
    yielded: bool,
    died: bool,
}

/// Lets another task go on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|_| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        ASKED.with_borrow_mut(|asked| asked.yielded = true);
        Poll::Pending
    })
    .await;
}

/// Ends the process that this future runs in: nothing after it happens.
pub async fn die() {
    ASKED.with_borrow_mut(|asked| asked.died = true);
    std::future::pending::<()>().await;
}

/// A process.
pub type Process = Pin<Box<dyn Future<Output = ()>>>;

/// What came of one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// It ended.
    Ended,
    /// It died.
    Died,
    /// It can go on at once.
    Ready,
    /// It waits for time to pass.
    Waiting,
}

/// Polls a process once.
pub fn poll(process: &mut Process) -> Polled {
    ASKED.with_borrow_mut(|asked| *asked = Asked { yielded: false, died: false });
    let ready = process.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    ASKED.with_borrow(|asked| match (ready, asked.died, asked.yielded) {
        (_, true, _) => Polled::Died,
        (true, false, _) => Polled::Ended,
        (false, false, true) => Polled::Ready,
        (false, false, false) => Polled::Waiting,
    })
}

/// Polls a process until it ends or dies, moving time on whenever it waits.
///
/// # Panics
/// When it waits for something that is not time.
pub fn run_to_end(clock: &Arc<VirtualClock>, mut process: Process) -> Polled {
    loop {
        match poll(&mut process) {
            Polled::Ready => {}
            Polled::Waiting => clock.advance_to(clock.next_awaited().expect("a process waits for nothing")),
            ended @ (Polled::Ended | Polled::Died) => {
                clock.forget_awaited();
                return ended;
            }
        }
    }
}
