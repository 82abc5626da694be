//! The tool that finds sources: its answer is what the model sees, and nothing else is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    SourceIndex, SourceKind,
    filter::{OmissionReason, Packet, Reading, filter},
};
use crate::{
    agent::{
        redaction::Redaction,
        schema::{ArgumentSchema, InvalidSchema},
        tool::{CallContext, Effect, ErrorsMean, Tool, ToolError, ToolSpec},
    },
    clock::Clock,
    ids::{CitationLabel, InvalidId},
    retry::RetryPolicy,
    run::state::{Call, CallStatus},
};

/// The tool's name.
pub const SEARCH_SOURCES: &str = "search_sources";

/// The most characters of a query.
const QUERY_CHARS_MAX: usize = 1_000;

/// How long one search may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// When a search is tried again.
const RETRY: RetryPolicy = RetryPolicy {
    rest_first: Duration::from_millis(200),
    rest_max: Duration::from_secs(5),
    give_up_after: Some(Duration::from_secs(30)),
};

/// Finds sources for the actor that the run works for.
pub struct SearchSources {
    spec: ToolSpec,
    index: Arc<dyn SourceIndex>,
    clock: Arc<dyn Clock>,
    kinds: BTreeSet<SourceKind>,
}

/// A source that the model was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Under which label to cite it.
    pub label: CitationLabel,
    /// What it is called.
    pub title: String,
    /// Which version it is.
    pub version: String,
    /// The passage.
    pub text: String,
    /// How well it fits the question, 0 to 100.
    pub relevance: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    query: String,
}

/// The tool cannot be made: a mistake in this file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSearch {
    /// Its name.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// Its schema.
    #[error(transparent)]
    Schema(#[from] InvalidSchema),
}

impl SearchSources {
    /// Searches `index` for sources of these kinds.
    ///
    /// # Errors
    /// When the tool's name is not one: a mistake in this module.
    pub fn new(
        index: Arc<dyn SourceIndex>,
        clock: Arc<dyn Clock>,
        kinds: BTreeSet<SourceKind>,
    ) -> Result<Self, InvalidSearch> {
        let query = json!({ "type": "string", "minLength": 1, "maxLength": QUERY_CHARS_MAX });
        let spec = ToolSpec {
            name: SEARCH_SOURCES.parse()?,
            description: "Finds sources that an answer can cite by their label".to_owned(),
            schema: ArgumentSchema::compile(json!({
                "type": "object",
                "properties": { "query": query },
                "required": ["query"],
                "additionalProperties": false,
            }))?,
            effect: Effect::Read,
            owner: "retrieval".to_owned(),
            timeout: TIMEOUT,
            retry: RETRY,
            errors_mean: ErrorsMean::NotDone,
            compensable: false,
            approval: None,
            redaction: Redaction::default(),
            // What may be read depends on who asks: an answer is not kept for others.
            cache: None,
        };
        Ok(Self { spec, index, clock, kinds })
    }
}

#[async_trait]
impl Tool for SearchSources {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn check(&self, arguments: &Value) -> Result<(), String> {
        let Arguments { query } = Arguments::deserialize(arguments).map_err(|error| error.to_string())?;
        match query.chars().count() {
            0 => Err("`query` is empty".to_owned()),
            chars if chars > QUERY_CHARS_MAX => Err(format!("`query` has {chars} characters of {QUERY_CHARS_MAX}")),
            _ => Ok(()),
        }
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        let refused = |error: serde_json::Error| ToolError::Refused { message: error.to_string() };
        let Arguments { query } = Arguments::deserialize(arguments).map_err(refused)?;
        let unavailable = |error: super::IndexError| ToolError::Unavailable {
            message: error.to_string(),
            retry_after: Duration::ZERO,
        };
        let groups = self.index.groups(&context.tenant, &context.actor).await.map_err(unavailable)?;
        let candidates = self.index.search(&context.tenant, &query).await.map_err(unavailable)?;
        let reading = Reading { groups, kinds: self.kinds.clone() };
        Ok(shown(&filter(candidates, &reading, self.clock.now())))
    }
}

/// What the model sees of a packet: the evidence, and of the rest only how much was out of date. That something is there which the
/// reader may not see is not said.
fn shown(packet: &Packet) -> Value {
    let evidence: Vec<Shown> = packet
        .evidence
        .iter()
        .map(|one| Shown {
            label: one.source.citation_label.clone(),
            title: one.source.title.clone(),
            version: one.source.version.clone(),
            text: one.text.clone(),
            relevance: one.relevance,
        })
        .collect();
    let stale = packet.omissions.iter().filter(|one| matches!(one.reason, OmissionReason::Stale { .. })).count();
    json!({ "evidence": evidence, "omitted_as_stale": stale })
}

/// Every source that the model was shown in these calls.
pub fn shown_in(calls: &[Call]) -> Vec<Shown> {
    let answered = calls.iter().filter(|call| call.tool.as_str() == SEARCH_SOURCES);
    let values = answered.filter_map(|call| match &call.status {
        CallStatus::Succeeded { value } => value["evidence"].as_array(),
        _ => None,
    });
    values.flatten().filter_map(|one| Shown::deserialize(one).ok()).collect()
}
