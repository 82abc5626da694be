//! Over the local stack, and what any implementation of AWS's APIs is asked with.

use super::*;
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use windlass::{
    aws::{self, clients::Clients},
    door::rate::Buckets,
    run::stored::Body,
};
use windlass_local::{QueueSpec, Redrive, SecretSpec, Stack, StackSpec, TableSpec};

struct Plants {
    client: aws_sdk_dynamodb::Client,
    table: String,
    controls: String,
}

#[async_trait::async_trait]
impl Planting for Plants {
    async fn plant(&self, run: RunId, seq: u32, stored: Stored) {
        let body = match stored.body {
            Body::Json(json) => ("e", AttributeValue::S(json)),
            Body::Deflated(bytes) => ("z", AttributeValue::B(Blob::new(bytes))),
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", AttributeValue::S(run.to_string()))
            .item("sk", AttributeValue::S(format!("entry#{seq:08}")))
            .item("v", AttributeValue::N(stored.version.to_string()))
            .item(body.0, body.1);
        put.send().await.expect("it is planted");
    }

    async fn lose_number_of_controls(&self) {
        for copy in 0..aws::CONTROLS_COPIES {
            let delete = self.client.delete_item().table_name(&self.controls);
            let delete = delete.key("pk", AttributeValue::S(format!("controls#{copy}")));
            delete.key("sk", AttributeValue::S("version".to_owned())).send().await.expect("it is deleted");
        }
    }
}

pub async fn start(spec: StackSpec) -> (Stack, Clients) {
    let stack = Stack::start(spec).await.expect("the stack starts");
    let clients = Clients::at(&stack.aws_url());
    (stack, clients)
}

/// The adapters over the tables of this prefix.
pub fn stores_at(clients: &Clients, prefix: &str) -> Stores {
    let name = |table: &str| format!("{prefix}-{table}");
    let [runs, idempotency, controls, memory] = ["runs", "idempotency", "controls", "memory"].map(name);
    let (client, clock) = (clients.dynamodb(), clock());
    let journal = Arc::new(aws::Runs::new(client.clone(), &runs, &idempotency, clock.clone()));
    Stores {
        journal: journal.clone(),
        leases: journal.clone(),
        heads: journal.clone(),
        search: journal.clone(),
        requests: journal,
        buckets: [0, 1].map(|_| Arc::new(aws::RateBuckets::new(client.clone(), &controls)) as Arc<dyn Buckets>),
        retention: Arc::new(aws::ExpiredItems::new(client.clone(), &runs, &idempotency, &[&controls, &memory])),
        records: Arc::new(aws::Records::new(client.clone(), &idempotency)),
        jobs: Arc::new(aws::Jobs::new(client.clone(), &controls)),
        answers: Arc::new(aws::AnswerTable::new(client.clone(), &memory)),
        plans: Arc::new(aws::Plans::new(client.clone(), &controls, clock.clone())),
        controls: Arc::new(aws::LiveControls::new(client.clone(), &controls)),
        prompts: Arc::new(aws::PromptVersions::new(client.clone(), &controls)),
        budgets: Arc::new(aws::Accounts::new(client.clone(), &controls)),
        windows: Arc::new(aws::Counters::new(client.clone(), &controls)),
        planting: Arc::new(Plants { client, table: runs, controls }),
        random: SeededRandom::new(1),
        clock,
    }
}

pub async fn stores() -> Subject<Stores, Stack> {
    let table = |table: aws::tables::Table| TableSpec { create: table.create, ttl_attribute: table.ttl_attribute };
    let tables = aws::tables::all("test").into_iter().map(table).collect();
    let (stack, clients) = start(StackSpec { tables, ..StackSpec::empty("test") }).await;
    Subject { ports: stores_at(&clients, "test"), keep: stack }
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

/// The adapters over the queues at these URLs.
pub fn queues_at(clients: &Clients, step: &str, dead: &str) -> Queues {
    Queues {
        wake_ups: Arc::new(aws::StepQueue::new(clients.sqs(), step)),
        deliveries: Arc::new(aws::StepQueue::new(clients.sqs(), step)),
        dead: Arc::new(aws::DeadLetterQueue::new(clients.sqs(), dead)),
        consumer: Arc::new(Consumes { client: clients.sqs(), url: step.to_owned() }),
    }
}

async fn queues() -> Subject<Queues, Stack> {
    let queue = |name: &str, redrive| QueueSpec {
        name: name.to_owned(),
        visibility_timeout: VISIBILITY,
        retention: Duration::from_secs(24 * 3600),
        redrive,
        order: windlass_local::Order::Fair,
    };
    let redrive = Redrive { dead_letter_queue: "dead".to_owned(), receive_count_max: RECEIVES_MAX };
    let queues = vec![queue("dead", None), queue("step", Some(redrive))];
    let (stack, clients) = start(StackSpec { queues, ..StackSpec::empty("test") }).await;
    let ports = queues_at(&clients, &stack.queue_url("step"), &stack.queue_url("dead"));
    Subject { ports, keep: stack }
}

async fn known_secrets() -> Subject<aws::SecretsManager, Stack> {
    let known = SecretSpec { name: secrets::NAME.to_owned(), value: secrets::VALUE.to_owned() };
    let (stack, clients) = start(StackSpec { secrets: vec![known], ..StackSpec::empty("test") }).await;
    Subject { ports: aws::SecretsManager::new(clients.secrets_manager()), keep: stack }
}

windlass_tests::store_cases!(super::stores);
windlass_tests::queue_cases!(super::queues);
mod secret {
    windlass_tests::secret_cases!(super::super::known_secrets);
}
