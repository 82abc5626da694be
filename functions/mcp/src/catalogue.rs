//! What the servers offer: asked for before the first poll, and again of servers that were away.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use rmcp::model::Tool as Listed;
use serde_json::Value;
use tracing::{error, info, warn};
use windlass::{
    agent::{
        schema::ArgumentSchema,
        tool::{Tool, ToolSpec},
    },
    clock::{Clock, Timestamp, before},
    secrets::Secrets,
};

use crate::{
    away::AwayTool,
    connection::{Connection, http_client},
    identity::Signer,
    listing::{Fixed, Listing, list},
    pins::ToolDigests,
    servers::{McpServer, ToolRules},
    tokens::Tokens,
    tool::{McpTool, Server, effect_of},
};

/// How long asking a server for its tools may take: a start-up has ten seconds in all
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
const LIST_TIMEOUT: Duration = Duration::from_secs(7);

/// How long asking a server again may take that was away: a batch of messages waits for it.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a server is left alone that was away.
const AGAIN_AFTER: Duration = Duration::from_secs(15);

/// How much of a tool's description is kept; providers take less, each its own.
const DESCRIPTION_CHARS_MAX: usize = 2_000;

/// What a catalogue stands on.
#[derive(Clone)]
pub struct Ports {
    /// Where tokens are.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The servers' tools cannot be had at all.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// There is no way to any server.
    #[error("HTTP cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
    /// A server offers something else than the release was judged with.
    #[error(
        "`MCP_TOOLS_DIGEST` is not what the servers offer now, which is `{found}`; hint: look at what has changed, then release anew"
    )]
    Contradicted {
        /// What they offer.
        found: ToolDigests,
    },
}

/// What the servers offer.
pub struct Catalogue {
    http: Option<reqwest::Client>,
    ports: Option<Ports>,
    pinned: Option<ToolDigests>,
    servers: Vec<(McpServer, Offered)>,
    asked_at: Timestamp,
}

/// What one server offers.
enum Offered {
    /// Its tools, and the digest of what it says of them.
    Tools { digest: String, tools: Vec<Arc<dyn Tool>> },
    /// Nothing now, and why.
    Away { reason: String },
}

/// Whether asking again has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A server that was away offers its tools: the agent is to be put together anew.
    Changed,
    /// Everything is as it was.
    Unchanged,
}

impl Catalogue {
    /// No servers, no tools.
    pub const fn empty() -> Self {
        Self { http: None, ports: None, pinned: None, servers: Vec::new(), asked_at: Timestamp::from_millis(0) }
    }

    /// Asks every server for its tools, all at once. One that does not list them is away: its tools are known by name only, and runs that
    /// want them are held until it does.
    ///
    /// # Errors
    /// A server that lists something else than what is pinned; a server that is away contradicts nothing.
    pub async fn of(
        servers: &[McpServer],
        pinned: Option<ToolDigests>,
        ports: &Ports,
    ) -> Result<Catalogue, CatalogueError> {
        let http = http_client()?;
        let asked_at = ports.clock.now();
        let asked = join_all(servers.iter().map(|server| offered(server, &http, ports, LIST_TIMEOUT))).await;
        let servers = servers.iter().cloned().zip(asked).collect();
        let catalogue = Catalogue { http: Some(http), ports: Some(ports.clone()), pinned, servers, asked_at };
        if catalogue.contradicts_pins() {
            return Err(CatalogueError::Contradicted { found: catalogue.digests() });
        }
        for (server, reason) in catalogue.away() {
            error!(server, reason, "an MCP server is away; its tools are not available now");
        }
        Ok(catalogue)
    }

    /// The tools, those of servers that are away among them.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let of = |(server, offered): &(McpServer, Offered)| match offered {
            Offered::Tools { tools, .. } => tools.clone(),
            Offered::Away { reason } => {
                let away = |(name, rules): (&String, _)| away_tool(server, name, rules, reason);
                server.tools.iter().filter_map(away).collect()
            }
        };
        self.servers.iter().flat_map(of).collect()
    }

    /// What `MCP_TOOLS_DIGEST` is compared with; servers that are away are not in it.
    pub fn digests(&self) -> ToolDigests {
        let listed = self.servers.iter().filter_map(|(server, offered)| match offered {
            Offered::Tools { digest, .. } => Some((server.name.clone(), digest.clone())),
            Offered::Away { .. } => None,
        });
        ToolDigests(listed.collect())
    }

    /// The servers that are away, and why.
    pub fn away(&self) -> impl Iterator<Item = (&str, &str)> {
        self.servers.iter().filter_map(|(server, offered)| match offered {
            Offered::Away { reason } => Some((server.name.as_str(), reason.as_str())),
            Offered::Tools { .. } => None,
        })
    }

    /// Asks the servers again that are away, unless that was done a moment ago.
    pub async fn ask_again(&mut self) -> Asked {
        let (Some(ports), Some(http)) = (self.ports.clone(), self.http.clone()) else { return Asked::Unchanged };
        let now = ports.clock.now();
        if self.away().next().is_none() || now.since(self.asked_at) < AGAIN_AFTER {
            return Asked::Unchanged;
        }
        self.asked_at = now;
        let (pinned, mut changed) = (self.pinned.clone(), Asked::Unchanged);
        let away = self.servers.iter_mut().filter(|(_, offered)| matches!(offered, Offered::Away { .. }));
        let asked = away.map(async |(server, offered)| {
            let found = self::offered(server, &http, &ports, AGAIN_TIMEOUT).await;
            *offered = unless_contradicted(server, found, pinned.as_ref());
            match offered {
                Offered::Tools { .. } => {
                    info!(server = %server.name, "an MCP server is back");
                    Asked::Changed
                }
                Offered::Away { reason } => {
                    warn!(server = %server.name, %reason, "an MCP server is still away");
                    Asked::Unchanged
                }
            }
        });
        if join_all(asked).await.contains(&Asked::Changed) {
            changed = Asked::Changed;
        }
        changed
    }

    /// Whether a server lists something else than what is pinned, or is pinned and not there.
    fn contradicts_pins(&self) -> bool {
        let Some(ToolDigests(pinned)) = &self.pinned else { return false };
        let ToolDigests(found) = self.digests();
        let known: BTreeSet<&String> = self.servers.iter().map(|(server, _)| &server.name).collect();
        found.iter().any(|(name, digest)| pinned.get(name) != Some(digest))
            || known.iter().any(|name| !pinned.contains_key(*name))
            || pinned.keys().any(|name| !known.contains(name))
    }
}

