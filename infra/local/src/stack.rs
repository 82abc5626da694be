//! A running stack: everything that listens, polls and ticks.

mod error;
mod names;
mod tables;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::body::Bytes;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};

pub use self::error::StackError;
use crate::{
    aws_endpoint::{self, Services},
    cloudwatch::CloudWatch,
    cold_start,
    data_directory::DataDirectory,
    dynamodb::Store,
    event_source_mapping::Mapping,
    function::{FunctionStatus, InvokeError, Surroundings},
    http_api::{self, Front},
    issuer::Issuer,
    lambda::{Code, Configuration, Functions, Qualifier, Version, Versioned},
    lambda_api::LambdaApi,
    listener,
    logs::Sink,
    meter::{Counts, Meter},
    metrics::{EmbeddedMetrics, Metrics},
    placeholder::{self, Urls},
    pool::Patience,
    process_group::ProcessGroup,
    scheduler::Schedule,
    secrets::Secrets,
    spec::StackSpec,
    sqs::Queues,
};

/// How often, within the time that a process may be idle, it is looked whether it is.
const IDLE_LOOKS: u32 = 4;

/// How long [`Stack::invoke`] waits for a free process: enough for the one that has just answered to ask for more.
const INVOKE_SLOT_WAIT: Duration = Duration::from_millis(250);

/// How often [`Stack::drain`] looks whether functions are still at work.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long [`Stack::shutdown`] waits for open requests.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// A running stack. Dropping it kills its processes and stops its tasks; [`Stack::shutdown`] also waits for them.
pub struct Stack {
    api_url: String,
    aws_url: String,
    issuer: Arc<Issuer>,
    services: Arc<Services>,
    queues: Arc<Queues>,
    functions: Arc<Functions>,
    schedules: BTreeMap<String, Arc<Schedule>>,
    paused: watch::Sender<bool>,
    /// Nothing new is begun any more; what functions need for what they have goes on until `stop`.
    closing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Creates what is absent, listens, and starts polling. Processes are started when they are needed, or by
    /// [`Stack::warm`].
    pub async fn start(spec: StackSpec) -> Result<Self, StackError> {
        names::check(&spec)?;
        let data = spec.data.as_deref().map(DataDirectory::open).transpose().map_err(StackError::Data)?;
        let (api_listener, api_url) = listen(spec.api_port).await?;
        let (aws_listener, aws_url) = listen(spec.aws_port).await?;
        let aws_port =
            aws_listener.local_addr().map_err(|source| StackError::Listen { port: spec.aws_port, source })?.port();

        let counts = Arc::new(Counts::default());
        let store = Store::open(data.as_ref().map(DataDirectory::tables).as_deref(), spec.synchronous)?;
        for table in &spec.tables {
            tables::ensure(&store, table).await?;
        }
        let queues = Arc::new(Queues::new(&spec.region, &spec.account, aws_port, Arc::clone(&counts)));
        for queue in &spec.queues {
            queues
                .create(queue)
                .await
                .map_err(|error| StackError::Queue { queue: queue.name.clone(), message: error.to_string() })?;
        }
        let secrets_file = data.as_ref().map(DataDirectory::secrets);
        let secrets = Secrets::open(&spec.region, &spec.account, secrets_file, Arc::clone(&counts))?;
        for secret in &spec.secrets {
            secrets.ensure(secret).await?;
        }
        let key_file = data.as_ref().map(DataDirectory::issuer_key);
        let clock = Arc::clone(&spec.clock);
        let issuer = Issuer::open(api_url.clone(), spec.audience.clone(), key_file.as_deref(), Arc::clone(&clock))?;
        let issuer = Arc::new(issuer);
        let metrics = Arc::new(Metrics::new(Arc::clone(&clock)));
        let running = Running { queues: &queues, urls: (&aws_url, &api_url), metrics: &metrics, counts: &counts };
        let functions = Arc::new(functions(&spec, &running)?);

        let (stop, stopped) = watch::channel(false);
        let (closing, closed) = watch::channel(false);
        let (paused, pause) = watch::channel(false);
        let lambda = Arc::new(LambdaApi::new(Arc::clone(&functions), Arc::clone(&counts)));
        let cloudwatch = CloudWatch::new(metrics, &spec.region, &spec.account, Arc::clone(&counts));
        let services = Arc::new(Services {
            store,
            queues: Arc::clone(&queues),
            secrets,
            counts,
            cloudwatch,
            account: spec.account.clone(),
        });
        let front = Arc::new(Front::new(&spec.routes, Arc::clone(&functions), Arc::clone(&issuer), Arc::clone(&clock)));
        let mut tasks = vec![
            listener::serve(aws_listener, aws_endpoint::router(Arc::clone(&services), lambda), stopped.clone()),
            listener::serve(api_listener, http_api::router(front), closed.clone()),
            tokio::spawn(end_idle(Arc::clone(&functions), spec.idle_limit, stopped.clone())),
        ];
        for mapping in spec.mappings {
            let Some(target) = functions.traffic_target(&mapping.function) else { continue };
            let mapping = Mapping::new(mapping, spec.region.clone(), Arc::clone(&queues), target);
            tasks.push(tokio::spawn(Arc::new(mapping).run(closed.clone())));
        }
        let mut schedules = BTreeMap::new();
        for schedule in spec.schedules {
            let Some(target) = functions.traffic_target(&schedule.function) else { continue };
            let schedule = Arc::new(Schedule { spec: schedule, target, clock: Arc::clone(&clock) });
            tasks.push(tokio::spawn(Arc::clone(&schedule).run(pause.clone(), closed.clone())));
            schedules.insert(schedule.spec.name.clone(), schedule);
        }
        Ok(Self { api_url, aws_url, issuer, services, queues, functions, schedules, paused, closing, stop, tasks })
    }

