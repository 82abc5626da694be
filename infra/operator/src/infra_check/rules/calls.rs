//! What each function calls, on what, and where in the code: the table that roles are held to, and that is itself held to the code.
//!
//! An SDK operation is not always one IAM action: a transaction needs the actions of its parts
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html>), and a batch of messages that of one.

use serde_json::Value;

/// One call.
pub(super) struct Call {
    /// The function.
    pub function: &'static str,
    /// The IAM action.
    pub action: &'static str,
    /// The resource, as a role names it.
    pub on: &'static str,
    /// Who calls.
    pub by: By,
}

/// Who calls.
pub(super) enum By {
    /// The code: a file, an SDK operation in it, and the type that a function has to name to come there.
    Code(&'static str, &'static str, &'static str),
    /// Lambda, in the function's name.
    Lambda,
}

const RUNS: &str = "${RunsTable.Arn}";
const IDEMPOTENCY: &str = "${IdempotencyTable.Arn}";
const CONTROLS: &str = "${ControlsTable.Arn}";
const MEMORY: &str = "${MemoryTable.Arn}";
const DESK: &str = "${DeskTable.Arn}";
const QUEUE: &str = "${StepQueue.Arn}";

const RECORD: By = By::Code("shared/src/aws/idempotency.rs", "put_item", "Runs");
const OPEN: By = By::Code("shared/src/aws/journal.rs", "put_item", "Runs");
const OPENED: By = By::Code("shared/src/aws/journal.rs", "get_item", "Runs");
const INTERJECT: By = By::Code("shared/src/aws/journal.rs", "transact_write_items", "Runs");
const APPEND: By = By::Code("shared/src/aws/journal.rs", "put_item", "Runs");
const LOAD: By = By::Code("shared/src/aws/journal.rs", "query", "Runs");
const SNAPSHOT: By = By::Code("shared/src/aws/snapshots.rs", "query", "Runs");
const SAVE: By = By::Code("shared/src/aws/snapshots.rs", "put_item", "Runs");
const LIST: By = By::Code("shared/src/aws/heads.rs", "query", "Runs");
const LISTED: By = By::Code("shared/src/aws/heads.rs", "batch_get_item", "Runs");
const LEASE: By = By::Code("shared/src/aws/lease.rs", "update_item", "Runs");
const RECORDED: By = By::Code("shared/src/aws/idempotency.rs", "get_item", "Runs");
const TAKE: By = By::Code("shared/src/aws/buckets.rs", "update_item", "RateBuckets");
const DEPTH: By = By::Code("shared/src/aws/queue.rs", "get_queue_attributes", "StepQueue");
const WAKE: By = By::Code("shared/src/aws/queue.rs", "send_message", "StepQueue");
const WAKE_MANY: By = By::Code("shared/src/aws/queue.rs", "send_message_batch", "StepQueue");
const HIDE: By = By::Code("shared/src/aws/queue.rs", "change_message_visibility_batch", "StepQueue");
const RECEIVE: By = By::Code("shared/src/aws/queue.rs", "receive_message", "StepQueue");
const ACKNOWLEDGE: By = By::Code("shared/src/aws/queue.rs", "delete_message", "StepQueue");
const JOB: By = By::Code("shared/src/aws/schedule.rs", "update_item", "Jobs");
const SWEEP: By = By::Code("shared/src/aws/retention.rs", "scan", "ExpiredItems");
const DELETE: By = By::Code("shared/src/aws/retention.rs", "delete_item", "ExpiredItems");
const CONTROL: By = By::Code("shared/src/aws/controls.rs", "get_item", "LiveControls");
const BALANCE: By = By::Code("shared/src/aws/budgets.rs", "get_item", "Accounts");
const SPEND: By = By::Code("shared/src/aws/budgets.rs", "update_item", "Accounts");
const COUNTED: By = By::Code("shared/src/aws/windows.rs", "get_item", "Counters");
const COUNT: By = By::Code("shared/src/aws/windows.rs", "update_item", "Counters");
const SETTLED: By = By::Code("shared/src/aws/budgets.rs", "delete_item", "Accounts");
const ORPHANS: By = By::Code("shared/src/aws/budgets.rs", "query", "Accounts");
const PROMPT: By = By::Code("shared/src/aws/prompts.rs", "get_item", "PromptVersions");
const SECRET: By = By::Code("shared/src/aws/secrets.rs", "get_secret_value", "SecretsManager");
const SEEN: By = By::Code("shared/src/aws/secrets.rs", "describe_secret", "SecretsManager");
const KEYS: &str = "${ApprovalKeys}";
const PUBLIC_KEYS: &str = "${ApprovalPublicKeys}";
const LEDGER: &str = "functions/step/src/refund_desk/ledger_in_dynamodb.rs";

const fn call(function: &'static str, action: &'static str, on: &'static str, by: By) -> Call {
    Call { function, action, on, by }
}

/// Every call. Each function also writes its log: see [`EVERY_FUNCTION`]. Only one reads the approval keys, the others see that they are
/// there: whoever could read them could approve.
pub(super) const CALLS: &[Call] = &[
    call("intake", "secretsmanager:DescribeSecret", KEYS, SEEN),
    call("intake", "secretsmanager:DescribeSecret", PUBLIC_KEYS, SEEN),
    call("step", "secretsmanager:DescribeSecret", KEYS, SEEN),
    call("step", "secretsmanager:GetSecretValue", PUBLIC_KEYS, SECRET),
    call("approval", "secretsmanager:GetSecretValue", KEYS, SECRET),
    call("approval", "secretsmanager:GetSecretValue", PUBLIC_KEYS, SECRET),
    call("cleanup", "secretsmanager:DescribeSecret", KEYS, SEEN),
    call("cleanup", "secretsmanager:DescribeSecret", PUBLIC_KEYS, SEEN),
    call("intake", "dynamodb:PutItem", RUNS, OPEN),
    call("intake", "dynamodb:PutItem", IDEMPOTENCY, RECORD),
    call("intake", "dynamodb:UpdateItem", RUNS, INTERJECT),
    call("intake", "dynamodb:Query", RUNS, LOAD),
    call("intake", "dynamodb:Query", RUNS, SNAPSHOT),
    call("intake", "dynamodb:PutItem", RUNS, SAVE),
    call("intake", "dynamodb:GetItem", RUNS, OPENED),
    call("intake", "dynamodb:GetItem", CONTROLS, CONTROL),
    call("intake", "dynamodb:GetItem", CONTROLS, BALANCE),
    call("intake", "dynamodb:GetItem", IDEMPOTENCY, RECORDED),
    call("intake", "dynamodb:UpdateItem", CONTROLS, TAKE),
    call("intake", "sqs:GetQueueAttributes", QUEUE, DEPTH),
    call("intake", "sqs:SendMessage", QUEUE, WAKE),
    call("step", "dynamodb:PutItem", RUNS, APPEND),
    call("step", "dynamodb:PutItem", IDEMPOTENCY, RECORD),
    call("step", "dynamodb:GetItem", RUNS, OPENED),
    call("step", "dynamodb:Query", RUNS, LOAD),
    call("step", "dynamodb:Query", RUNS, SNAPSHOT),
    call("step", "dynamodb:PutItem", RUNS, SAVE),
    call("step", "dynamodb:UpdateItem", RUNS, LEASE),
    call("step", "dynamodb:GetItem", DESK, By::Code(LEDGER, "get_item", "LedgerInDynamoDb")),
    call("step", "dynamodb:PutItem", DESK, By::Code(LEDGER, "put_item", "LedgerInDynamoDb")),
    call("step", "dynamodb:UpdateItem", DESK, By::Code(LEDGER, "transact_write_items", "LedgerInDynamoDb")),
    call("step", "dynamodb:GetItem", MEMORY, By::Code("shared/src/aws/answers.rs", "get_item", "AnswerTable")),
    call("step", "dynamodb:PutItem", MEMORY, By::Code("shared/src/aws/answers.rs", "put_item", "AnswerTable")),
    call("step", "dynamodb:GetItem", CONTROLS, CONTROL),
    call("step", "dynamodb:GetItem", CONTROLS, PROMPT),
    call("step", "dynamodb:GetItem", CONTROLS, BALANCE),
    call("step", "dynamodb:UpdateItem", CONTROLS, SPEND),
    call("step", "dynamodb:GetItem", CONTROLS, COUNTED),
    call("step", "dynamodb:UpdateItem", CONTROLS, COUNT),
    call("step", "dynamodb:DeleteItem", CONTROLS, SETTLED),
    call("step", "dynamodb:Query", CONTROLS, ORPHANS),
    call("step", "sqs:SendMessage", QUEUE, WAKE),
    call("step", "sqs:ChangeMessageVisibility", QUEUE, HIDE),
    call("step", "sqs:ReceiveMessage", QUEUE, By::Lambda),
    call("step", "sqs:ReceiveMessage", QUEUE, RECEIVE),
    call("step", "sqs:DeleteMessage", QUEUE, By::Lambda),
    call("step", "sqs:DeleteMessage", QUEUE, ACKNOWLEDGE),
    call("step", "sqs:GetQueueAttributes", QUEUE, By::Lambda),
    call("approval", "dynamodb:PutItem", RUNS, INTERJECT),
    call("approval", "dynamodb:UpdateItem", RUNS, INTERJECT),
    call("approval", "dynamodb:Query", RUNS, LOAD),
    call("approval", "dynamodb:GetItem", RUNS, OPENED),
    call("approval", "dynamodb:Query", "${RunsTable.Arn}/index/inbox", LIST),
    call("approval", "dynamodb:BatchGetItem", RUNS, LISTED),
    call("approval", "dynamodb:UpdateItem", CONTROLS, TAKE),
    call("approval", "sqs:SendMessage", QUEUE, WAKE),
    call("cleanup", "dynamodb:Query", "${RunsTable.Arn}/index/due", LIST),
    call("cleanup", "dynamodb:UpdateItem", RUNS, LEASE),
    call("cleanup", "dynamodb:UpdateItem", CONTROLS, JOB),
    call("cleanup", "dynamodb:Scan", RUNS, SWEEP),
    call("cleanup", "dynamodb:Scan", IDEMPOTENCY, SWEEP),
    call("cleanup", "dynamodb:Scan", CONTROLS, SWEEP),
    call("cleanup", "dynamodb:Scan", MEMORY, SWEEP),
    call("cleanup", "dynamodb:DeleteItem", RUNS, DELETE),
    call("cleanup", "dynamodb:DeleteItem", IDEMPOTENCY, DELETE),
    call("cleanup", "dynamodb:DeleteItem", CONTROLS, DELETE),
    call("cleanup", "dynamodb:DeleteItem", MEMORY, DELETE),
    call("cleanup", "sqs:SendMessage", QUEUE, WAKE_MANY),
    call("cleanup", "sqs:SendMessage", "${ScheduleDeadLetters.Arn}", By::Lambda),
];

/// What every function calls: `%` is the function's name with a capital.
pub(super) const EVERY_FUNCTION: &[(&str, &str, By)] =
    &[("logs:CreateLogStream", "${%Logs.Arn}", By::Lambda), ("logs:PutLogEvents", "${%Logs.Arn}", By::Lambda)];

/// What a function may do only in deployments that say on what.
pub(super) struct ByParameter {
    /// The function.
    pub function: &'static str,
    /// The parameter: ARNs, separated by commas; empty where nothing is allowed.
    pub parameter: &'static str,
    /// The IAM action on them.
    pub action: &'static str,
    /// Which variables of the function want it.
    pub wanted_by: Wanted,
}

/// Which variables want a permission.
pub(super) enum Wanted {
    /// The one that names a secret.
    Secret(&'static str),
    /// Those that name MCP servers with secrets.
    McpSecrets,
    /// Those that name a model of Bedrock, unless it has a key of its own.
    Bedrock,
}

/// Every permission that depends on a deployment.
pub(super) const BY_PARAMETER: &[ByParameter] = &[
    by_parameter("ModelSecretArn", "secretsmanager:GetSecretValue", Wanted::Secret("MODEL_SECRET")),
    by_parameter("ModelFallbackSecretArn", "secretsmanager:GetSecretValue", Wanted::Secret("MODEL_FALLBACK_SECRET")),
    by_parameter("McpSecretArns", "secretsmanager:GetSecretValue", Wanted::McpSecrets),
    by_parameter("BedrockModelArns", "bedrock:InvokeModel", Wanted::Bedrock),
];

const fn by_parameter(parameter: &'static str, action: &'static str, wanted_by: Wanted) -> ByParameter {
    ByParameter { function: "step", parameter, action, wanted_by }
}

impl Wanted {
    /// The variables of `set` that want it.
    pub fn by(&self, set: &Value) -> Vec<&'static str> {
        let is_set = |name: &&'static str| set[*name].is_string();
        let asks = |(model, secret): &(&'static str, &'static str)| {
            set[*model].as_str().is_some_and(|model| model.starts_with("bedrock:")) && !is_set(secret)
        };
        match self {
            Wanted::Secret(name) => [*name].into_iter().filter(is_set).collect(),
            Wanted::McpSecrets => {
                // `auth_secret`, `list_secret` and `identity_secret`.
                let names_secrets = set["MCP_SERVERS"].as_str().is_some_and(|list| list.contains("_secret"));
                let inline = names_secrets.then_some("MCP_SERVERS");
                ["MCP_SERVERS_SECRET"].into_iter().filter(is_set).chain(inline).collect()
            }
            Wanted::Bedrock => {
                let routes = [("MODEL", "MODEL_SECRET"), ("MODEL_FALLBACK", "MODEL_FALLBACK_SECRET")];
                routes.iter().filter(|route| asks(route)).map(|(model, _)| *model).collect()
            }
        }
    }
}

/// Operations that only the `windlass` command comes to, with the caller's own permissions, or that no binary calls yet.
pub(super) const NOT_IN_FUNCTIONS: &[&str] = &[
    "shared/src/aws/controls.rs: query",
    "shared/src/aws/controls.rs: transact_write_items",
    "shared/src/aws/idempotency.rs: delete_item",
    "shared/src/aws/idempotency.rs: update_item",
    "shared/src/aws/prompts.rs: put_item",
    "shared/src/aws/prompts.rs: query",
    "shared/src/aws/queue.rs: change_message_visibility",
    "shared/src/aws/queue.rs: get_queue_url",
    "shared/src/aws/replay_plans.rs: batch_write_item",
    "shared/src/aws/replay_plans.rs: get_item",
    "shared/src/aws/replay_plans.rs: put_item",
    "shared/src/aws/replay_plans.rs: query",
    "shared/src/aws/replay_plans.rs: update_item",
    "shared/src/aws/schedule.rs: query",
    "shared/src/aws/search.rs: query",
    "shared/src/aws/search.rs: scan",
];
