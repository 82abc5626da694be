//! The model: given what happened so far, it says what to do next.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tool::ToolSpec;
use crate::{
    clock::Timestamp,
    ids::{FlagName, RunId, ToolName, TraceId},
    retry::Retry,
    run::{request::RunRequest, state::Call},
};

/// The most bytes of one answer's JSON: it becomes part of an entry, which must stay well below DynamoDB's 400 KB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The most calls in one plan.
pub const CALLS_PER_PLAN_MAX: usize = 16;

/// The most bytes of [`Echo`]s in one plan, as JSON. Signatures of thoughts have a few kilobytes; with the longest answer beside them they
/// still fit into an entry.
pub const ECHO_BYTES_MAX: usize = 32 * 1024;

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
    /// How many questions in a row have brought nothing, this one not among them.
    pub failures: u32,
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
    /// What was sent to other models before, and not answered.
    pub lost: Lost,
}

/// Questions that were sent and not answered. Providers go on when the one who asked has gone, so they are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// How many.
    pub questions: u32,
    /// What they took at most.
    pub usage: Usage,
}

impl Lost {
    /// One question that took at most this.
    pub const fn one(usage: Usage) -> Lost {
        Lost { questions: 1, usage }
    }

    /// Both together.
    pub const fn plus(self, other: Lost) -> Lost {
        Lost { questions: self.questions.saturating_add(other.questions), usage: self.usage.plus(other.usage) }
    }
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
    /// It answered, which has its price, that it will not do this.
    Decline {
        /// What it said.
        message: String,
    },
}

/// A call that the model proposes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedCall {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
    /// What the provider wants back with it.
    pub echo: Option<Echo>,
}

/// What a provider wants back with a call when it is told of it again: a signature, a chain of thoughts. Nobody else reads it, and no
/// other model is given it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// The model that wrote it, as entries record it.
    pub model: String,
    /// What it wrote, as its provider's dialect keeps it.
    pub content: Value,
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
    /// Whether that is what it cost.
    #[serde(default, skip_serializing_if = "Pricing::is_known")]
    pub pricing: Pricing,
}

/// Whether a cost says what was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// It does.
    #[default]
    Known,
    /// There is no price for the model: tokens were counted, and no cost.
    Unknown,
}

impl Pricing {
    /// Whether it does.
    pub const fn is_known(&self) -> bool {
        matches!(self, Pricing::Known)
    }

    const fn and(self, other: Pricing) -> Pricing {
        if self.is_known() { other } else { self }
    }
}

impl Usage {
    /// Both together. As much as can be counted.
    pub const fn plus(self, other: Usage) -> Usage {
        Usage {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_micro_usd: self.cost_micro_usd.saturating_add(other.cost_micro_usd),
            pricing: self.pricing.and(other.pricing),
        }
    }

    /// So many times this.
    pub const fn times(self, times: u32) -> Usage {
        let times = times as u64;
        Usage {
            input_tokens: self.input_tokens.saturating_mul(times),
            output_tokens: self.output_tokens.saturating_mul(times),
            cost_micro_usd: self.cost_micro_usd.saturating_mul(times),
            pricing: self.pricing,
        }
    }
}

/// Why the model gave no answer: whether the question was sent, whether it is paid for, and whose fault it is.
///
/// | | sent | paid for | the run |
/// |---|---|---|---|
/// | `TurnedAway` | no | no | waits; this is no attempt |
/// | `Unreachable` | no | no | rests, longer each time |
/// | `Unavailable` | yes, and the answer says *not now* | no | rests, longer each time |
/// | `Unanswered` | yes | at its worst case | rests, longer each time, and ends after [`UNANSWERED_MAX`](crate::run::limits::UNANSWERED_MAX) in a row |
/// | `Misconfigured` | yes, and the answer says that none is answered | no | is held until one is |
/// | `Refused` | yes, and the answer is about this question | no | ends |
/// | `Malformed` | yes | at its worst case | asks again |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The question was not sent: the model is being left alone.
    #[error("the model was not asked: {message}")]
    TurnedAway {
        /// Why.
        message: String,
        /// For how long.
        retry_after: Duration,
    },
    /// The question was not sent: there is no way to the model, or no key to ask it with.
    #[error("the model cannot be reached: {message}")]
    Unreachable {
        /// What was seen.
        message: String,
    },
    /// The provider answered that it cannot answer now.
    #[error("the model is unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
        /// What it asked us to wait.
        retry_after: Duration,
    },
    /// The question was sent, and nobody knows what became of it.
    #[error("the model did not answer: {message}")]
    Unanswered {
        /// What was seen.
        message: String,
        /// What was sent.
        lost: Lost,
    },
    /// The provider answers nobody who asks as we do: the key, the account, the model's name, or how the question is written.
    #[error("the model cannot be asked as this deployment asks: {message}")]
    Misconfigured {
        /// What the provider said.
        message: String,
    },
    /// It refuses this question.
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
            ModelError::TurnedAway { retry_after, .. } | ModelError::Unavailable { retry_after, .. } => {
                Retry::after(*retry_after)
            }
            ModelError::Unreachable { .. }
            | ModelError::Unanswered { .. }
            | ModelError::Misconfigured { .. }
            | ModelError::Malformed { .. } => Retry::SOON,
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
    /// What one answer to this question takes at most, counted from what would be sent.
    fn worst_case(&self, question: &Question<'_>) -> Usage;
    /// Whether it can ask the model of this name, for [`Question::model`].
    fn can_ask(&self, name: &str) -> bool {
        self.name() == name
    }
    /// Answers one question.
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError>;
}
