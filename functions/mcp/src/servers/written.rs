//! The list as it is written.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use windlass::{
    agent::{
        redaction::Redaction,
        tool::{CacheRule, CacheScope, Effect, ErrorsMean},
    },
    ids::{Role, Tenant, ToolName},
    retry::RetryPolicy,
};

use super::{Bound, InvalidServers, McpServer, SERVERS_MAX, ToolRules};
use crate::{
    bounded::{ANSWER_BYTES, ANSWER_BYTES_MAX},
    tokens::{TENANT, TenantSecrets, TokenSource},
};

/// How long one call may take when nothing else is said.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest rest between two attempts that may be configured.
const REST_MAX: Duration = Duration::from_secs(3600);

const FIELDS: &str = "`name`, `url`, `auth_secret`, `auth_secrets`, `list_secret`, `identity_secret`, `owner`, `answer_bytes_max`, \
     `retry`, `errors_mean` and `tools`, whose fields are `effect`, `approval`, `timeout_seconds`, `cache_seconds`, `cache_scope`, \
     `bind`, `redact_arguments` and `redact_answer`";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenServer {
    name: String,
    url: String,
    auth_secret: Option<String>,
    auth_secrets: Option<BTreeMap<String, String>>,
    list_secret: Option<String>,
    identity_secret: Option<String>,
    owner: Option<String>,
    answer_bytes_max: Option<usize>,
    retry: Option<WrittenRetry>,
    #[serde(default)]
    errors_mean: ErrorsMean,
    tools: BTreeMap<String, WrittenRules>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRetry {
    rest_first_millis: Option<u64>,
    rest_max_seconds: Option<u64>,
    give_up_after_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRules {
    effect: Option<Effect>,
    approval: Option<String>,
    timeout_seconds: Option<u64>,
    cache_seconds: Option<u64>,
    cache_scope: Option<CacheScope>,
    #[serde(default)]
    bind: BTreeMap<String, Bound>,
    #[serde(default)]
    redact_arguments: Vec<String>,
    #[serde(default)]
    redact_answer: Vec<String>,
}

/// Reads a list of servers, such as
///
/// ```json
/// [{ "name": "shop", "url": "https://mcp.example.com/mcp", "auth_secret": "windlass/shop-token", "identity_secret": "windlass/shop-key",
///    "tools": { "look_up": {}, "pay": { "effect": "idempotent", "approval": "finance", "timeout_seconds": 30 } } }]
/// ```
///
/// # Errors
/// Everything that is wrong, without quoting values: somebody may have put a secret there.
pub fn parse(text: &str) -> Result<Vec<McpServer>, InvalidServers> {
    let written: Vec<WrittenServer> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        InvalidServers { problems: vec![format!("no list of servers at line {line} column {column}; use {FIELDS}")] }
    })?;
    let mut problems = Vec::new();
    if written.is_empty() || written.len() > SERVERS_MAX {
        problems.push(format!("{} servers; use 1 to {SERVERS_MAX}", written.len()));
    }
    let servers: Vec<McpServer> = written.into_iter().map(|server| read(server, &mut problems)).collect();
    let mut names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        problems.push(format!("there are two servers `{}`", twice[0]));
    }
    if problems.is_empty() { Ok(servers) } else { Err(InvalidServers { problems }) }
}

fn read(written: WrittenServer, problems: &mut Vec<String>) -> McpServer {
    let WrittenServer { name, url, identity_secret, owner, answer_bytes_max, retry, errors_mean, tools, .. } = written;
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !plain(&name) || name.len() > 32 {
        problems.push("a server's name is 1 to 32 of A-Z a-z 0-9 _ -".to_owned());
    }
    let mut refuse = |problem: &str| problems.push(format!("server `{name}`: {problem}"));
    let token = read_token(written.auth_secret, written.auth_secrets, written.list_secret, &mut refuse);
    match Address::of(&url) {
        None => refuse("`url` is not `https://host/path`, without a user name"),
        Some(Address::Unprotected) if token != TokenSource::None || identity_secret.is_some() => {
            refuse("a secret goes with `https:` only, or to this machine: anybody on the way could read the token");
        }
        Some(_) => {}
    }
    if tools.is_empty() {
        refuse("`tools` is empty; name every tool that may be used");
    }
    let answer_bytes_max = answer_bytes_max.unwrap_or(ANSWER_BYTES);
    if !(1024..=ANSWER_BYTES_MAX).contains(&answer_bytes_max) {
        refuse(&format!("`answer_bytes_max` is out of range; use 1024 to {ANSWER_BYTES_MAX}"));
    }
    let retry = retry.map_or(RetryPolicy::PATIENT, |retry| read_retry(&retry, &mut refuse));
    let read = tools.into_iter().map(|(tool, rules)| {
        if format!("{name}/{tool}").parse::<ToolName>().is_err() {
            refuse("a tool has a name that cannot be used here");
        }
        let rules = read_rules(rules, &mut |problem| refuse(&format!("tool `{tool}`: {problem}")));
        (tool, rules)
    });
    let tools = read.collect();
    let owner = owner.unwrap_or_else(|| format!("the MCP server `{name}`"));
    McpServer { name, url, token, identity_secret, owner, answer_bytes_max, retry, errors_mean, tools }
}

