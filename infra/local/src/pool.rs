//! The processes of one version of a function.
//!
//! ```text
//! invoke ── slot (at most concurrency_max) ── idle process, or a new one ── hand over ── answer
//!                                                                             │
//! process ── /next: idle ◄── the slot is free again ── /next ◄── /response ◄──┘
//! ```
//!
//! A slot is kept until the process asks for work again, so there are never more processes at work than slots. The slots are the
//! function's: its versions share them. A process that ends while it is idle is not used; one that ends on the way to its
//! invocation gives the invocation back. A pool that is retired lets its processes finish what they have.

mod watched;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{Instant, timeout},
};

use self::watched::Watched;
use crate::{
    delivery::{Delivery, WatchedListener},
    function::{Function, FunctionStatus, InvokeError},
    identifier, listener,
    logs::LastLines,
    process::{Answer, Hand, INIT_LIMIT, InitFailure, Invocation, Process},
    runtime_api::{self, Sandbox},
};

/// The first wait after a failed start; it doubles up to [`RESTART_WAIT_MAX`].
const RESTART_WAIT: Duration = Duration::from_millis(100);

/// The longest wait after a failed start.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(2);

/// Processes tried for one invocation before it fails; each one has died between its poll and the invocation.
const HANDOVERS_MAX: usize = 16;

/// How long a process that has just answered is waited for before another one is started.
const FINISHING_WAIT: Duration = Duration::from_millis(5);

/// How long an invoker waits for a slot or for the next start to be allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Then it is refused.
    Until(Duration),
    /// As long as it takes.
    Endless,
}

/// What is asked of a process.
pub(crate) struct Call {
    pub(crate) request_id: String,
    pub(crate) event: Bytes,
    /// The function as it was asked for, with the alias or version.
    pub(crate) arn: String,
    /// Where to copy what the process writes meanwhile.
    pub(crate) tail: Option<LastLines>,
}

/// A process that waits for work.
struct Idle {
    process: Arc<Process>,
    hand: Hand,
    since: Instant,
}

/// What went wrong at the last start.
#[derive(Default)]
struct Starts {
    failures: u32,
    last_failure: Option<InitFailure>,
    allowed_at: Option<Instant>,
}

/// The processes of one version.
pub(crate) struct Pool {
    function: Function,
    slots: Arc<Semaphore>,
    /// The process used last is used next, so that a quiet function keeps one process warm.
    idle: Mutex<Vec<Idle>>,
    /// Tells invokers that a process has become idle.
    offered: Notify,
    processes: Mutex<Vec<Arc<Process>>>,
    starts: Mutex<Starts>,
    polls: AtomicU64,
    closed: AtomicBool,
    retired: AtomicBool,
    me: Weak<Pool>,
}

