//! The step function: advances runs that the step queue names.
#![deny(missing_docs)]

use std::{path::Path, sync::Arc};

use refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    handbook::{BadHandbook, cited, handbook, search},
    ledger::Ledger,
    ledger_in_dynamodb::LedgerInDynamoDb,
    policy::{drills_of, policy, terms},
    script::Script,
    tools::{InvalidTool, tools},
};
use windlass::{
    agent::{
        Agent,
        model::Model,
        tool::Tool,
        tool_set::{InvalidToolSet, tool_set},
    },
    aws::clients::Clients,
    clock::{Clock, SystemClock},
    config::Config,
    ids::{InvalidId, Random},
    prompts::Prompt,
    secrets::Secrets,
    telemetry::Teller,
};
use windlass_policy::PolicyErrors;
use windlass_providers::assembly::{Assembled, AssemblyError, Aws, Ports, assemble};

mod batch;
pub mod current;
pub mod handler;
pub mod ready;
pub mod refund_desk;

/// The agent is not whole.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAgent {
    /// One of its names is not one: a mistake in this crate.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// One of its own tools is not sound.
    #[error(transparent)]
    Tool(#[from] InvalidTool),
    /// Its tools do not go together.
    #[error(transparent)]
    Tools(#[from] InvalidToolSet),
    /// Its policy cannot be taken on.
    #[error("the policy cannot be taken on:\n{0}")]
    Policy(#[from] PolicyErrors),
    /// Its handbook cannot be read.
    #[error(transparent)]
    Handbook(#[from] BadHandbook),
}

/// The sample agent, on its own table, with `more` tools. Drills are there when they are switched on.
///
/// # Errors
/// When one of its names or tools is not sound, or its policy cannot be taken on.
pub fn desk(
    config: &Config,
    model: Arc<dyn Model>,
    client: aws_sdk_dynamodb::Client,
    random: Arc<dyn Random>,
    more: Vec<Arc<dyn Tool>>,
) -> Result<Agent, InvalidAgent> {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInDynamoDb::new(client, config.storage.desk_table.clone(), random));
    let drills = drills_of(config.tools.drills);
    let index = handbook(config.storage.sources_file.as_deref().map(Path::new))?;
    let own = tools(&ledger, drills)?.into_iter().chain([search(&index, Arc::new(SystemClock))?]);
    let tools = tool_set(own.chain(more))?;
    let terms = terms(config.runtime.environment, config.policy.approval_expires_after)?;
    let policy =
        policy(config.policy.file.as_deref().map(Path::new), drills, tools.values().map(|tool| tool.spec()), terms)?;
    Ok(Agent {
        model: Arc::new(cited(model, &index)?),
        tools,
        policy: Arc::new(policy),
        prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
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
    teller: Arc<Teller>,
) -> Result<Assembled, AssemblyError> {
    let aws = clients.identity().map(|(credentials, region)| Aws { credentials, region });
    assemble(&config.model, &Ports { secrets, clock, script: Arc::new(Script), aws, teller: Some(teller) })
}
