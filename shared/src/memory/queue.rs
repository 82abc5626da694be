//! The step queue with its dead letters.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::{Clock, Timestamp},
    ids::RunId,
    queue::{DELAY_MAX, DeadMessage, DeadMessages, Message, QueueError, VISIBILITY_MAX, WakeUps},
};

/// A queue in memory: delays, visibility timeouts, receive counts, and dead letters after too many receives.
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
        let now = self.clock.now();
        let mut shelves = locked(&self.shelves);
        shelves.ids += 1;
        let id = format!("message-{}", shelves.ids);
        let visible_from = now + delay.min(DELAY_MAX);
        shelves.waiting.push(Parcel { id, body: body.to_owned(), sent: now, visible_from, receive_count: 0 });
    }

    /// Up to `limit` messages that can be seen, oldest first; they are hidden for the visibility timeout.
    pub fn receive(&self, limit: usize) -> Vec<Received> {
        let now = self.clock.now();
        let mut shelves = locked(&self.shelves);
        let worn = |parcel: &mut Parcel| parcel.visible_from <= now && parcel.receive_count >= self.receives_max;
        let given_up: Vec<Parcel> = shelves.waiting.extract_if(.., worn).collect();
        shelves.dead.extend(given_up);
        let seen = shelves.waiting.iter_mut().filter(|parcel| parcel.visible_from <= now).take(limit);
        seen.map(|parcel| parcel.hand_out(now + self.visibility)).collect()
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

/// Shows the message with this receipt at `visible_from`.
fn hide(parcels: &mut [Parcel], receipt: &str, visible_from: Timestamp) -> Result<(), QueueError> {
    let parcel = parcels.iter_mut().find(|parcel| parcel.receive_count > 0 && parcel.receipt() == receipt);
    let unknown = || QueueError::Refused { message: "the receipt is not one of a received message".to_owned() };
    parcel.ok_or_else(unknown)?.visible_from = visible_from;
    Ok(())
}

#[async_trait]
impl WakeUps for Queue {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), QueueError> {
        self.send_body(&message.body(), delay);
        Ok(())
    }

    async fn send_batch(&self, runs: &[RunId]) -> Result<Vec<RunId>, QueueError> {
        for run in runs {
            self.send_body(&Message::WakeUp { run: *run }.body(), Duration::ZERO);
        }
        Ok(Vec::new())
    }

    async fn postpone(&self, receipt: &str, span: Duration) -> Result<(), QueueError> {
        hide(&mut locked(&self.shelves).waiting, receipt, self.clock.now() + span.min(VISIBILITY_MAX))
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
