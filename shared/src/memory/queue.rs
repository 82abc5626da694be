//! The step queue with its dead letters.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::{Clock, Timestamp},
    door::rate::Backlog,
    ids::RunId,
    queue::{
        BATCH_MESSAGES_MAX, DELAY_MAX, DeadMessage, DeadMessages, Deliveries, Delivery, Message, QueueError, Share,
        Sleeper, VISIBILITY_MAX, WakeUps,
    },
};

/// How many messages a tenant has in flight before it can be a noisy neighbour, and more than which part of all that are
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html>).
const NOISY_FROM: usize = 30;
const NOISY_SHARE: f64 = 0.1;

/// A queue in memory: delays, visibility timeouts, receive counts, dead letters after too many receives, and shares as SQS's fair
/// queues have them: what others sent is received before what a tenant sent that has much in flight.
pub struct Queue {
    clock: Arc<dyn Clock>,
    visibility: Duration,
    receives_max: u32,
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    waiting: Vec<Parcel>,
    dead: Vec<Parcel>,
    ids: u64,
}

struct Parcel {
    id: String,
    body: String,
    share: Share,
    sent: Timestamp,
    visible_from: Timestamp,
    receive_count: u32,
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The queue's id of it.
    pub id: String,
    /// With which it can be acknowledged or postponed, until it is received again.
    pub receipt: String,
    /// What it says.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent.
    pub sent: Timestamp,
}

impl Queue {
    /// An empty queue. A received message is hidden for `visibility`; one received `receives_max` times without being acknowledged is
    /// dead the next time.
    pub fn new(clock: Arc<dyn Clock>, visibility: Duration, receives_max: u32) -> Self {
        Self { clock, visibility, receives_max, shelves: Mutex::default() }
    }

    /// Puts any text on the queue, as somebody else with access to it might.
    pub fn send_body(&self, body: &str, delay: Duration) {
        self.send_to(body, &Share::Nobodys, delay);
    }

    fn send_to(&self, body: &str, share: &Share, delay: Duration) {
        let now = self.clock.now();
        let mut shelves = locked(&self.shelves);
        shelves.ids += 1;
        let id = format!("message-{}", shelves.ids);
        let visible_from = now + delay.min(DELAY_MAX);
        shelves.waiting.push(Parcel {
            id,
            body: body.to_owned(),
            share: share.clone(),
            sent: now,
            visible_from,
            receive_count: 0,
        });
    }

    /// Up to `limit` messages that can be seen, those of quiet tenants first and the oldest of them first; they are hidden for the
    /// visibility timeout.
    pub fn receive(&self, limit: usize) -> Vec<Received> {
        self.hand_out(limit, self.visibility)
    }

    fn hand_out(&self, limit: usize, span: Duration) -> Vec<Received> {
        let now = self.clock.now();
        let mut shelves = locked(&self.shelves);
        let worn = |parcel: &mut Parcel| parcel.visible_from <= now && parcel.receive_count >= self.receives_max;
        let given_up: Vec<Parcel> = shelves.waiting.extract_if(.., worn).collect();
        shelves.dead.extend(given_up);
        let noisy = noisy(&shelves.waiting, now);
        let mut seen: Vec<&mut Parcel> =
            shelves.waiting.iter_mut().filter(|parcel| parcel.visible_from <= now).collect();
        seen.sort_by_key(|parcel| noisy.contains(&parcel.share));
        seen.into_iter().take(limit).map(|parcel| parcel.hand_out(now + span)).collect()
    }

    /// Takes a received message off the queue; nothing happens when it has been received again since.
    pub fn acknowledge(&self, receipt: &str) {
        locked(&self.shelves).waiting.retain(|parcel| parcel.receipt() != receipt);
    }

    /// When the next message can be seen; `None` when there is none.
    pub fn next_visible(&self) -> Option<Timestamp> {
        locked(&self.shelves).waiting.iter().map(|parcel| parcel.visible_from).min()
    }

    /// Loses every message, as no queue should and a test may.
    pub fn lose_all(&self) {
        locked(&self.shelves).waiting.clear();
    }
}

impl Parcel {
    /// Changes with each receive, so that an old receipt does nothing.
    fn receipt(&self) -> String {
        format!("{}/{}", self.id, self.receive_count)
    }

