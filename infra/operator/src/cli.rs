//! What can be typed: commands, options, and their help.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{bench::Bench, controls::Controls, prompts::Prompts, restore::Restore};
use windlass::{
    clock::Timestamp,
    dead_letter::{
        list::{RUNS_DEFAULT, RUNS_MAX},
        replay::{FAILURES_DEFAULT, RATE_DEFAULT, RATE_MAX},
    },
    ids::{Actor, ApprovalId, Release, RunId, Tenant},
    run::tasks::Tasks,
    schedule::Job,
};

use crate::policy::Policy;

/// Run durable agent runs on this machine, look into them, decide approvals, replay dead letters
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  windlass demo --yes
  windlass runs list --status failed --since 1h
  windlass runs watch 01JHD7Z3ZK8V6N5Q4R3S2T1W0X
  windlass dead-letters list --group --json

Exit codes: 0 done, 1 failed, 2 not understood"
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub options: Options,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Write JSON to stdout instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Send AWS requests to this URL (else the local stack of this directory, else AWS)
    #[arg(
        long,
        global = true,
        env = "AWS_ENDPOINT_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "AWS"
    )]
    pub endpoint_url: Option<String>,
    /// The table of runs
    #[arg(
        long,
        global = true,
        env = "RUNS_TABLE",
        default_value = "windlass-runs",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "AWS"
    )]
    pub runs_table: String,
    /// The table of idempotency records
    #[arg(
        long,
        global = true,
        env = "IDEMPOTENCY_TABLE",
        default_value = "windlass-idempotency",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "AWS"
    )]
    pub idempotency_table: String,
    /// How many hours the key of a request is kept, as the functions have it
    #[arg(
        long,
        global = true,
        env = "IDEMPOTENCY_RETENTION_HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=8760),
        hide_short_help = true,
        hide_env_values = true,
        value_name = "HOURS",
        help_heading = "AWS"
    )]
    pub idempotency_retention_hours: u32,
    /// The tasks that functions know, as they have them (else those of the sample)
    #[arg(
        long,
        global = true,
        env = "TASKS",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "NAMES",
        help_heading = "AWS"
    )]
    pub tasks: Option<Tasks>,
    /// The table of controls, schedules, plans and audit records
    #[arg(
        long,
        global = true,
        env = "CONTROLS_TABLE",
        default_value = "windlass-controls",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "AWS"
    )]
    pub controls_table: String,
    /// The table of governed memory
    #[arg(
        long,
        global = true,
        env = "MEMORY_TABLE",
        default_value = "windlass-memory",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "AWS"
    )]
    pub memory_table: String,
    /// The step queue's URL (else that of the queue `windlass-step`)
    #[arg(
        long,
        global = true,
        env = "STEP_QUEUE_URL",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "URL",
        help_heading = "AWS"
    )]
    pub step_queue_url: Option<String>,
    /// Its dead-letter queue's URL (else that of the queue `windlass-step-dead-letters`)
    #[arg(
        long,
        global = true,
        env = "STEP_DEAD_LETTER_QUEUE_URL",
        hide_short_help = true,
        hide_env_values = true,
        value_name = "URL",
        help_heading = "AWS"
    )]
    pub step_dead_letter_queue_url: Option<String>,
    /// What a local stack of this directory says of itself
    #[arg(long, global = true, default_value = ".windlass/local.json", hide = true)]
    pub local_file: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build the functions, run the kit on this machine, and play every scenario through it
    #[command(after_help = "Examples:\n  windlass demo\n  windlass demo --yes")]
    Demo {
        /// Answer approvals as the scenarios say, without asking
        #[arg(long)]
        yes: bool,
    },
    /// Run the kit on this machine until it is told to stop
    #[command(after_help = "Examples:\n  windlass local\n  windlass local --data .windlass/data --json")]
    Local(Local),
    /// Find runs, look into them, end them
    #[command(subcommand)]
    Runs(Runs),
    /// Decide what runs wait for, through the HTTP API
    Approvals(Approvals),
    /// Messages and runs that need a person
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Hold a policy against the tools, and try calls on it
    #[command(subcommand)]
    Policy(Policy),
    /// The jobs of the cleanup function
    #[command(subcommand)]
    Schedules(Schedules),
    /// Measure what the kit takes on this machine; build with `--release` to compare
    #[command(
        after_help = "Examples:\n  windlass bench\n  windlass bench engine stack\n  windlass bench --quick --json"
    )]
    Bench(Bench),
    /// What may happen now: kill switches, routes, feature flags
    #[command(subcommand)]
    Controls(Controls),
    /// Hold the runs of before a restore, and release them
    #[command(subcommand)]
    Restore(Restore),
    /// Versions of what models are asked with
    #[command(subcommand)]
    Prompts(Prompts),
    /// The template that deploys the kit
    #[command(subcommand)]
    Infra(Infra),
    /// Make one zip per function from built binaries, the same bytes for the same input
    #[command(
        after_help = "Examples:\n  windlass package\n  windlass package --from target/lambda --out packages --json"
    )]
    Package(Package),
}

