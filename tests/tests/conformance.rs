//! The conformance suite over memory and over the local stack.

use std::{sync::Arc, time::Duration};

use windlass::{
    clock::Clock,
    ids::RunId,
    memory::{ManualClock, SeededRandom},
    run::stored::Stored,
};
use windlass_tests::conformance::{
    BEGINNING, Planting, Stores,
    queues::{Arrival, Consumer, Queues, RECEIVES_MAX, VISIBILITY},
    secrets,
};

/// What a case is about, with what must live as long.
struct Subject<P, K = ()> {
    ports: P,
    _keep: K,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(BEGINNING))
}

mod in_memory {
    use super::*;
    use windlass::memory;

    struct Plants(Arc<memory::Runs>);

    #[async_trait::async_trait]
    impl Planting for Plants {
        async fn plant(&self, run: RunId, seq: u32, stored: Stored) {
            self.0.plant(run, seq, stored);
        }
    }

    async fn stores() -> Subject<Stores> {
        let clock = clock();
        let records = memory::Records::new();
        let runs = Arc::new(memory::Runs::new(clock.clone(), &records));
        let ports = Stores {
            journal: runs.clone(),
            leases: runs.clone(),
            heads: runs.clone(),
            records: Arc::new(records),
            jobs: Arc::new(memory::Jobs::new()),
            plans: Arc::new(memory::Plans::new(clock.clone())),
            planting: Arc::new(Plants(runs)),
            random: SeededRandom::new(1),
            clock,
        };
        Subject { ports, _keep: () }
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
        Subject { ports: Queues { wake_ups: queue.clone(), dead: queue, consumer }, _keep: () }
    }

    async fn known_secrets() -> Subject<memory::SecretValues> {
        let ports = memory::SecretValues::new();
        ports.set(secrets::NAME, secrets::VALUE);
        Subject { ports, _keep: () }
    }

    windlass_tests::store_cases!(super::stores);
    windlass_tests::queue_cases!(super::queues);
    mod secret {
        windlass_tests::secret_cases!(super::super::known_secrets);
    }

    /// What only a clock in the test's hand can show.
    mod queue_time {
        use super::*;
        use windlass::queue::{DELAY_MAX, DeadMessages as _, Message, WakeUps as _};

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
            queue.send(&wake_up(), Duration::from_secs(5)).await.expect("it is sent");
            assert_eq!(queue.next_visible(), Some(clock.now() + Duration::from_secs(5)));
            clock.advance(Duration::from_millis(4_999));
            assert_eq!(queue.receive(10), []);
            clock.advance(Duration::from_millis(1));
            assert_eq!(queue.receive(10).len(), 1);
        }

        #[tokio::test]
        async fn no_message_is_delayed_for_longer_than_the_most() {
            let (clock, queue) = timed();
            queue.send(&wake_up(), DELAY_MAX * 10).await.expect("it is sent");
            clock.advance(DELAY_MAX);
            assert_eq!(queue.receive(10).len(), 1);
        }

        #[tokio::test]
        async fn a_message_that_is_not_acknowledged_comes_back_and_its_old_receipt_does_nothing() {
            let (clock, queue) = timed();
            queue.send(&wake_up(), Duration::ZERO).await.expect("it is sent");
            let first = queue.receive(10).remove(0);
            clock.advance(Duration::from_secs(30));
            let second = queue.receive(10).remove(0);
            assert_eq!(second.receive_count, 2);
            queue.acknowledge(&first.receipt);
            assert!(queue.postpone(&first.receipt, Duration::ZERO).await.is_err());
            clock.advance(Duration::from_secs(30));
            assert_eq!(queue.receive(10), []);
            let dead = windlass::queue::DeadMessages::receive(&queue, 10, VISIBILITY).await.expect("it answers");
            assert_eq!(dead.len(), 1);
            clock.advance(VISIBILITY);
            queue.release(&dead[0].receipt).await.expect("it is still the last receipt");
        }

        #[tokio::test]
        async fn a_postponed_message_is_hidden_for_so_long() {
            let (clock, queue) = timed();
            queue.send(&wake_up(), Duration::ZERO).await.expect("it is sent");
            let received = queue.receive(10).remove(0);
            queue.postpone(&received.receipt, Duration::from_secs(90)).await.expect("it is postponed");
            clock.advance(Duration::from_secs(89));
            assert_eq!(queue.receive(10), []);
            clock.advance(Duration::from_secs(1));
            assert_eq!(queue.receive(10).len(), 1);
        }
    }
}

mod on_aws {
    use super::*;
    use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
    use aws_sdk_sqs::types::MessageSystemAttributeName;
    use windlass::{
        aws::{self, clients::Clients},
        run::stored::Body,
    };
    use windlass_local::{QueueSpec, Redrive, SecretSpec, Stack, StackSpec, TableSpec};

