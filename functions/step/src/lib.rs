//! The step function: advances runs that the step queue names.
#![deny(missing_docs)]

use std::sync::Arc;

use refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    ledger::Ledger,
    ledger_in_dynamodb::LedgerInDynamoDb,
    policy::DeskPolicy,
    script::Script,
    tools::{Drills, tools},
};
use windlass::{
    agent::{Agent, model::Model},
    aws::clients::Clients,
    clock::Clock,
    config::{Config, Environment},
    ids::{InvalidId, Random},
    secrets::Secrets,
};
use windlass_providers::assembly::{Assembled, AssemblyError, Aws, Ports, assemble};

pub mod handler;
pub mod refund_desk;

/// The sample agent, on its own table. Drills are there in development only.
///
/// # Errors
/// When one of its names is not one: a mistake in this crate.
pub fn desk(
    config: &Config,
    model: Arc<dyn Model>,
    client: aws_sdk_dynamodb::Client,
    random: Arc<dyn Random>,
) -> Result<Agent, InvalidId> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInDynamoDb::new(client, config.storage.desk_table.clone(), random));
    let drills = match config.runtime.environment {
        Environment::Dev => Drills::Available,
        Environment::Staging | Environment::Production => Drills::Absent,
    };
    Ok(Agent {
        model,
        tools: tools(&ledger, drills)?,
        policy: Arc::new(DeskPolicy {
            small_refund_max_cents: config.policy.small_refund_max_cents,
            finance: "finance".parse()?,
            escalation: "operator".parse()?,
            approval_expires_after: config.policy.approval_expires_after,
            version: config.policy.version.clone(),
        }),
        prompt_version: PROMPT_VERSION.to_owned(),
        instructions: INSTRUCTIONS.to_owned(),
    })
}

/// The model that the configuration names; `script` is the desk's own.
///
/// # Errors
/// When something is missing that the configuration cannot know.
pub fn models(
    config: &Config,
    clients: &Clients,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
) -> Result<Assembled, AssemblyError> {
    let aws = clients.identity().map(|(credentials, region)| Aws { credentials, region });
    assemble(&config.model, &Ports { secrets, clock, script: Arc::new(Script), aws })
}
