//! Over memory.

use super::*;
use windlass::memory;

struct Plants(Arc<memory::Runs>, Arc<memory::Controls>);

#[async_trait::async_trait]
impl Planting for Plants {
    async fn plant(&self, run: RunId, seq: u32, stored: Stored) {
        self.0.plant(run, seq, stored);
    }

    async fn lose_number_of_controls(&self) {
        self.1.forget();
    }
}

async fn stores() -> Subject<Stores> {
    let clock = clock();
    let records = memory::Records::new();
    let runs = Arc::new(memory::Runs::new(clock.clone(), &records));
    let buckets = Arc::new(memory::Buckets::new());
    let plans = Arc::new(memory::Plans::new(clock.clone()));
    let controls = Arc::new(memory::Controls::unmade(&plans));
    let ports = Stores {
        controls: controls.clone(),
        prompts: Arc::new(memory::Prompts::new()),
        budgets: Arc::new(memory::Accounts::new()),
        windows: Arc::new(memory::Windows::new()),
        buckets: [buckets.clone(), buckets],
        requests: runs.clone(),
        journal: runs.clone(),
        leases: runs.clone(),
        heads: runs.clone(),
        search: runs.clone(),
        retention: runs.clone(),
        records: Arc::new(records),
        jobs: Arc::new(memory::Jobs::new()),
        answers: Arc::new(memory::Answers::new()),
        plans,
        planting: Arc::new(Plants(runs, controls)),
        random: SeededRandom::new(1),
        clock,
    };
    Subject { ports, keep: () }
}

struct Consumes(Arc<memory::Queue>);

#[async_trait::async_trait]
impl Consumer for Consumes {
    async fn receive(&self) -> Vec<Arrival> {
        let received = self.0.receive(10).into_iter();
        let arrival = |message: memory::Received| Arrival {
            receipt: message.receipt,
            body: message.body,
            receive_count: message.receive_count,
        };
        received.map(arrival).collect()
    }

    async fn acknowledge(&self, receipt: &str) {
        self.0.acknowledge(receipt);
    }
}

async fn queues() -> Subject<Queues> {
    let queue = Arc::new(memory::Queue::new(clock(), VISIBILITY, RECEIVES_MAX));
    let consumer = Arc::new(Consumes(queue.clone()));
    Subject { ports: Queues { wake_ups: queue.clone(), deliveries: queue.clone(), dead: queue, consumer }, keep: () }
}

async fn known_secrets() -> Subject<memory::SecretValues> {
    let ports = memory::SecretValues::new();
    ports.set(secrets::NAME, secrets::VALUE);
    Subject { ports, keep: () }
}

windlass_tests::store_cases!(super::stores);
windlass_tests::queue_cases!(super::queues);
mod secret {
    windlass_tests::secret_cases!(super::super::known_secrets);
}

/// What only a clock in the test's hand can show.
mod queue_time {
    use super::*;
    use windlass::queue::{DELAY_MAX, DeadMessages as _, Deliveries, Message, Share, WakeUps as _};

    fn wake_up() -> Message {
        Message::WakeUp { run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id") }
    }

    fn timed() -> (Arc<ManualClock>, memory::Queue) {
        let clock = clock();
        (clock.clone(), memory::Queue::new(clock, Duration::from_secs(30), RECEIVES_MAX))
    }

    #[tokio::test]
    async fn a_delayed_message_cannot_be_seen_before() {
        let (clock, queue) = timed();
        queue.send(&wake_up(), &Share::Nobodys, Duration::from_secs(5)).await.expect("it is sent");
        assert_eq!(queue.next_visible(), Some(clock.now() + Duration::from_secs(5)));
        clock.advance(Duration::from_millis(4_999));
        assert_eq!(queue.receive(10), []);
        clock.advance(Duration::from_millis(1));
        assert_eq!(queue.receive(10).len(), 1);
    }

    #[tokio::test]
    async fn no_message_is_delayed_for_longer_than_the_most() {
        let (clock, queue) = timed();
        queue.send(&wake_up(), &Share::Nobodys, DELAY_MAX * 10).await.expect("it is sent");
        clock.advance(DELAY_MAX);
        assert_eq!(queue.receive(10).len(), 1);
    }

    #[tokio::test]
    async fn a_message_that_is_not_acknowledged_comes_back_and_its_old_receipt_does_nothing() {
        let (clock, queue) = timed();
        queue.send(&wake_up(), &Share::Nobodys, Duration::ZERO).await.expect("it is sent");
        let first = queue.receive(10).remove(0);
        clock.advance(Duration::from_secs(30));
        let second = queue.receive(10).remove(0);
        assert_eq!(second.receive_count, 2);
        queue.acknowledge(&first.receipt);
        assert!(queue.hide(&[(&first.receipt, Duration::ZERO)]).await.is_err());
        clock.advance(Duration::from_secs(30));
        assert_eq!(queue.receive(10), []);
        let dead = windlass::queue::DeadMessages::receive(&queue, 10, VISIBILITY).await.expect("it answers");
        assert_eq!(dead.len(), 1);
        clock.advance(VISIBILITY);
        queue.release(&dead[0].receipt).await.expect("it is still the last receipt");
    }

    #[tokio::test]
    async fn a_message_is_hidden_for_so_long_as_was_asked() {
        let (clock, queue) = timed();
        queue.send(&wake_up(), &Share::Nobodys, Duration::ZERO).await.expect("it is sent");
        let received = queue.receive(10).remove(0);
        queue.hide(&[(&received.receipt, Duration::from_secs(90))]).await.expect("it is hidden");
        clock.advance(Duration::from_secs(89));
        assert_eq!(queue.receive(10), []);
        clock.advance(Duration::from_secs(1));
        assert_eq!(queue.receive(10).len(), 1);
    }

    #[tokio::test]
    async fn a_message_is_received_and_hidden_for_so_long_at_once() {
        let (clock, queue) = timed();
        queue.send(&wake_up(), &Share::Nobodys, Duration::ZERO).await.expect("it is sent");
        let span = Duration::from_secs(7);
        assert_eq!(Deliveries::receive(&queue, 10, span).await.expect("it answers").len(), 1);
        clock.advance(span - Duration::from_millis(1));
        assert_eq!(Deliveries::receive(&queue, 10, span).await.expect("it answers"), []);
        clock.advance(Duration::from_millis(1));
        assert_eq!(Deliveries::receive(&queue, 10, span).await.expect("it answers")[0].receives, 2);
    }
}
