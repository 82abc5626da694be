//! What the servers offer, fixed before the first poll.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use rmcp::model::Tool as Listed;
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use windlass::{
    agent::{
        schema::ArgumentSchema,
        tool::{ErrorsMean, Tool, ToolSpec},
    },
    clock::{Clock, before},
    ids::ToolName,
    retry::RetryPolicy,
    secrets::{SecretCache, Secrets},
};

use crate::{
    connection::{Connection, Token, http_client},
    listing::{Fixed, hex, list},
    servers::{McpServer, ToolRules},
    tool::{McpTool, Server, effect_of},
};

/// How long asking a server for its tools may take: a start-up has ten seconds in all
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
const LIST_TIMEOUT: Duration = Duration::from_secs(7);

/// When a call is tried again that was not worked on, or may be repeated.
const RETRY: RetryPolicy = RetryPolicy::PATIENT;

/// How much of a tool's description a model is told.
const DESCRIPTION_CHARS_MAX: usize = 2_000;

/// What the servers offer.
pub struct Catalogue {
    /// The tools that may be used.
    pub tools: Vec<Arc<dyn Tool>>,
    /// SHA-256, in hexadecimal, over what they say of themselves: what `MCP_TOOLS_DIGEST` is compared with.
    pub digest: String,
}

/// What a catalogue stands on.
pub struct Ports {
    /// Where tokens are.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The servers' tools cannot be had, one line per problem. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CatalogueErrors {
    /// What is wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for CatalogueErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl Catalogue {
    /// No servers, no tools.
    pub fn empty() -> Self {
        Self { tools: Vec::new(), digest: hex(&Sha256::digest("")) }
    }

    /// Asks every server for its tools, all at once.
    ///
    /// # Errors
    /// Servers that cannot be asked, tools that are not there, schemas that do not compile.
    pub async fn of(servers: &[McpServer], ports: &Ports) -> Result<Catalogue, CatalogueErrors> {
        let http = http_client().map_err(|error| CatalogueErrors { problems: vec![error.to_string()] })?;
        let asked = join_all(servers.iter().map(|server| offered(server, http.clone(), ports))).await;
        let (mut tools, mut digests, mut problems) = (Vec::<Arc<dyn Tool>>::new(), BTreeMap::new(), Vec::new());
        for (server, asked) in servers.iter().zip(asked) {
            match asked {
                Ok((digest, offered)) => {
                    digests.insert(&server.name, digest);
                    tools.extend(offered);
                }
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| format!("server `{}`: {problem}", server.name)));
                }
            }
        }
        let told: Vec<String> = digests.iter().map(|(name, digest)| format!("{name} {digest}")).collect();
        let digest = hex(&Sha256::digest(told.join("\n")));
        if problems.is_empty() { Ok(Catalogue { tools, digest }) } else { Err(CatalogueErrors { problems }) }
    }
}

type Offered = (String, Vec<Arc<dyn Tool>>);

async fn offered(server: &McpServer, http: reqwest::Client, ports: &Ports) -> Result<Offered, Vec<String>> {
    let token = server.auth_secret.as_deref().map(|name| token(name, ports));
    let connection = Connection::new(http, &server.url, token);
    let now = ports.clock.now();
    let listing = match before(ports.clock.as_ref(), now + LIST_TIMEOUT, list(&connection)).await {
        Some(Ok(listing)) => listing,
        Some(Err(error)) => return Err(vec![format!("it does not list its tools: {error}")]),
        None => return Err(vec![format!("it did not list its tools within {LIST_TIMEOUT:?}")]),
    };
    let names: BTreeSet<String> = server.tools.keys().cloned().collect();
    let shared = Arc::new(Server {
        name: server.name.clone(),
        connection,
        fixed: Fixed::new(&listing, names, now),
        clock: Arc::clone(&ports.clock),
    });
    let (mut tools, mut problems) = (Vec::<Arc<dyn Tool>>::new(), Vec::new());
    for (name, rules) in &server.tools {
        let spec = match listing.get(name) {
            Some(listed) => spec(server, name, rules, listed),
            None => Err("there is no such tool".to_owned()),
        };
        match spec {
            Ok(spec) => {
                tools.push(Arc::new(McpTool { spec, called: name.clone(), server: Arc::clone(&shared) }));
            }
            Err(problem) => problems.push(format!("tool `{name}`: {problem}")),
        }
    }
    if problems.is_empty() { Ok((shared.fixed.digest.clone(), tools)) } else { Err(problems) }
}

fn spec(server: &McpServer, name: &str, rules: &ToolRules, listed: &Listed) -> Result<ToolSpec, String> {
    let name: ToolName = format!("{}/{name}", server.name).parse().map_err(|error| format!("{error}"))?;
    let schema = Value::Object(listed.input_schema.as_ref().clone());
    let schema = ArgumentSchema::compile(schema).map_err(|error| error.to_string())?;
    let description = listed.description.as_deref().unwrap_or_default();
    Ok(ToolSpec {
        name,
        description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
        schema,
        effect: rules.effect.unwrap_or_else(|| effect_of(listed.annotations.as_ref())),
        owner: server.owner.clone(),
        timeout: rules.timeout,
        retry: RETRY,
        errors_mean: ErrorsMean::Unknown,
        compensable: false,
        approval: rules.approval.clone(),
        redaction: rules.redaction.clone(),
        cache: rules.cache,
    })
}

fn token(name: &str, ports: &Ports) -> Token {
    SecretCache::new(Arc::clone(&ports.secrets), Arc::clone(&ports.clock), name, |text: &SecretString| Ok(text.clone()))
}
