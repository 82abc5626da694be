//! The step function: advances runs that the step queue names.
#![deny(missing_docs)]

use std::sync::Arc;

use refund_desk::{
    PROMPT_VERSION,
    ledger::Ledger,
    ledger_in_dynamodb::LedgerInDynamoDb,
    policy::DeskPolicy,
    script::Script,
    tools::{Drills, InvalidTool, tools},
};
use windlass::{
    agent::{
        Agent,
        tool::Tool,
        tool_set::{InvalidToolSet, tool_set},
    },
    config::{Config, Environment},
    ids::{InvalidId, Random},
};

pub mod handler;
pub mod refund_desk;

/// The agent cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAgent {
    /// One of its names is not one.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// One of its own tools is not sound.
    #[error(transparent)]
    Tool(#[from] InvalidTool),
    /// Its tools do not go together.
    #[error(transparent)]
    Tools(#[from] InvalidToolSet),
}

/// The sample agent, on its own table, with `more` tools. Drills are there in development only.
///
/// # Errors
/// When one of its names or tools is not sound.
pub fn desk(
    config: &Config,
    client: aws_sdk_dynamodb::Client,
    random: Arc<dyn Random>,
    more: Vec<Arc<dyn Tool>>,
) -> Result<Agent, InvalidAgent> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInDynamoDb::new(client, config.storage.desk_table.clone(), random));
    let drills = match config.runtime.environment {
        Environment::Dev => Drills::Available,
        Environment::Staging | Environment::Production => Drills::Absent,
    };
    Ok(Agent {
        model: Arc::new(Script),
        tools: tool_set(tools(&ledger, drills)?.into_iter().chain(more))?,
        policy: Arc::new(DeskPolicy {
            small_refund_max_cents: config.policy.small_refund_max_cents,
            finance: "finance".parse()?,
            escalation: "operator".parse()?,
            approval_expires_after: config.policy.approval_expires_after,
            version: config.policy.version.clone(),
        }),
        prompt_version: PROMPT_VERSION.to_owned(),
    })
}
