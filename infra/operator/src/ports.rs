//! The ports that commands work on, injectable for tests.

use std::{sync::Arc, time::Duration};

use windlass::{
    aws::{
        DeadLetterQueue, ExpiredItems, Jobs, LiveControls, Plans, PromptVersions, Runs, StepQueue, clients::Clients,
        queue_url,
    },
    clock::{Clock, SystemClock},
    controls::Controls,
    dead_letter::ReplayPlans,
    door::Requests,
    ids::{Random, Release, SystemRandom},
    journal::{Heads, Journal, Searched},
    prompts::Prompts,
    queue::{DeadMessages, QueueError, WakeUps},
    run::{outside::Outside, tasks::Tasks},
    schedule::{JobRecords, retention::Retention},
};

use crate::{
    attributed::{Attributed, Caller, OfCredentials},
    cli::Options,
    stack,
    target::Aws,
};

/// The step queue's name, unless a URL is given.
pub const STEP_QUEUE: &str = "windlass-step";

/// Its dead-letter queue's name, unless a URL is given.
pub const STEP_DEAD_LETTERS: &str = "windlass-step-dead-letters";

/// What commands work on.
pub struct Ports {
    /// Journals.
    pub journal: Arc<dyn Journal>,
    /// Heads.
    pub heads: Arc<dyn Heads>,
    /// Where runs are looked through.
    pub search: Arc<dyn Searched>,
    /// What is known of the keys of requests.
    pub requests: Arc<dyn Requests>,
    /// How long their records are kept.
    pub key_kept_for: Duration,
    /// The tasks that functions know.
    pub tasks: Tasks,
    /// The step queue.
    pub wake_ups: Arc<dyn WakeUps>,
    /// Its dead-letter queue.
    pub dead_messages: Arc<dyn DeadMessages>,
    /// Replay plans and the audit trail.
    pub plans: Arc<dyn ReplayPlans>,
    /// The live controls.
    pub controls: Arc<dyn Controls>,
    /// Prompts.
    pub prompts: Arc<dyn Prompts>,
    /// Job records.
    pub records: Arc<dyn JobRecords>,
    /// Expired items.
    pub retention: Arc<dyn Retention>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bits.
    pub random: Arc<dyn Random>,
    /// What entries of ours are marked with.
    pub release: Release,
}

/// Which queues a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// None: their URLs are not asked for.
    None,
    /// Both.
    Both,
}

impl Ports {
    /// The ports on AWS.
    ///
    /// # Errors
    /// When a queue's URL is neither given nor to be had.
    pub async fn on_aws(options: &Options, aws: &Aws, queues: Queues, release: Release) -> Result<Ports, QueueError> {
        let clients = match aws {
            Aws::Local(url) | Aws::Plain(url) => Clients::at(url),
            Aws::Environment => Clients::from_environment().await,
        };
        let url = async |given: &Option<String>, name: &str| match (given, queues) {
            (Some(url), _) => Ok(url.clone()),
            (None, Queues::Both) => queue_url(&clients.sqs(), name).await,
            (None, Queues::None) => Ok(String::new()),
        };
        let step = url(&options.step_queue_url, STEP_QUEUE).await?;
        let dead = url(&options.step_dead_letter_queue_url, STEP_DEAD_LETTERS).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dynamodb = clients.dynamodb();
        let (runs_table, records_table) = (&options.runs_table, &options.idempotency_table);
        let runs = Arc::new(Runs::new(dynamodb.clone(), runs_table, records_table, clock.clone()));
        let others = [options.controls_table.as_str(), options.memory_table.as_str()];
        let caller: Arc<dyn Caller> = Arc::new(OfCredentials::new(clients.clone()));
        let plans = Arc::new(Plans::new(dynamodb.clone(), &options.controls_table, clock.clone()));
        let controls = Arc::new(LiveControls::new(dynamodb.clone(), &options.controls_table));
        Ok(Ports {
            journal: runs.clone(),
            heads: runs.clone(),
            search: runs.clone(),
            requests: runs,
            key_kept_for: Duration::from_secs(u64::from(options.idempotency_retention_hours) * 3600),
            tasks: options.tasks.clone().unwrap_or_else(stack::tasks),
            wake_ups: Arc::new(StepQueue::new(clients.sqs(), &step)),
            dead_messages: Arc::new(DeadLetterQueue::new(clients.sqs(), &dead)),
            plans: Arc::new(Attributed::<dyn ReplayPlans> { inner: plans, caller: caller.clone() }),
            controls: Arc::new(Attributed::<dyn Controls> { inner: controls, caller }),
            prompts: Arc::new(PromptVersions::new(dynamodb.clone(), &options.controls_table)),
            records: Arc::new(Jobs::new(dynamodb.clone(), &options.controls_table)),
            retention: Arc::new(ExpiredItems::new(dynamodb, runs_table, records_table, &others)),
            clock,
            random: Arc::new(SystemRandom),
            release,
        })
    }

    /// For writing to runs.
    pub fn outside(&self) -> Outside<'_> {
        Outside {
            journal: self.journal.as_ref(),
            wake_ups: self.wake_ups.as_ref(),
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
            release: &self.release,
            telemetry: None,
        }
    }
}