/// `windlass infra`.
#[derive(Debug, Subcommand)]
pub enum Infra {
    /// Check the template against the code: what linters cannot see
    #[command(after_help = "Examples:\n  windlass infra check\n  windlass infra check --root ../windlass --json")]
    Check {
        /// The checkout
        #[arg(long, default_value = ".", value_name = "DIR")]
        root: PathBuf,
    },
    /// Write a release into the template, as the literal that makes a version of every function
    #[command(after_help = "Examples:\n  windlass infra stamp 3f9c2a7be1d04c55")]
    Stamp {
        /// The release's digest
        release: Release,
        /// The checkout
        #[arg(long, default_value = ".", value_name = "DIR")]
        root: PathBuf,
    },
}

/// `windlass package`.
#[derive(Debug, Args)]
pub struct Package {
    /// Where `sam build` or `cargo lambda build` put the binaries
    #[arg(long, default_value = ".aws-sam/build", value_name = "DIR")]
    pub from: PathBuf,
    /// Where the zips go
    #[arg(long, default_value = ".windlass/packages", value_name = "DIR")]
    pub out: PathBuf,
}

/// `windlass local`.
#[derive(Debug, Args)]
pub struct Local {
    /// Keep everything in this folder across restarts (else in memory)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Write what the functions log to this folder
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// The HTTP API's port (else any free one)
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// The AWS endpoint's port (else any free one)
    #[arg(long, value_name = "PORT")]
    pub aws_port: Option<u16>,
}

/// `windlass runs`.
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// List runs, newest first
    #[command(after_help = "\
Examples:
  windlass runs list
  windlass runs list --status failed --since 1h
  windlass runs list --tenant acme --actor ada
  windlass runs list --awaiting --tenant acme
  windlass runs list --troubled --json

