//! Wires the step function: configuration, ports, loop.

use std::{convert::Infallible, process::ExitCode, sync::Arc};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use step::{desk, handler::Handler};
use windlass::{
    aws::{self, clients::Clients},
    clock::{SystemClock, Timestamp},
    ids::SystemRandom,
    prompts::PromptCache,
    run::advance::{Engine, Live},
    startup,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::from_environment().await;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(aws::SecretsManager::new(clients.secrets_manager()));
    let config = match startup::prepare(|name| std::env::var(name).ok(), secrets, clock.clone(), random.as_ref()).await
    {
        Ok(ready) => ready.config,
        Err(problems) => return startup::refuse(&problems),
    };
    startup::log(&config);
    let storage = &config.storage;
    let runs =
        Arc::new(aws::Runs::new(clients.dynamodb(), &storage.runs_table, &storage.idempotency_table, clock.clone()));
    let agent = match desk(&config, clients.dynamodb(), random.clone()) {
        Ok(agent) => agent,
        Err(mistake) => {
            eprintln!("not started, nothing was polled: the agent: {mistake}");
            return ExitCode::FAILURE;
        }
    };
    let (dynamodb, controls) = (clients.dynamodb(), storage.controls_table.as_str());
    let live = Live {
        controls: Arc::new(aws::LiveControls::new(dynamodb.clone(), controls)),
        prompts: PromptCache::new(Arc::new(aws::PromptVersions::new(dynamodb.clone(), controls))),
        budgets: Arc::new(aws::Accounts::new(dynamodb, controls)),
        allowance: config.limits.actor_day,
        prices: config.limits.prices.clone(),
    };
    let engine = Engine {
        journal: runs.clone(),
        leases: runs,
        wake_ups: Arc::new(aws::StepQueue::new(clients.sqs(), &storage.step_queue_url)),
        agent,
        live,
        clock,
        random,
        release: config.runtime.release.clone(),
        strikes_max: config.limits.strikes_max,
    };
    let handler = Handler { engine, terms: config.terms() };
    let work = async |event: LambdaEvent<SqsEvent>| {
        let deadline = Timestamp::from_millis(event.context.deadline.try_into().unwrap_or(i64::MAX));
        Ok::<_, Infallible>(handler.handle(event.payload, deadline).await)
    };
    startup::exit_code(lambda_runtime::run(service_fn(work)).await)
}
