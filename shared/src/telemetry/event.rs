//! The eight kinds of events, with the fields that each must have.
//!
//! Names follow OpenTelemetry's conventions for generative AI where they have one
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>); the rest is in `docs/events.schema.json`. Raw inputs and outputs are
//! not in them: `*_ref` says which journal entry holds them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::tool::Effect,
    clock::Timestamp,
    ids::{ApprovalId, Release, Role, RunId, Task, Tenant, ToolName, TraceId},
    run::{entry::Seq, request::Source},
};

pub use crate::agent::policy::Authorization;

/// What every event says of its form. The number rises when a reader of the old form would misread the new one.
pub const SCHEMA: &str = "windlass.events/1";

/// One event: a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TelemetryEvent {
    /// What every event has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What its kind has.
    #[serde(flatten)]
    pub body: Body,
}

/// What every event has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`SCHEMA`].
    pub schema: String,
    /// When its entry was appended.
    pub at: Timestamp,
    /// The run.
    pub run_id: RunId,
    /// Its trace.
    pub trace_id: TraceId,
    /// The span within the trace, 16 hexadecimal digits.
    pub span_id: String,
    /// Whose data it is.
    pub tenant: Tenant,
    /// `dev`, `staging` or `production`.
    pub environment: String,
    /// The release that appended the entry.
    pub release: Release,
    /// The entry.
    pub seq: Seq,
    /// Its place among the events of the entry, from 0.
    pub index: u32,
}

/// What each kind has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Body {
    /// A run came to a turn of its life.
    Run(RunEvent),
    /// The model answered.
    Model(ModelEvent),
    /// A tool was called, or answered.
    Tool(ToolEvent),
    /// Sources were looked up.
    Retrieval(RetrievalEvent),
    /// Memory was read or written.
    Memory(MemoryEvent),
    /// The policy decided.
    Policy(PolicyEvent),
    /// A person was asked, or answered.
    Approval(ApprovalEvent),
    /// A run was judged.
    Eval(EvalEvent),
}

/// A turn in a run's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Always `invoke_agent`.
    #[serde(rename = "gen_ai.operation.name")]
    pub operation: String,
    /// Who asked; a digest when the name itself is personal data.
    pub actor: String,
    /// What was asked, redacted.
    pub task: Task,
    /// `accepted`, `waited`, `held`, `responded`, `cancelled`, `abandoned`, `replayed` or `ended`.
    pub status: String,
    /// How it came in, once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which entry holds the request or the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_ref: Option<String>,
    /// What it used, once ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<RunTotals>,
}

/// What a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunTotals {
    /// Answers of the model.
    pub steps: u32,
    /// Tokens in and out.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// From its acceptance to its end, waiting included.
    pub duration_ms: u64,
}

/// An answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelEvent {
    /// Always `chat`.
    #[serde(rename = "gen_ai.operation.name")]
    pub operation: String,
    /// The provider, when the model's name says it (`openai:…`).
    #[serde(rename = "gen_ai.provider.name", default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(rename = "gen_ai.request.model")]
    pub model: String,
    /// Tokens read.
    #[serde(rename = "gen_ai.usage.input_tokens")]
    pub input_tokens: u64,
    /// Tokens written.
    #[serde(rename = "gen_ai.usage.output_tokens")]
    pub output_tokens: u64,
    /// The version of the prompt.
    pub prompt_version: String,
    /// Which entries it was asked with.
    pub input_ref: String,
    /// `call`, `wait`, `answer`, `malformed` or `unanswered`.
    pub output_status: String,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// How long it took, retries included; null when the process that asked is not the one that tells.
    pub duration_ms: Option<u64>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolEvent {
    /// Always `execute_tool`.
    #[serde(rename = "gen_ai.operation.name")]
    pub operation: String,
    /// The tool.
    #[serde(rename = "gen_ai.tool.name")]
    pub tool: ToolName,
    /// The call within its run.
    #[serde(rename = "gen_ai.tool.call.id")]
    pub call: String,
    /// Its arguments, redacted and bounded.
    pub arguments: Value,
    /// On whose say it is made.
    pub authorization: Authorization,
    /// `attempted`, `succeeded`, `refused`, `unavailable`, `unknown` or `absent`; `undoing` and `undo_…` likewise; `cached`
    /// when no call was made since an answer was kept.
    pub status: String,
    /// Attempts before this one.
    pub retry_count: u32,
    /// The same for every attempt of the call.
    pub idempotency_key: String,
    /// What repeating it does, once it was attempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What it said, when it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long it took; null for an intent, and when the process that called is not the one that tells.
    pub duration_ms: Option<u64>,
}

/// A look-up of sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievalEvent {
    /// Always `retrieval`.
    #[serde(rename = "gen_ai.operation.name")]
    pub operation: String,
    /// Which were found.
    pub source_ids: Vec<String>,
    /// `fresh`, `stale` or `mixed`.
    pub freshness: String,
    /// `allowed`, `filtered` or `denied`.
    pub access_decision: String,
    /// `required`, `optional` or `none`.
    pub citation_requirement: String,
}

/// A use of memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryEvent {
    /// Which memories were read.
    pub read_ids: Vec<String>,
    /// Which were written.
    pub write_ids: Vec<String>,
    /// How long they are kept, by the name of its class.
    pub retention_class: String,
    /// What permits it.
    pub policy_basis: String,
}

/// A decision of the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyEvent {
    /// Its version.
    pub policy_version: String,
    /// `allow`, `require_approval` or `deny`.
    pub decision: String,
    /// Which rules decided, in the policy's order and separated by commas; `none` when none did.
    pub reason_code: String,
    /// Why, in words.
    #[serde(default)]
    pub reason: String,
    /// `proceed`, `hold` or `block`.
    pub enforcement: String,
    /// The tool it was asked about.
    pub tool: ToolName,
    /// The call.
    pub call: u32,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalEvent {
    /// Which question.
    pub approval_id: ApprovalId,
    /// Who may answer.
    pub approver_role: Role,
    /// The exact action.
    pub action: ApprovalAction,
    /// When it counts as denied.
    pub expires_at: Timestamp,
    /// `requested`, `reminded`, `approved`, `denied`, `happened`, `not_happened`, `expired`, or `closed` when the run ended without one.
    pub result: String,
    /// Who answered; a digest when the name itself is personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// How long it was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
}

/// The action of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAction {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments, redacted and bounded.
    pub arguments: Value,
    /// What the decision is bound to: it is computed over what was not redacted.
    pub digest: String,
}

/// A judgement of a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalEvent {
    /// Which case.
    #[serde(rename = "gen_ai.evaluation.name")]
    pub case_id: String,
    /// 0.0 to 1.0.
    #[serde(rename = "gen_ai.evaluation.score.value")]
    pub score: f64,
    /// Whether that was enough.
    pub passed: bool,
    /// What would have been enough; null when the journal does not say.
    pub threshold: Option<f64>,
    /// Who judged; null when the journal does not say.
    pub evaluator_version: Option<String>,
}

impl TelemetryEvent {
    /// Reads a line; `None` when it is none of ours.
    pub fn parse(line: &str) -> Option<TelemetryEvent> {
        // Functions write other lines too, and whoever collects them may put something before ours.
        let json = line.get(line.find('{')?..)?;
        if !json.contains(SCHEMA) {
            return None;
        }
        serde_json::from_str::<TelemetryEvent>(json).ok().filter(|event| event.envelope.schema == SCHEMA)
    }

    /// Its line.
    pub fn line(&self) -> String {
        // Nothing in an event can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
