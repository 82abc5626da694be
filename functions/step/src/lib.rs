//! The step function: advances runs that the step queue names.
#![deny(missing_docs)]

use std::sync::Arc;

use refund_desk::{
    PROMPT, PROMPT_VERSION,
    ledger::Ledger,
    ledger_in_dynamodb::LedgerInDynamoDb,
    policy::DeskPolicy,
    script::Script,
    tools::{Drills, tools},
};
use windlass::{
    agent::Agent,
    config::{Config, Environment},
    ids::{InvalidId, Random},
    prompts::Prompt,
};

pub mod handler;
pub mod refund_desk;

/// The sample agent, on its own table. Drills are there in development only.
///
/// # Errors
/// When one of its names is not one: a mistake in this crate.
pub fn desk(config: &Config, client: aws_sdk_dynamodb::Client, random: Arc<dyn Random>) -> Result<Agent, InvalidId> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInDynamoDb::new(client, config.storage.desk_table.clone(), random));
    let drills = match config.runtime.environment {
        Environment::Dev => Drills::Available,
        Environment::Staging | Environment::Production => Drills::Absent,
    };
    Ok(Agent {
        model: Arc::new(Script),
        tools: tools(&ledger, drills)?,
        policy: Arc::new(DeskPolicy {
            small_refund_max_cents: config.policy.small_refund_max_cents,
            finance: "finance".parse()?,
            escalation: "operator".parse()?,
            approval_expires_after: config.policy.approval_expires_after,
            version: config.policy.version.clone(),
        }),
        prompt: Prompt::built_in(PROMPT_VERSION, PROMPT),
    })
}
