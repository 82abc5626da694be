//! What a stack is made of. Everything the stack knows about the kit is in here.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    clock::{Clock, SystemClock},
    dice::{Dice, SeededDice},
};

/// How long a process stays without work. Lambda ends them after some minutes, without saying how many.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A whole stack: functions, tables, queues, secrets, routes, mappings and schedules.
///
/// Environment values of functions may contain `${AWS_URL}`, `${API_URL}`, `${ISSUER_URL}` and `${QUEUE_URL:name}`,
/// because ports may only be known once the stack has started.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// Where state survives a restart; created with mode 0700. `None` keeps everything in memory. Tables, secrets and
    /// the issuer's key are kept; messages in queues are not.
    pub data: Option<PathBuf>,
    /// What the tables kept in `data` survive.
    pub synchronous: Synchronous,
    /// For example `us-east-1`.
    pub region: String,
    /// Twelve digits, for example `000000000000`.
    pub account: String,
    /// Port of the HTTP API on 127.0.0.1; `None` takes any free one.
    pub api_port: Option<u16>,
    /// Port of the AWS endpoint on 127.0.0.1; `None` takes any free one.
    pub aws_port: Option<u16>,
    /// The functions, by unique name.
    pub functions: Vec<FunctionSpec>,
    /// Tables, created when absent.
    pub tables: Vec<TableSpec>,
    /// Queues.
    pub queues: Vec<QueueSpec>,
    /// Secrets, created when absent.
    pub secrets: Vec<SecretSpec>,
    /// Routes of the HTTP API.
    pub routes: Vec<RouteSpec>,
    /// Event source mappings from queues to functions.
    pub mappings: Vec<MappingSpec>,
    /// Schedules.
    pub schedules: Vec<ScheduleSpec>,
    /// The audience that the JWT authorizer requires.
    pub audience: String,
    /// Where function output goes.
    pub logs: Logs,
    /// Aliases that every function has from the start, all on version 1, which is published from its spec.
    pub aliases: Vec<String>,
    /// What routes, mappings and schedules invoke: one of `aliases`.
    pub traffic_alias: String,
    /// How long a process may be idle before it is ended.
    pub idle_limit: Duration,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Decides which version behind a weighted alias an invocation meets.
    pub dice: Arc<dyn Dice>,
}

impl StackSpec {
    /// An empty stack in memory: account `000000000000` in `us-east-1`, any free ports, no output kept, the alias `live` for all
    /// traffic.
    pub fn empty(audience: impl Into<String>) -> Self {
        Self {
            data: None,
            synchronous: Synchronous::Normal,
            region: "us-east-1".into(),
            account: "000000000000".into(),
            api_port: None,
            aws_port: None,
            functions: Vec::new(),
            tables: Vec::new(),
            queues: Vec::new(),
            secrets: Vec::new(),
            routes: Vec::new(),
            mappings: Vec::new(),
            schedules: Vec::new(),
            audience: audience.into(),
            logs: Logs::Discard,
            aliases: vec!["live".into()],
            traffic_alias: "live".into(),
            idle_limit: IDLE_LIMIT,
            clock: Arc::new(SystemClock),
            dice: Arc::new(SeededDice::unknown()),
        }
    }
}

/// When tables in a file are synced to the disk: SQLite's `synchronous` with a write-ahead log
/// (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// At checkpoints. What was answered survives the death of the process; a power failure may take the last moments, but never the
    /// consistency.
    Normal,
    /// At every write: what was answered survives the machine as well.
    Full,
}

/// A function: a program built on a Lambda runtime.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// Function name, unique in the stack.
    pub name: String,
    /// The program to run.
    pub program: PathBuf,
    /// Its environment. Nothing else is inherited but `PATH` and what Lambda sets.
    pub env: BTreeMap<String, String>,
    /// How long one invocation may take; then the process is killed. Lambda's limit is 900 s.
    pub timeout: Duration,
    /// Reported to the function; not enforced. MiB.
    pub memory_mib: u32,
    /// Reserved concurrency: how many processes of all versions may work at once, at least 1.
    pub concurrency_max: usize,
}

/// A DynamoDB table.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The body of a `CreateTable` request.
    pub create: Value,
    /// The time to live attribute, if any.
    pub ttl_attribute: Option<String>,
}

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct QueueSpec {
    /// Queue name; `.fifo` at the end makes it a FIFO queue.
    pub name: String,
    /// Whole seconds, at most 12 hours.
    pub visibility_timeout: Duration,
    /// Whole seconds, 1 minute to 14 days. Accepted but not enforced.
    pub retention: Duration,
    /// Where messages go that are received too often.
    pub redrive: Option<Redrive>,
    /// Which message comes next. Of no consequence for a FIFO queue.
    pub order: Order,
}

/// Which message of a standard queue comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What a noisy group sent waits behind what others sent, as SQS has it for messages with groups.
    #[default]
    Fair,
    /// The oldest, whoever sent it, as if no message had a group: for comparison.
    Arrival,
}

/// A redrive policy.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// Name of the dead letter queue, which must be in the same stack.
    pub dead_letter_queue: String,
    /// Receives after which the message moves, at least 1.
    pub receive_count_max: u32,
}

/// A secret, created when absent and never overwritten.
#[derive(Clone)]
pub struct SecretSpec {
    /// Secret name.
    pub name: String,
    /// Its first value.
    pub value: String,
}

impl std::fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A route of the HTTP API.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// For example `POST`; `ANY` matches every method.
    pub method: String,
    /// For example `/runs/{id}`; a greedy `{path+}` may come last.
    pub path: String,
    /// The function that answers.
    pub function: String,
    /// Who may call it.
    pub authorization: Authorization,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// Bearers of a token of the stack's issuer for the stack's audience.
    Jwt,
    /// Everybody on this machine.
    None,
}

/// An event source mapping; it always reports batch item failures.
#[derive(Debug, Clone)]
pub struct MappingSpec {
    /// Queue name.
    pub queue: String,
    /// Function name.
    pub function: String,
    /// Messages in one event, 1 to 10,000.
    pub batch_size_max: u32,
    /// How long to wait for a fuller batch, at most 300 s; zero sends what is there.
    pub batching_window: Duration,
    /// Invocations of this mapping at once, at least 1.
    pub concurrency_max: usize,
}

/// A schedule that invokes a function.
#[derive(Debug, Clone)]
pub struct ScheduleSpec {
    /// Schedule name, unique in the stack.
    pub name: String,
    /// The first firing is one period after the start.
    pub every: Duration,
    /// Function name.
    pub function: String,
    /// The event. In its strings `<aws.scheduler.scheduled-time>` becomes an RFC 3339 time,
    /// `<aws.scheduler.execution-id>` an id.
    pub input: Value,
}

/// Where the output of functions goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// To this process's standard error, each line prefixed by the function's name.
    Inherit,
    /// Appended to `<function>.log` in this directory, as written.
    Directory(PathBuf),
    /// Nowhere. Output is still read, to explain a failed start and for its metrics.
    Discard,
}