    /// The HTTP API, without a slash at the end.
    pub fn api_url(&self) -> String {
        self.api_url.clone()
    }

    /// The endpoint of all AWS services, without a slash at the end.
    pub fn aws_url(&self) -> String {
        self.aws_url.clone()
    }

    /// The URL of a queue, whether or not it exists.
    pub fn queue_url(&self, name: &str) -> String {
        self.queues.url(name)
    }

    /// Signs tokens for the HTTP API.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Process ids of a function, of all its versions; of some for a name like `step:live` or `step:2`.
    pub fn processes(&self, function: &str) -> Vec<u32> {
        match self.functions.get(function) {
            Some(all) => all.pids(None),
            None => {
                let target = self.functions.target(function);
                target.map(|target| target.function.pids(target.qualifier.as_ref())).unwrap_or_default()
            }
        }
    }

    /// How a function is doing, by what traffic meets or by a name like `step:2`. One that is not in the stack never starts.
    pub fn status(&self, function: &str) -> FunctionStatus {
        let target = self.functions.target(function);
        let status = target.and_then(|target| Some(target.function.status(&target.qualifier?)));
        status.unwrap_or(FunctionStatus::Starting)
    }

    /// Starts one process of each version that traffic meets and that has none, and waits until each asks for work or has failed to
    /// start: at most the ten seconds that a start may take, and a moment.
    pub async fn warm(&self) -> BTreeMap<String, FunctionStatus> {
        let mut starting = JoinSet::new();
        for function in self.functions.all() {
            let (function, traffic) = (Arc::clone(function), self.functions.traffic.clone());
            starting.spawn(async move { (function.name.clone(), function.warm(&traffic).await) });
        }
        starting.join_all().await.into_iter().collect()
    }

    /// How long a fresh process of a function takes from its start to its first poll. It is ended then; nothing else knows of it.
    ///
    /// # Errors
    /// When there is no such function, or it does not come to poll.
    pub async fn cold_start(&self, function: &str) -> Result<Duration, InvokeError> {
        let unknown = || InvokeError::UnknownFunction { function: function.to_owned() };
        let target = self.functions.target(function).ok_or_else(unknown)?;
        let qualifier = target.qualifier.unwrap_or(Qualifier::Version(Version::Latest));
        let found = target.function.find(&qualifier).map_err(|_| unknown())?;
        cold_start::measure(found.revision.pool.function()).await
    }

    /// Invokes a function as traffic does, or another version by a name like `step:2`, and waits for what it returns
    /// (`RequestResponse`).
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, InvokeError> {
        let target = self.functions.target(function);
        let target = target.ok_or_else(|| InvokeError::UnknownFunction { function: function.to_owned() })?;
        let event =
            serde_json::to_vec(&event).map_err(|error| InvokeError::Malformed { message: error.to_string() })?;
        read(&target.invoke(Bytes::from(event), Patience::Until(INVOKE_SLOT_WAIT)).await?)
    }

    /// What has been counted since the start.
    pub fn meter(&self) -> Meter {
        self.services.counts.snapshot()
    }

    /// Deletes expired items now instead of within a minute; returns how many.
    pub async fn sweep_expired_items(&self) -> usize {
        self.services.store.with(|database| database.sweep_ttl().unwrap_or(0)).await.unwrap_or(0)
    }

    /// No schedule fires until [`Stack::resume_schedules`].
    pub fn pause_schedules(&self) {
        self.paused.send_replace(true);
    }

