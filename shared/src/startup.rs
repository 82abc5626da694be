//! What a function does before its first poll: read its configuration, fetch and read every secret, or refuse to start.
//!
//! Lambda gives the init phase 10 seconds (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>). A
//! function that is not ready says everything that is wrong in one message on standard error and exits with 1, without having
//! polled; so no work is taken on that cannot be done.

use std::{fmt, process::ExitCode, sync::Arc, time::Duration};

use futures::future::{join, join_all};

use crate::{
    approval::{signature::DecisionKeys, token::ApprovalKeys},
    clock::{Clock, Timestamp, before},
    config::{self, Config, ConfigErrors},
    ids::Random,
    redaction::Redaction,
    retry::{Backoff, Retry},
    secrets::{SecretCache, SecretError, Secrets},
};

mod log;

pub use log::init as log;

/// How long getting ready may take in all, retries included: two seconds less than Lambda allows.
pub const STARTUP_MAX: Duration = Duration::from_secs(8);

/// How often the secret store is asked while it does not answer.
const SECRET_ATTEMPTS: Backoff =
    Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(2), attempts_max: 6 };

/// What a function starts with.
#[derive(Debug)]
pub struct Ready {
    /// What it is told from outside.
    pub config: Config,
    /// What tokens and decisions are signed with: fetched and read where [`Access::Signs`], else only seen to be there.
    pub approval_keys: Arc<SecretCache<ApprovalKeys>>,
    /// What decisions are verified with: fetched and read unless [`Access::Neither`].
    pub decision_keys: Arc<SecretCache<DecisionKeys>>,
}

/// What a function does with the keys of approvals. Each starts only when both secrets are there: a release whose approvals nobody could
/// decide, or whose decisions nobody could verify, must not take on work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It signs tokens and decisions.
    Signs,
    /// It verifies decisions.
    Verifies,
    /// It reads neither.
    Neither,
}

/// Everything that keeps a function from starting. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotReady {
    /// What is wrong with the configuration.
    pub config: Option<ConfigErrors>,
    /// What is wrong with its secrets.
    pub secrets: Vec<SecretError>,
    /// What else is wrong, such as an agent that is not whole.
    pub others: Vec<String>,
}

impl NotReady {
    /// Something else than configuration and secrets.
    pub fn of(problem: impl fmt::Display) -> NotReady {
        NotReady { config: None, secrets: Vec::new(), others: vec![problem.to_string()] }
    }

    fn of_secrets(secrets: Vec<SecretError>) -> NotReady {
        NotReady { config: None, secrets, others: Vec::new() }
    }

    /// These and those.
    pub fn and(mut self, more: NotReady) -> NotReady {
        self.config = self.config.or(more.config);
        self.secrets.extend(more.secrets);
        self.others.extend(more.others);
        self
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = self.config.iter().flat_map(|errors| errors.problems.iter().map(ToString::to_string));
        let secrets = self.secrets.iter().map(|error| format!("{error}; hint: {}", hint(error)));
        let others = self.others.iter().map(|problem| problem.replace('\n', "\n    "));
        let lines: Vec<String> = problems.chain(secrets).chain(others).map(|line| format!("\n  {line}")).collect();
        let count = if lines.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", lines.len()) };
        write!(f, "not started, nothing was polled: {count}{}", lines.concat())
    }
}

fn hint(error: &SecretError) -> &'static str {
    match error {
        SecretError::Missing { .. } => "create the secret, or correct the variable that names it",
        SecretError::Unavailable { .. } => "check the network, region and endpoint of Secrets Manager",
        SecretError::Refused { .. } => {
            "allow the function's role `secretsmanager:GetSecretValue` on it, or `secretsmanager:DescribeSecret` where it is not to be read"
        }
        SecretError::Malformed { .. } => "write it in the form that `.env.example` shows",
    }
}

