//! Why a command failed, what can be done about it, and the exit code.

use windlass::{
    config::ConfigErrors,
    controls::{ControlsError, change::ChangeError},
    dead_letter::{PlanError, discard::DiscardError, list::ListError, plan::PlanningError, replay::ReplayError},
    ids::RunId,
    journal::JournalError,
    prompts::PromptError,
    queue::QueueError,
    retry::Retry,
    run::outside::InterjectError,
    schedule::{ScheduleError, run_job::JobError},
};

use crate::{
    api::ApiError, bench::BenchError, demo::DemoError, functions::BuildError, infra_check::CheckError,
    local::LocalError, package::PackageError, redacted, target::TargetError, variables::UnreadableFile,
};

/// The exit code of a command that failed.
pub const FAILED: u8 = 1;

/// The exit code of a command that was not understood, as clap has it.
pub const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was typed does not make sense together.
    #[error("{message}")]
    Usage {
        /// Why.
        message: String,
        /// What does.
        hint: &'static str,
    },
    /// There is no such run.
    #[error("there is no run `{run}`")]
    MissingRun {
        /// The run.
        run: RunId,
    },
    /// There is no such dead letter.
    #[error("there is no dead letter `{key}`")]
    MissingLetter {
        /// Its key.
        key: String,
    },
    /// The run did not end in time.
    #[error("run `{run}` has not ended within {seconds} s")]
    NotEnded {
        /// The run.
        run: RunId,
        /// How long was waited.
        seconds: u64,
    },
    /// What was told cannot be read.
    #[error("`{file}` cannot be read: {source}")]
    Events {
        /// Where it is.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing was told.
    #[error("there are no events of {of} in {lines} lines")]
    NoEvents {
        /// Of what.
        of: String,
        /// How much was read.
        lines: usize,
    },
    /// A journal could not be redacted.
    #[error("the journal cannot be shown without what must not be shown: {0}")]
    NotRedacted(#[from] serde_json::Error),
    /// A replay stopped before its end.
    #[error("the replay stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
    /// A job failed.
    #[error("the job failed: {error}")]
    JobFailed {
        /// How.
        error: String,
    },
    /// Runs cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something could not be measured.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The file of variables cannot be read.
    #[error(transparent)]
    Variables(#[from] UnreadableFile),
    /// The functions would not start with these variables.
    #[error("the functions do not start with these variables:\n  {}", .0.to_string().replace('\n', "\n  "))]
    Configuration(#[from] ConfigErrors),
    /// The command was told to stop.
    #[error("told to stop")]
    Interrupted {
        /// The exit code, by the signal.
        code: u8,
    },
    /// A run cannot be written to.
    #[error(transparent)]
    Interject(#[from] InterjectError),
    /// Dead letters cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A plan cannot be made.
    #[error(transparent)]
    Planning(#[from] PlanningError),
    /// A plan cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A message cannot be discarded.
    #[error(transparent)]
    Discard(#[from] DiscardError),
    /// The audit trail cannot be read.
    #[error(transparent)]
    Plans(#[from] PlanError),
    /// Job records cannot be read.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A job cannot be run.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The controls cannot be read.
    #[error(transparent)]
    Controls(#[from] ControlsError),
    /// They cannot be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// They have a name that nothing has.
    #[error(transparent)]
    Name(#[from] windlass::controls::names::UnknownName),
    /// Prompts cannot be read or kept.
    #[error(transparent)]
    Prompts(#[from] PromptError),
    /// A queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The HTTP API does not do as asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It is not known where to connect to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The functions could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The local stack could not be run.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The demo did not go as it should.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The policy cannot be taken on.
    #[error("the policy cannot be taken on\n{0}")]
    Policy(#[from] windlass_policy::PolicyErrors),
    /// The template does not fit the code.
    #[error("the template does not fit the code in {count} places")]
    Unfit {
        /// How many.
        count: usize,
    },
    /// The template cannot be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The functions cannot be packaged.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// What there is to say cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

const UNREACHABLE: &str =
    "check --endpoint-url, region and credentials; a local stack that has ended leaves `.windlass/local.json` behind";
const REFUSED: &str =
    "check the table and queue names (`windlass --help` lists them) and the permissions of your credentials";

impl Failure {
    /// One thing to do about it.
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Failure::Usage { hint, .. } => hint,
            Failure::MissingRun { .. } => "list runs with `windlass runs list`",
            Failure::MissingLetter { .. } => "list keys with `windlass dead-letters list`",
            Failure::NotEnded { .. } => "see what it waits for with `windlass runs show RUN`",
            Failure::Stopped { .. } => "look at the failures, then raise --failures-max to go on",
            Failure::JobFailed { .. } => "run it again; what it did is not done twice",
            Failure::Planning(PlanningError::UnknownKeys { .. }) => "list keys with `windlass dead-letters list`",
            Failure::Planning(PlanningError::NothingToReplay) => {
                "see why with --dry-run; a foreign message can be discarded"
            }
            Failure::Planning(PlanningError::TooMany { .. }) => "select one group with --fingerprint",
            Failure::Replay(ReplayError::MissingPlan { .. }) => "make one with `windlass dead-letters plan`",
            Failure::Discard(DiscardError::Missing { .. }) => "wait 20 s: somebody may be looking at it",
            Failure::Discard(DiscardError::Ours { .. }) => "replay it with `windlass dead-letters plan --key KEY`",
            Failure::Discard(DiscardError::NotAMessage { .. }) => {
                "only messages can be discarded; a run can be cancelled"
            }
            Failure::Job(JobError::InTheFuture { .. }) => "give a time that has come with --scheduled-for",
            Failure::Policy(_) => "mend the lines named; the step function does not start with them",
            Failure::Controls(ControlsError::Missing)
            | Failure::Change(ChangeError::Controls(ControlsError::Missing)) => {
                "make them with `windlass controls init --by YOU`; docs/controls.md says what it does"
            }
            Failure::Name(_) => "correct it, or add --anyway for a name of another release or of an MCP server",
            Failure::Change(ChangeError::Setting(_)) => "`windlass controls set --help` lists the settings",
            Failure::Change(ChangeError::Why) => "give a reason with --why",
            Failure::Change(ChangeError::Unchanged { .. }) => "see what is in force with `windlass controls show`",
            Failure::Change(ChangeError::Conflict { .. }) => "look again with `windlass controls show`",
            Failure::Change(ChangeError::Missing { .. }) => "list versions with `windlass controls history`",
            Failure::Api(error) => return error.hint(),
            Failure::Target(error) => return Some(error.hint()),
            Failure::Unfit { .. } => {
                "change whichever of the two is wrong; `infra/template.yaml` says why it is as it is"
            }
            Failure::Check(_) => "name the checkout with --root",
            Failure::Package(PackageError::NotBuilt { .. }) => "build with `sam build`, or name the folder with --from",
            Failure::Package(PackageError::NotExecutable { .. }) => "build for Linux with `cargo lambda build`",
            Failure::Package(PackageError::TooLarge { .. }) => {
                "find out what came in, with `cargo bloat`, or raise the budget"
            }
            Failure::Output(_) | Failure::Configuration(_) | Failure::Interrupted { .. } => return None,
            Failure::Variables(_) => "write one NAME=value on each line; `.env.example` shows every variable",
            other => match other.retry() {
                Some(Retry::Transient { .. }) => UNREACHABLE,
                Some(Retry::Terminal) => REFUSED,
                None => return None,
            },
        })
    }

    /// What went wrong, without credentials and personal data: errors quote what stores and functions said. Where something is
    /// that cannot be reached is said as it is.
    pub fn said(&self) -> String {
        let said = self.to_string();
        match self {
            Failure::Target(_) | Failure::Api(ApiError::Unreachable { .. }) => said,
            _ => redacted::text(&said),
        }
    }

    fn retry(&self) -> Option<Retry> {
        Some(match self {
            Failure::Journal(error) => error.retry(),
            Failure::Interject(error) => error.retry(),
            Failure::List(error) => error.retry(),
            Failure::Planning(error) => error.retry(),
            Failure::Replay(error) => error.retry(),
            Failure::Discard(error) => error.retry(),
            Failure::Plans(error) => error.retry(),
            Failure::Schedule(error) | Failure::Job(JobError::Records(error)) => error.retry(),
            Failure::Controls(error) | Failure::Change(ChangeError::Controls(error)) => error.retry(),
            Failure::Prompts(error) => error.retry(),
            Failure::Queue(error) => error.retry(),
            _ => return None,
        })
    }

    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Failure::Usage { .. } => USAGE,
            Failure::Interrupted { code } => *code,
            _ => FAILED,
        }
    }
}
