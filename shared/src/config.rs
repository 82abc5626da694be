//! Configuration: read once, from a lookup, with every problem reported at once.
//!
//! No secret is in it, only the names of secrets; see [`crate::secrets`].

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use sha2::{Digest as _, Sha256};

use crate::{
    budgets::Allowance,
    door,
    ids::Release,
    redaction::Redactions,
    run::{
        accept::Terms,
        limits::{JOURNAL_ENTRIES_MAX, Limits},
        tasks::Tasks,
    },
};

mod model;
mod read;
mod variables;

pub use model::{Cassette, InvalidModelName, LastResort, Model, ModelName, Price, Route, key_names};
use read::Reader;
pub use read::{ConfigErrors, ConfigProblem};
pub use variables::{Fallback, Group, VARIABLES, Variable};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// Everything a function is told from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The model provider.
    pub model: Model,
    /// Where and as what the function runs.
    pub runtime: Runtime,
    /// Where things are kept, and for how long.
    pub storage: Storage,
    /// What may be done.
    pub policy: Policy,
    /// With what it may be done.
    pub tools: Tools,
    /// What a run may use.
    pub limits: Bounds,
    /// The HTTP edge.
    pub http: Http,
    /// What the function says about itself.
    pub observability: Observability,
    /// What it is judged by.
    pub evals: Evals,
    summary: Summary,
}

/// Where a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// For trying things out.
    Dev,
    /// For proving a release.
    Staging,
    /// For real.
    Production,
}

impl Environment {
    /// Its name, as in the variable.
    pub const fn name(self) -> &'static str {
        match self {
            Environment::Dev => "dev",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what was mended.
    Warn,
    /// And what was done.
    Info,
    /// And why.
    Debug,
    /// And how.
    Trace,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading along.
    Text,
}

/// Where and as what the function runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Where.
    pub environment: Environment,
    /// Which release; entries record it.
    pub release: Release,
    /// How long one invocation of the step function may take: a function is not told its own timeout before it is invoked.
    pub step_timeout: Duration,
    /// The name in logs, traces and metrics.
    pub service_name: String,
    /// How much is logged.
    pub log_level: LogLevel,
}

/// Where things are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Table of heads and journals.
    pub runs_table: String,
    /// Table of idempotency records.
    pub idempotency_table: String,
    /// Table of controls, job records, plans and audit.
    pub controls_table: String,
    /// Table of governed memory.
    pub memory_table: String,
    /// The sample agent's own table.
    pub desk_table: String,
    /// The step queue.
    pub step_queue_url: String,
    /// Where the step queue puts what it gives up on.
    pub step_dead_letter_queue_url: String,
    /// Ids of the roles that may send wake-ups to the step queue and no requests that start runs.
    pub wake_up_senders: BTreeSet<String>,
    /// The file of the sources that answers cite; the built-in handbook when `None`.
    pub sources_file: Option<String>,
    /// How long a run is kept, from its acceptance.
    pub run_retention: Duration,
    /// How long a repeated request is recognised.
    pub idempotency_retention: Duration,
}

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The file that holds its rules; the built-in ones when `None`.
    pub file: Option<String>,
    /// How long an approval stays open.
    pub approval_expires_after: Duration,
    /// The name of the secret that holds the [approval keys](crate::approval::token::ApprovalKeys).
    pub approval_secret: String,
    /// The name of the secret that holds their [public halves](crate::approval::signature::DecisionKeys).
    pub approval_public_secret: String,
}

/// With what it may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// What runs may be asked to do.
    pub tasks: Tasks,
    /// Where the list of MCP servers is, if there are any.
    pub mcp_servers: Option<McpSource>,
    /// The digest that their tools must have.
    pub mcp_tools_digest: Option<String>,
    /// Whether the sample agent has its exercises.
    pub drills: DrillTools,
}

/// Whether the sample agent has its exercises, one of which kills its worker. A token of any tenant reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrillTools {
    /// It has none.
    Off,
    /// It has them: in development, when somebody says so.
    On,
}

/// Where the list of MCP servers is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpSource {
    /// This is it.
    Inline(String),
    /// In the secret of this name.
    Secret(String),
}

/// What a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The limits of one run.
    pub run: Limits,
    /// What one actor may spend in one day.
    pub actor_day: Allowance,
    /// Claims without progress before a run counts as dead.
    pub strikes_max: u32,
}