/// What a server offers that came back, if that is what the release was judged with.
fn unless_contradicted(server: &McpServer, found: Offered, pinned: Option<&ToolDigests>) -> Offered {
    match (&found, pinned) {
        (Offered::Tools { digest, .. }, Some(ToolDigests(pinned))) if pinned.get(&server.name) != Some(digest) => {
            let name = &server.name;
            Offered::Away {
                reason: format!("the MCP server `{name}` offers other tools than this release was judged with"),
            }
        }
        _ => found,
    }
}

async fn offered(server: &McpServer, http: &reqwest::Client, ports: &Ports, within: Duration) -> Offered {
    let Ports { secrets, clock } = ports;
    let tokens = Tokens::new(server.token.clone(), Arc::clone(secrets), Arc::clone(clock));
    let connection = Connection::new(http.clone(), &server.url, tokens, server.answer_bytes_max, Arc::clone(clock));
    let (name, now) = (&server.name, clock.now());
    let listing = match before(clock.as_ref(), now + within, list(&connection)).await {
        Some(Ok(listing)) => listing,
        Some(Err(error)) => {
            return Offered::Away { reason: format!("the MCP server `{name}` does not list its tools: {error}") };
        }
        None => {
            return Offered::Away {
                reason: format!("the MCP server `{name}` did not list its tools within {within:?}"),
            };
        }
    };
    for (tool, problem) in listing.malformed.iter().filter(|(tool, _)| !server.tools.contains_key(*tool)) {
        warn!(server = %name, %tool, %problem, "a tool that is not used is malformed; it is left out");
    }
    let identity = server.identity_secret.as_deref();
    let shared = Arc::new(Server {
        name: name.clone(),
        connection,
        fixed: Fixed::new(&listing, server.tools.keys().cloned().collect(), now),
        signer: identity.map(|secret| Signer::new(name, secret, Arc::clone(secrets), Arc::clone(clock))),
        clock: Arc::clone(clock),
    });
    let tools = server.tools.iter().filter_map(|(tool, rules)| tool_of(server, &shared, tool, rules, &listing));
    Offered::Tools { tools: tools.collect(), digest: shared.fixed.digest.clone() }
}

/// A tool that its server lists, or one that is not available.
fn tool_of(
    server: &McpServer,
    shared: &Arc<Server>,
    name: &str,
    rules: &ToolRules,
    listing: &Listing,
) -> Option<Arc<dyn Tool>> {
    match listing.get(name).and_then(|listed| spec(server, name, rules, listed)) {
        Ok(spec) => {
            let (called, bind, server) = (name.to_owned(), rules.bind.clone(), Arc::clone(shared));
            Some(Arc::new(McpTool { spec, called, bind, server }))
        }
        Err(problem) => {
            let reason = format!("server `{}`: tool `{name}`: {problem}", server.name);
            error!(%reason, "a tool is not available");
            away_tool(server, name, rules, &reason)
        }
    }
}

fn away_tool(server: &McpServer, name: &str, rules: &ToolRules, reason: &str) -> Option<Arc<dyn Tool>> {
    match AwayTool::new(server, name, rules, reason) {
        Ok(tool) => Some(Arc::new(tool)),
        Err(problem) => {
            error!(server = %server.name, tool = %name, %problem, "a tool is left out");
            None
        }
    }
}

fn spec(server: &McpServer, name: &str, rules: &ToolRules, listed: &Listed) -> Result<ToolSpec, String> {
    let schema = Value::Object(listed.input_schema.as_ref().clone());
    let schema = ArgumentSchema::compile(schema).map_err(|error| error.to_string())?;
    let description = listed.description.as_deref().unwrap_or_default();
    Ok(ToolSpec {
        name: format!("{}/{name}", server.name).parse().map_err(|error| format!("{error}"))?,
        description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
        schema,
        effect: rules.effect.unwrap_or_else(|| effect_of(listed.annotations.as_ref())),
        owner: server.owner.clone(),
        timeout: rules.timeout,
        retry: server.retry,
        errors_mean: server.errors_mean,
        compensable: false,
        approval: rules.approval.clone(),
        redaction: rules.redaction.clone(),
        cache: rules.cache,
    })
}
