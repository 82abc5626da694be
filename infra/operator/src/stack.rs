//! The kit on this machine: which functions, tables, queues, routes and schedules the local stack runs.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use step::refund_desk::{script, tools::Drills};
use windlass::{
    approval::token::{ApprovalKeys, InvalidKeys},
    config::{Config, ConfigErrors, VARIABLES},
    run::tasks::Tasks,
    schedule::Job,
};
use windlass_local::{
    Authorization, FunctionSpec, Logs, MappingSpec, Order, QueueSpec, Redrive, RouteSpec, ScheduleSpec, SecretSpec,
    StackSpec, Synchronous, TableSpec,
};

/// The functions of the kit.
pub const FUNCTIONS: [&str; 4] = ["intake", "step", "approval", "cleanup"];

/// The alias that takes the traffic: the API, the queue and the schedules invoke it.
pub const LIVE: &str = "live";

/// The alias that a deploy moves, for looking at a version before traffic does.
pub const CANDIDATE: &str = "candidate";

/// The tenant of the local tokens and of the demo.
pub const TENANT: &str = "acme";

/// The audience of the local tokens.
pub const AUDIENCE: &str = "windlass";

/// The step queue and the one for what it gives up on.
pub const STEP_QUEUE: &str = "windlass-step";
/// The dead-letter queue of [`STEP_QUEUE`].
pub const STEP_DEAD_LETTERS: &str = "windlass-step-dead-letters";

/// The secret that holds the keys of approval tokens.
pub const APPROVAL_SECRET: &str = "windlass/approval-keys";
/// The secret that holds their public halves.
pub const APPROVAL_PUBLIC_SECRET: &str = "windlass/approval-public-keys";

/// The variable from which the local stack takes the key of the model's provider, to keep it under the name in `MODEL_SECRET`.
pub const MODEL_KEY: &str = "WINDLASS_MODEL_KEY";
/// The same for the fallback's provider and `MODEL_FALLBACK_SECRET`.
pub const MODEL_FALLBACK_KEY: &str = "WINDLASS_MODEL_FALLBACK_KEY";

/// The table of the controls, and of what else the kit keeps about itself.
pub const CONTROLS_TABLE: &str = "windlass-controls";

/// The sample agent's own table.
pub const DESK_TABLE: &str = "windlass-desk";

/// The step function's timeout: room for many steps, short enough that an intent's deadline passes soon.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The other functions' timeout: API Gateway gives up after 30 s
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>).
const TIMEOUT: Duration = Duration::from_secs(29);

/// Visibility must be at least six times the function's timeout
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>).
const VISIBILITY: Duration = Duration::from_secs(360);

/// Receives after which the queue gives a message up. A wake-up of a run that is held is put back a few times; one that is
/// lost with it is made up for by the due index.
const RECEIVES_MAX: u32 = 10;

/// The most messages in one invocation: enough to amortise it, few enough that one slow run delays little.
const BATCH_MAX: u32 = 10;

/// What can be chosen about a local stack.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where state is kept; in memory when `None`.
    pub data: Option<PathBuf>,
    /// What the tables in it survive.
    pub synchronous: Synchronous,
    /// Where the function binaries are.
    pub binaries: PathBuf,
    /// Where their output goes.
    pub logs: Logs,
    /// The HTTP API's port.
    pub api_port: Option<u16>,
    /// The AWS endpoint's port.
    pub aws_port: Option<u16>,
    /// Variables to set or replace, for all functions.
    pub env: BTreeMap<String, String>,
    /// Which message of a queue comes next.
    pub queue_order: Order,
    /// Processes of the step function at once.
    pub step_concurrency_max: usize,
    /// Processes of each other function at once.
    pub door_concurrency_max: usize,
    /// Whether the approval keys exist from the start.
    pub approval_keys: Option<String>,
    /// Secrets besides them, by name.
    pub secrets: BTreeMap<String, String>,
}

impl Options {
    /// In memory, on any free ports, with the binaries of `binaries` and fresh approval keys.
    pub fn new(binaries: PathBuf) -> Self {
        Self {
            data: None,
            synchronous: Synchronous::Normal,
            binaries,
            logs: Logs::Discard,
            api_port: None,
            aws_port: None,
            env: BTreeMap::new(),
            queue_order: Order::Fair,
            step_concurrency_max: 4,
            door_concurrency_max: 4,
            approval_keys: Some(approval_keys(&windlass::ids::SystemRandom)),
            secrets: BTreeMap::new(),
        }
    }

