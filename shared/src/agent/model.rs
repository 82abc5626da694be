//! The model: given what happened so far, it says what to do next.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tool::ToolSpec;
use crate::{
    budgets::Spend,
    clock::Timestamp,
    ids::{FlagName, RunId, ToolName, TraceId},
    retry::Retry,
    run::{request::RunRequest, state::Call},
};

/// The most bytes of one answer's JSON: it becomes part of an entry, which must stay well below DynamoDB's 400 KB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The most calls in one plan.
pub const CALLS_PER_PLAN_MAX: usize = 16;

/// What the model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The run.
    pub run: RunId,
    /// Its trace.
    pub trace: TraceId,
    /// What the model is told about its job: the text of the prompt.
    pub instructions: &'a str,
    /// What can be done, in the order of their names.
    pub tools: &'a [&'a ToolSpec],
    /// Which model the controls route the task to; the configured one when `None`.
    pub model: Option<&'a str>,
    /// The features that are on for the tenant.
    pub flags: &'a BTreeSet<FlagName>,
    /// What was asked of the run.
    pub request: &'a RunRequest,
    /// Every call so far, in order, with what came of it.
    pub calls: &'a [Call],
    /// How often the model has been asked before in this run.
    pub steps: u32,
    /// What was wrong with the model's last answer, when it could not be used.
    pub problem: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// What the model answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What to do next.
    pub proposal: Proposal,
    /// What the answer took.
    pub usage: Usage,
    /// Which model answered, as entries record it. It may be another one than was asked.
    pub model: String,
}

/// What the model proposes.
#[derive(Debug, Clone, PartialEq)]
pub enum Proposal {
    /// Call these tools.
    Call(Vec<ProposedCall>),
    /// Wait, then ask again.
    Wait {
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// Finish.
    Respond(Value),
    /// It answered, which has its price, but with nothing that can be done; it can be told and asked again.
    Unusable {
        /// What is wrong with it, in words for the model.
        problem: String,
    },
}

/// A call that the model proposes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedCall {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// Why the model gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// It could not be reached, is overloaded, or took too long.
    #[error("the model is unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
        /// What it asked us to wait.
        retry_after: Duration,
    },
    /// It refuses the question.
    #[error("the model refused the request: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// It answered with something that is not a proposal; it can be told and asked again.
    #[error("the model's answer cannot be used: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
}

impl ModelError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            ModelError::Unavailable { retry_after, .. } => Retry::Transient { after: *retry_after },
            ModelError::Malformed { .. } => Retry::SOON,
            ModelError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Says what to do next.
#[async_trait]
pub trait Model: Send + Sync {
    /// The name that entries record.
    fn name(&self) -> &str;
    /// How long one answer may take.
    fn timeout(&self) -> Duration;
    /// What one answer takes at most when the question has so many bytes.
    fn worst_case(&self, question_bytes: u64) -> Spend;
    /// Whether it can ask the model of this name, for [`Question::model`].
    fn can_ask(&self, name: &str) -> bool {
        self.name() == name
    }
    /// Answers one question.
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError>;
}