/// The HTTP edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The JWT claim that names the tenant.
    pub tenant_claim: String,
    /// The JWT claim that lists the roles.
    pub roles_claim: String,
    /// The JWT claim that names the person behind `sub`; each `sub` is a person when `None`.
    pub person_claim: Option<String>,
    /// How many runs may be started.
    pub limits: door::rate::Limits,
    /// From how much waiting work on fewer are.
    pub backlog: door::pressure::Bounds,
    /// How often runs may be looked at.
    pub reads: door::rate::Limits,
    /// How often a run may be waited for within a request.
    pub waits: door::rate::Limits,
}

/// What the function says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observability {
    /// How log lines look.
    pub log_format: LogFormat,
    /// What may be shown of runs in events, logs and answers.
    pub redactions: Redactions,
}

/// What it is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evals {
    /// The dataset that the release was judged with.
    pub dataset_version: Option<String>,
}

/// What the start-up log says of a configuration. It holds no secret, since a configuration holds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which release.
    pub release: Release,
    /// Where.
    pub environment: &'static str,
    /// The first 16 hexadecimal digits of SHA-256 over every variable with its value in force: equal for equal configurations.
    pub digest: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release {} in {}, configuration {}", self.release, self.environment, self.digest)
    }
}

impl Config {
    /// Reads every variable of [`VARIABLES`] from `lookup`.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let mut read = Reader::new(&lookup);
        let model = model::read(&mut read);
        let runtime = runtime(&mut read);
        let storage = storage(&mut read);
        let policy = policy(&mut read);
        let tools = tools(&mut read, runtime.as_ref().map(|runtime| runtime.environment));
        let limits = bounds(&mut read);
        let http = http(&mut read);
        let log_format = read.one_of(&variables::LOG_FORMAT, &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
        let redactions = redactions(&mut read);
        let dataset_version = read.optional(&variables::EVAL_DATASET_VERSION, Reader::text);
        check_spans(&mut read, storage.as_ref(), policy.as_ref(), limits.as_ref());
        let model = model.zip(runtime.as_ref().zip(limits.as_ref()));
        let model = model.map(|(parts, (runtime, limits))| model::check(&mut read, parts, runtime, limits.actor_day));
        let parts = (|| {
            let runtime = runtime?;
            let digest = read.digest();
            let (release, environment) = (runtime.release.clone(), runtime.environment.name());
            Some(Config {
                model: model?,
                runtime,
                storage: storage?,
                policy: policy?,
                tools: tools?,
                limits: limits?,
                http: http?,
                observability: Observability { log_format: log_format?, redactions: redactions? },
                evals: Evals { dataset_version: dataset_version? },
                summary: Summary { release, environment, digest },
            })
        })();
        read.finish(parts)
    }

    /// What the start-up log says.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// On which terms runs are taken on.
    pub fn terms(&self) -> Terms {
        Terms {
            limits: self.limits.run,
            key_kept_for: self.storage.idempotency_retention,
            run_kept_for: self.storage.run_retention,
        }
    }
}

/// The names of the secrets with the approval keys and with their public halves, where `lookup` has usable ones, whatever else is wrong.
pub(crate) fn approval_secret_names(lookup: &dyn Fn(&str) -> Option<String>) -> [Option<String>; 2] {
    [&variables::APPROVAL_SECRET, &variables::APPROVAL_PUBLIC_SECRET].map(|name| Reader::new(lookup).secret_name(name))
}

fn redactions(read: &mut Reader<'_>) -> Option<Redactions> {
    let text = read.text(&variables::SHOWN_FIELDS)?;
    let parsed = Redactions::parse(&text);
    if let Err(error) = &parsed {
        let problem = format!("does not say which fields are needed: {error}");
        read.refuse(&variables::SHOWN_FIELDS, problem, format!("set it to {}", variables::SHOWN_FIELDS.meaning));
    }
    parsed.ok()
}

fn runtime(read: &mut Reader<'_>) -> Option<Runtime> {
    let environments = [Environment::Dev, Environment::Staging, Environment::Production];
    let environment = read.one_of(&variables::ENVIRONMENT, &environments.map(|one| (one.name(), one)));
    let release = read.id(&variables::RELEASE);
    let step_timeout = read.span(&variables::STEP_TIMEOUT_SECONDS, Duration::from_secs(1), 30..=900);
    let service_name = read.text(&variables::SERVICE_NAME);
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let log_level = read.one_of(&variables::LOG_LEVEL, &levels);
    Some(Runtime {
        environment: environment?,
        release: release?,
        step_timeout: step_timeout?,
        service_name: service_name?,
        log_level: log_level?,
    })
}

