//! Wires the step function: configuration, ports, loop.

use std::{convert::Infallible, process::ExitCode, sync::Arc};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use step::{desk, handler::Handler, models};
use windlass::{
    aws::{self, clients::Clients},
    clock::{Clock, SystemClock, Timestamp},
    ids::SystemRandom,
    prompts::PromptCache,
    run::advance::{Engine, Live},
    startup,
    telemetry::{StandardOutput, Teller},
};
use windlass_mcp::{catalogue::Ports, configured::catalogue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::from_environment().await;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(aws::SecretsManager::new(clients.secrets_manager()));
    let started = clock.now();
    let lookup = |name: &str| std::env::var(name).ok();
    let config = match startup::prepare(lookup, secrets.clone(), clock.clone(), random.as_ref()).await {
        Ok(ready) => ready.config,
        Err(problems) => return startup::refuse(&problems),
    };
    let models = match models(&config, &clients, secrets.clone(), clock.clone()) {
        Ok(models) => models,
        Err(problem) => {
            eprintln!("not started, nothing was polled: {problem}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(problems) = startup::demand(&models.keys, started, clock.as_ref(), random.as_ref()).await {
        return startup::refuse(&problems);
    }
    startup::log(&config);
    let storage = &config.storage;
    let runs =
        Arc::new(aws::Runs::new(clients.dynamodb(), &storage.runs_table, &storage.idempotency_table, clock.clone()));
    let mcp = match catalogue(&config, &Ports { secrets, clock: clock.clone() }).await {
        Ok(mcp) => mcp,
        Err(problems) => {
            eprintln!("not started, nothing was polled: MCP: {problems}");
            return ExitCode::FAILURE;
        }
    };
    let agent = match desk(&config, models.model, clients.dynamodb(), random.clone(), mcp.tools) {
        Ok(agent) => agent,
        Err(mistake) => {
            eprintln!("not started, nothing was polled: the agent: {mistake}");
            return ExitCode::FAILURE;
        }
    };
    let teller = Teller::new(Arc::new(StandardOutput), &config);
    let clock: Arc<dyn Clock> = clock;
    let (dynamodb, controls) = (clients.dynamodb(), storage.controls_table.as_str());
    let live = Live {
        controls: Arc::new(aws::LiveControls::new(dynamodb.clone(), controls)),
        prompts: PromptCache::new(Arc::new(aws::PromptVersions::new(dynamodb.clone(), controls))),
        budgets: Arc::new(aws::Accounts::new(dynamodb, controls)),
        allowance: config.limits.actor_day,
    };
    let engine = Engine {
        journal: teller.journal(runs.clone()),
        leases: teller.leases(runs),
        wake_ups: Arc::new(aws::StepQueue::new(clients.sqs(), &storage.step_queue_url)),
        agent: teller.watch(agent, &clock),
        live,
        answers: Arc::new(aws::AnswerTable::new(clients.dynamodb(), &storage.memory_table)),
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
