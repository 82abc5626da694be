//! A function as the stack runs it, and the ways in which invoking it can fail.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::Clock,
    lambda::{Code, Configuration, Version},
    logs::Sink,
    meter::Counts,
    metrics::EmbeddedMetrics,
    process_group::ProcessGroup,
};

/// The largest event or response of a synchronous invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// What all versions of a function share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) name: String,
    /// Without a qualifier.
    pub(crate) arn: String,
    pub(crate) region: String,
    pub(crate) aws_url: String,
    pub(crate) sink: Sink,
    pub(crate) metrics: EmbeddedMetrics,
    pub(crate) counts: Arc<Counts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) group: Arc<ProcessGroup>,
}

/// What the pool knows about a version of a function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) surroundings: Surroundings,
    pub(crate) version: Version,
    pub(crate) code: Code,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) memory_mib: u32,
}

impl Function {
    /// Everything but `PATH` and the address of the Runtime API, as Lambda sets it. The function's own variables come
    /// last and win.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
    pub(crate) fn environment(&self, log_stream: &str) -> Vec<(String, String)> {
        let task_root = self.code.program.parent().map(|path| path.display().to_string()).unwrap_or_default();
        let handler = self.code.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let memory = self.memory_mib.to_string();
        let Surroundings { name, region, aws_url, .. } = &self.surroundings;
        let group = format!("/aws/lambda/{name}");
        let version = self.version.to_string();
        let set = [
            ("AWS_LAMBDA_FUNCTION_NAME", name.as_str()),
            ("AWS_LAMBDA_FUNCTION_VERSION", &version),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_REGION", region),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL", aws_url),
            ("LAMBDA_TASK_ROOT", &task_root),
            ("_HANDLER", &handler),
            ("TZ", ":UTC"),
        ];
        let set = set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        set.chain(self.env.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
    }
}

impl Function {
    pub(crate) fn new(surroundings: &Surroundings, configuration: &Configuration, version: Version) -> Self {
        Self {
            surroundings: surroundings.clone(),
            version,
            code: configuration.code.clone(),
            env: configuration.env.clone(),
            timeout: configuration.timeout,
            memory_mib: configuration.memory_mib,
        }
    }
}

/// How a function is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FunctionStatus {
    /// No process has asked for work yet.
    Starting,
    /// Processes start and ask for work.
    Ready {
        /// How often any process of this function has asked for an invocation, ever.
        polls: u64,
    },
    /// The last process that was started died before it asked for work.
    InitFailed {
        /// How it ended, for example `exit status: 1`.
        exit: String,
        /// The last lines it wrote.
        last_lines: Vec<String>,
    },
}

/// Why an invocation has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// The stack has no such function, or the function no such version or alias.
    #[error("there is no function `{function}`")]
    UnknownFunction {
        /// The name asked for.
        function: String,
    },
    /// All `concurrency_max` processes are busy: Lambda's `TooManyRequestsException`.
    #[error("`{function}` has no free process: rate exceeded")]
    TooManyRequests {
        /// The function.
        function: String,
    },
    /// The process died before it asked for work, or did not ask in time.
    #[error("`{function}` failed to start ({exit}){}", last_line(.last_lines))]
    InitFailed {
        /// The function.
        function: String,
        /// How it ended, for example `exit status: 1`.
        exit: String,
        /// The last lines it wrote.
        last_lines: Vec<String>,
    },
    /// The invocation took too long and its process was killed.
    #[error("Task timed out after {:.2} seconds", .after.as_secs_f64())]
    TimedOut {
        /// The function's timeout.
        after: Duration,
    },
    /// The process died during the invocation: Lambda's `Runtime.ExitError`.
    #[error("Runtime exited with error: {exit}{}", last_line(.last_lines))]
    Exited {
        /// How it ended, for example `signal: 9 (SIGKILL)`.
        exit: String,
        /// The last lines it wrote.
        last_lines: Vec<String>,
    },
    /// The handler returned an error.
    #[error("{error_type}: {message}")]
    Function {
        /// `errorType` of the answer.
        error_type: String,
        /// `errorMessage` of the answer.
        message: String,
        /// The whole answer.
        payload: Value,
    },
    /// The event or the response is larger than [`PAYLOAD_BYTES_MAX`].
    #[error("a payload of {bytes} bytes is larger than {PAYLOAD_BYTES_MAX}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The response is not JSON.
    #[error("the response is not JSON: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
    /// The stack is shutting down.
    #[error("the stack is shutting down")]
    ShuttingDown,
}

fn last_line(lines: &[String]) -> String {
    lines.last().map(|line| format!(": {line}")).unwrap_or_default()
}
