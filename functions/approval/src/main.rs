//! Wires the approval function.

use std::{convert::Infallible, process::ExitCode, sync::Arc};

use approval::Desk;
use lambda_runtime::{LambdaEvent, run, service_fn};
use windlass::{
    aws::{RateBuckets, Runs, SecretsManager, StepQueue, clients::Clients},
    clock::SystemClock,
    door::Reads,
    ids::SystemRandom,
    startup::{self, Access, Ready},
    telemetry::{StandardOutput, Teller},
};
use windlass_http::Event;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::of_function();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(SecretsManager::new(clients.secrets_manager()));
    let lookup = |name: &str| std::env::var(name).ok();
    let ready = startup::prepare(lookup, secrets, clock.clone(), random.as_ref(), Access::Signs).await;
    let Ready { config, approval_keys, .. } = match ready {
        Ok(ready) => ready,
        Err(problems) => return startup::refuse(&problems),
    };
    startup::log(&config);
    let (tables, queue) = (&config.storage, &config.storage.step_queue_url);
    let runs = Runs::new(clients.dynamodb(), &tables.runs_table, &tables.idempotency_table, clock.clone());
    let runs = Arc::new(runs);
    let buckets = Arc::new(RateBuckets::new(clients.dynamodb(), &tables.controls_table));
    let reads = Reads { limits: config.http.reads, buckets, clock: clock.clone() };
    let desk = Desk {
        journal: runs.clone(),
        telemetry: Some(Teller::new(Arc::new(StandardOutput), &config)),
        heads: runs,
        wake_ups: Arc::new(StepQueue::new(clients.sqs(), queue)),
        clock,
        random,
        keys: approval_keys,
        release: config.runtime.release.clone(),
        claims: (&config.http).into(),
        reads,
    };
    let handler = async |event: LambdaEvent<Event>| Ok::<_, Infallible>(desk.handle(event.payload).await);
    startup::exit_code(run(service_fn(handler)).await)
}