Without --actor, --awaiting or --troubled the index by owner is scanned: about 150 bytes for each run that is kept, so that a million runs are 19,000 read units, a fifth of a cent. What heads do not say of runs that wait or failed is read from their journals.")]
    List(ListRuns),
    /// Show one run: where it stands, what it used, its calls and its journal
    #[command(after_help = "Examples:\n  windlass runs show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X")]
    Show {
        /// The run
        run: RunId,
    },
    /// End a run; what it did is undone where its tools say how
    #[command(after_help = "Examples:\n  windlass runs cancel 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --reason 'asked twice'")]
    Cancel {
        /// The run
        run: RunId,
        /// Why; it is recorded in the run's journal
        #[arg(long)]
        reason: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Rebuild one run from the events that were told of it, without raw secrets
    #[command(after_help = "\
Without --events, the events are derived from the run's journal; how long things took is not in there.

Examples:
  windlass runs trace 01JHD7Z3ZK8V6N5Q4R3S2T1W0X
  windlass runs trace 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --events logs/intake.log logs/step.log logs/approval.log")]
    Trace {
        /// The run
        run: RunId,
        /// Read events from these files; `-` is standard input
        #[arg(long, num_args = 1.., value_name = "FILE")]
        events: Vec<PathBuf>,
    },
    /// Set two releases side by side, from the events that were told of their runs
    #[command(after_help = "Examples:\n  windlass runs compare r41 r42 --events logs/step.log")]
    Compare {
        /// The release in force
        before: Release,
        /// The one to compare with it
        after: Release,
        /// Read events from these files; `-` is standard input
        #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
        events: Vec<PathBuf>,
    },
    /// Follow a run's journal until it ends
    #[command(after_help = "Examples:\n  windlass runs watch 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --seconds 60")]
    Watch {
        /// The run
        run: RunId,
        /// Give up after this long
        #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
}

/// Which runs to list.
#[derive(Debug, Args)]
pub struct ListRuns {
    /// Runs of this tenant
    #[arg(long)]
    pub tenant: Option<Tenant>,
    /// Runs that this actor of the tenant asked for: no scan
    #[arg(long, requires = "tenant", conflicts_with_all = ["awaiting", "troubled"])]
    pub actor: Option<Actor>,
    /// Runs of the tenant that wait for a person, the longest waiting first
    #[arg(long, requires = "tenant", conflicts_with = "troubled")]
    pub awaiting: bool,
    /// Held runs of all tenants, each with what holds it
    #[arg(long, conflicts_with_all = ["tenant", "troubled"])]
    pub held: bool,
    /// Dead and unreadable runs of all tenants
    #[arg(long, conflicts_with = "tenant")]
    pub troubled: bool,
    /// Runs in this status; can be repeated
    #[arg(long = "status", value_name = "STATUS", value_parser = STATUSES, conflicts_with_all = ["awaiting", "troubled", "held"])]
    pub statuses: Vec<String>,
    /// Runs accepted since: a span back from now (`90s`, `30m`, `6h`, `7d`) or a time
    #[arg(long, value_name = "SPAN|RFC3339", value_parser = since, conflicts_with_all = ["awaiting", "troubled", "held"])]
    pub since: Option<Since>,
    /// Runs older than this one: where a page before ended
    #[arg(long, value_name = "RUN", conflicts_with_all = ["awaiting", "troubled", "held"])]
    pub before: Option<RunId>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

/// Every status that a run is listed under.
const STATUSES: [&str; 11] = [
    "ready",
    "waiting",
    "awaiting_approval",
    "held",
    "unreadable",
    "completed",
    "cancelled",
    "limit_reached",
    "failed",
    "doubt_expired",
    "dead",
];

/// From when on runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From so long ago.
    Ago(Duration),
    /// From then.
    At(Timestamp),
}

/// The longest span back: runs are kept for ten years at most.
const AGO_MAX: Duration = Duration::from_secs(3_650 * 86_400);

fn since(text: &str) -> Result<Since, String> {
    let wrong = || {
        format!("`{text}` is neither a span such as `90s`, `30m`, `6h`, `7d` nor a time such as 2026-11-21T08:00:00Z")
    };
    let unit = |seconds: u64| {
        let count = text[..text.len() - 1].parse::<u64>().ok()?;
        count.checked_mul(seconds).map(Duration::from_secs).filter(|span| *span <= AGO_MAX)
    };
    let span = match text.as_bytes().last() {
        Some(b's') => unit(1),
        Some(b'm') => unit(60),
        Some(b'h') => unit(3_600),
        Some(b'd') => unit(86_400),
        _ => return text.parse().map(Since::At).map_err(|_| wrong()),
    };
    span.map(Since::Ago).ok_or_else(wrong)
}

/// Who does something that is recorded.
#[derive(Debug, Args)]
pub struct By {
    /// Who does it, for the record (you, unless said otherwise)
    #[arg(long, env = "USER", hide_env_values = true, value_name = "ACTOR")]
    pub by: Actor,
}

/// `windlass approvals`.
#[derive(Debug, Args)]
pub struct Approvals {
    /// Where the HTTP API is.
    #[command(flatten)]
    pub api: Api,
    /// The command.
    #[command(subcommand)]
    pub command: ApprovalCommand,
}

/// Where the HTTP API is, and as whom to use it.
#[derive(Debug, Clone, Args)]
pub struct Api {
    /// The HTTP API (else that of the local stack of this directory)
    #[arg(long, global = true, env = "WINDLASS_API_URL", hide_env_values = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// The bearer token of whoever decides (else the local stack's approver)
    #[arg(long, global = true, env = "WINDLASS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// What to do with approvals.
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// List what waits for a decision
    #[command(after_help = "Examples:\n  windlass approvals list")]
    List,
    /// Show one approval with the exact action
    #[command(after_help = "Examples:\n  windlass approvals show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1")]
    Show {
        /// The approval
        approval: ApprovalId,
    },
    /// Permit the action
    #[command(
        after_help = "Examples:\n  windlass approvals approve 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1 --note 'checked the order'"
    )]
    Approve(Decide),
    /// Refuse the action
    #[command(
        after_help = "Examples:\n  windlass approvals deny 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1 --note 'not our customer'"
    )]
    Deny(Decide),
    /// Say of a call in doubt that it took effect, or was tried and failed
    #[command(
        after_help = "Examples:\n  windlass approvals happened 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1 --result '{\"letter\":\"L-7\"}'\n  \
                      windlass approvals happened 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1 --failed 'the address is unknown'"
    )]
    Happened(Happened),
    /// Say of a call in doubt that it did not take effect
    #[command(after_help = "Examples:\n  windlass approvals not-happened 01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1")]
    NotHappened(Decide),
    /// Print the public halves of approval keys, for the secret that the step function reads
    #[command(after_help = "Examples:\n  windlass approvals public-keys keys.json")]
    PublicKeys {
        /// The file with the approval keys, as their secret holds them
        file: PathBuf,
    },
}