    /// With every variable of the environment of this process that functions read and that the stack does not set itself, and the keys of
    /// models in the local secret store.
    #[must_use]
    pub fn with_environment(mut self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let of_the_stack = self.own_environment();
        let names = VARIABLES.iter().map(|variable| variable.name).filter(|name| !of_the_stack.contains_key(*name));
        self.env.extend(names.filter_map(|name| Some((name.to_owned(), lookup(name)?))));
        for (name, key) in [("MODEL_SECRET", MODEL_KEY), ("MODEL_FALLBACK_SECRET", MODEL_FALLBACK_KEY)] {
            if let (Some(name), Some(value)) = (lookup(name), lookup(key)) {
                self.secrets.insert(name, value);
            }
        }
        self
    }

    /// What the stack sets itself, whatever the environment says.
    pub fn own_environment(&self) -> BTreeMap<String, String> {
        let mut own = environment(&Options { env: BTreeMap::new(), ..self.clone() });
        own.remove(TASKS);
        own
    }

    /// Reads the variables as functions will, without starting one.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        // Where queues are is known once the stack runs.
        let known =
            |value: &String| if value.starts_with("${") { "http://127.0.0.1/queue".to_owned() } else { value.clone() };
        let variables = environment(self);
        Config::parse(|name| variables.get(name).map(known)).map(drop)
    }
}

/// Every rate limit, switched off: for measurements, in which one actor does all the work.
pub fn without_limits() -> impl Iterator<Item = (String, String)> {
    let limits = VARIABLES.iter().map(|variable| variable.name).filter(|name| name.ends_with("_RATE_LIMIT"));
    limits.map(|name| (name.to_owned(), "off".to_owned()))
}

/// A new set of approval keys, as the secret holds it.
pub fn approval_keys(random: &dyn windlass::ids::Random) -> String {
    use base64::Engine as _;
    let mut key = [0; 32];
    key[..16].copy_from_slice(&random.bits().to_be_bytes());
    key[16..].copy_from_slice(&random.bits().to_be_bytes());
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    json!({ "current": "k1", "keys": { "k1": key } }).to_string()
}

/// The public halves of approval keys, as their secret holds them.
///
/// # Errors
/// What is wrong with the keys.
pub fn public_keys(approval_keys: &str) -> Result<String, InvalidKeys> {
    ApprovalKeys::parse(&SecretString::from(approval_keys)).map(|keys| keys.public())
}

/// The secret of approval keys, and the one of their public halves. Keys that are none have no halves: no function starts with them.
fn approval_secrets(keys: &str) -> Vec<SecretSpec> {
    let public = public_keys(keys).ok();
    let secret = |name: &str, value: String| SecretSpec { name: name.to_owned(), value };
    let public = public.map(|public| secret(APPROVAL_PUBLIC_SECRET, public));
    [secret(APPROVAL_SECRET, keys.to_owned())].into_iter().chain(public).collect()
}

/// The kit as a stack.
pub fn kit(options: &Options) -> StackSpec {
    StackSpec {
        data: options.data.clone(),
        synchronous: options.synchronous,
        api_port: options.api_port,
        aws_port: options.aws_port,
        logs: options.logs.clone(),
        functions: FUNCTIONS.iter().map(|name| function(name, options)).collect(),
        tables: tables(),
        queues: queues(options.queue_order),
        secrets: options
            .approval_keys
            .iter()
            .flat_map(|value| approval_secrets(value))
            .chain(options.secrets.clone().into_iter().map(|(name, value)| SecretSpec { name, value }))
            .collect(),
        routes: routes(),
        mappings: vec![MappingSpec {
            queue: STEP_QUEUE.to_owned(),
            function: "step".to_owned(),
            batch_size_max: BATCH_MAX,
            batching_window: Duration::ZERO,
            concurrency_max: options.step_concurrency_max,
        }],
        schedules: Job::ALL.iter().copied().map(schedule).collect(),
        aliases: vec![LIVE.to_owned(), CANDIDATE.to_owned()],
        traffic_alias: LIVE.to_owned(),
        ..StackSpec::empty(AUDIENCE)
    }
}

fn function(name: &str, options: &Options) -> FunctionSpec {
    let step = name == "step";
    FunctionSpec {
        name: name.to_owned(),
        program: options.binaries.join(name),
        env: environment(options),
        timeout: if step { STEP_TIMEOUT } else { TIMEOUT },
        memory_mib: 256,
        concurrency_max: if step { options.step_concurrency_max } else { options.door_concurrency_max },
    }
}

