//! What is measured: the loop by itself on the store of a stack without functions, and the whole kit.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use step::refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    handbook::{handbook, search},
    ledger::Ledger,
    ledger_in_memory::LedgerInMemory,
    policy::{policy, terms},
    script::Script,
    tools::{Drills, tools},
};
use windlass::{
    agent::{Agent, tool_set::tool_set},
    aws::{Accounts, AnswerTable, Counters, LiveControls, PromptVersions, Runs, clients::Clients},
    budgets::Allowance,
    clock::{Clock as _, SystemClock, Timestamp},
    config::Environment,
    ids::{RunId, SystemRandom},
    journal::{HeadStatus, Heads as _},
    memory::Queue,
    prompts::{Prompt, PromptCache},
    run::{
        accept::{Incoming, Terms, accept},
        advance::{Advanced, Engine, Live},
        limits::Limits,
        outside::Outside,
        request::{RunRequest, Source},
    },
};
use windlass_local::{Logs, Stack, Synchronous};

use super::{
    BenchError, STUCK_AFTER,
    ends::{self, Ends},
    unexpected,
};
use crate::{
    local::{self, Address},
    stack::{Options, kit, without_limits},
};

/// Bytes that one step answers.
pub(super) const STEP_BYTES: u32 = 1_024;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The tables of a stack without functions.
pub(super) async fn tables_only() -> Result<Stack, BenchError> {
    let mut spec = kit(&Options::new(std::path::PathBuf::new()));
    spec.functions.clear();
    spec.mappings.clear();
    spec.routes.clear();
    spec.schedules.clear();
    let stack = Stack::start(spec).await?;
    local::init_controls(&stack.aws_url()).await?;
    Ok(stack)
}

/// The loop with the sample agent, on the tables behind `aws`.
pub(super) fn engine(aws: &str) -> Result<Engine, BenchError> {
    let clients = Clients::at(aws);
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
    let search = search(&handbook(None).map_err(unexpected)?, Arc::new(SystemClock)).map_err(unexpected)?;
    let tools = tools(&ledger, Drills::Available).map_err(unexpected)?.into_iter().chain([search]);
    let tools = tool_set(tools).map_err(unexpected)?;
    let terms = terms(Environment::Dev, DAY).map_err(unexpected)?;
    let policy = policy(None, Drills::Available, tools.values().map(|tool| tool.spec()), terms).map_err(unexpected)?;
    let runs = Arc::new(runs(aws));
    Ok(Engine {
        journal: runs.clone(),
        leases: runs,
        // Nobody receives from it.
        wake_ups: Arc::new(Queue::new(Arc::new(SystemClock), DAY, 1)),
        clock: Arc::new(SystemClock),
        answers: Arc::new(AnswerTable::new(clients.dynamodb(), "windlass-memory")),
        random: Arc::new(SystemRandom),
        agent: Agent {
            model: Arc::new(Script),
            tools,
            policy: Arc::new(policy),
            prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
        },
        live: Live {
            controls: Arc::new(LiveControls::new(clients.dynamodb(), "windlass-controls")),
            seen: Arc::default(),
            prompts: PromptCache::new(Arc::new(PromptVersions::new(clients.dynamodb(), "windlass-controls"))),
            budgets: Arc::new(Accounts::new(clients.dynamodb(), "windlass-controls")),
            allowance: Allowance::default(),
            windows: Arc::new(Counters::new(clients.dynamodb(), "windlass-controls")),
        },
        release: "bench".parse().map_err(unexpected)?,
        strikes_max: 5,
        telemetry: None,
    })
}

/// The runs behind `aws`.
pub(super) fn runs(aws: &str) -> Runs {
    let clients = Clients::at(aws);
    Runs::new(clients.dynamodb(), "windlass-runs", "windlass-idempotency", Arc::new(SystemClock))
}