fn storage(read: &mut Reader<'_>) -> Option<Storage> {
    let runs_table = read.table(&variables::RUNS_TABLE);
    let idempotency_table = read.table(&variables::IDEMPOTENCY_TABLE);
    let controls_table = read.table(&variables::CONTROLS_TABLE);
    let memory_table = read.table(&variables::MEMORY_TABLE);
    let desk_table = read.table(&variables::DESK_TABLE);
    let step_queue_url = read.url(&variables::STEP_QUEUE_URL);
    let step_dead_letter_queue_url = read.url(&variables::STEP_DEAD_LETTER_QUEUE_URL);
    let wake_up_senders = read.optional(&variables::WAKE_UP_SENDERS, Reader::text);
    let sources_file = read.optional(&variables::SOURCES_FILE, Reader::text);
    let run_retention = read.span(&variables::RUN_RETENTION_DAYS, DAY, 1..=3650);
    let idempotency_retention = read.span(&variables::IDEMPOTENCY_RETENTION_HOURS, HOUR, 1..=8760);
    Some(Storage {
        runs_table: runs_table?,
        idempotency_table: idempotency_table?,
        controls_table: controls_table?,
        memory_table: memory_table?,
        desk_table: desk_table?,
        step_queue_url: step_queue_url?,
        step_dead_letter_queue_url: step_dead_letter_queue_url?,
        wake_up_senders: senders(&wake_up_senders?.unwrap_or_default()),
        sources_file: sources_file?,
        run_retention: run_retention?,
        idempotency_retention: idempotency_retention?,
    })
}

fn policy(read: &mut Reader<'_>) -> Option<Policy> {
    let file = read.optional(&variables::POLICY_FILE, Reader::text);
    let second = Duration::from_secs(1);
    let approval_expires_after = read.span(&variables::APPROVAL_EXPIRES_AFTER_SECONDS, second, 60..=7 * 24 * 3600);
    let approval_secret = read.secret_name(&variables::APPROVAL_SECRET);
    let approval_public_secret = read.secret_name(&variables::APPROVAL_PUBLIC_SECRET);
    Some(Policy {
        file: file?,
        approval_expires_after: approval_expires_after?,
        approval_secret: approval_secret?,
        approval_public_secret: approval_public_secret?,
    })
}

fn tools(read: &mut Reader<'_>, environment: Option<Environment>) -> Option<Tools> {
    let tasks = parsed(read, &variables::TASKS);
    let inline = read.optional(&variables::MCP_SERVERS, Reader::document)?;
    let secret = read.optional(&variables::MCP_SERVERS_SECRET, Reader::secret_name)?;
    let mcp_tools_digest = read.optional(&variables::MCP_TOOLS_DIGEST, Reader::text)?;
    let mcp_servers = match (inline, secret) {
        (Some(_), Some(_)) => {
            let problem = "is set beside `MCP_SERVERS`";
            read.refuse(&variables::MCP_SERVERS_SECRET, problem, "remove one of them");
            return None;
        }
        (Some(text), None) => Some(McpSource::Inline(text)),
        (None, Some(name)) => Some(McpSource::Secret(name)),
        (None, None) => None,
    };
    let drills = read.one_of(&variables::DRILLS, &[("off", DrillTools::Off), ("on", DrillTools::On)])?;
    if drills == DrillTools::On && environment.is_some_and(|environment| environment != Environment::Dev) {
        read.refuse(&variables::DRILLS, "is `on` outside of `dev`", "remove it, or set ENVIRONMENT to `dev`");
        return None;
    }
    Some(Tools { tasks: tasks?, mcp_servers, mcp_tools_digest, drills })
}