    fn hand_out(&mut self, visible_from: Timestamp) -> Received {
        self.receive_count += 1;
        self.visible_from = visible_from;
        Received {
            id: self.id.clone(),
            receipt: self.receipt(),
            body: self.body.clone(),
            receive_count: self.receive_count,
            sent: self.sent,
        }
    }
}

/// The tenants that have much in flight.
fn noisy(parcels: &[Parcel], now: Timestamp) -> Vec<Share> {
    let mut all = 0_u32;
    let mut in_flight: BTreeMap<&str, usize> = BTreeMap::new();
    for parcel in parcels.iter().filter(|parcel| parcel.visible_from > now && parcel.receive_count > 0) {
        all += 1;
        if let Some(share) = parcel.share.name() {
            *in_flight.entry(share).or_default() += 1;
        }
    }
    let much = |own: usize| own >= NOISY_FROM && own as f64 > NOISY_SHARE * f64::from(all);
    in_flight
        .into_iter()
        .filter(|(_, own)| much(*own))
        .filter_map(|(share, _)| Some(Share::Of(share.parse().ok()?)))
        .collect()
}

/// Shows the message with this receipt at `visible_from`.
fn hide(parcels: &mut [Parcel], receipt: &str, visible_from: Timestamp) -> Result<(), QueueError> {
    let parcel = parcels.iter_mut().find(|parcel| parcel.receive_count > 0 && parcel.receipt() == receipt);
    let unknown = || QueueError::Refused { message: "the receipt is not one of a received message".to_owned() };
    parcel.ok_or_else(unknown)?.visible_from = visible_from;
    Ok(())
}

#[async_trait]
impl Backlog for Queue {
    async fn waiting(&self) -> Result<u64, QueueError> {
        let now = self.clock.now();
        let waiting = locked(&self.shelves).waiting.iter().filter(|parcel| parcel.visible_from <= now).count();
        Ok(u64::try_from(waiting).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl WakeUps for Queue {
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError> {
        self.send_to(&message.body(), share, delay);
        Ok(())
    }

    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        for Sleeper { run, tenant, delay } in sleepers {
            self.send_to(&Message::WakeUp { run: *run }.body(), &Share::Of(tenant.clone()), *delay);
        }
        Ok(Vec::new())
    }
}

impl From<Received> for Delivery {
    fn from(Received { id, receipt, body, receive_count, .. }: Received) -> Self {
        Delivery { id, receipt, body, receives: receive_count, ..Delivery::default() }
    }
}

#[async_trait]
impl Deliveries for Queue {
    async fn receive(&self, limit: usize, span: Duration) -> Result<Vec<Delivery>, QueueError> {
        let received = self.hand_out(limit.min(BATCH_MESSAGES_MAX), span.min(VISIBILITY_MAX));
        Ok(received.into_iter().map(Delivery::from).collect())
    }

    async fn hide(&self, receipts: &[(&str, Duration)]) -> Result<(), QueueError> {
        let mut shelves = locked(&self.shelves);
        let now = self.clock.now();
        let hidden = receipts
            .iter()
            .map(|(receipt, span)| hide(&mut shelves.waiting, receipt, now + (*span).min(VISIBILITY_MAX)));
        hidden.fold(Ok(()), Result::and)
    }

    async fn acknowledge(&self, receipt: &str) -> Result<(), QueueError> {
        Queue::acknowledge(self, receipt);
        Ok(())
    }
}

#[async_trait]
impl DeadMessages for Queue {
    async fn receive(&self, limit: usize, hide: Duration) -> Result<Vec<DeadMessage>, QueueError> {
        let now = self.clock.now();
        let mut shelves = locked(&self.shelves);
        let seen = shelves.dead.iter_mut().filter(|parcel| parcel.visible_from <= now).take(limit);
        let received = seen.map(|parcel| parcel.hand_out(now + hide.min(VISIBILITY_MAX)));
        let dead = received.map(|Received { id, receipt, body, receive_count, sent }| DeadMessage {
            id,
            body,
            sent_millis: sent.as_millis(),
            receive_count,
            receipt,
        });
        Ok(dead.collect())
    }

    async fn release(&self, receipt: &str) -> Result<(), QueueError> {
        hide(&mut locked(&self.shelves).dead, receipt, self.clock.now())
    }

    async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        locked(&self.shelves).dead.retain(|parcel| parcel.receipt() != receipt);
        Ok(())
    }
}
