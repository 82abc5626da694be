//! What the step function starts with, or everything that keeps it from starting.

use std::{sync::Arc, thread};

use futures::future::join;
use windlass::{
    agent::{Agent, schema::ArgumentSchema},
    aws::clients::Clients,
    clock::{Clock, SystemClock},
    config::{self, Config},
    ids::Random,
    secrets::Secrets,
    startup::{self, NotReady, demand},
    telemetry::{StandardOutput, Teller},
};
use windlass_mcp::{catalogue::Ports, configured::catalogue};
use windlass_providers::transport::auth::key_cache;

use crate::{desk, models};

/// What the step function starts with.
pub struct Ready {
    /// What it is told from outside.
    pub config: Config,
    /// What it decides and acts with, watched.
    pub agent: Agent,
    /// Tells what it does.
    pub teller: Arc<Teller>,
}

/// Reads the configuration from `lookup`, fetches every secret, asks the tool servers and puts the agent together. Keys of models are
/// fetched while tool servers answer.
///
/// # Errors
/// Everything that is wrong, as far as it can be found out: keys of models are looked for even when variables are wrong, and tool
/// servers are asked even when a key is missing.
pub async fn ready(
    lookup: impl Fn(&str) -> Option<String>,
    clients: &Clients,
    secrets: Arc<dyn Secrets>,
    random: Arc<dyn Random>,
) -> Result<Ready, NotReady> {
    // A start is mostly these, and nothing of them depends on what is fetched.
    thread::spawn(ArgumentSchema::warm_up);
    thread::spawn(windlass_policy::warm_up);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let started = clock.now();
    let prepared = startup::prepare(&lookup, secrets.clone(), clock.clone(), random.as_ref()).await;
    let config = match prepared {
        Ok(ready) => ready.config,
        Err(problems) => {
            let names = config::key_names(&lookup);
            let keys: Vec<_> = names.iter().map(|name| key_cache(secrets.clone(), clock.clone(), name)).collect();
            let keys = demand(&keys, started, clock.as_ref(), random.as_ref()).await;
            return Err(keys.err().into_iter().fold(problems, NotReady::and));
        }
    };
    startup::log(&config);
    let teller = Teller::new(Arc::new(StandardOutput), &config);
    let models = models(&config, clients, secrets.clone(), clock.clone(), teller.clone());
    let models = async {
        let models = models.map_err(NotReady::of)?;
        demand(&models.keys, started, clock.as_ref(), random.as_ref()).await.map(|()| models.model)
    };
    let ports = Ports { secrets, clock: clock.clone() };
    let (models, tools) = join(models, catalogue(&config, &ports)).await;
    let tools = tools.map_err(|problem| NotReady::of(format!("MCP: {problem}")));
    let (model, tools) = match (models, tools) {
        (Ok(model), Ok(mcp)) => (model, mcp.tools),
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => return Err(problems),
        (Err(keys), Err(tools)) => return Err(keys.and(tools)),
    };
    let agent = desk(&config, model, clients.dynamodb(), random, tools);
    let agent = agent.map_err(|mistake| NotReady::of(format!("the agent: {mistake}")))?;
    Ok(Ready { agent: teller.watch(agent, &clock), config, teller })
}
