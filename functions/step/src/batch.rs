//! A batch of messages that is being worked on: what is known of each, what comes back when this process dies, and what is taken on beside.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsMessage};
use windlass::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::{Random, RunId, TraceId},
    lease::LEASE_FOR,
    queue::{BATCH_MESSAGES_MAX, Delivery},
    schedule::rescue::{APART_FROM_STRIKES, APART_SECONDS_MAX},
};

/// How long a batch is worked on before its messages are hidden for as long as a lease instead of for the queue's visibility timeout, which
/// Lambda wants longer than the function's: below that the request would cost a twentieth of what a quick run does. A worker that dies
/// before is repaired by the sweep.
pub(crate) const HIDE_AFTER: Duration = Duration::from_millis(500);

/// For how long they are hidden, from each time on: when this process dies, its runs can be taken over as soon as their leases are over.
pub(crate) const HIDDEN_FOR: Duration = LEASE_FOR.saturating_add(CLOCK_SKEW_MAX);

/// How often they are hidden anew: two tries may fail before a message is seen while its run is worked on, which costs a claim in vain.
pub(crate) const HIDE_EVERY: Duration = Duration::from_secs(10);

/// What is left of an invocation, beside a question to the model, when it takes on more messages: enough for some steps. A run that is
/// claimed later than that would only be handed over.
pub(crate) const TAKE_ON_BEFORE: Duration = Duration::from_secs(5);

/// Who received a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Lambda, which deletes it at the end of the batch unless it is told that it failed.
    Mapping,
    /// This function, for a place that was free.
    Worker,
}

/// A message and who received it.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The message.
    pub delivery: Delivery,
    /// Who received it.
    pub receiver: Receiver,
}

impl Letter {
    /// A message of Lambda's event.
    pub fn of(record: SqsMessage) -> Self {
        let attribute = |name: &str| record.attributes.get(name);
        let receives = attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let traceparent = record.message_attributes.get("traceparent").and_then(|sent| sent.string_value.clone());
        let delivery = Delivery {
            receives: receives.unwrap_or(1),
            sender: attribute("SenderId").cloned().unwrap_or_default(),
            traceparent,
            id: record.message_id.unwrap_or_default(),
            receipt: record.receipt_handle.unwrap_or_default(),
            body: record.body.unwrap_or_default(),
        };
        Letter { delivery, receiver: Receiver::Mapping }
    }

    /// Whose credentials it was sent with: the id of a role, without its session, of a user or an account. No sender can choose it.
    pub fn sender(&self) -> &str {
        let sender = self.delivery.sender.as_str();
        sender.split_once(':').map_or(sender, |(role, _)| role)
    }

    /// The trace of whoever sent it. A wake-up needs none: the run knows its trace.
    pub fn trace(&self) -> Option<TraceId> {
        TraceId::from_traceparent(self.delivery.traceparent.as_deref()?)
    }

    /// What Lambda is told so that the message is kept.
    pub fn failure(self) -> BatchItemFailure {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = self.delivery.id;
        failure
    }

    /// For how long it is hidden while its run is worked on. One that has killed a worker before comes back apart from others of its batch:
    /// one of them may be what kills.
    fn hidden_for(&self, random: &dyn Random) -> Duration {
        let apart = if self.delivery.receives < APART_FROM_STRIKES { 0 } else { random.below(APART_SECONDS_MAX + 1) };
        HIDDEN_FOR + Duration::from_secs(apart)
    }
}

/// A batch that is being worked on.
pub(crate) struct Batch {
    /// Messages by the run that they are about, while it is worked on.
    in_work: Mutex<BTreeMap<RunId, Vec<Letter>>>,
    /// How many messages are left.
    left: AtomicUsize,
    /// From when on free places are filled; `None` when they are not.
    take_on: Option<(Timestamp, Timestamp)>,
}

impl Batch {
    /// A batch of so many messages, received now, in an invocation that needs `needed` for a run and ends at `deadline`. A full one says that
    /// there may be more; one that is not, that there are none.
    pub fn of(messages: usize, now: Timestamp, needed: Duration, deadline: Timestamp) -> Self {
        let take_on = (messages == BATCH_MESSAGES_MAX).then(|| (now + HIDE_AFTER, deadline - needed));
        Batch { in_work: Mutex::default(), left: AtomicUsize::new(messages), take_on }
    }

    /// Whether a message of the run is the first of those that are worked on as one: the others wait for what becomes of it.
    pub fn is_first(&self, run: RunId, mut letter: Letter) -> bool {
        letter.delivery.body = String::new();
        let mut in_work = self.in_work();
        let letters = in_work.entry(run).or_default();
        letters.push(letter);
        letters.len() == 1
    }

    /// The messages of a run that is not worked on any more.
    pub fn done(&self, run: RunId) -> Vec<Letter> {
        self.in_work().remove(&run).unwrap_or_default()
    }

    /// Whether others are still worked on when this message is done.
    pub fn goes_on(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) > 1
    }

    /// How many messages can be taken on now: none when the batch is quick, or nearly out of time. A run that is done leaves its place to
    /// another one while the slowest of the batch goes on.
    pub fn free_places(&self, now: Timestamp) -> usize {
        let left = self.left.load(Ordering::Relaxed);
        match self.take_on {
            Some((from, until)) if left > 0 && from <= now && now < until => BATCH_MESSAGES_MAX.saturating_sub(left),
            _ => 0,
        }
    }

    /// More messages are worked on.
    pub fn takes_on(&self, messages: usize) {
        self.left.fetch_add(messages, Ordering::Relaxed);
    }

    /// The receipts of the messages in work, and for how long each is to be hidden.
    pub fn receipts(&self, random: &dyn Random) -> Vec<(String, Duration)> {
        let in_work = self.in_work();
        let letters = in_work.values().flatten();
        letters.map(|letter| (letter.delivery.receipt.clone(), letter.hidden_for(random))).collect()
    }

    fn in_work(&self) -> MutexGuard<'_, BTreeMap<RunId, Vec<Letter>>> {
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
