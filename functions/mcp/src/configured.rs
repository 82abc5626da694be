//! From configuration to tools.

use windlass::config::{Config, McpSource};

use crate::{
    catalogue::{Catalogue, CatalogueError, Ports},
    pins::InvalidDigests,
    servers::{self, InvalidServers},
};

/// The configured servers' tools cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The list of servers.
    #[error("`{variable}`: {source}")]
    Servers {
        /// The variable that holds it, or names the secret that does.
        variable: &'static str,
        /// What is wrong.
        source: InvalidServers,
    },
    /// The secret with the list.
    #[error("`MCP_SERVERS_SECRET`: {0}")]
    Secret(windlass::secrets::SecretError),
    /// What the release was judged with.
    #[error("`MCP_TOOLS_DIGEST` is {0}")]
    Digests(InvalidDigests),
    /// The servers.
    #[error(transparent)]
    Catalogue(CatalogueError),
}

/// The tools of the configured servers; none when there are no servers.
///
/// # Errors
/// When the configuration is wrong, or a server contradicts it: the function is not to start then. A server that is away is no reason.
pub async fn catalogue(config: &Config, ports: &Ports) -> Result<Catalogue, McpError> {
    use secrecy::ExposeSecret as _;
    let (variable, text) = match &config.tools.mcp_servers {
        None => return Ok(Catalogue::empty()),
        Some(McpSource::Inline(text)) => ("MCP_SERVERS", text.clone()),
        Some(McpSource::Secret(name)) => {
            let secret = ports.secrets.get(name).await.map_err(McpError::Secret)?;
            ("MCP_SERVERS_SECRET", secret.expose_secret().to_owned())
        }
    };
    let servers = servers::parse(&text).map_err(|source| McpError::Servers { variable, source })?;
    let pinned = config.tools.mcp_tools_digest.as_deref().map(str::parse).transpose().map_err(McpError::Digests)?;
    Catalogue::of(&servers, pinned, ports).await.map_err(McpError::Catalogue)
}
