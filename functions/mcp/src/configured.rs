//! From configuration to tools.

use windlass::config::{Config, McpSource};

use crate::{
    catalogue::{Catalogue, CatalogueErrors, Ports},
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
    /// The servers.
    #[error("{0}")]
    Catalogue(CatalogueErrors),
    /// The release was judged with other tools.
    #[error(
        "`MCP_TOOLS_DIGEST` is not what the servers offer now, which is `{found}`; hint: look at what has changed, then release anew"
    )]
    Digest {
        /// What they offer.
        found: String,
    },
}

/// The tools of the configured servers; none when there are no servers.
///
/// # Errors
/// When one of them cannot be used: the function is not to start then.
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
    let catalogue = Catalogue::of(&servers, ports).await.map_err(McpError::Catalogue)?;
    match &config.tools.mcp_tools_digest {
        Some(wanted) if *wanted != catalogue.digest => Err(McpError::Digest { found: catalogue.digest }),
        _ => Ok(catalogue),
    }
}