impl Pool {
    pub(crate) fn new(function: Function, slots: Arc<Semaphore>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            slots,
            function,
            idle: Mutex::default(),
            offered: Notify::new(),
            processes: Mutex::default(),
            starts: Mutex::default(),
            polls: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    /// Whose processes they are.
    pub(crate) const fn function(&self) -> &Function {
        &self.function
    }

    /// Invokes, waits for the answer and says how long the process worked on it. An invocation that was handed over goes on when the
    /// invoker goes away.
    pub(crate) async fn invoke(&self, call: Call, patience: Patience) -> (Answer, Duration) {
        match self.hand_over(&call, patience).await {
            Ok(worked) => worked,
            Err(error) => (Err(error), Duration::ZERO),
        }
    }

    async fn hand_over(&self, call: &Call, patience: Patience) -> Result<(Answer, Duration), InvokeError> {
        for _ in 0..HANDOVERS_MAX {
            let slot = self.slot(patience).await?;
            let hand = match self.find_idle().await {
                Some(hand) => hand,
                None => self.start(patience).await?,
            };
            let (answer, answered) = oneshot::channel();
            let began = Instant::now();
            if hand.send(self.invocation(call, answer, slot)).is_ok()
                && let Ok(answer) = answered.await
            {
                return Ok((answer, began.elapsed()));
            }
        }
        Err(InvokeError::Exited {
            exit: "every process died before it took the invocation".into(),
            last_lines: Vec::new(),
        })
    }

    /// Starts a process if there is none, and waits until it asks for work or fails to.
    pub(crate) async fn warm(&self) -> FunctionStatus {
        if self.pids().is_empty()
            && let Ok(_slot) = self.slot(Patience::Until(INIT_LIMIT)).await
        {
            let (starter, started) = oneshot::channel();
            match self.spawn(starter).await {
                Ok(process) => {
                    if let Ok(Ok(Ok(hand))) = timeout(INIT_LIMIT * 2, started).await {
                        self.keep(process, hand);
                    }
                }
                Err(failure) => self.note_failure(failure),
            }
        }
        self.status()
    }

    pub(crate) fn status(&self) -> FunctionStatus {
        if let Some(failure) = &lock(&self.starts).last_failure {
            return FunctionStatus::InitFailed { exit: failure.exit.clone(), last_lines: failure.last_lines.clone() };
        }
        match self.polls.load(Ordering::Relaxed) {
            0 => FunctionStatus::Starting,
            polls => FunctionStatus::Ready { polls },
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        lock(&self.processes).iter().filter(|process| process.is_alive()).map(|process| process.pid).collect()
    }

    /// A process asks for work: it is idle now, and the slot of what it did is free.
    pub(crate) fn offer(&self, process: &Arc<Process>, hand: Hand) {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if !process.has_polled() {
            *lock(&self.starts) = Starts::default();
            process.polled();
        }
        if let Some(hand) = process.present(hand) {
            self.keep(Arc::clone(process), hand);
            self.offered.notify_waiters();
        }
        // Only now, so that whoever gets the slot finds this process.
        process.finish();
    }

    /// Keeps a process for the next invocation, unless there will be none.
    fn keep(&self, process: Arc<Process>, hand: Hand) {
        let mut idle = lock(&self.idle);
        // Looked at under the lock that `retire` and `renew` take, so that no process is kept after them.
        if self.retired.load(Ordering::Acquire) || process.is_replaced() {
            process.kill();
            return;
        }
        idle.push(Idle { process, hand, since: Instant::now() });
    }

    /// Ends idle processes, and each other one when it has finished what it has. Invocations that chose this pool before are still
    /// worked.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for idle in lock(&self.idle).drain(..) {
            idle.process.kill();
        }
    }

    /// Ends every process that there is as [`retire`](Self::retire) does, while new ones take over.
    pub(crate) fn renew(&self) {
        let mut idle = lock(&self.idle);
        for process in lock(&self.processes).iter() {
            process.replace();
        }
        for idle in idle.drain(..) {
            idle.process.kill();
        }
        // A program that did not start may have been mended.
        *lock(&self.starts) = Starts::default();
    }

    /// Whether the pool is retired and has no process left.
    pub(crate) fn is_over(&self) -> bool {
        self.retired.load(Ordering::Acquire) && lock(&self.processes).is_empty()
    }

    /// Ends processes that have been idle for `limit`.
    pub(crate) fn end_idle(&self, limit: Duration) {
        let now = Instant::now();
        lock(&self.idle).retain(|idle| {
            let stays = now.saturating_duration_since(idle.since) < limit;
            if !stays {
                idle.process.kill();
            }
            stays
        });
    }

    /// Kills every process; nothing is started any more.
    pub(crate) async fn close(&self) {
        self.kill();
        let processes = lock(&self.processes).clone();
        for process in &processes {
            process.gone().await;
        }
    }

    /// Kills every process without waiting for it; nothing is started any more.
    pub(crate) fn kill(&self) {
        self.closed.store(true, Ordering::Release);
        for process in lock(&self.processes).iter() {
            process.kill();
        }
    }

