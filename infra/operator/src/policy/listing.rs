//! Tools of an MCP server from a file, as far as a policy sees them.

use std::{fs, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use windlass::{
    agent::{
        redaction::Redaction,
        schema::ArgumentSchema,
        tool::{Effect, ErrorsMean, ToolSpec},
    },
    ids::ToolName,
    retry::RetryPolicy,
};

use crate::failure::Failure;

const HINT: &str = "the file is what the server answers to `tools/list`: {\"tools\":[{\"name\":…,\"inputSchema\":…}]}";

/// What `tools/list` answers, as far as it is needed (<https://modelcontextprotocol.io/specification/2025-06-18/server/tools>).
#[derive(Deserialize)]
struct Listing {
    tools: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    #[serde(default)]
    description: String,
    input_schema: Value,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Annotations {
    read_only_hint: bool,
    idempotent_hint: bool,
}

/// The tools of a listing by the name under which the kit knows them; `wanted` is `FILE`, or `SERVER=FILE`.
///
/// # Errors
/// When the file cannot be read, is no listing, or one of its tools cannot be used.
pub(super) fn listed_in(wanted: &str) -> Result<Vec<(ToolName, ToolSpec)>, Failure> {
    let (server, file) = match wanted.split_once('=') {
        Some((server, file)) => (Some(server), file),
        None => (None, wanted),
    };
    let wrong = |problem: String| Failure::Usage { message: format!("{file}: {problem}"), hint: HINT };
    let text = fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let listing: Listing = serde_json::from_str(&text).map_err(|error| wrong(format!("is no listing: {error}")))?;
    let tool = |Listed { name, description, input_schema, annotations }: Listed| {
        let full = server.map_or_else(|| name.clone(), |server| format!("{server}/{name}"));
        let named: ToolName = full.parse().map_err(|error| wrong(format!("`{name}`: {error}")))?;
        let schema = ArgumentSchema::compile(input_schema).map_err(|error| wrong(format!("`{name}`: {error}")))?;
        let effect = match annotations {
            Annotations { read_only_hint: true, .. } => Effect::Read,
            Annotations { idempotent_hint: true, .. } => Effect::Idempotent,
            Annotations { .. } => Effect::Irreversible,
        };
        let spec = ToolSpec {
            name: named.clone(),
            description,
            schema,
            effect,
            owner: server.unwrap_or("a listing").to_owned(),
            timeout: Duration::ZERO,
            retry: RetryPolicy::PATIENT,
            errors_mean: ErrorsMean::NotDone,
            compensable: false,
            approval: None,
            redaction: Redaction::default(),
            cache: None,
        };
        Ok((named, spec))
    };
    listing.tools.into_iter().map(tool).collect()
}
