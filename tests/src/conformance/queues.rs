//! The step queue and its dead letters. Nothing here waits for time, so that the cases hold on a queue with a clock of its own.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use windlass::{
    ids::{RunId, Tenant},
    queue::{DeadMessage, DeadMessages, Deliveries, Message, QueueError, Share, Sleeper, WakeUps},
};

/// How often a message is received before it is dead, on the queues under test.
pub const RECEIVES_MAX: u32 = 2;
/// Longer than any case.
pub const VISIBILITY: Duration = Duration::from_secs(600);
/// The most receives until what was sent has arrived.
const RECEIVES_TO_ARRIVE_MAX: usize = 20;

/// A message as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// With which it can be postponed or acknowledged.
    pub receipt: String,
    /// What it says.
    pub body: String,
    /// How often it was received.
    pub receive_count: u32,
}

/// What Lambda does with the queue.
#[async_trait::async_trait]
pub trait Consumer: Send + Sync {
    /// Receives what can be seen, waiting a moment where the queue can.
    async fn receive(&self) -> Vec<Arrival>;
    /// Takes a message off the queue.
    async fn acknowledge(&self, receipt: &str);
}

/// The queues under test: [`RECEIVES_MAX`], [`VISIBILITY`].
pub struct Queues {
    /// The step queue.
    pub wake_ups: Arc<dyn WakeUps>,
    /// The same, as whoever works on its messages sees it.
    pub deliveries: Arc<dyn Deliveries>,
    /// Its dead-letter queue.
    pub dead: Arc<dyn DeadMessages>,
    /// Its consumer.
    pub consumer: Arc<dyn Consumer>,
}

fn run(n: u8) -> RunId {
    format!("01JHD7Z3ZK8V6N5Q4R3S2T1{n:03}").parse().expect("a run id")
}

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

fn sleeper(n: u8, delay: Duration) -> Sleeper {
    Sleeper { run: run(n), tenant: tenant("acme"), delay }
}

fn share(name: &str) -> Share {
    Share::Of(tenant(name))
}

fn wake_up(n: u8) -> Message {
    Message::WakeUp { run: run(n) }
}

impl Queues {
    async fn send(&self, n: u8) {
        self.wake_ups.send(&wake_up(n), &share("acme"), Duration::ZERO).await.expect("the queue answers");
    }

    /// Receives until there are `count`.
    async fn arrivals(&self, count: usize) -> Vec<Arrival> {
        let mut arrived = Vec::new();
        for _ in 0..RECEIVES_TO_ARRIVE_MAX {
            arrived.extend(self.consumer.receive().await);
            if arrived.len() >= count {
                return arrived;
            }
        }
        panic!("{count} messages did not arrive: {arrived:?}");
    }

    async fn arrival(&self) -> Arrival {
        self.arrivals(1).await.remove(0)
    }

    async fn show(&self, arrival: &Arrival) {
        self.deliveries.hide(&[(&arrival.receipt, Duration::ZERO)]).await.expect("the queue answers");
    }

    /// Sends one message and lets it die.
    async fn wear_out(&self, n: u8) {
        self.send(n).await;
        for _ in 0..RECEIVES_MAX {
            let arrival = self.arrival().await;
            self.show(&arrival).await;
        }
        assert_eq!(self.consumer.receive().await, []);
    }

    async fn dead_messages(&self, limit: usize) -> Vec<DeadMessage> {
        self.dead.receive(limit, VISIBILITY).await.expect("the queue answers")
    }
}

pub async fn a_message_that_is_sent_arrives_once(queues: &Queues) {
    queues.send(1).await;
    let arrival = queues.arrival().await;
    assert_eq!((arrival.body.as_str(), arrival.receive_count), (wake_up(1).body().as_str(), 1));
    assert_eq!(queues.consumer.receive().await, []);
}

pub async fn a_batch_of_wake_ups_arrives(queues: &Queues) {
    let sleepers: Vec<Sleeper> = (0..10).map(|n| sleeper(n, Duration::ZERO)).collect();
    assert_eq!(queues.wake_ups.send_batch(&sleepers).await, Ok(vec![]));
    let mut bodies: Vec<String> = queues.arrivals(10).await.into_iter().map(|arrival| arrival.body).collect();
    bodies.sort();
    assert_eq!(bodies, (0..10).map(|n| wake_up(n).body()).collect::<Vec<_>>());
}

pub async fn a_wake_up_of_a_batch_that_is_delayed_does_not_arrive_before_its_time(queues: &Queues) {
    let sleepers = [sleeper(1, Duration::ZERO), sleeper(2, Duration::from_secs(600))];
    assert_eq!(queues.wake_ups.send_batch(&sleepers).await, Ok(vec![]));
    assert_eq!(queues.arrival().await.body, wake_up(1).body());
    assert_eq!(queues.consumer.receive().await, []);
}

/// As many as make a tenant a noisy neighbour, and as a consumer has in flight.
const BACKLOG: u8 = 60;
const IN_FLIGHT: usize = 30;