fn environment(options: &Options) -> BTreeMap<String, String> {
    let fixed = [
        ("ENVIRONMENT", "dev"),
        ("RELEASE", "local"),
        // Nobody but this machine reaches them.
        ("DRILLS", "on"),
        ("RUNS_TABLE", "windlass-runs"),
        ("IDEMPOTENCY_TABLE", "windlass-idempotency"),
        ("CONTROLS_TABLE", CONTROLS_TABLE),
        ("MEMORY_TABLE", "windlass-memory"),
        ("DESK_TABLE", DESK_TABLE),
        ("STEP_QUEUE_URL", "${QUEUE_URL:windlass-step}"),
        ("STEP_DEAD_LETTER_QUEUE_URL", "${QUEUE_URL:windlass-step-dead-letters}"),
        ("APPROVAL_SECRET", APPROVAL_SECRET),
        ("APPROVAL_PUBLIC_SECRET", APPROVAL_PUBLIC_SECRET),
    ];
    let mut environment: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    environment.insert("STEP_TIMEOUT_SECONDS".to_owned(), STEP_TIMEOUT.as_secs().to_string());
    environment.extend(options.env.clone());
    environment.entry(TASKS.to_owned()).or_insert_with(|| task_names(Drills::Available));
    environment
}

/// The variable with the tasks that functions take on. The stack has a value for it, and another one may be set.
const TASKS: &str = "TASKS";

/// The tasks that the sample knows where drills are `drills`, as `TASKS` has them.
pub fn task_names(drills: Drills) -> String {
    script::tasks(drills).collect::<Vec<_>>().join(",")
}

/// Every task that the sample knows.
pub fn tasks() -> Tasks {
    task_names(Drills::Available).parse().unwrap_or_else(|_| unreachable!("the sample's tasks have names"))
}

fn tables() -> Vec<TableSpec> {
    let mut tables: Vec<TableSpec> = windlass::aws::tables::all("windlass")
        .into_iter()
        .map(|table| TableSpec { create: table.create, ttl_attribute: table.ttl_attribute })
        .collect();
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let text = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    tables.push(TableSpec {
        create: json!({
            "TableName": DESK_TABLE,
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": [text("pk"), text("sk")],
            "BillingMode": "PAY_PER_REQUEST",
        }),
        ttl_attribute: None,
    });
    tables
}

fn queues(order: Order) -> Vec<QueueSpec> {
    let fortnight = Duration::from_secs(14 * 24 * 3600);
    let queue = |name: &str, redrive| QueueSpec {
        name: name.to_owned(),
        visibility_timeout: VISIBILITY,
        retention: fortnight,
        redrive,
        order,
    };
    let redrive = Redrive { dead_letter_queue: STEP_DEAD_LETTERS.to_owned(), receive_count_max: RECEIVES_MAX };
    vec![queue(STEP_DEAD_LETTERS, None), queue(STEP_QUEUE, Some(redrive))]
}

fn routes() -> Vec<RouteSpec> {
    let route = |method: &str, path: &str, function: &str, authorization| RouteSpec {
        method: method.to_owned(),
        path: path.to_owned(),
        function: function.to_owned(),
        authorization,
    };
    vec![
        route("POST", "/runs", "intake", Authorization::Jwt),
        route("GET", "/runs/{id}", "intake", Authorization::Jwt),
        route("GET", "/runs/{id}/journal", "intake", Authorization::Jwt),
        route("POST", "/runs/{id}/cancel", "intake", Authorization::Jwt),
        route("GET", "/health", "intake", Authorization::None),
        route("GET", "/ready", "intake", Authorization::None),
        route("GET", "/approvals", "approval", Authorization::Jwt),
        route("GET", "/approvals/{id}", "approval", Authorization::Jwt),
        route("POST", "/approvals/{id}", "approval", Authorization::Jwt),
    ]
}

fn schedule(job: Job) -> ScheduleSpec {
    ScheduleSpec {
        name: job.name().to_owned(),
        every: job.every(),
        function: "cleanup".to_owned(),
        input: json!({ "job": job.name(), "scheduled_for": "<aws.scheduler.scheduled-time>" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_the_stack_does_not_set_itself_reaches_the_functions() {
        let options = Options::new("bin".into()).with_environment(|name| Some(format!("my {name}")));
        let reached = environment(&options);
        assert_eq!(reached["RUNS_TABLE"], "windlass-runs", "tables are the stack's own");
        assert_eq!(reached["STEP_TIMEOUT_SECONDS"], STEP_TIMEOUT.as_secs().to_string());
        for name in ["STEPS_MAX", "LOG_LEVEL", "MCP_SERVERS", "POLICY_FILE", "BUDGET_ACTOR_DAY_TOKENS", "MODEL"] {
            assert_eq!(reached[name], format!("my {name}"));
        }
        let missing: Vec<_> = VARIABLES.iter().filter(|variable| !reached.contains_key(variable.name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