/// A decision.
#[derive(Debug, Args)]
pub struct Decide {
    /// The approval
    pub approval: ApprovalId,
    /// Recorded with the decision
    #[arg(long)]
    pub note: Option<String>,
}

fn json_value(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// What came of a call in doubt.
#[derive(Debug, Args)]
pub struct Happened {
    /// Which call
    #[command(flatten)]
    pub decide: Decide,
    /// What it answered, as JSON: the model reads it
    #[arg(long, value_name = "JSON", value_parser = json_value, conflicts_with = "failed")]
    pub result: Option<serde_json::Value>,
    /// It was tried and failed, and why: the model reads it
    #[arg(long, value_name = "MESSAGE")]
    pub failed: Option<String>,
}

/// `windlass dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List dead messages and runs in trouble, newest first
    #[command(after_help = "\
Messages are looked at and put back: for up to 20 s nobody else sees them.

Examples:
  windlass dead-letters list
  windlass dead-letters list --group")]
    List {
        /// Count them by cause
        #[arg(long)]
        group: bool,
        /// At most so many runs
        #[arg(long, default_value_t = RUNS_DEFAULT as u16, value_parser = clap::value_parser!(u16).range(1..=RUNS_MAX as i64))]
        limit: u16,
    },
    /// Show one dead letter
    #[command(after_help = "Examples:\n  windlass dead-letters show run/01JHD7Z3ZK8V6N5Q4R3S2T1W0X")]
    Show {
        /// Its key, as listed
        key: String,
    },
    /// Plan a replay
    #[command(after_help = "\
Examples:
  windlass dead-letters plan --fingerprint 12587d164edf --dry-run
  windlass dead-letters plan --all --reason 'the tool is mended'")]
    Plan(Plan),
    /// Replay a plan: each item at most once, until too many fail again
    #[command(after_help = "\
It can be run again, and by two people: what was begun is not begun again.

Examples:
  windlass dead-letters replay 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --rate 5")]
    Replay {
        /// The plan
        plan: String,
        /// Replays a second
        #[arg(long, default_value_t = RATE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
        rate: u32,
        /// Stop when so many items of the plan have failed again
        #[arg(long, default_value_t = FAILURES_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
        failures_max: u32,
        /// Also send requests that are outside the memory of keys: one that was taken on before starts a second run
        #[arg(long)]
        again: bool,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Delete a message that is not ours; its text goes into the audit trail
    #[command(after_help = "Examples:\n  windlass dead-letters discard message/5fea7756 --reason 'sent by mistake'")]
    Discard {
        /// Its key, as listed
        key: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Show what operators did, newest first
    #[command(after_help = "Examples:\n  windlass dead-letters audit --limit 20")]
    Audit {
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

/// What to plan.
#[derive(Debug, Args)]
#[group(id = "selection", required = true, multiple = false, args = ["all", "fingerprint", "keys"])]
pub struct Plan {
    /// Everything that is listed
    #[arg(long)]
    pub all: bool,
    /// Everything with this fingerprint
    #[arg(long)]
    pub fingerprint: Option<String>,
    /// The letter with this key; can be repeated
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<String>,
    /// Say what would happen to each, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Why; it is recorded
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Who does it.
    #[command(flatten)]
    pub by: By,
}

/// `windlass schedules`.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// List the jobs: when each ran last, and how
    #[command(after_help = "Examples:\n  windlass schedules list")]
    List,
    /// Run a job now, from here, under its lock
    #[command(after_help = "\
Examples:
  windlass schedules run rescue-runs
  windlass schedules run enforce-retention --scheduled-for 2026-11-21T08:00:00Z")]
    Run {
        /// The job: rescue-runs or enforce-retention
        job: Job,
        /// The time that it is run for; now, unless said otherwise
        #[arg(long, value_name = "RFC3339")]
        scheduled_for: Option<Timestamp>,
    },
}
