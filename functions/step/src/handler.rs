//! The step function: a batch of queue messages in, runs advanced, the failed messages out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use tracing::{error, info, warn};
use windlass::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    controls::admit::{Admission, Admitted},
    ids::{RunId, TraceId},
    journal::JournalError,
    queue::Message,
    retry::Retry,
    run::{
        accept::{Incoming, Terms, accept},
        advance::{Advanced, Engine},
        outside::Outside,
        request::RunRequest,
    },
};

/// How long a message rests after the store did not answer. A request, which nothing else brings back, rests twice as long each time, at
/// most [`REST_MAX`]: the queue gives it up after ten receipts, and so after more than half an hour.
const REST: Duration = Duration::from_secs(5);

/// The longest such rest.
const REST_MAX: Duration = Duration::from_secs(900);

/// How long a request rests that is not taken on now. The queue gives up on it after its tenth receipt, two hours and a half later;
/// then it is a dead letter that can be replayed.
const NOT_ADMITTED_REST: Duration = Duration::from_secs(900);

/// How often a wake-up is received that is put back: until the lease that it meets is over, or while the store does not answer. Whoever
/// still holds the run then has renewed the lease and so is alive. Should it die later, or the store not answer again, the sweep knows
/// when the run is due.
const WAKE_UP_RECEIVES_MAX: u32 = 1;

/// Works on batches.
pub struct Handler {
    /// Advances runs.
    pub engine: Engine,
    /// On which terms requests that come as messages are taken on.
    pub terms: Terms,
    /// Who may wake runs and start none: ids of roles, as SQS says who sent a message.
    pub wake_up_senders: BTreeSet<String>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is deleted.
    Acknowledge,
    /// It comes back after this.
    PutBack(Duration),
    /// The store did not answer: it comes back the later the more often it has been received, at the earliest after this.
    Rest(Duration),
    /// It comes back after this, unless it has before: the sweep looks after its run.
    Once(Duration),
}

/// A batch that is being worked on.
struct Batch<'e> {
    /// Messages by the run that they are about, while it is worked on.
    in_work: Mutex<BTreeMap<RunId, Vec<&'e SqsMessage>>>,
    /// How many messages are left.
    left: AtomicUsize,
}

impl<'e> Batch<'e> {
    fn of(records: &'e [SqsMessage]) -> Self {
        Batch { in_work: Mutex::default(), left: AtomicUsize::new(records.len()) }
    }

    /// Whether a message of the run is the first of those that are worked on as one: the others wait for what becomes of it. Each was
    /// received before the run is claimed, so nothing that it announces is missed.
    fn is_first(&self, run: RunId, record: &'e SqsMessage) -> bool {
        let mut in_work = self.in_work();
        let messages = in_work.entry(run).or_default();
        messages.push(record);
        messages.len() == 1
    }

