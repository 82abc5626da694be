//! The step function: a batch of queue messages in, runs advanced, the failed messages out.

use std::{
    collections::{BTreeMap, BTreeSet},
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

impl Handler {
    /// Works on one batch, concurrently; says which messages are to come back.
    ///
    /// Each is put back as soon as that is known of it: what is put back only at the end waits for the slowest of its batch, and for
    /// the visibility timeout if another one's run kills this process.
    pub async fn handle(&self, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let read = event.records.iter().map(|record| async move {
            match self.read(record).await {
                Ok(run) => Ok((run, record)),
                Err(verdict) => Err(self.carry_out(verdict, record).await),
            }
        });
        // Two messages for one run are worked on as one.
        let mut by_run: BTreeMap<RunId, Vec<&SqsMessage>> = BTreeMap::new();
        let mut failures: Vec<BatchItemFailure> = Vec::new();
        for reading in join_all(read).await {
            match reading {
                Ok((run, record)) => by_run.entry(run).or_default().push(record),
                Err(failure) => failures.extend(failure),
            }
        }
        let worked = by_run.into_iter().map(|(run, records)| async move {
            let verdict = self.advance(run, deadline).await;
            join_all(records.into_iter().map(|record| self.carry_out(verdict, record))).await
        });
        failures.extend(join_all(worked).await.into_iter().flatten().flatten());
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures;
        response
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

    /// Puts a message back if it is to come back; as a failure the queue keeps it.
    async fn carry_out(&self, verdict: Verdict, record: &SqsMessage) -> Option<BatchItemFailure> {
        let span = match verdict {
            Verdict::Acknowledge => return None,
            Verdict::Once(_) if receives(record) > WAKE_UP_RECEIVES_MAX => return None,
            Verdict::PutBack(span) | Verdict::Once(span) => span,
            Verdict::Rest(least) => least.max(rest(receives(record))),
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
