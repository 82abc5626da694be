//! Every variable there is: the table that parsing, `.env.example` and the documentation go by.

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// What holds when it is not set.
    pub default: Fallback,
    /// What it is, with its unit, following `set it to`.
    pub meaning: &'static str,
}

/// What a variable belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The model provider.
    Model,
    /// Where and as what the function runs.
    Runtime,
    /// Where things are kept.
    Storage,
    /// What may be done.
    Policy,
    /// With what it may be done.
    Tools,
    /// What a run may use.
    Limits,
    /// The HTTP edge.
    Http,
    /// What the function says about itself.
    Observability,
    /// What it is judged by.
    Evals,
}

/// What holds when a variable is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It must be set.
    Required,
    /// This value.
    Value(&'static str),
    /// It is left out.
    None,
}

macro_rules! variables {
    ($($name:ident: $group:ident, $default:expr, $meaning:literal;)*) => {
        $(pub(super) const $name: Variable =
            Variable { name: stringify!($name), group: Group::$group, default: $default, meaning: $meaning };)*

        /// Every variable, in the order in which they are read.
        pub const VARIABLES: &[Variable] = &[$($name),*];
    };
}

use Fallback::{None, Required, Value};

variables! {
    MODEL: Model, Value("script"),
        "the model: `script` (follows a script, costs nothing), `anthropic:NAME`, `openai:NAME` or `bedrock:ID`";
    MODEL_BASE_URL: Model, None, "the address of the model's API, if it is not the provider's own";
    MODEL_SECRET: Model, None, "the name of the secret that holds the provider's key";
    MODEL_TIMEOUT_SECONDS: Model, Value("25"), "how many seconds one answer of one model may take (1 to 600)";
    MODEL_OUTPUT_TOKENS_MAX: Model, None, "the most tokens of one answer (1 to 200000), at most 50 for each second of `MODEL_TIMEOUT_SECONDS`";
    MODEL_PRICES: Model, None, "the US dollars per million tokens of each model, as JSON";
    MODEL_FALLBACK: Model, None, "the model that is asked while the first does not answer";
    MODEL_FALLBACK_BASE_URL: Model, None, "the address of the fallback's API, if it is not the provider's own";
    MODEL_FALLBACK_SECRET: Model, None, "the name of the secret that holds the key of the fallback's provider";
    MODEL_LAST_RESORT: Model, Value("rest"), "what is done while no model answers: `rest`, or hand over to a `person`";
    MODEL_CASSETTE: Model, None, "`record:FOLDER` or `replay:FOLDER`, for exchanges with the model";

    ENVIRONMENT: Runtime, Required, "`dev`, `staging` or `production`";
    RELEASE: Runtime, Required, "the release digest, which every entry records";
    STEP_TIMEOUT_SECONDS: Runtime, Value("60"), "the step function's timeout in seconds (30 to 900)";
    SERVICE_NAME: Runtime, Value("windlass"), "the name in logs and traces, and of the namespace of metrics";
    LOG_LEVEL: Runtime, Value("info"), "`error`, `warn`, `info`, `debug` or `trace`";

    RUNS_TABLE: Storage, Required, "the name of the DynamoDB table of heads and journals";
    IDEMPOTENCY_TABLE: Storage, Required, "the name of the DynamoDB table of idempotency records";
    CONTROLS_TABLE: Storage, Required, "the name of the DynamoDB table of controls, job records, plans and audit";
    MEMORY_TABLE: Storage, Required, "the name of the DynamoDB table of governed memory";
    DESK_TABLE: Storage, Required, "the name of the DynamoDB table of the sample agent";
    STEP_QUEUE_URL: Storage, Required, "the URL of the step queue";
    STEP_DEAD_LETTER_QUEUE_URL: Storage, Required, "the URL of the step queue's dead-letter queue";
    WAKE_UP_SENDERS: Storage, None, "the ids of roles whose messages on the step queue may wake runs and start none, separated by commas";
    SOURCES_FILE: Storage, None, "the path of the JSON file of sources that answers cite (a built-in handbook without it)";
    RUN_RETENTION_DAYS: Storage, Value("90"), "how many days a run is kept (1 to 3650)";
    IDEMPOTENCY_RETENTION_HOURS: Storage, Value("24"), "how many hours a repeated request is recognised (1 to 8760)";

    POLICY_FILE: Policy, None, "the path of the Cedar policy file (the built-in rules hold without it)";
    APPROVAL_EXPIRES_AFTER_SECONDS: Policy, Value("259200"), "how many seconds an approval stays open (60 to 604800)";
    APPROVAL_SECRET: Policy, Required, "the name of the secret that holds the approval keys, which only the approval function reads";
    APPROVAL_PUBLIC_SECRET: Policy, Required, "the name of the secret that holds their public halves, with which decisions are verified";

    TASKS: Tools, Required, "the tasks that runs may be asked to do, separated by commas";
    MCP_SERVERS: Tools, None, "the MCP servers and what of them may be used, as JSON";
    MCP_SERVERS_SECRET: Tools, None, "the name of the secret that holds what `MCP_SERVERS` would";
    DRILLS: Tools, Value("off"), "`on` for the sample agent's exercises, one of which kills its worker, or `off`; `on` in `dev` only";
    MCP_TOOLS_DIGEST: Tools, None, "the digest of the MCP tools that the release was judged with";

    STEPS_MAX: Limits, Value("64"), "how often one run may ask the model (1 to 1000)";
    TOKENS_MAX: Limits, Value("500000"), "how many tokens one run may use";
    COST_MAX_MICRO_USD: Limits, Value("5000000"), "how many millionths of a US dollar one run may cost";
    WALL_TIME_MAX_SECONDS: Limits, Value("604800"), "how many seconds one run may take, waiting included (60 to 2592000)";
    STRIKES_MAX: Limits, Value("5"), "how many claims without progress make a run dead (1 to 20)";

    BUDGET_ACTOR_DAY_MICRO_USD: Limits, Value("0"), "how many millionths of a US dollar one actor may spend in one day, UTC (0 is no bound)";
    BUDGET_ACTOR_DAY_TOKENS: Limits, Value("0"), "how many tokens one actor may use in one day, UTC (0 is no bound)";

    TENANT_CLAIM: Http, Value("tenant"), "the JWT claim that names the tenant";
    ROLES_CLAIM: Http, Value("roles"), "the JWT claim that lists the roles";
    PERSON_CLAIM: Http, None, "the JWT claim that names the person behind `sub`; with it, only tokens that name one decide approvals";
    ACTOR_RATE_LIMIT: Http, Value("600/60:60"), "how many runs one actor may start: `600/60:60` is 600 in 60 seconds, 60 of them at once; or `off`";
    TENANT_RATE_LIMIT: Http, Value("3000/60:150"), "the same for all actors of a tenant together, or `off`";
    BACKLOG_BUSY_FROM: Http, Value("1000"), "from how many waiting messages on a tenant waits that has used up half of its limit, or `off`";
    BACKLOG_MAX: Http, Value("10000"), "from how many waiting messages on only tenants start runs that put little of it there, or `off`; from twice as many on, none do";
    ACTOR_READ_RATE_LIMIT: Http, Value("3000/60:300"), "how often one actor may look at runs or end them, as `ACTOR_RATE_LIMIT`, or `off`";
    TENANT_READ_RATE_LIMIT: Http, Value("6000/60:600"), "the same for all actors of a tenant together, or `off`";
    ACTOR_WAIT_RATE_LIMIT: Http, Value("20/25:20"), "how often one actor may wait for a run with `Prefer: wait`, as `ACTOR_RATE_LIMIT`, or `off`";
    TENANT_WAIT_RATE_LIMIT: Http, Value("30/25:30"), "the same for all actors of a tenant together, or `off`";

    LOG_FORMAT: Observability, Value("json"), "`json` or `text`";
    SHOWN_FIELDS: Observability, Value("{}"), "JSON pointers to the personal data that is needed, such as `{\"request\":[\"/email\"],\"tools\":{\"refund\":{\"answer\":[\"/iban\"]}}}`";

    EVAL_DATASET_VERSION: Evals, None, "the version of the dataset that the release was judged with";
}
