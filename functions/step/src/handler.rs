//! The step function: a batch of queue messages in, runs advanced, the failed messages out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tracing::{error, info, warn};
use windlass::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    controls::admit::{Admission, Admitted},
    ids::RunId,
    journal::JournalError,
    queue::{BATCH_MESSAGES_MAX, Deliveries, Delivery, Message},
    retry::Retry,
    run::{
        accept::{Incoming, Terms, accept},
        advance::{Advanced, Engine, LEAVE_MARGIN},
        outside::Outside,
        request::RunRequest,
        tasks::Tasks,
    },
};

use crate::batch::{Batch, HIDDEN_FOR, HIDE_AFTER, HIDE_EVERY, Letter, Receiver, TAKE_ON_BEFORE};

/// How long a message rests after the store did not answer. A request, which nothing else brings back, rests twice as long each time, at
/// most [`REST_MAX`]: the queue gives it up after ten receipts, and so after more than half an hour.
const REST: Duration = Duration::from_secs(5);

/// The longest such rest.
const REST_MAX: Duration = Duration::from_secs(900);

/// How long a request rests that is not taken on now. The queue gives up on it after its tenth receipt, two hours and a half later;
/// then it is a dead letter that can be replayed.
const NOT_ADMITTED_REST: Duration = Duration::from_secs(900);

/// How often a wake-up is received that is put back: until the lease that it meets is over, or while the store does not answer. One that
/// comes back since its worker died may meet a lease that was made longer for a question: that is its second time. Whoever
/// still holds the run after that has renewed the lease and so is alive. Should it die later, or the store not answer again, the sweep knows
/// when the run is due.
const WAKE_UP_RECEIVES_MAX: u32 = 2;

/// Works on batches.
pub struct Handler {
    /// Advances runs.
    pub engine: Engine,
    /// Receives what it works on beside its batches, and deletes and puts back what it has worked on.
    pub deliveries: Arc<dyn Deliveries>,
    /// On which terms requests that come as messages are taken on.
    pub terms: Terms,
    /// What runs may be asked to do.
    pub tasks: Tasks,
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
    /// It comes back after this, unless it has been received more than [`WAKE_UP_RECEIVES_MAX`] times: the sweep looks after its run.
    Seldom(Duration),
}

/// What came of one of the things that are done at once.
enum Did {
    /// A message was worked on.
    Work(Vec<BatchItemFailure>),
    /// Messages in work were hidden.
    Hide,
    /// Messages were received for places that were free.
    Receive(Vec<Delivery>),
}

impl Handler {
    /// Works on one batch, concurrently; says which messages are to come back.
    ///
    /// ```text
    /// message 1 ── read ── advance its run ── delete
    /// message 2 ── read ── advance its run ─────────────────────────────────────────── (the mapping deletes it with the batch)
    /// message 3 ── read, not admitted now ── put back
    /// message 4 ── read, the same run as 2 ───────────────────────────────────────────  with 2
    ///                        hide 1, 2, 4 ── receive 11, 12 ────────── hide 2, 4, 12
    ///                                        message 11 ── read ── … ── delete
    /// ```
    ///
    /// No message waits for another one's run: each is deleted, or put back, as soon as that is known of it, and its place is taken by the
    /// next. What becomes of a message only at the end of its batch waits for the slowest run. While it is worked on it is hidden for as long
    /// as a lease, and so comes back when this process is dead.
    pub async fn handle(&self, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let now = self.engine.clock.now();
        let needed = self.engine.agent.model.timeout() + LEAVE_MARGIN + TAKE_ON_BEFORE;
        let batch = Batch::of(event.records.len(), now, needed, deadline);
        // What is not ours is put back before anything else is done: a port call of another run may be this process's last.
        let is_ours = |letter: &Letter| Message::parse(&letter.delivery.body).is_ok();
        let (ours, others): (Vec<_>, Vec<_>) = event.records.into_iter().map(Letter::of).partition(is_ours);
        let mut doing: FuturesUnordered<BoxFuture<'_, Did>> = FuturesUnordered::new();
        for letter in others.into_iter().chain(ours) {
            doing.push(Box::pin(self.work(&batch, letter, deadline)));
        }
        let (mut working, mut receiving) = (doing.len(), false);
        doing.push(Box::pin(self.hide(&batch, now + HIDE_AFTER)));
        let mut response = SqsBatchResponse::default();
        while (working > 0 || receiving)
            && let Some(did) = doing.next().await
        {
            let (mut hidden, mut dry) = (false, false);
            match did {
                Did::Work(failures) => {
                    working -= 1;
                    response.batch_item_failures.extend(failures);
                }
                Did::Hide => hidden = true,
                Did::Receive(deliveries) => {
                    (receiving, dry) = (false, deliveries.is_empty());
                    for delivery in deliveries {
                        working += 1;
                        let letter = Letter { delivery, receiver: Receiver::Worker };
                        doing.push(Box::pin(self.work(&batch, letter, deadline)));
                    }
                }
            }
            let now = self.engine.clock.now();
            if hidden {
                doing.push(Box::pin(self.hide(&batch, now + HIDE_EVERY)));
            }
            let free = batch.free_places(now);
            if free > 0 && !receiving && !dry {
                receiving = true;
                doing.push(Box::pin(self.receive(&batch, free)));
            }
        }
        response
    }

