//! What the step function starts with, or everything that keeps it from starting.

use std::{sync::Arc, thread};

use futures::future::join;
use tokio::sync::Mutex;
use tracing::error;
use windlass::{
    agent::{Agent, model::Model, schema::ArgumentSchema},
    approval::signature::DecisionKeys,
    aws::clients::Clients,
    clock::{Clock, SystemClock},
    config::{self, Config},
    ids::Random,
    secrets::{SecretCache, Secrets},
    startup::{self, Access, NotReady, demand},
    telemetry::{StandardOutput, Teller},
};
use windlass_mcp::{
    catalogue::{Asked, Catalogue, Ports},
    configured::catalogue,
};
use windlass_providers::transport::auth::key_cache;

use crate::{InvalidAgent, desk, models};

/// What the step function starts with.
pub struct Ready {
    /// What it is told from outside.
    pub config: Config,
    /// What it decides and acts with, watched.
    pub agent: Agent,
    /// Puts that together anew when a tool server comes back that was away.
    pub agents: Agents,
    /// What decisions are verified with.
    pub decision_keys: Arc<SecretCache<DecisionKeys>>,
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
    let prepared = startup::prepare(&lookup, secrets.clone(), clock.clone(), random.as_ref(), Access::Verifies).await;
    let (config, decision_keys) = match prepared {
        Ok(ready) => (ready.config, ready.decision_keys),
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
    let (model, catalogue) = match (models, tools) {
        (Ok(model), Ok(catalogue)) => (model, catalogue),
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => return Err(problems),
        (Err(keys), Err(tools)) => return Err(keys.and(tools)),
    };
    let (catalogue, dynamodb) = (Mutex::new(catalogue), clients.dynamodb());
    let agents = Agents { config: config.clone(), model, dynamodb, random, clock, teller: teller.clone(), catalogue };
    let agent = agents.agent(&*agents.catalogue.lock().await);
    let agent = agent.map_err(|mistake| NotReady::of(format!("the agent: {mistake}")))?;
    Ok(Ready { agent, agents, config, decision_keys, teller })
}

/// Puts the agent together from what does not change in a process, and from what tool servers offer.
pub struct Agents {
    config: Config,
    model: Arc<dyn Model>,
    dynamodb: aws_sdk_dynamodb::Client,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    teller: Arc<Teller>,
    catalogue: Mutex<Catalogue>,
}

impl Agents {
    fn agent(&self, catalogue: &Catalogue) -> Result<Agent, InvalidAgent> {
        let (model, random) = (Arc::clone(&self.model), Arc::clone(&self.random));
        let agent = desk(&self.config, model, self.dynamodb.clone(), random, catalogue.tools())?;
        Ok(self.teller.watch(agent, &self.clock))
    }

    /// The agent with the tools of a server that came back since this was last asked; `None` when nothing has changed. Then, and while
    /// servers are away, the agent goes on as it is.
    pub async fn renewed(&self) -> Option<Agent> {
        let mut catalogue = self.catalogue.lock().await;
        if catalogue.ask_again().await == Asked::Unchanged {
            return None;
        }
        let agent = self.agent(&catalogue);
        agent.inspect_err(|mistake| error!(%mistake, "the tools of a server that is back cannot be used")).ok()
    }
}