fn read_token(
    everybody: Option<String>,
    named: Option<BTreeMap<String, String>>,
    lists: Option<String>,
    refuse: &mut dyn FnMut(&str),
) -> TokenSource {
    let names = match (everybody, named) {
        (Some(_), Some(_)) => {
            refuse("`auth_secret` and `auth_secrets` are both set; remove one of them");
            return TokenSource::None;
        }
        (Some(name), None) if name.contains(TENANT) => TenantSecrets::Template(name),
        (None, Some(named)) => {
            let read = named.into_iter().map(|(tenant, name)| Ok((tenant.parse::<Tenant>()?, name)));
            let read: Result<_, windlass::ids::InvalidId> = read.collect();
            TenantSecrets::Named(read.unwrap_or_else(|_| {
                refuse("`auth_secrets` names something that is not a tenant");
                BTreeMap::new()
            }))
        }
        (only, None) => {
            if lists.is_some() {
                refuse("`list_secret` goes with tokens by tenant only: `auth_secret` is for lists too");
            }
            return only.map_or(TokenSource::None, TokenSource::Everybody);
        }
    };
    TokenSource::ByTenant { names, lists }
}

fn read_retry(written: &WrittenRetry, refuse: &mut dyn FnMut(&str)) -> RetryPolicy {
    let patient = RetryPolicy::PATIENT;
    let retry = RetryPolicy {
        rest_first: written.rest_first_millis.map_or(patient.rest_first, Duration::from_millis),
        rest_max: written.rest_max_seconds.map_or(patient.rest_max, Duration::from_secs),
        give_up_after: written.give_up_after_seconds.map(Duration::from_secs),
    };
    if retry.rest_first.is_zero() || retry.rest_first > retry.rest_max || retry.rest_max > REST_MAX {
        refuse("`retry`: use a `rest_first_millis` of 1 or more, and a `rest_max_seconds` of no less and at most 3600");
    }
    retry
}

fn read_rules(written: WrittenRules, refuse: &mut dyn FnMut(&str)) -> ToolRules {
    if written.effect == Some(Effect::Queryable) {
        refuse("`effect` cannot be `queryable`: MCP has no way to ask whether a call took effect");
    }
    let timeout = written.timeout_seconds.map_or(TIMEOUT, Duration::from_secs);
    if timeout.is_zero() || timeout > Duration::from_secs(600) {
        refuse("`timeout_seconds` is out of range; use 1 to 600");
    }
    let approval = written.approval.map(|role| role.parse::<Role>());
    if matches!(approval, Some(Err(_))) {
        refuse("`approval` is not a role");
    }
    if written.bind.keys().any(|pointer| !pointer.starts_with('/')) {
        refuse("`bind` has something that is not a JSON pointer such as `/customer`");
    }
    let mut pointers = |written: Vec<String>, field: &str| {
        let read: Result<Vec<_>, _> = written.iter().map(|pointer| pointer.parse()).collect();
        read.unwrap_or_else(|_| {
            refuse(&format!("`{field}` has something that is not a JSON pointer such as `/customer/iban`"));
            Vec::new()
        })
    };
    let redaction = Redaction {
        arguments: pointers(written.redact_arguments, "redact_arguments"),
        answer: pointers(written.redact_answer, "redact_answer"),
    };
    if written.cache_scope.is_some() && written.cache_seconds.is_none() {
        refuse("`cache_scope` goes with `cache_seconds`");
    }
    let scope = written.cache_scope.unwrap_or(CacheScope::Tenant);
    let cache = written.cache_seconds.map(|seconds| CacheRule { kept_for: Duration::from_secs(seconds), scope });
    let approval = approval.and_then(Result::ok);
    ToolRules { effect: written.effect, approval, timeout, cache, redaction, bind: written.bind }
}

/// How a request to a URL travels.
enum Address {
    /// Over TLS, or without leaving this machine.
    Protected,
    /// For everybody on the way to read.
    Unprotected,
}

impl Address {
    fn of(url: &str) -> Option<Address> {
        let parsed = reqwest::Url::parse(url).ok()?;
        let sound = parsed.has_host() && parsed.username().is_empty() && parsed.password().is_none();
        let here = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        match parsed.scheme() {
            "https" if sound => Some(Address::Protected),
            "http" if sound && here => Some(Address::Protected),
            "http" if sound => Some(Address::Unprotected),
            _ => None,
        }
    }
}
