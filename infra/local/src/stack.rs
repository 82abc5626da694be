//! A running stack: everything that listens, polls and ticks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use dynoxide::{
    Database, DynoxideError,
    actions::{create_table::CreateTableRequest, update_time_to_live::UpdateTimeToLiveRequest},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    aws_endpoint::{self, Services},
    cold_start,
    data_directory::DataDirectory,
    dynamodb::{Store, StoreError},
    event_source_mapping::Mapping,
    function::{Function, FunctionStatus, InvokeError},
    http_api::{self, Front},
    issuer::{Issuer, IssuerError},
    listener,
    logs::Sink,
    meter::{Counts, Meter},
    placeholder::{self, Urls},
    pool::{Patience, Pool},
    scheduler::Schedule,
    secrets::{Secrets, SecretsError},
    spec::{StackSpec, TableSpec},
    sqs::Queues,
};

/// How long [`Stack::invoke`] waits for a free process: enough for the one that has just answered to ask for more.
const INVOKE_SLOT_WAIT: Duration = Duration::from_millis(250);

/// How long [`Stack::shutdown`] waits for open requests.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// The stack could not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A port is taken.
    #[error("cannot listen on 127.0.0.1{}", .port.map(|port| format!(":{port}")).unwrap_or_default())]
    Listen {
        /// The port asked for.
        port: Option<u16>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory")]
    Data(#[source] std::io::Error),
    /// A log file cannot be opened.
    #[error("cannot open the log of `{function}`")]
    Log {
        /// The function.
        function: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The tables cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table was refused.
    #[error("cannot create a table: {message}")]
    Table {
        /// DynamoDB's answer.
        message: String,
    },
    /// A queue was refused.
    #[error("cannot create the queue `{queue}`: {message}")]
    Queue {
        /// The queue.
        queue: String,
        /// SQS's answer.
        message: String,
    },
    /// The secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The issuer cannot be set up.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// Two functions have one name.
    #[error("there are two functions `{function}`")]
    Duplicate {
        /// The name.
        function: String,
    },
    /// A route, mapping or schedule names a function that is not there.
    #[error("{what} names the function `{function}`, which is not in the stack")]
    UnknownFunction {
        /// For example "the route `GET /runs`".
        what: String,
        /// The name.
        function: String,
    },
    /// A mapping or redrive policy names a queue that is not there.
    #[error("{what} names the queue `{queue}`, which is not in the stack")]
    UnknownQueue {
        /// For example "the mapping to `step`".
        what: String,
        /// The name.
        queue: String,
    },
    /// An environment value has a placeholder that stands for nothing.
    #[error("the environment of `{function}` has an unknown placeholder `${{{placeholder}}}`")]
    UnknownPlaceholder {
        /// The function.
        function: String,
        /// What is between `${` and `}`.
        placeholder: String,
    },
}

/// A running stack. Dropping it kills its processes and stops its tasks; [`Stack::shutdown`] also waits for them.
pub struct Stack {
    api_url: String,
    aws_url: String,
    issuer: Arc<Issuer>,
    services: Arc<Services>,
    queues: Arc<Queues>,
    pools: BTreeMap<String, Arc<Pool>>,
    schedules: BTreeMap<String, Arc<Schedule>>,
    paused: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Creates what is absent, listens, and starts polling. Processes are started when they are needed, or by
    /// [`Stack::warm`].
    pub async fn start(spec: StackSpec) -> Result<Self, StackError> {
        check_names(&spec)?;
        let data = spec.data.as_deref().map(DataDirectory::open).transpose().map_err(StackError::Data)?;
        let (api_listener, api_url) = listen(spec.api_port).await?;
        let (aws_listener, aws_url) = listen(spec.aws_port).await?;
        let aws_port =
            aws_listener.local_addr().map_err(|source| StackError::Listen { port: spec.aws_port, source })?.port();

        let counts = Arc::new(Counts::default());
        let store = Store::open(data.as_ref().map(DataDirectory::tables).as_deref())?;
        for table in &spec.tables {
            ensure_table(&store, table).await?;
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
        let issuer = Arc::new(Issuer::open(api_url.clone(), spec.audience.clone(), key_file.as_deref())?);
        let pools = pools(&spec, &queues, &aws_url, &api_url)?;

        let (stop, stopped) = watch::channel(false);
        let (paused, pause) = watch::channel(false);
        let services = Arc::new(Services { store, queues: Arc::clone(&queues), secrets, counts });
        let by_name: HashMap<_, _> = pools.iter().map(|(name, pool)| (name.clone(), Arc::clone(pool))).collect();
        let front = Arc::new(Front::new(&spec.routes, by_name, Arc::clone(&issuer), spec.account.clone()));
        let mut tasks = vec![
            listener::serve(aws_listener, aws_endpoint::router(Arc::clone(&services)), stopped.clone()),
            listener::serve(api_listener, http_api::router(front), stopped.clone()),
        ];
        for mapping in spec.mappings {
            let Some(pool) = pools.get(&mapping.function) else { continue };
            let mapping = Mapping::new(mapping, spec.region.clone(), Arc::clone(&queues), Arc::clone(pool));
            tasks.push(tokio::spawn(Arc::new(mapping).run(stopped.clone())));
        }
        let mut schedules = BTreeMap::new();
        for schedule in spec.schedules {
            let Some(pool) = pools.get(&schedule.function) else { continue };
            let schedule = Arc::new(Schedule { spec: schedule, pool: Arc::clone(pool) });
            tasks.push(tokio::spawn(Arc::clone(&schedule).run(pause.clone(), stopped.clone())));
            schedules.insert(schedule.spec.name.clone(), schedule);
        }
        Ok(Self { api_url, aws_url, issuer, services, queues, pools, schedules, paused, stop, tasks })
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

    /// Process ids of a function.
    pub fn processes(&self, function: &str) -> Vec<u32> {
        self.pools.get(function).map(|pool| pool.pids()).unwrap_or_default()
    }

    /// How a function is doing. One that is not in the stack never starts.
    pub fn status(&self, function: &str) -> FunctionStatus {
        self.pools.get(function).map_or(FunctionStatus::Starting, |pool| pool.status())
    }

    /// Starts one process of each function that has none, and waits until each asks for work or has failed to start: at
    /// most the ten seconds that a start may take, and a moment.
    pub async fn warm(&self) -> BTreeMap<String, FunctionStatus> {
        let mut starting = JoinSet::new();
        for (name, pool) in &self.pools {
            let (name, pool) = (name.clone(), Arc::clone(pool));
            starting.spawn(async move { (name, pool.warm().await) });
        }
        starting.join_all().await.into_iter().collect()
    }

    /// How long a fresh process of a function takes from its start to its first poll. It is ended then; the pool knows nothing of it.
    ///
    /// # Errors
    /// When there is no such function, or it does not come to poll.
    pub async fn cold_start(&self, function: &str) -> Result<Duration, InvokeError> {
        let unknown = || InvokeError::UnknownFunction { function: function.to_owned() };
        cold_start::measure(self.pools.get(function).ok_or_else(unknown)?.function()).await
    }

    /// Invokes a function and waits for what it returns (`RequestResponse`).
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, InvokeError> {
        let pool =
            self.pools.get(function).ok_or_else(|| InvokeError::UnknownFunction { function: function.to_owned() })?;
        let event =
            serde_json::to_vec(&event).map_err(|error| InvokeError::Malformed { message: error.to_string() })?;
        read(&pool.invoke(Bytes::from(event), Patience::Until(INVOKE_SLOT_WAIT)).await?)
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

    /// Stops listening, ends all processes it started, and closes the tables.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for pool in self.pools.values() {
            pool.close().await;
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
        self.stop.send_replace(true);
        for pool in self.pools.values() {
            pool.kill();
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

/// Finds every name that leads nowhere before anything starts.
fn check_names(spec: &StackSpec) -> Result<(), StackError> {
    let mut functions = std::collections::HashSet::new();
    for function in &spec.functions {
        if !functions.insert(function.name.as_str()) {
            return Err(StackError::Duplicate { function: function.name.clone() });
        }
    }
    let routes =
        spec.routes.iter().map(|route| (format!("the route `{} {}`", route.method, route.path), &route.function));
    let mappings =
        spec.mappings.iter().map(|mapping| (format!("the mapping of `{}`", mapping.queue), &mapping.function));
    let schedules =
        spec.schedules.iter().map(|schedule| (format!("the schedule `{}`", schedule.name), &schedule.function));
    for (what, function) in routes.chain(mappings).chain(schedules) {
        if !functions.contains(function.as_str()) {
            return Err(StackError::UnknownFunction { what, function: function.clone() });
        }
    }
    let mapped = spec.mappings.iter().map(|mapping| (format!("the mapping to `{}`", mapping.function), &mapping.queue));
    let redriven = spec.queues.iter().filter_map(|queue| {
        let redrive = queue.redrive.as_ref()?;
        Some((format!("the redrive policy of `{}`", queue.name), &redrive.dead_letter_queue))
    });
    for (what, queue) in mapped.chain(redriven) {
        if !has_queue(spec, queue) {
            return Err(StackError::UnknownQueue { what, queue: queue.clone() });
        }
    }
    Ok(())
}

fn has_queue(spec: &StackSpec, name: &str) -> bool {
    spec.queues.iter().any(|queue| queue.name == name)
}

fn pools(
    spec: &StackSpec,
    queues: &Queues,
    aws_url: &str,
    api_url: &str,
) -> Result<BTreeMap<String, Arc<Pool>>, StackError> {
    let queue = |name: &str| has_queue(spec, name).then(|| queues.url(name));
    let urls = Urls { aws: aws_url, api: api_url, queue: &queue };
    let mut pools = BTreeMap::new();
    for function in &spec.functions {
        let mut function = function.clone();
        function.env = placeholder::replace(&function.env, &urls).map_err(|placeholder::Unknown(placeholder)| {
            StackError::UnknownPlaceholder { function: function.name.clone(), placeholder }
        })?;
        let sink = Sink::open(&spec.logs, &function.name)
            .map_err(|source| StackError::Log { function: function.name.clone(), source })?;
        let name = function.name.clone();
        pools.insert(name, Pool::new(Function::new(function, &spec.region, &spec.account, aws_url, sink)));
    }
    Ok(pools)
}

async fn ensure_table(store: &Store, table: &TableSpec) -> Result<(), StackError> {
    let refused = |message: String| StackError::Table { message };
    let create: CreateTableRequest =
        serde_json::from_value(table.create.clone()).map_err(|error| refused(error.to_string()))?;
    let ttl: Option<UpdateTimeToLiveRequest> = table
        .ttl_attribute
        .as_ref()
        .map(|attribute| {
            serde_json::from_value(json!({
                "TableName": table.create.get("TableName"),
                "TimeToLiveSpecification": { "Enabled": true, "AttributeName": attribute },
            }))
        })
        .transpose()
        .map_err(|error| refused(error.to_string()))?;
    store
        .with(move |database| create_table(database, create, ttl))
        .await
        .map_err(|_| refused("the table store has stopped".into()))?
        .map_err(|error| refused(error.to_string()))
}

/// A table that exists is left as it is.
fn create_table(
    database: &Database,
    create: CreateTableRequest,
    ttl: Option<UpdateTimeToLiveRequest>,
) -> Result<(), DynoxideError> {
    match database.create_table(create) {
        Err(DynoxideError::ResourceInUseException(_)) => return Ok(()),
        other => other?,
    };
    ttl.map_or(Ok(()), |ttl| database.update_time_to_live(ttl).map(|_| ()))
}