fn bounds(read: &mut Reader<'_>) -> Option<Bounds> {
    let steps_max = read.number(&variables::STEPS_MAX, 1..=1_000);
    let tokens_max = read.number(&variables::TOKENS_MAX, 1..=1_000_000_000);
    let cost_max_micro_usd = read.number(&variables::COST_MAX_MICRO_USD, 1..=1_000_000_000);
    let wall_time_max_seconds = read.number(&variables::WALL_TIME_MAX_SECONDS, 60..=30 * 24 * 3600);
    let strikes_max = read.number(&variables::STRIKES_MAX, 1..=20);
    let day_micro_usd = read.number(&variables::BUDGET_ACTOR_DAY_MICRO_USD, 0..=1_000_000_000_000);
    let day_tokens = read.number(&variables::BUDGET_ACTOR_DAY_TOKENS, 0..=1_000_000_000_000);
    let run = Limits {
        steps_max: u32::try_from(steps_max?).ok()?,
        tokens_max: tokens_max?,
        cost_max_micro_usd: cost_max_micro_usd?,
        wall_time_max_seconds: wall_time_max_seconds?,
        entries_max: JOURNAL_ENTRIES_MAX,
    };
    let actor_day = Allowance { micro_usd: day_micro_usd?, tokens: day_tokens? };
    Some(Bounds { run, actor_day, strikes_max: u32::try_from(strikes_max?).ok()? })
}

fn http(read: &mut Reader<'_>) -> Option<Http> {
    let tenant_claim = read.text(&variables::TENANT_CLAIM);
    let roles_claim = read.text(&variables::ROLES_CLAIM);
    let person_claim = read.optional(&variables::PERSON_CLAIM, Reader::text);
    let mut limits = |tenant, actor| {
        let (tenant, actor) = (parsed(read, tenant), parsed(read, actor));
        Some(door::rate::Limits { tenant: tenant?, actor: actor?, ..door::rate::Limits::OFF })
    };
    let starts = limits(&variables::TENANT_RATE_LIMIT, &variables::ACTOR_RATE_LIMIT);
    let reads = limits(&variables::TENANT_READ_RATE_LIMIT, &variables::ACTOR_READ_RATE_LIMIT);
    let waits = limits(&variables::TENANT_WAIT_RATE_LIMIT, &variables::ACTOR_WAIT_RATE_LIMIT);
    let busy = parsed(read, &variables::BACKLOG_BUSY_FROM);
    let full = parsed(read, &variables::BACKLOG_MAX);
    Some(Http {
        tenant_claim: tenant_claim?,
        roles_claim: roles_claim?,
        person_claim: person_claim?,
        limits: starts?,
        backlog: door::pressure::Bounds { busy: busy?, full: full? },
        reads: reads?,
        waits: waits?,
    })
}

/// Names between commas.
fn senders(text: &str) -> BTreeSet<String> {
    text.split(',').map(str::trim).filter(|sender| !sender.is_empty()).map(str::to_owned).collect()
}

/// What has a text of its own.
fn parsed<T: FromStr<Err: fmt::Display>>(read: &mut Reader<'_>, variable: &Variable) -> Option<T> {
    let parsed = read.text(variable)?.parse::<T>();
    if let Err(error) = &parsed {
        read.refuse(variable, error.to_string(), format!("set it to {}", variable.meaning));
    }
    parsed.ok()
}

/// Spans that are sound one by one may not fit together.
fn check_spans(read: &mut Reader<'_>, storage: Option<&Storage>, policy: Option<&Policy>, limits: Option<&Bounds>) {
    let wall_time = limits.map(|limits| limits.run.wall_time_max());
    if let (Some(wall_time), Some(policy)) = (wall_time, policy)
        && wall_time <= policy.approval_expires_after
    {
        let problem = "is not longer than `APPROVAL_EXPIRES_AFTER_SECONDS`: a run would end before its approvals do";
        read.refuse(&variables::WALL_TIME_MAX_SECONDS, problem, "raise it, or let approvals expire sooner");
    }
    if let (Some(wall_time), Some(storage)) = (wall_time, storage)
        && storage.run_retention <= wall_time
    {
        let problem = "is not longer than `WALL_TIME_MAX_SECONDS`: a run would be deleted while it goes on";
        read.refuse(&variables::RUN_RETENTION_DAYS, problem, "raise it, or let runs take less time");
    }
    if let Some(storage) = storage
        && storage.run_retention < storage.idempotency_retention
    {
        let problem = "is longer than `RUN_RETENTION_DAYS`: a repeated request would be answered with a deleted run";
        read.refuse(&variables::IDEMPOTENCY_RETENTION_HOURS, problem, "lower it, or keep runs longer");
    }
}

fn digest_of(values: &[(&'static str, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, value) in values {
        hash.update(format!("{name}={}:{value}\n", value.len()));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