pub async fn a_tenants_backlog_does_not_hold_up_another_tenants_message(queues: &Queues) {
    for n in 0..BACKLOG {
        queues.send(n).await;
    }
    let noisy = queues.arrivals(IN_FLIGHT).await;
    assert_eq!(noisy.len(), IN_FLIGHT, "the backlog waits behind what is in flight");
    queues.wake_ups.send(&wake_up(99), &share("quiet"), Duration::ZERO).await.expect("the queue answers");
    let next = queues.arrival().await;
    assert_eq!(next.body, wake_up(99).body(), "what another tenant sent last comes first");
}

pub async fn no_wake_ups_are_sent_for_no_runs(queues: &Queues) {
    assert_eq!(queues.wake_ups.send_batch(&[]).await, Ok(vec![]));
    assert_eq!(queues.consumer.receive().await, []);
}

pub async fn a_message_put_back_is_received_again(queues: &Queues) {
    queues.send(1).await;
    let first = queues.arrival().await;
    queues.show(&first).await;
    let second = queues.arrival().await;
    assert_eq!((&second.body, second.receive_count), (&first.body, 2));
}

pub async fn an_acknowledged_message_is_gone(queues: &Queues) {
    queues.send(1).await;
    queues.send(2).await;
    let arrivals = queues.arrivals(2).await;
    queues.consumer.acknowledge(&arrivals[0].receipt).await;
    // By whoever works on it, while others of its batch are worked on; the consumer acknowledges the whole batch at its end.
    queues.deliveries.acknowledge(&arrivals[1].receipt).await.expect("the queue answers");
    queues.consumer.acknowledge(&arrivals[1].receipt).await;
    assert_eq!(queues.consumer.receive().await, []);
}

pub async fn what_was_never_received_cannot_be_hidden(queues: &Queues) {
    let postponed = queues.deliveries.hide(&[("no-receipt", Duration::ZERO)]).await;
    assert!(matches!(postponed, Err(QueueError::Refused { .. })), "{postponed:?}");
}

pub async fn a_message_received_too_often_is_dead(queues: &Queues) {
    queues.wear_out(1).await;
    let dead = queues.dead_messages(10).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].body, wake_up(1).body());
    assert!(dead[0].receive_count >= 1 && dead[0].sent_millis > 0 && !dead[0].id.is_empty(), "{dead:?}");
}

pub async fn a_received_dead_message_is_hidden_until_it_is_released(queues: &Queues) {
    queues.wear_out(1).await;
    let dead = queues.dead_messages(10).await.remove(0);
    assert_eq!(queues.dead_messages(10).await, []);
    queues.dead.release(&dead.receipt).await.expect("the queue answers");
    let again = queues.dead_messages(10).await.remove(0);
    assert_eq!((again.id, again.body), (dead.id, dead.body));
}

pub async fn a_deleted_dead_message_is_gone(queues: &Queues) {
    queues.wear_out(1).await;
    let dead = queues.dead_messages(1).await.remove(0);
    queues.dead.delete(&dead.receipt).await.expect("the queue answers");
    assert_eq!(queues.dead_messages(10).await, []);
}

pub async fn no_more_dead_messages_are_received_than_asked(queues: &Queues) {
    join_all([queues.send(1), queues.send(2), queues.send(3)]).await;
    for _ in 0..RECEIVES_MAX {
        for arrival in queues.arrivals(3).await {
            queues.show(&arrival).await;
        }
    }
    assert_eq!(queues.consumer.receive().await, []);
    assert_eq!(queues.dead_messages(2).await.len(), 2);
    assert_eq!(queues.dead_messages(2).await.len(), 1);
}

pub async fn messages_are_received_as_they_were_sent_and_not_more_than_asked_for(queues: &Queues) {
    for n in 0..3 {
        queues.send(n).await;
    }
    let mut bodies = Vec::new();
    for _ in 0..RECEIVES_TO_ARRIVE_MAX {
        let received = queues.deliveries.receive(2, VISIBILITY).await.expect("the queue answers");
        assert!(received.len() <= 2, "{received:?}");
        for delivery in received {
            assert_eq!((delivery.receives, delivery.traceparent), (1, None));
            bodies.push(delivery.body);
            queues.deliveries.acknowledge(&delivery.receipt).await.expect("the queue answers");
        }
        if bodies.len() == 3 {
            break;
        }
    }
    bodies.sort();
    assert_eq!(bodies, (0..3).map(|n| wake_up(n).body()).collect::<Vec<_>>());
    assert_eq!(queues.consumer.receive().await, []);
}

pub async fn some_are_hidden_and_some_shown_in_one_go(queues: &Queues) {
    for n in 0..3 {
        queues.send(n).await;
    }
    let arrivals = queues.arrivals(3).await;
    let spans = [VISIBILITY, Duration::ZERO, VISIBILITY];
    let receipts: Vec<_> = arrivals.iter().map(|arrival| arrival.receipt.as_str()).zip(spans).collect();
    queues.deliveries.hide(&receipts).await.expect("the queue answers");
    let shown = queues.arrival().await;
    assert_eq!((shown.body, shown.receive_count), (arrivals[1].body.clone(), 2));
    // One receipt that is none takes nothing from the others.
    let receipts = [("no-receipt", Duration::ZERO), (arrivals[2].receipt.as_str(), Duration::ZERO)];
    queues.deliveries.hide(&receipts).await.expect_err("one of them is not hidden");
    assert_eq!(queues.arrival().await.body, arrivals[2].body);
}