/// Reads the configuration from `lookup` and every secret that it names from `secrets`, within [`STARTUP_MAX`].
///
/// # Errors
/// Everything that is wrong, not only the first: a secret is checked even when other variables are wrong.
pub async fn prepare(
    lookup: impl Fn(&str) -> Option<String>,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
    access: Access,
) -> Result<Ready, NotReady> {
    let deadline = clock.now() + STARTUP_MAX;
    let config = Config::parse(&lookup);
    let [signing, public] = config::approval_secret_names(&lookup);
    let cache = |name: &String| {
        let parse = |text: &_| ApprovalKeys::parse(text).map_err(|error| error.to_string());
        Arc::new(SecretCache::new(Arc::clone(&secrets), Arc::clone(&clock), name, parse))
    };
    let approval_keys = signing.as_ref().map(cache);
    let cache = |name: &String| {
        let parse = |text: &_| DecisionKeys::parse(text).map_err(|error| error.to_string());
        Arc::new(SecretCache::new(Arc::clone(&secrets), Arc::clone(&clock), name, parse))
    };
    let decision_keys = public.as_ref().map(cache);
    let (clock, secrets) = (clock.as_ref(), secrets.as_ref());
    let signs = async {
        match (&approval_keys, access) {
            (None, _) => Ok(()),
            (Some(keys), Access::Signs) => fetch(keys, clock, random, deadline).await,
            (Some(keys), _) => see(secrets, keys.name(), clock, random, deadline).await,
        }
    };
    let verifies = async {
        match (&decision_keys, access) {
            (None, _) => Ok(()),
            (Some(keys), Access::Neither) => see(secrets, keys.name(), clock, random, deadline).await,
            (Some(keys), _) => fetch(keys, clock, random, deadline).await,
        }
    };
    let (signs, verifies) = join(signs, verifies).await;
    let problems: Vec<SecretError> = [signs, verifies].into_iter().filter_map(Result::err).collect();
    match (config, approval_keys, decision_keys, problems.is_empty()) {
        (Ok(config), Some(approval_keys), Some(decision_keys), true) => {
            let ready = Ready { config, approval_keys, decision_keys };
            if access == Access::Signs { ready.fit().await } else { Ok(ready) }
        }
        (config, _, _, _) => Err(NotReady { config: config.err(), ..NotReady::of_secrets(problems) }),
    }
}

impl Ready {
    /// Whether decisions that are signed now will be verified.
    async fn fit(self) -> Result<Ready, NotReady> {
        let of_secret = |error: SecretError| NotReady::of_secrets(vec![error]);
        let signing = self.approval_keys.get().await.map_err(of_secret)?;
        let public = self.decision_keys.get().await.map_err(of_secret)?;
        if signing.are_known_to(&public) {
            return Ok(self);
        }
        let name = self.decision_keys.name().to_owned();
        let problem = "it does not hold the public half of the current approval key".to_owned();
        Err(of_secret(SecretError::Malformed { name, problem }))
    }
}

/// Fetches and reads secrets that only this function needs, side by side, within [`STARTUP_MAX`] of when it `started`.
///
/// # Errors
/// Every secret that cannot be had, not only the first.
pub async fn demand<T>(
    secrets: &[Arc<SecretCache<T>>],
    started: Timestamp,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<(), NotReady> {
    let fetched = secrets.iter().map(|secret| fetch(secret, clock, random, started + STARTUP_MAX));
    let problems: Vec<SecretError> = join_all(fetched).await.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(NotReady::of_secrets(problems)) }
}

/// Says on standard error why the function does not start; the process is to exit with what this returns.
pub fn refuse(problems: &NotReady) -> ExitCode {
    // A secret may have been put where its name belongs.
    eprintln!("{}", Redaction::CREDENTIALS.text(&problems.to_string()));
    ExitCode::FAILURE
}

/// With what the process is to exit once polling has ended; an error is said on standard error.
pub fn exit_code<E: fmt::Display>(polled: Result<(), E>) -> ExitCode {
    match polled {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polling ended: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Fetches a secret for the first time.
async fn fetch<T>(
    cache: &SecretCache<T>,
    clock: &dyn Clock,
    random: &dyn Random,
    deadline: Timestamp,
) -> Result<(), SecretError> {
    let get = || async { cache.get().await.map(drop) };
    again(cache.name(), get, clock, random, deadline).await
}

/// Sees that a secret is there, without reading it.
async fn see(
    secrets: &dyn Secrets,
    name: &str,
    clock: &dyn Clock,
    random: &dyn Random,
    deadline: Timestamp,
) -> Result<(), SecretError> {
    again(name, || secrets.exists(name), clock, random, deadline).await
}

/// Asks for a secret, again while the store does not answer and there is time.
async fn again<F: Future<Output = Result<(), SecretError>>>(
    name: &str,
    ask: impl Fn() -> F,
    clock: &dyn Clock,
    random: &dyn Random,
    deadline: Timestamp,
) -> Result<(), SecretError> {
    let name = name.to_owned();
    let mut seen = SecretError::Unavailable { name, message: format!("no answer within {} s", STARTUP_MAX.as_secs()) };
    for attempt in 1.. {
        let Some(result) = before(clock, deadline, ask()).await else { break };
        let Err(error) = result else { return Ok(()) };
        let Retry::Transient { after } = error.retry() else { return Err(error) };
        seen = error;
        match SECRET_ATTEMPTS.wait(attempt, after, random) {
            Some(wait) if clock.now() + wait < deadline => clock.sleep_until(clock.now() + wait).await,
            _ => break,
        }
    }
    Err(seen)
}

#[cfg(test)]
mod tests;
