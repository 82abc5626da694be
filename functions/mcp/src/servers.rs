//! Which MCP servers there are and what of them an agent may use, as `MCP_SERVERS` says it.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;
use windlass::{
    agent::{redaction::Redaction, tool::CacheRule, tool::Effect},
    ids::{Role, ToolName},
};

/// How long one call may take when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(20);

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
    /// The name of the secret whose text is its bearer token.
    pub auth_secret: Option<String>,
    /// Who answers for it.
    pub owner: String,
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
    /// For how long its answers stay good.
    pub cache: Option<CacheRule>,
    /// What of it is not shown.
    pub redaction: Redaction,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenServer {
    name: String,
    url: String,
    auth_secret: Option<String>,
    owner: Option<String>,
    tools: BTreeMap<String, WrittenRules>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRules {
    effect: Option<Effect>,
    approval: Option<String>,
    timeout_seconds: Option<u64>,
    cache_seconds: Option<u64>,
    #[serde(default)]
    redact_arguments: Vec<String>,
    #[serde(default)]
    redact_answer: Vec<String>,
}

/// Reads a list of servers, such as
///
/// ```json
/// [{ "name": "shop", "url": "https://mcp.example.com/mcp", "auth_secret": "windlass/shop-token",
///    "tools": { "look_up": {}, "pay": { "effect": "idempotent", "approval": "finance", "timeout_seconds": 30 } } }]
/// ```
///
/// # Errors
/// Everything that is wrong, without quoting values: somebody may have put a secret there.
pub fn parse(text: &str) -> Result<Vec<McpServer>, InvalidServers> {
    let written: Vec<WrittenServer> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let fields = "`name`, `url`, `auth_secret`, `owner` and `tools`, whose fields are `effect`, `approval`, \
                      `timeout_seconds`, `cache_seconds`, `redact_arguments` and `redact_answer`";
        InvalidServers { problems: vec![format!("no list of servers at line {line} column {column}; use {fields}")] }
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
    let WrittenServer { name, url, auth_secret, owner, tools } = written;
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !plain(&name) || name.len() > 32 {
        problems.push("a server's name is 1 to 32 of A-Z a-z 0-9 _ -".to_owned());
    }
    let mut refuse = |problem: &str| problems.push(format!("server `{name}`: {problem}"));
    match Address::of(&url) {
        None => refuse("`url` is not `https://host/path`, without a user name"),
        Some(Address::Unprotected) if auth_secret.is_some() => {
            refuse(
                "`auth_secret` goes with `https:` only, or to this machine: anybody on the way could read the token",
            );
        }
        Some(_) => {}
    }
    if tools.is_empty() {
        refuse("`tools` is empty; name every tool that may be used");
    }
    let read = tools.into_iter().map(|(tool, rules)| {
        if format!("{name}/{tool}").parse::<ToolName>().is_err() {
            refuse("a tool has a name that cannot be used here");
        }
        let rules = read_rules(rules, &mut |problem| refuse(&format!("tool `{tool}`: {problem}")));
        (tool, rules)
    });
    let tools = read.collect();
    let owner = owner.unwrap_or_else(|| format!("the MCP server `{name}`"));
    McpServer { name, url, auth_secret, owner, tools }
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
    let cache = written.cache_seconds.map(|seconds| CacheRule { kept_for: Duration::from_secs(seconds) });
    ToolRules { effect: written.effect, approval: approval.and_then(Result::ok), timeout, cache, redaction }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_a_tool_is_left_to_its_server() {
        let text = r#"[{"name":"shop","url":"https://mcp.example.com/mcp","auth_secret":"windlass/shop","tools":
            {"look_up":{},"pay":{"effect":"idempotent","approval":"finance","timeout_seconds":30,"redact_arguments":["/iban"]}}}]"#;
        let servers = parse(text).expect("it is sound");
        let tools = &servers[0].tools;
        assert_eq!((tools["look_up"].effect, tools["look_up"].timeout), (None, TIMEOUT));
        assert_eq!(tools["pay"].effect, Some(Effect::Idempotent));
        assert_eq!(tools["pay"].approval.as_ref().map(ToString::to_string).as_deref(), Some("finance"));
        assert_eq!(tools["pay"].redaction.arguments[0].to_string(), "/iban");
    }

    #[test]
    fn everything_that_is_wrong_is_said_without_quoting_it() {
        for (text, says) in [
            ("hunter2", "no list of servers at line 1"),
            ("[]", "0 servers"),
            (r#"[{"name":"a","url":"https://h/","tools":{"t":{"hunter2":1}}}]"#, "use `name`, `url`"),
            (r#"[{"name":"a/b","url":"https://h/","tools":{"t":{}}}]"#, "a server's name"),
            (r#"[{"name":"a","url":"https://hunter2@h/","tools":{"t":{}}}]"#, "`url` is not"),
            (r#"[{"name":"a","url":"ftp://h/","tools":{"t":{}}}]"#, "`url` is not"),
            (r#"[{"name":"a","url":"http://h/","auth_secret":"s","tools":{"t":{}}}]"#, "goes with `https:` only"),
            (r#"[{"name":"a","url":"https://h/","tools":{}}]"#, "`tools` is empty"),
            (r#"[{"name":"a","url":"https://h/","tools":{"t":{"effect":"queryable"}}}]"#, "no way to ask"),
            (r#"[{"name":"a","url":"https://h/","tools":{"t":{"timeout_seconds":0}}}]"#, "out of range"),
            (r#"[{"name":"a","url":"https://h/","tools":{"t":{"redact_answer":["x"]}}}]"#, "not a JSON pointer"),
            (
                r#"[{"name":"a","url":"https://h/","tools":{"t":{}}},{"name":"a","url":"https://h/","tools":{"t":{}}}]"#,
                "two servers",
            ),
        ] {
            let problem = parse(text).expect_err(text).to_string();
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{text} gave: {problem}");
        }
        assert!(parse(r#"[{"name":"a","url":"http://127.0.0.1:1/","auth_secret":"s","tools":{"t":{}}}]"#).is_ok());
    }
}