    fn done(&self, run: RunId) -> Vec<&'e SqsMessage> {
        self.in_work().remove(&run).unwrap_or_default()
    }

    /// Whether others are still worked on when this message is done.
    fn goes_on(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) > 1
    }

    fn in_work(&self) -> MutexGuard<'_, BTreeMap<RunId, Vec<&'e SqsMessage>>> {
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler {
    /// Works on one batch, concurrently; says which messages are to come back.
    ///
    /// ```text
    /// message 1 ── read ── advance its run ── delete
    /// message 2 ── read ── advance its run ───────────────────────── (the mapping deletes it with the batch)
    /// message 3 ── read, not admitted now ── put back
    /// message 4 ── read, the same run as 2 ─────────────────────────  with 2
    /// ```
    ///
    /// No message waits for another one's run: each is deleted, or put back, as soon as that is known of it. What becomes of a message only
    /// at the end of its batch waits for the slowest run, and for the visibility timeout if another one's run kills this process.
    pub async fn handle(&self, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let batch = Batch::of(&event.records);
        // What is not ours is put back before anything else is done: a port call of another run may be this process's last.
        let is_ours = |record: &&SqsMessage| Message::parse(record.body.as_deref().unwrap_or_default()).is_ok();
        let (ours, others): (Vec<_>, Vec<_>) = event.records.iter().partition(is_ours);
        let worked = others.into_iter().chain(ours).map(|record| self.work(&batch, record, deadline));
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = join_all(worked).await.into_iter().flatten().collect();
        response
    }

    /// Works on one message, and on those for the same run that come while it does.
    async fn work<'e>(&self, batch: &Batch<'e>, record: &'e SqsMessage, deadline: Timestamp) -> Vec<BatchItemFailure> {
        let run = match self.read(record).await {
            Ok(run) => run,
            Err(verdict) => return self.carry_out(batch, verdict, record).await.into_iter().collect(),
        };
        if !batch.is_first(run, record) {
            return Vec::new();
        }
        let verdict = self.advance(run, deadline).await;
        let carried_out = batch.done(run).into_iter().map(|record| self.carry_out(batch, verdict, record));
        join_all(carried_out).await.into_iter().flatten().collect()
    }

    /// The run that a message is about. What is not ours comes back at once, until the queue gives it to the dead-letter queue: its
    /// receive count decides, and nobody's work waits for it.
    async fn read(&self, record: &SqsMessage) -> Result<RunId, Verdict> {
        let message = record.message_id.as_deref().unwrap_or_default();
        match Message::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(Message::WakeUp { run }) => Ok(run),
            Ok(Message::Start { .. }) if self.wake_up_senders.contains(sender(record)) => {
                error!(message, "a request from a sender that may only wake runs");
                Err(Verdict::PutBack(Duration::ZERO))
            }
            Ok(Message::Start { idempotency_key, source, request }) => {
                let admitted = Some(self.admit(message, &request).await?);
                let trace = sent_trace(record);
                let (client_key, person) = (idempotency_key, None);
                let incoming = Incoming { request, source, client_key, person, trace, admitted };
                accept(&self.outside(), &self.terms, incoming).await.map(|taken_on| taken_on.run()).map_err(|problem| {
                    error!(message, %problem, "a request was not taken on");
                    match problem.retry() {
                        Retry::Transient { after } => Verdict::Rest(after),
                        Retry::Terminal => Verdict::PutBack(Duration::ZERO),
                    }
                })
            }
            Err(problem) => {
                error!(message, %problem, "a message that is not ours");
                Err(Verdict::PutBack(Duration::ZERO))
            }
        }
    }

    /// A request that is not taken on now comes back later; its sender is not there to ask again.
    async fn admit(&self, message: &str, request: &RunRequest) -> Result<Admitted, Verdict> {
        let live = &self.engine.live;
        let admission = Admission {
            controls: live.controls.as_ref(),
            budgets: live.budgets.as_ref(),
            allowance: live.allowance,
            clock: self.engine.clock.as_ref(),
        };
        admission.admit(&request.tenant, &request.actor).await.map_err(|problem| {
            warn!(message, %problem, "a request is not taken on now");
            match problem.retry(self.engine.clock.now()) {
                Retry::Transient { after } => Verdict::PutBack(after.max(NOT_ADMITTED_REST)),
                Retry::Terminal => Verdict::PutBack(NOT_ADMITTED_REST),
            }
        })
    }

    fn outside(&self) -> Outside<'_> {
        Outside {
            journal: self.engine.journal.as_ref(),
            wake_ups: self.engine.wake_ups.as_ref(),
            clock: self.engine.clock.as_ref(),
            random: self.engine.random.as_ref(),
            release: &self.engine.release,
            telemetry: self.engine.telemetry.as_deref(),
        }
    }

    async fn advance(&self, run: RunId, deadline: Timestamp) -> Verdict {
        match self.engine.advance(run, deadline).await {
            Ok(Advanced::Held { until }) => {
                // Perhaps the holder is dead: nothing can be done before its lease is over.
                Verdict::Once((until + CLOCK_SKEW_MAX).since(self.engine.clock.now()) + Duration::from_secs(1))
            }
            Ok(Advanced::Unreadable { problem }) => {
                error!(%run, %problem, "the run was left alone");
                Verdict::Acknowledge
            }
            Ok(Advanced::Missing) => {
                warn!(%run, "a wake-up for a run that does not exist");
                Verdict::Acknowledge
            }
            Ok(advanced) => {
                info!(%run, ?advanced, "advanced");
                Verdict::Acknowledge
            }
            Err(problem) => {
                error!(%run, %problem, "the run was not advanced");
                match problem {
                    JournalError::Unavailable { .. } => Verdict::Once(REST),
                    // The lease is still held: nothing can be done before it is over.
                    _ => Verdict::PutBack(windlass::lease::LEASE_FOR),
                }
            }
        }
    }

    /// Puts a message back if it is to come back, as a failure, which the queue keeps; deletes it otherwise, unless the mapping does at once.
    async fn carry_out(&self, batch: &Batch<'_>, verdict: Verdict, record: &SqsMessage) -> Option<BatchItemFailure> {
        let goes_on = batch.goes_on();
        let span = match verdict {
            Verdict::Acknowledge => None,
            Verdict::Once(_) if receives(record) > WAKE_UP_RECEIVES_MAX => None,
            Verdict::PutBack(span) | Verdict::Once(span) => Some(span),
            Verdict::Rest(least) => Some(least.max(rest(receives(record)))),
        };
        let Some(span) = span else {
            if goes_on {
                self.acknowledge(record).await;
            }
            return None;
        };
        if let Some(receipt) = record.receipt_handle.as_deref()
            && let Err(problem) = self.engine.wake_ups.postpone(receipt, span).await
        {
            warn!(%problem, "a message was not put back; it comes back by itself");
        }
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = record.message_id.clone().unwrap_or_default();
        Some(failure)
    }
}

impl Handler {
    /// Deletes a message while others of its batch are worked on. The mapping deletes what is not reported as failed, so one that is not
    /// deleted now is then.
    async fn acknowledge(&self, record: &SqsMessage) {
        if let Some(receipt) = record.receipt_handle.as_deref()
            && let Err(problem) = self.engine.wake_ups.acknowledge(receipt).await
        {
            warn!(%problem, "a message is deleted with its batch only");
        }
    }
}

/// How long a message rests that was received so often.
fn rest(receives: u32) -> Duration {
    REST.saturating_mul(1 << receives.saturating_sub(1).min(16)).min(REST_MAX)
}

/// How often a message was received, this time included.
fn receives(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Whose credentials a message was sent with, as SQS saw it and no sender can choose it: the id of a role, without its session, of a user
/// or an account
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html>).
fn sender(record: &SqsMessage) -> &str {
    let sender = record.attributes.get("SenderId").map_or("", String::as_str);
    sender.split_once(':').map_or(sender, |(role, _)| role)
}

/// The trace of whoever sent the message, from its attribute `traceparent`. A wake-up needs none: the run knows its trace.
fn sent_trace(record: &SqsMessage) -> Option<TraceId> {
    let sent = record.message_attributes.get("traceparent")?;
    TraceId::from_traceparent(sent.string_value.as_deref()?)
}
