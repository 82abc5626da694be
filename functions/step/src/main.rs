//! Wires the step function: configuration, ports, loop.

use std::{convert::Infallible, process::ExitCode, sync::Arc};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use step::{
    current::Current,
    handler::Handler,
    ready::{Ready, ready},
};
use windlass::{
    approval::signature::VerifiedDecisions,
    aws::{self, clients::Clients},
    clock::{SystemClock, Timestamp},
    ids::SystemRandom,
    prompts::PromptCache,
    run::advance::{Engine, Live},
    startup,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::of_function();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(aws::SecretsManager::new(clients.secrets_manager()));
    let lookup = |name: &str| std::env::var(name).ok();
    let Ready { config, agent, agents, decision_keys, teller } =
        match ready(lookup, &clients, secrets, random.clone()).await {
            Ok(ready) => ready,
            Err(problems) => return startup::refuse(&problems),
        };
    let storage = &config.storage;
    let runs =
        Arc::new(aws::Runs::new(clients.dynamodb(), &storage.runs_table, &storage.idempotency_table, clock.clone()));
    let (dynamodb, controls) = (clients.dynamodb(), storage.controls_table.as_str());
    let live = Live {
        controls: Arc::new(aws::LiveControls::new(dynamodb.clone(), controls)),
        seen: Arc::default(),
        prompts: PromptCache::new(Arc::new(aws::PromptVersions::new(dynamodb.clone(), controls))),
        windows: Arc::new(aws::Counters::new(dynamodb.clone(), controls)),
        budgets: Arc::new(aws::Accounts::new(dynamodb, controls)),
        allowance: config.limits.actor_day,
    };
    let queue = Arc::new(aws::StepQueue::new(clients.sqs(), &storage.step_queue_url));
    let engine = Engine {
        journal: Arc::new(VerifiedDecisions::new(runs.clone(), decision_keys, clock.clone())),
        leases: teller.leases(runs),
        wake_ups: queue.clone(),
        agent,
        live,
        answers: Arc::new(aws::AnswerTable::new(clients.dynamodb(), &storage.memory_table)),
        clock,
        random,
        release: config.runtime.release.clone(),
        strikes_max: config.limits.strikes_max,
        telemetry: Some(teller),
    };
    let wake_up_senders = storage.wake_up_senders.clone();
    let handler = Handler {
        engine,
        deliveries: queue,
        terms: config.terms(),
        tasks: config.tools.tasks.clone(),
        wake_up_senders,
    };
    let current = Current::new(handler, agents);
    let work = async |event: LambdaEvent<SqsEvent>| {
        let deadline = Timestamp::from_millis(event.context.deadline.try_into().unwrap_or(i64::MAX));
        Ok::<_, Infallible>(current.handler().await.handle(event.payload, deadline).await)
    };
    startup::exit_code(lambda_runtime::run(service_fn(work)).await)
}
