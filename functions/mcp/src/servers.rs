//! Which MCP servers there are and what of them an agent may use, as `MCP_SERVERS` says it.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;
use windlass::{
    agent::{
        redaction::Redaction,
        tool::{CacheRule, Effect, ErrorsMean},
    },
    ids::Role,
    retry::RetryPolicy,
};

use crate::tokens::TokenSource;

mod written;

pub use written::parse;

/// The most servers: each is asked for its tools before the first poll, and a start-up has ten seconds
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>).
pub const SERVERS_MAX: usize = 16;

/// An MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    /// Its name here; tools are named `<server>/<tool>`.
    pub name: String,
    /// Where it takes requests.
    pub url: String,
    /// Where its bearer token is.
    pub token: TokenSource,
    /// The name of the secret whose text signs who a call is made for; see [`crate::identity`].
    pub identity_secret: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// The most bytes of one of its answers.
    pub answer_bytes_max: usize,
    /// When a call is tried again that was not worked on, or may be repeated.
    pub retry: RetryPolicy,
    /// What its errors say of a call with an effect.
    pub errors_mean: ErrorsMean,
    /// What may be used, by the server's own names. Nothing else is.
    pub tools: BTreeMap<String, ToolRules>,
}

/// What holds for one tool, whatever its server says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRules {
    /// What repeating it does; the server's annotations decide when left out.
    pub effect: Option<Effect>,
    /// Who must permit every call.
    pub approval: Option<Role>,
    /// How long one call may take.
    pub timeout: Duration,
    /// For how long its answers stay good, and for whom.
    pub cache: Option<CacheRule>,
    /// What of it is not shown.
    pub redaction: Redaction,
    /// Arguments (JSON pointers) that must be what the run is.
    pub bind: BTreeMap<String, Bound>,
}

/// What an argument is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The tenant whose data it is.
    Tenant,
    /// The actor who asked for the run.
    Actor,
}

/// Everything that is wrong with a list of servers, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidServers {
    /// What is wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for InvalidServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

#[cfg(test)]
mod tests;