/// Takes a run of so many steps on.
pub(super) async fn take_on(engine: &Engine, key: &str, steps: usize) -> Result<RunId, BenchError> {
    let outside = Outside {
        journal: engine.journal.as_ref(),
        wake_ups: engine.wake_ups.as_ref(),
        clock: engine.clock.as_ref(),
        random: engine.random.as_ref(),
        release: &engine.release,
        telemetry: None,
    };
    let limits = Limits { steps_max: 10_000, tokens_max: 1_000_000_000, ..Limits::default() };
    let terms = Terms { limits, key_kept_for: DAY, run_kept_for: 90 * DAY };
    let request = RunRequest {
        tenant: "acme".parse().map_err(unexpected)?,
        actor: "ada".parse().map_err(unexpected)?,
        task: "drill/steps".parse().map_err(unexpected)?,
        payload: payload(steps),
        roles: Default::default(),
    };
    let incoming = Incoming {
        request,
        source: Source::Http,
        client_key: key.to_owned(),
        person: None,
        trace: None,
        admitted: None,
    };
    Ok(accept(&outside, &terms, incoming).await.map_err(unexpected)?.run())
}

/// Advances a run to its end.
pub(super) async fn advance(engine: &Engine, run: RunId) -> Result<(), BenchError> {
    match engine.advance(run, SystemClock.now() + STUCK_AFTER).await.map_err(unexpected)? {
        Advanced::Finished { .. } => Ok(()),
        other => Err(unexpected(format!("run {run} did not end: {other:?}"))),
    }
}

fn payload(steps: usize) -> Value {
    json!({ "steps": steps, "bytes": STEP_BYTES })
}

/// The whole kit, with the function binaries.
pub(super) struct Kit {
    pub(super) stack: Stack,
    pub(super) address: Address,
    pub(super) runs: Runs,
    pub(super) ends: Ends,
    http: reqwest::Client,
}

impl Kit {
    /// In memory, or with the tables in a file.
    pub(super) async fn start(binaries: &Path, file: Option<(&Path, Synchronous)>) -> Result<Kit, BenchError> {
        // A certificate store is not read for `http:` on loopback, but the client wants to know whose.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(STUCK_AFTER).build()?;
        let mut options = Options::new(binaries.to_owned());
        if let Some((folder, synchronous)) = file {
            (options.data, options.synchronous) = (Some(folder.to_owned()), synchronous);
        }
        let logs = ends::folder()?;
        options.logs = Logs::Directory(logs.clone());
        let env = [("LOG_LEVEL", "warn"), ("STEPS_MAX", "1000")];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.env = env.chain(without_limits()).collect();
        let (stack, address) = local::start(&options, &http).await?;
        let runs = runs(&address.aws);
        let ends = Ends::told_in(&logs)?;
        Ok(Kit { stack, address, runs, ends, http })
    }

    pub(super) async fn send(
        &self,
        path: &str,
        token: &str,
        key: &str,
        body: &Value,
        wait: bool,
    ) -> Result<Value, BenchError> {
        let mut request = self.http.post(format!("{}{path}", self.address.api)).bearer_auth(token).json(body);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        if wait {
            request = request.header("prefer", "wait=20");
        }
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(unexpected(format!("{path} was answered {status}: {body}"))),
        }
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Result<Value, BenchError> {
        Ok(self.http.get(format!("{}{path}", self.address.api)).bearer_auth(token).send().await?.json().await?)
    }

    /// Posts a request; its run.
    pub(super) async fn submit(&self, key: &str, task: &str, payload: Value, wait: bool) -> Result<RunId, BenchError> {
        let body = json!({ "task": task, "payload": payload });
        let answer = self.send("/runs", &self.address.tokens.submitter, key, &body, wait).await?;
        answer["run_id"].as_str().unwrap_or_default().parse().map_err(unexpected)
    }

    /// Posts a request of so many steps.
    pub(super) async fn submit_steps(&self, key: &str, steps: usize, wait: bool) -> Result<RunId, BenchError> {
        self.submit(key, "drill/steps", payload(steps), wait).await
    }

    /// Waits until a run's head is as wanted.
    pub(super) async fn until(&self, run: RunId, is_it: impl Fn(&HeadStatus) -> bool) -> Result<(), BenchError> {
        let began = std::time::Instant::now();
        loop {
            let head = self.runs.head(run).await.map_err(unexpected)?;
            if head.is_some_and(|head| is_it(&head.status)) {
                return Ok(());
            }
            if began.elapsed() > STUCK_AFTER {
                return Err(unexpected(format!("run {run} does not get on")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// For leases that end in the past, and heads that are due in the future.
pub(super) fn in_a_day() -> Timestamp {
    SystemClock.now() + DAY
}
