//! Wires the cleanup function.

use std::{process::ExitCode, sync::Arc};

use cleanup::Cleanup;
use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde_json::Value;
use windlass::{
    aws::{ExpiredItems, Jobs, Runs, SecretsManager, StepQueue, clients::Clients},
    clock::SystemClock,
    ids::SystemRandom,
    startup::{self, Access},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::of_function();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(SecretsManager::new(clients.secrets_manager()));
    let lookup = |name: &str| std::env::var(name).ok();
    let config = match startup::prepare(lookup, secrets, clock.clone(), random.as_ref(), Access::Neither).await {
        Ok(ready) => ready.config,
        Err(problems) => return startup::refuse(&problems),
    };
    startup::log(&config);
    let (tables, dynamodb) = (&config.storage, clients.dynamodb());
    let others = [tables.controls_table.as_str(), tables.memory_table.as_str()];
    let expired = ExpiredItems::new(dynamodb.clone(), &tables.runs_table, &tables.idempotency_table, &others);
    let cleanup = Cleanup {
        records: Arc::new(Jobs::new(dynamodb.clone(), &tables.controls_table)),
        heads: Arc::new(Runs::new(dynamodb, &tables.runs_table, &tables.idempotency_table, clock.clone())),
        wake_ups: Arc::new(StepQueue::new(clients.sqs(), &tables.step_queue_url)),
        retention: Arc::new(expired),
        clock,
        random,
    };
    let handler = async |event: LambdaEvent<Value>| {
        let failed = |error: cleanup::CleanupError| Diagnostic {
            error_type: error.kind().to_owned(),
            error_message: error.to_string(),
        };
        cleanup.handle(event.payload).await.map_err(failed)
    };
    startup::exit_code(run(service_fn(handler)).await)
}