    /// Schedules fire again.
    pub fn resume_schedules(&self) {
        self.paused.send_replace(false);
    }

    /// Fires a schedule now, paused or not, once and without retries. `None` if there is none of that name.
    pub async fn run_schedule(&self, name: &str) -> Option<Result<Value, InvokeError>> {
        let payload = self.schedules.get(name)?.fire().await;
        Some(payload.and_then(|payload| read(&payload)))
    }

    /// Takes note of programs that were built anew in their place, and says of which functions: their new processes run them, their old
    /// ones end when they have finished what they have. A program counts when it has looked the same in two calls in a row.
    pub fn renew_rebuilt(&self) -> Vec<String> {
        self.functions.all().filter(|function| function.renew()).map(|function| function.name.clone()).collect()
    }

    /// Begins nothing new, neither requests nor batches nor firings, and waits until no function is at work, at most for `limit`.
    /// Whether none is.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.closing.send_replace(true);
        let idle = async {
            while self.functions.all().any(|function| function.busy() > 0) {
                tokio::time::sleep(DRAIN_LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(limit, idle).await.is_ok()
    }

    /// Stops listening, ends all processes it started, and closes the tables.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        self.stop.send_replace(true);
        for function in self.functions.all() {
            function.close().await;
        }
        for mut task in self.tasks.drain(..) {
            if tokio::time::timeout(SHUTDOWN_LIMIT, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.queues.close().await;
        self.services.store.close().await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.stop.send_replace(true);
        for function in self.functions.all() {
            function.kill();
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn read(payload: &[u8]) -> Result<Value, InvokeError> {
    serde_json::from_slice(payload).map_err(|error| InvokeError::Malformed { message: error.to_string() })
}

async fn listen(port: Option<u16>) -> Result<(TcpListener, String), StackError> {
    let (listener, address) = listener::bind(port).await.map_err(|source| StackError::Listen { port, source })?;
    Ok((listener, format!("http://{address}")))
}

/// Every function with its first version.
fn functions(spec: &StackSpec, running: &Running<'_>) -> Result<Functions, StackError> {
    let Running { queues, urls: (aws_url, api_url), metrics, counts } = running;
    let queue = |name: &str| names::has_queue(spec, name).then(|| queues.url(name));
    let urls = Urls { aws: aws_url, api: api_url, queue: &queue };
    let aliases = names::aliases(spec)?;
    let mut functions = Vec::with_capacity(spec.functions.len());
    let group = Arc::new(ProcessGroup::start().map_err(StackError::ProcessGroup)?);
    for function in &spec.functions {
        let env = placeholder::replace(&function.env, &urls).map_err(|placeholder::Unknown(placeholder)| {
            StackError::UnknownPlaceholder { function: function.name.clone(), placeholder }
        })?;
        let sink = Sink::open(&spec.logs, &function.name)
            .map_err(|source| StackError::Log { function: function.name.clone(), source })?;
        let surroundings = Surroundings {
            name: function.name.clone(),
            arn: format!("arn:aws:lambda:{}:{}:function:{}", spec.region, spec.account, function.name),
            region: spec.region.clone(),
            aws_url: (*aws_url).to_owned(),
            sink,
            metrics: EmbeddedMetrics::new(Arc::clone(metrics)),
            counts: Arc::clone(counts),
            clock: Arc::clone(&spec.clock),
            group: Arc::clone(&group),
        };
        let configuration = Configuration {
            code: Code::in_place(function.program.clone()),
            env,
            timeout: function.timeout,
            memory_mib: function.memory_mib,
            description: String::new(),
        };
        let ports = (Arc::clone(metrics), Arc::clone(&spec.clock), Arc::clone(&spec.dice));
        functions.push(Versioned::new(surroundings, function.concurrency_max, configuration, &aliases, ports));
    }
    let traffic = Qualifier::parse(&spec.traffic_alias)
        .ok_or_else(|| StackError::AliasName { alias: spec.traffic_alias.clone() })?;
    Ok(Functions::new(&spec.region, &spec.account, traffic, functions))
}

/// What functions are told about the stack they run in.
struct Running<'a> {
    queues: &'a Queues,
    /// Of the AWS endpoint and of the HTTP API.
    urls: (&'a str, &'a str),
    metrics: &'a Arc<Metrics>,
    counts: &'a Arc<Counts>,
}

/// Ends idle processes until `stop`.
async fn end_idle(functions: Arc<Functions>, limit: Duration, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval((limit / IDLE_LOOKS).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        for function in functions.all() {
            function.end_idle(limit);
        }
    }
}
