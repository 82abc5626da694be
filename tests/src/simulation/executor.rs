//! Runs futures by hand, one poll at a time, in an order that a seed decides.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use windlass::{
    clock::{Clock as _, Timestamp},
    memory::ManualClock,
};

/// When the simulated world begins.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_768_000_000_000);

thread_local! {
    /// What the task that is being polled asked of the executor.
    static ASKED: RefCell<Asked> = const { RefCell::new(Asked { yielded: false, died: false }) };
    /// Polls since somebody last asked.
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

struct Asked {
    yielded: bool,
    died: bool,
}

/// Lets another task go on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        // Some collections of futures poll only those that have said that they can go on.
        context.waker().wake_by_ref();
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

/// How often processes of this thread were polled since this was last asked.
pub fn polls() -> u64 {
    POLLS.replace(0)
}

/// Polls a process once.
pub fn poll(process: &mut Process) -> Polled {
    POLLS.set(POLLS.get() + 1);
    ASKED.with_borrow_mut(|asked| *asked = Asked { yielded: false, died: false });
    let ready = process.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    ASKED.with_borrow(|asked| match (ready, asked.died, asked.yielded) {
        (_, true, _) => Polled::Died,
        (true, false, _) => Polled::Ended,
        (false, false, true) => Polled::Ready,
        (false, false, false) => Polled::Waiting,
    })
}

/// Polls a process until it ends or dies, moving time on whenever it waits; kills it at `deadline`, as Lambda does.
///
/// # Panics
/// When it waits for something that is not time.
pub fn run_to_end(clock: &ManualClock, mut process: Process, deadline: Timestamp) -> Polled {
    loop {
        match poll(&mut process) {
            Polled::Ready => {}
            Polled::Waiting => clock.set(clock.next_wake().expect("a process waits for nothing").max(clock.now())),
            ended @ (Polled::Ended | Polled::Died) => return ended,
        }
        if clock.now() >= deadline {
            return Polled::Died;
        }
    }
}