    async fn slot(&self, patience: Patience) -> Result<OwnedSemaphorePermit, InvokeError> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match patience {
            Patience::Endless => slot.await,
            Patience::Until(limit) => timeout(limit, slot)
                .await
                .map_err(|_| InvokeError::TooManyRequests { function: self.function.surroundings.name.clone() })?,
        };
        slot.map_err(|_| InvokeError::ShuttingDown)
    }

    /// An idle process, or one that is about to be.
    async fn find_idle(&self) -> Option<Hand> {
        let offered = self.offered.notified();
        if let Some(hand) = self.take_idle() {
            return Some(hand);
        }
        if !lock(&self.processes).iter().any(|process| process.is_finishing()) {
            return None;
        }
        // Started all the same if another invoker was faster, or the process does not come back.
        let _ = timeout(FINISHING_WAIT, offered).await;
        self.take_idle()
    }

    fn take_idle(&self) -> Option<Hand> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { process, hand, .. }) = idle.pop() {
            if !hand.is_closed() && process.is_alive() {
                return Some(hand);
            }
        }
        None
    }

    fn invocation(&self, call: &Call, answer: oneshot::Sender<Answer>, slot: OwnedSemaphorePermit) -> Invocation {
        let now = self.function.surroundings.clock.since_epoch();
        Invocation {
            request_id: call.request_id.clone(),
            event: call.event.clone(),
            arn: call.arn.clone(),
            tail: call.tail.clone(),
            deadline: Instant::now() + self.function.timeout,
            deadline_epoch_ms: (now + self.function.timeout).as_millis(),
            trace: identifier::trace_header(now.as_secs()),
            answer,
            slot,
        }
    }

    /// Starts a process for an invoker that has a slot.
    async fn start(&self, patience: Patience) -> Result<Hand, InvokeError> {
        self.wait_for_restart(patience).await?;
        let (starter, started) = oneshot::channel();
        let failure = match self.spawn(starter).await {
            Ok(_process) => match started.await {
                Ok(Ok(hand)) => return Ok(hand),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(InvokeError::ShuttingDown),
            },
            Err(failure) => {
                self.note_failure(failure.clone());
                failure
            }
        };
        Err(self.init_failed(failure))
    }

    async fn wait_for_restart(&self, patience: Patience) -> Result<(), InvokeError> {
        let (allowed_at, failure) = {
            let starts = lock(&self.starts);
            (starts.allowed_at, starts.last_failure.clone())
        };
        let Some(allowed_at) = allowed_at else { return Ok(()) };
        if let Patience::Until(limit) = patience
            && Instant::now() + limit < allowed_at
            && let Some(failure) = failure
        {
            return Err(self.init_failed(failure));
        }
        tokio::time::sleep_until(allowed_at).await;
        Ok(())
    }

    fn init_failed(&self, InitFailure { exit, last_lines }: InitFailure) -> InvokeError {
        InvokeError::InitFailed { function: self.function.surroundings.name.clone(), exit, last_lines }
    }

    fn note_failure(&self, failure: InitFailure) {
        let mut starts = lock(&self.starts);
        let wait = RESTART_WAIT.saturating_mul(1 << starts.failures.min(16)).min(RESTART_WAIT_MAX);
        starts.failures = starts.failures.saturating_add(1);
        starts.allowed_at = Some(Instant::now() + wait);
        starts.last_failure = Some(failure);
    }

    /// Starts a process with its own Runtime API, and a task that watches over it.
    async fn spawn(&self, starter: oneshot::Sender<Result<Hand, InitFailure>>) -> Result<Arc<Process>, InitFailure> {
        let failed = |error: std::io::Error| InitFailure {
            exit: format!("cannot start `{}`: {error}", self.function.code.program.display()),
            last_lines: Vec::new(),
        };
        let Some(pool) = self.me.upgrade().filter(|_| !self.closed.load(Ordering::Acquire)) else {
            return Err(InitFailure { exit: "the stack is shutting down".into(), last_lines: Vec::new() });
        };
        let (listening, address) = listener::bind(None).await.map_err(failed)?;
        let sandbox = Arc::new(Sandbox { pool, process: OnceCell::new(), started: Notify::new() });
        let (stop, stopped) = watch::channel(false);
        let delivery = Delivery::default();
        let listening = WatchedListener { listener: listening, delivery: delivery.clone() };
        let server = listener::serve_on(listening, runtime_api::router(Arc::clone(&sandbox)), stopped);
        let started = Process::start(&self.function, &address.to_string(), &identifier::uuid(), starter);
        let (process, readers) = match started {
            Ok((process, readers)) => (Arc::new(process), readers),
            Err(error) => {
                server.abort();
                return Err(failed(error));
            }
        };
        lock(&self.processes).push(Arc::clone(&process));
        // The cell is empty: nothing else sets it.
        let _ = sandbox.process.set(Arc::clone(&process));
        sandbox.started.notify_waiters();
        let watched = Watched { process: Arc::clone(&process), readers, delivery, _stop: stop };
        tokio::spawn(watched.watch_over(self.me.clone(), self.function.timeout));
        Ok(process)
    }

    fn remove(&self, process: &Arc<Process>) {
        lock(&self.processes).retain(|other| !Arc::ptr_eq(other, process));
        lock(&self.idle).retain(|idle| !Arc::ptr_eq(&idle.process, process));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
