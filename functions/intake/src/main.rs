//! Wires the intake function.

use std::{convert::Infallible, process::ExitCode, sync::Arc};

use intake::{Intake, parts};
use lambda_runtime::{LambdaEvent, run, service_fn};
use windlass::{
    aws::{Accounts, LiveControls, RateBuckets, Runs, SecretsManager, StepQueue, clients::Clients},
    clock::SystemClock,
    door::{
        Door, Reads,
        pressure::Gauge,
        readiness::{Part, Readiness, SecretPart},
    },
    ids::SystemRandom,
    startup::{self, Access},
    telemetry::{StandardOutput, Teller},
};
use windlass_http::Event;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clients = Clients::of_function();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let secrets = Arc::new(SecretsManager::new(clients.secrets_manager()));
    let lookup = |name: &str| std::env::var(name).ok();
    let config = match startup::prepare(lookup, secrets.clone(), clock.clone(), random.as_ref(), Access::Neither).await
    {
        Ok(ready) => ready.config,
        Err(problems) => return startup::refuse(&problems),
    };
    startup::log(&config);
    let (tables, queue) = (&config.storage, &config.storage.step_queue_url);
    let runs = Runs::new(clients.dynamodb(), &tables.runs_table, &tables.idempotency_table, clock.clone());
    let runs = Arc::new(runs);
    let queue = Arc::new(StepQueue::new(clients.sqs(), queue));
    let controls = Arc::new(LiveControls::new(clients.dynamodb(), &tables.controls_table));
    let parts = parts::all(runs.clone(), runs.clone(), controls.clone(), queue.clone());
    let secret = SecretPart { secrets, secret: config.policy.approval_secret.clone() };
    let parts = parts.into_iter().chain([Arc::new(secret) as Arc<dyn Part>]).collect();
    let buckets = Arc::new(RateBuckets::new(clients.dynamodb(), &tables.controls_table));
    let door = Door {
        limits: config.http.limits,
        reads: Reads { limits: config.http.reads, buckets: buckets.clone(), clock: clock.clone() },
        waits: config.http.waits,
        buckets,
        gauge: Gauge::new(queue.clone(), clock.clone(), config.http.backlog),
        clock: clock.clone(),
        random: random.clone(),
    };
    let intake = Intake {
        journal: runs.clone(),
        telemetry: Some(Teller::new(Arc::new(StandardOutput), &config)),
        heads: runs.clone(),
        requests: runs,
        wake_ups: queue,
        door,
        readiness: Readiness::new(parts, clock.clone()),
        controls,
        budgets: Arc::new(Accounts::new(clients.dynamodb(), &tables.controls_table)),
        allowance: config.limits.actor_day,
        clock,
        random,
        release: config.runtime.release.clone(),
        terms: config.terms(),
        tasks: config.tools.tasks.clone(),
        claims: (&config.http).into(),
        redactions: config.observability.redactions.clone(),
    };
    let handler = async |event: LambdaEvent<Event>| Ok::<_, Infallible>(intake.handle(event.payload).await);
    startup::exit_code(run(service_fn(handler)).await)
}
