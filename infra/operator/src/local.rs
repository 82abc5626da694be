//! `windlass local`: the kit on this machine, until it is told to stop.

use std::{collections::BTreeMap, io::Write, path::Path, pin::pin, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;
use windlass::{
    aws::{LiveControls, clients::Clients},
    clock::SystemClock,
    controls::{ControlsError, change::Hand},
    ids::{InvalidId, SystemRandom},
    schedule::Job,
};
use windlass_local::{FunctionStatus, Issuer, Stack, StackError};

use crate::{
    aws_endpoint::{AwsEndpoint, EndpointError},
    console::Console,
    functions::{BuildError, checkout},
    scenario::{self, ScenarioError},
    stack::{CONTROLS_TABLE, LIVE, Options, TENANT, kit},
};

/// How long the local tokens are good for: a working day.
const TOKEN_VALID_FOR: Duration = Duration::from_secs(12 * 3600);

/// How often it is looked whether a function was built anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long what is at work may go on once the stack is told to stop: most steps end within it, and an init system that asks in vain kills
/// after ten seconds or more.
const FINISH_MAX: Duration = Duration::from_secs(8);

/// The local stack could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The functions could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The services could not be started.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The controls could not be made.
    #[error(transparent)]
    Controls(#[from] ControlsError),
    /// Who makes them has no name: a mistake in this crate.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A function does not start.
    #[error("the function `{function}` does not start ({exit}):\n  {said}")]
    Function {
        /// Which.
        function: String,
        /// How it ended.
        exit: String,
        /// What it said last.
        said: String,
    },
    /// The sample orders could not be put in place.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The scenarios could not be read.
    #[error(transparent)]
    Scenarios(#[from] ScenarioError),
    /// Where the stack is could not be written down.
    #[error("`{path}` could not be written: {source}")]
    Address {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a local stack is, and tokens for it. This is what `windlass local --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The HTTP API.
    pub api: String,
    /// The AWS endpoint.
    pub aws: String,
    /// Bearer tokens of people of the tenant `acme`.
    pub tokens: Tokens,
}

/// Bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// `ada`, who asks.
    pub submitter: String,
    /// `fin`, who approves for finance.
    pub approver: String,
    /// `ops`, who operates.
    pub operator: String,
}

/// A token for somebody of `tenant` with `roles`.
pub fn token(issuer: &Issuer, tenant: &str, actor: &str, roles: &[&str]) -> String {
    let mut claims = Map::new();
    claims.insert("tenant".to_owned(), json!(tenant));
    claims.insert("roles".to_owned(), json!(roles));
    issuer.token(actor, claims, TOKEN_VALID_FOR)
}

/// Starts the stack, waits until every function polls, and puts the sample orders in place.
///
/// # Errors
/// When something does not start; nothing is left running.
pub async fn start(options: &Options, http: &reqwest::Client) -> Result<(Stack, Address), LocalError> {
    let stack = Stack::start(kit(options)).await?;
    match ready(&stack, http).await {
        Ok(address) => {
            // The queue has forgotten what the tables know: what was under way goes on when it is due, and not a sweep later.
            if options.data.is_some()
                && let Some(Err(error)) = stack.run_schedule(Job::RescueRuns.name()).await
            {
                tracing::warn!(%error, "the first sweep failed; the next one comes within a minute");
            }
            Ok((stack, address))
        }
        Err(error) => {
            stack.shutdown().await;
            Err(error)
        }
    }
}

/// Makes the controls of a kit that was just started, as `windlass controls init` does after a deployment.
///
/// # Errors
/// When the table does not answer.
pub async fn init_controls(aws: &str) -> Result<(), LocalError> {
    let controls = LiveControls::new(Clients::at(aws).dynamodb(), CONTROLS_TABLE);
    let (clock, random, by) = (&SystemClock, &SystemRandom, &"local".parse()?);
    Hand { controls: &controls, clock, random, by, why: "the local stack starts" }.init().await?;
    Ok(())
}

async fn ready(stack: &Stack, http: &reqwest::Client) -> Result<Address, LocalError> {
    init_controls(&stack.aws_url()).await?;
    refuse_unstarted(stack.warm().await)?;
    let endpoint = AwsEndpoint::new(http.clone(), &stack.aws_url());
    for scenario in scenario::load(&checkout().join("events/scenarios"))? {
        for order in &scenario.orders {
            endpoint.seed(order).await?;
        }
    }
    let issuer = stack.issuer();
    Ok(Address {
        api: stack.api_url(),
        aws: stack.aws_url(),
        tokens: Tokens {
            submitter: token(issuer, TENANT, "ada", &["submitter"]),
            approver: token(issuer, TENANT, "fin", &["approver", "finance"]),
            operator: token(issuer, TENANT, "ops", &["operator"]),
        },
    })
}

fn refuse_unstarted(statuses: BTreeMap<String, FunctionStatus>) -> Result<(), LocalError> {
    for (function, status) in statuses {
        match status {
            FunctionStatus::Ready { .. } => {}
            FunctionStatus::InitFailed { exit, last_lines } => {
                return Err(LocalError::Function { function, exit, said: last_lines.join("\n  ") });
            }
            FunctionStatus::Starting => {
                return Err(LocalError::Function { function, exit: "no poll in time".into(), said: String::new() });
            }
        }
    }
    Ok(())
}

/// Stays until `stop` resolves, having said where the stack is: on standard output, and in `file`, where the other commands look. Then what is
/// at work may finish, unless `stop` resolves a second time.
///
/// # Errors
/// When the stack does not start.
pub async fn run(
    options: &Options,
    http: &reqwest::Client,
    file: &Path,
    json: Json,
    console: &mut Console<'_>,
    mut stop: impl AsyncFnMut(),
) -> Result<(), LocalError> {
    let (stack, address) = start(options, http).await?;
    let written = write_address(file, &address);
    let out = console.out();
    // Nobody may be reading any more; the stack stays all the same.
    let _ = match json {
        Json::Yes => writeln!(out, "{}", serde_json::to_value(&address).unwrap_or(Value::Null)),
        Json::No => write_for_people(out, &address),
    };
    let _ = out.flush();
    if written.is_ok() {
        stay(&stack, console, stop()).await;
    }
    let _ = std::fs::remove_file(file);
    let _ = console.note(format!("stopping: what is at work has {} s to finish", FINISH_MAX.as_secs()));
    let finished = tokio::select! {
        finished = stack.drain(FINISH_MAX) => finished,
        () = stop() => false,
    };
    if !finished {
        let _ = console
            .note("functions that are still at work are ended; with `--data` their runs go on after the next start");
    }
    stack.shutdown().await;
    written
}

/// Until `stop`, makes functions live that were built anew.
async fn stay(stack: &Stack, console: &mut Console<'_>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = looks.tick() => {}
        }
        let rebuilt = stack.renew_rebuilt();
        if rebuilt.is_empty() {
            continue;
        }
        let names: Vec<String> = rebuilt.iter().map(|name| format!("`{name}`")).collect();
        let _ = console.note(format!(
            "{} built anew: new processes run it, old ones end when they have finished what they have",
            names.join(", ")
        ));
        let statuses = tokio::select! {
            () = &mut stop => return,
            statuses = stack.warm() => statuses,
        };
        if let Err(error) = refuse_unstarted(statuses) {
            let _ = console.note(format!("error: {error}"));
        }
    }
}

/// Whether a machine reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// It does.
    Yes,
    /// A person does.
    No,
}

fn write_for_people(out: &mut dyn Write, address: &Address) -> std::io::Result<()> {
    writeln!(out, "HTTP API      {}", address.api)?;
    writeln!(out, "AWS endpoint  {}   (any AWS client: AWS_ENDPOINT_URL={})", address.aws, address.aws)?;
    writeln!(
        out,
        "Versions      traffic goes to the alias `{LIVE}` of each function; `aws lambda` moves it: docs/local.md"
    )?;
    writeln!(out)?;
    writeln!(out, "export WINDLASS_API_URL={}", address.api)?;
    writeln!(out, "export SUBMITTER={}", address.tokens.submitter)?;
    writeln!(out, "export APPROVER={}", address.tokens.approver)?;
    writeln!(out, "export OPERATOR={}", address.tokens.operator)?;
    writeln!(out)?;
    writeln!(out, "curl -s $WINDLASS_API_URL/runs -H \"authorization: Bearer $SUBMITTER\" \\")?;
    writeln!(out, "  -H 'content-type: application/json' -H 'idempotency-key: try-1' -H 'prefer: wait=10' \\")?;
    writeln!(out, "  -d '{{\"task\":\"refund\",\"payload\":{{\"order\":\"A-1001\",\"amount_cents\":700}}}}'")?;
    writeln!(out)?;
    writeln!(out, "Ctrl-C stops it.")
}

/// Tokens are in the file: only its owner may read it.
fn write_address(file: &Path, address: &Address) -> Result<(), LocalError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| LocalError::Address { path: file.display().to_string(), source };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let text = serde_json::to_string(address).unwrap_or_default();
    options.open(file).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