    struct Plants(aws_sdk_dynamodb::Client);

    #[async_trait::async_trait]
    impl Planting for Plants {
        async fn plant(&self, run: RunId, seq: u32, stored: Stored) {
            let body = match stored.body {
                Body::Json(json) => ("e", AttributeValue::S(json)),
                Body::Deflated(bytes) => ("z", AttributeValue::B(Blob::new(bytes))),
            };
            let put = self
                .0
                .put_item()
                .table_name("test-runs")
                .item("pk", AttributeValue::S(run.to_string()))
                .item("sk", AttributeValue::S(format!("entry#{seq:08}")))
                .item("v", AttributeValue::N(stored.version.to_string()))
                .item(body.0, body.1);
            put.send().await.expect("it is planted");
        }
    }

    async fn start(spec: StackSpec) -> (Stack, Clients) {
        let stack = Stack::start(spec).await.expect("the stack starts");
        let clients = Clients::at(&stack.aws_url());
        (stack, clients)
    }

    async fn stores() -> Subject<Stores, Stack> {
        let table = |table: aws::tables::Table| TableSpec { create: table.create, ttl_attribute: table.ttl_attribute };
        let tables = aws::tables::all("test").into_iter().map(table).collect();
        let (stack, clients) = start(StackSpec { tables, ..StackSpec::empty("test") }).await;
        let client = clients.dynamodb();
        let clock = clock();
        let runs = Arc::new(aws::Runs::new(client.clone(), "test-runs", "test-idempotency", clock.clone()));
        let ports = Stores {
            journal: runs.clone(),
            leases: runs.clone(),
            heads: runs,
            records: Arc::new(aws::Records::new(client.clone(), "test-idempotency")),
            jobs: Arc::new(aws::Jobs::new(client.clone(), "test-controls")),
            plans: Arc::new(aws::Plans::new(client.clone(), "test-controls", clock.clone())),
            planting: Arc::new(Plants(client)),
            random: SeededRandom::new(1),
            clock,
        };
        Subject { ports, _keep: stack }
    }

    struct Consumes {
        client: aws_sdk_sqs::Client,
        url: String,
    }

    #[async_trait::async_trait]
    impl Consumer for Consumes {
        async fn receive(&self) -> Vec<Arrival> {
            let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let count = MessageSystemAttributeName::ApproximateReceiveCount;
            let received = request.message_system_attribute_names(count.clone()).send().await.expect("it answers");
            let arrival = |message: aws_sdk_sqs::types::Message| Arrival {
                receive_count: message
                    .attributes
                    .and_then(|attributes| attributes.get(&count)?.parse().ok())
                    .expect("it is counted"),
                receipt: message.receipt_handle.expect("it has a receipt"),
                body: message.body.expect("it has a body"),
            };
            received.messages.unwrap_or_default().into_iter().map(arrival).collect()
        }

        async fn acknowledge(&self, receipt: &str) {
            let request = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
            request.send().await.expect("it is deleted");
        }
    }

    async fn queues() -> Subject<Queues, Stack> {
        let queue = |name: &str, redrive| QueueSpec {
            name: name.to_owned(),
            visibility_timeout: VISIBILITY,
            retention: Duration::from_secs(24 * 3600),
            redrive,
        };
        let redrive = Redrive { dead_letter_queue: "dead".to_owned(), receive_count_max: RECEIVES_MAX };
        let queues = vec![queue("dead", None), queue("step", Some(redrive))];
        let (stack, clients) = start(StackSpec { queues, ..StackSpec::empty("test") }).await;
        let url = stack.queue_url("step");
        let ports = Queues {
            wake_ups: Arc::new(aws::StepQueue::new(clients.sqs(), &url)),
            dead: Arc::new(aws::DeadLetterQueue::new(clients.sqs(), &stack.queue_url("dead"))),
            consumer: Arc::new(Consumes { client: clients.sqs(), url }),
        };
        Subject { ports, _keep: stack }
    }

    async fn known_secrets() -> Subject<aws::SecretsManager, Stack> {
        let known = SecretSpec { name: secrets::NAME.to_owned(), value: secrets::VALUE.to_owned() };
        let (stack, clients) = start(StackSpec { secrets: vec![known], ..StackSpec::empty("test") }).await;
        Subject { ports: aws::SecretsManager::new(clients.secrets_manager()), _keep: stack }
    }

    windlass_tests::store_cases!(super::stores);
    windlass_tests::queue_cases!(super::queues);
    mod secret {
        windlass_tests::secret_cases!(super::super::known_secrets);
    }
}
