//! One process of a function: the sandbox that works one invocation at a time.

use std::{
    future::Future as _,
    io,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    process::{Child, Command},
    sync::{Notify, OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};

use crate::{
    function::{Function, InvokeError},
    logs::{LastLines, Readers},
};

/// How long a process may take until it first asks for work.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib>
pub(crate) const INIT_LIMIT: Duration = Duration::from_secs(10);

pub(crate) type Answer = Result<Bytes, InvokeError>;

/// What a process is handed. If it is dropped before the process has it, `answer` closes and the invoker uses another
/// process.
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) event: Bytes,
    pub(crate) arn: String,
    pub(crate) tail: Option<LastLines>,
    pub(crate) deadline: Instant,
    pub(crate) deadline_epoch_ms: u128,
    pub(crate) trace: String,
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// The way to hand a waiting process its next invocation.
pub(crate) type Hand = oneshot::Sender<Invocation>;

/// How a process failed to start.
#[derive(Debug, Clone)]
pub(crate) struct InitFailure {
    pub(crate) exit: String,
    pub(crate) last_lines: Vec<String>,
}

/// The invocation a process is working on; its slot is taken until the process asks for the next.
struct Current {
    request_id: String,
    deadline: Instant,
    answer: Option<oneshot::Sender<Answer>>,
    slot: OwnedSemaphorePermit,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: Instant,
    child: Mutex<Child>,
    last_lines: LastLines,
    polled: AtomicBool,
    /// Its program was built anew since it started.
    replaced: AtomicBool,
    gone: watch::Sender<bool>,
    reaped: Notify,
    current: Mutex<Option<Current>>,
    /// Whoever started the process and waits for its first poll.
    starter: Mutex<Option<oneshot::Sender<Result<Hand, InitFailure>>>>,
}

impl Process {
    /// Starts the program with a clean environment. The runtime API must already listen at `runtime_api` (`host:port`).
    pub(crate) fn start(
        function: &Function,
        runtime_api: &str,
        log_stream: &str,
        starter: oneshot::Sender<Result<Hand, InitFailure>>,
    ) -> io::Result<(Self, Readers)> {
        let mut command = Command::new(&function.code.program);
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .envs(function.environment(log_stream))
            .current_dir(function.code.folder())
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(group) = function.surroundings.group.id() {
            command.process_group(group);
        }
        let mut child = command.spawn()?;
        let last_lines = LastLines::default();
        let readers = Readers::start(&mut child, &function.surroundings, &last_lines);
        let process = Self {
            pid: child.id().unwrap_or_default(),
            started: Instant::now(),
            child: Mutex::new(child),
            last_lines,
            polled: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            gone: watch::Sender::new(false),
            reaped: Notify::new(),
            current: Mutex::new(None),
            starter: Mutex::new(Some(starter)),
        };
        Ok((process, readers))
    }

    /// Whether the process can still be handed work. Asks the kernel, because the news of a death travels slower than
    /// an invocation.
    pub(crate) fn is_alive(&self) -> bool {
        let alive = matches!(lock(&self.child).try_wait(), Ok(None));
        if !alive {
            // The status was taken from under the task that waits for it, which nothing else would wake.
            self.reaped.notify_one();
        }
        alive
    }

    pub(crate) fn kill(&self) {
        // It may be dead already.
        let _ = lock(&self.child).start_kill();
    }

    /// Resolves when the process has ended. Only one task may wait: the operating system wakes the last that asked.
    pub(crate) async fn ended(&self) -> io::Result<ExitStatus> {
        loop {
            let status = std::future::poll_fn(|context| {
                let mut child = lock(&self.child);
                pin!(child.wait()).poll(context)
            });
            tokio::select! {
                status = status => return status,
                () = self.reaped.notified() => {}
            }
        }
    }

    /// Resolves when the process has ended and its task knows.
    pub(crate) async fn gone(&self) {
        // The sender lives as long as this process, so there is no error to meet.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// The process asks for work, and so has finished what it had.
    pub(crate) fn polled(&self) {
        self.polled.store(true, Ordering::Release);
    }

    /// Others take its place: it ends when it has finished what it has.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    pub(crate) fn has_polled(&self) -> bool {
        self.polled.load(Ordering::Acquire)
    }

