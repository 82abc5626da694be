//! The step function: a batch of queue messages in, runs advanced, the failed messages out.

use std::{collections::BTreeMap, time::Duration};

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

/// How long a message rests after the store did not answer.
const REST: Duration = Duration::from_secs(5);

/// How long a request rests that is not taken on now. The queue gives up on it after its tenth receipt, two hours and a half later;
/// then it is a dead letter that can be replayed.
const NOT_ADMITTED_REST: Duration = Duration::from_secs(900);

/// How often a wake-up is received that meets a lease and is put back until that lease is over. Whoever still holds the run then has
/// renewed the lease and so is alive; should it die later, the sweep knows when that lease ends.
const HELD_RECEIVES_MAX: u32 = 1;

/// Works on batches.
pub struct Handler {
    /// Advances runs.
    pub engine: Engine,
    /// On which terms requests that come as messages are taken on.
    pub terms: Terms,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is deleted.
    Acknowledge,
    /// It comes back after this.
    PutBack(Duration),
    /// Its run is held for so long: it comes back then, unless it has before.
    Held(Duration),
}

impl Handler {
    /// Works on one batch, concurrently; says which messages are to come back.
    pub async fn handle(&self, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let read = event.records.iter().map(|record| (record, self.read(record)));
        let read = join_all(read.map(|(record, reading)| async move { (record, reading.await) })).await;
        // Two messages for one run are worked on as one.
        let mut by_run: BTreeMap<RunId, Vec<&SqsMessage>> = BTreeMap::new();
        let mut put_back: Vec<(&SqsMessage, Duration)> = Vec::new();
        for (record, reading) in read {
            match reading {
                Ok(run) => by_run.entry(run).or_default().push(record),
                Err(verdict) => put_back.extend(comes_back(record, verdict)),
            }
        }
        let worked =
            by_run.into_iter().map(|(run, records)| async move { (records, self.advance(run, deadline).await) });
        for (records, verdict) in join_all(worked).await {
            put_back.extend(records.into_iter().filter_map(|record| comes_back(record, verdict)));
        }
        join_all(put_back.iter().map(|(record, span)| self.postpone(record, *span))).await;
        let failed = put_back.into_iter().map(|(record, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record.message_id.clone().unwrap_or_default();
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.collect();
        response
    }

    /// The run that a message is about. What is not ours comes back at once, until the queue gives it to the dead-letter queue: its
    /// receive count decides, and nobody's work waits for it.
    async fn read(&self, record: &SqsMessage) -> Result<RunId, Verdict> {
        let message = record.message_id.as_deref().unwrap_or_default();
        match Message::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(Message::WakeUp { run }) => Ok(run),
            Ok(Message::Start { idempotency_key, source, request }) => {
                let admitted = Some(self.admit(message, &request).await?);
                let trace = sent_trace(record);
                let incoming = Incoming { request, source, client_key: idempotency_key, trace, admitted };
                accept(&self.outside(), &self.terms, incoming).await.map(|taken_on| taken_on.run()).map_err(|problem| {
                    error!(message, %problem, "a request was not taken on");
                    match problem.retry() {
                        Retry::Transient { after } => Verdict::PutBack(after.max(REST)),
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
                Verdict::Held((until + CLOCK_SKEW_MAX).since(self.engine.clock.now()) + Duration::from_secs(1))
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
                    // The lease may still be held: nothing can be done before it is over.
                    JournalError::Unavailable { .. } => Verdict::PutBack(REST),
                    _ => Verdict::PutBack(windlass::lease::LEASE_FOR),
                }
            }
        }
    }

    async fn postpone(&self, record: &SqsMessage, span: Duration) {
        let Some(receipt) = record.receipt_handle.as_deref() else { return };
        if let Err(problem) = self.engine.wake_ups.postpone(receipt, span).await {
            warn!(%problem, "a message was not put back; it comes back by itself");
        }
    }
}

/// The message and after what it comes back, if it does.
fn comes_back(record: &SqsMessage, verdict: Verdict) -> Option<(&SqsMessage, Duration)> {
    match verdict {
        Verdict::Acknowledge => None,
        Verdict::PutBack(span) => Some((record, span)),
        Verdict::Held(span) => (receives(record) <= HELD_RECEIVES_MAX).then_some((record, span)),
    }
}

/// How often a message was received, this time included.
fn receives(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// The trace of whoever sent the message, from its attribute `traceparent`. A wake-up needs none: the run knows its trace.
fn sent_trace(record: &SqsMessage) -> Option<TraceId> {
    let sent = record.message_attributes.get("traceparent")?;
    TraceId::from_traceparent(sent.string_value.as_deref()?)
}