    /// Hides the messages in work, at `at`, so that they come back when this process is dead.
    async fn hide(&self, batch: &Batch, at: Timestamp) -> Did {
        self.engine.clock.sleep_until(at).await;
        let receipts = batch.receipts(self.engine.random.as_ref());
        let receipts: Vec<_> = receipts.iter().map(|(receipt, span)| (receipt.as_str(), *span)).collect();
        for some in receipts.chunks(BATCH_MESSAGES_MAX) {
            if let Err(problem) = self.deliveries.hide(some).await {
                warn!(%problem, "messages in work are not hidden; they may be received by others");
            }
        }
        Did::Hide
    }

    /// Receives messages for places that are free.
    async fn receive(&self, batch: &Batch, free: usize) -> Did {
        let received = self.deliveries.receive(free, HIDDEN_FOR).await.unwrap_or_else(|problem| {
            warn!(%problem, "no messages are received for places that are free");
            Vec::new()
        });
        batch.takes_on(received.len());
        Did::Receive(received)
    }

    /// Works on one message, and on those for the same run that come while it does.
    async fn work(&self, batch: &Batch, letter: Letter, deadline: Timestamp) -> Did {
        let run = match self.read(&letter).await {
            Ok(run) => run,
            Err(verdict) => return Did::Work(self.carry_out(batch, verdict, letter).await.into_iter().collect()),
        };
        if !batch.is_first(run, letter) {
            return Did::Work(Vec::new());
        }
        let verdict = self.advance(run, deadline).await;
        let carried_out = batch.done(run).into_iter().map(|letter| self.carry_out(batch, verdict, letter));
        Did::Work(join_all(carried_out).await.into_iter().flatten().collect())
    }

    /// The run that a message is about. What is not ours comes back at once, until the queue gives it to the dead-letter queue: its
    /// receive count decides, and nobody's work waits for it.
    async fn read(&self, letter: &Letter) -> Result<RunId, Verdict> {
        let message = letter.delivery.id.as_str();
        match Message::parse(&letter.delivery.body) {
            Ok(Message::WakeUp { run }) => Ok(run),
            Ok(Message::Start { .. }) if self.wake_up_senders.contains(letter.sender()) => {
                error!(message, "a request from a sender that may only wake runs");
                Err(Verdict::PutBack(Duration::ZERO))
            }
            Ok(Message::Start { idempotency_key, source, request }) => {
                self.tasks.check(&request.task).map_err(|problem| {
                    error!(message, %problem, "a request for a task that nobody knows");
                    Verdict::PutBack(Duration::ZERO)
                })?;
                let admitted = Some(self.admit(message, &request).await?);
                let trace = letter.trace();
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
                Verdict::Seldom((until + CLOCK_SKEW_MAX).since(self.engine.clock.now()) + Duration::from_secs(1))
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
                    JournalError::Unavailable { .. } => Verdict::Seldom(REST),
                    // The lease is still held: nothing can be done before it is over.
                    _ => Verdict::PutBack(windlass::lease::LEASE_FOR),
                }
            }
        }
    }

    /// Puts a message back if it is to come back, as a failure, which the queue keeps; deletes it otherwise, unless the mapping does at once.
    async fn carry_out(&self, batch: &Batch, verdict: Verdict, letter: Letter) -> Option<BatchItemFailure> {
        let goes_on = batch.goes_on();
        let receives = letter.delivery.receives;
        let span = match verdict {
            Verdict::Acknowledge => None,
            Verdict::Seldom(_) if receives > WAKE_UP_RECEIVES_MAX => None,
            Verdict::PutBack(span) | Verdict::Seldom(span) => Some(span),
            Verdict::Rest(least) => Some(least.max(rest(receives))),
        };
        let receipt = letter.delivery.receipt.as_str();
        let Some(span) = span else {
            // The mapping deletes at the end of the batch what is not reported as failed.
            if (goes_on || letter.receiver == Receiver::Worker)
                && let Err(problem) = self.deliveries.acknowledge(receipt).await
            {
                warn!(%problem, "a message is not deleted now; its run is done, should it come back");
            }
            return None;
        };
        if let Err(problem) = self.deliveries.hide(&[(receipt, span)]).await {
            warn!(%problem, "a message was not put back; it comes back by itself");
        }
        // The mapping takes a name that it does not know for the failure of all.
        (letter.receiver == Receiver::Mapping).then(|| letter.failure())
    }
}

/// How long a message rests that was received so often.
fn rest(receives: u32) -> Duration {
    REST.saturating_mul(1 << receives.saturating_sub(1).min(16)).min(REST_MAX)
}