    /// Gives the hand of a process that polled for the first time to its starter; returns it if nobody waits.
    pub(crate) fn present(&self, hand: Hand) -> Option<Hand> {
        match lock(&self.starter).take() {
            Some(starter) => starter.send(Ok(hand)).err().and_then(Result::ok),
            None => Some(hand),
        }
    }

    /// Ends the invocation that the process had, frees its slot and fails it if it was never answered.
    pub(crate) fn finish(&self) {
        let finished = lock(&self.current).take();
        if let Some(Current { answer: Some(answer), slot, .. }) = finished {
            drop(slot);
            let _ = answer.send(Err(InvokeError::Exited {
                exit: "the runtime asked for the next invocation without answering".into(),
                last_lines: Vec::new(),
            }));
        }
    }

    /// The process has been handed an invocation; what it needs to know is returned.
    pub(crate) fn accept(&self, invocation: Invocation) -> Handed {
        let Invocation { request_id, event, arn, tail, deadline, deadline_epoch_ms, trace, answer, slot } = invocation;
        self.last_lines.copy_to(tail);
        *lock(&self.current) = Some(Current { request_id: request_id.clone(), deadline, answer: Some(answer), slot });
        Handed { request_id, event, arn, deadline_epoch_ms, trace }
    }

    /// Answers the current invocation. False if `request_id` is not the current one or was answered before.
    pub(crate) fn answer(&self, request_id: &str, answer: Answer) -> bool {
        let sender = match &mut *lock(&self.current) {
            Some(current) if current.request_id == request_id => current.answer.take(),
            _ => None,
        };
        // The invoker may have gone; the process has done its part all the same.
        sender.is_some_and(|sender| {
            let _ = sender.send(answer);
            true
        })
    }

    /// Whether the process has answered and is about to ask for more.
    pub(crate) fn is_finishing(&self) -> bool {
        lock(&self.current).as_ref().is_some_and(|current| current.answer.is_none())
    }

    pub(crate) fn note(&self, line: &str) {
        self.last_lines.push(line);
    }

    /// When to look again whether the process is overdue, after killing it if it is.
    ///
    /// An idle process needs no timer of its own: whatever it is handed from now on has a deadline at least `timeout`
    /// away.
    pub(crate) fn check(&self, now: Instant, timeout: Duration) -> Instant {
        if !self.has_polled() {
            let limit = self.started + INIT_LIMIT;
            if now >= limit {
                self.note(&format!("the process did not ask for work within {} s", INIT_LIMIT.as_secs()));
                self.kill();
            }
            return (now + timeout).min(limit.max(now + INIT_LIMIT / 10));
        }
        let mut current = lock(&self.current);
        let Some(working) = &mut *current else { return now + timeout };
        if now < working.deadline {
            return working.deadline;
        }
        let answer = working.answer.take();
        drop(current);
        self.kill();
        if let Some(answer) = answer {
            let _ = answer.send(Err(InvokeError::TimedOut { after: timeout }));
        }
        now + timeout
    }

    /// The process died before it had read its invocation: the invoker, whose `answer` closes, uses another process.
    pub(crate) fn give_back(&self) {
        drop(lock(&self.current).take());
    }

    /// The process has ended with its output read: fails what it leaves behind. Returns why, if it never asked for
    /// work.
    pub(crate) fn bury(&self, exit: &str) -> Option<InitFailure> {
        self.gone.send_replace(true);
        let last_lines = self.last_lines.to_vec();
        if let Some(Current { answer: Some(answer), slot, .. }) = lock(&self.current).take() {
            drop(slot);
            let _ = answer.send(Err(InvokeError::Exited { exit: exit.to_owned(), last_lines: last_lines.clone() }));
        }
        (!self.has_polled()).then(|| InitFailure { exit: exit.to_owned(), last_lines })
    }

    pub(crate) fn report(&self, failure: InitFailure) {
        if let Some(starter) = lock(&self.starter).take() {
            // Nobody waits for a process that was started for an invoker who has gone.
            let _ = starter.send(Err(failure));
        }
    }
}

/// What the answer to `/invocation/next` says.
pub(crate) struct Handed {
    pub(crate) request_id: String,
    pub(crate) event: Bytes,
    pub(crate) arn: String,
    pub(crate) deadline_epoch_ms: u128,
    pub(crate) trace: String,
}

/// How a process ended, in words.
pub(crate) fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its status is unknown: {error}"),
    }
}

/// Waits on `Poll` keep no guard across an await, so a poisoned lock only means that another task panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
