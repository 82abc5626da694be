//! Tools: what an agent can do, and what doing it twice would mean.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{redaction::Redaction, schema::ArgumentSchema};
use crate::{
    ids::{Actor, CallId, FlagName, Role, RunId, Tenant, ToolName, TraceId},
    retry::{Retry, RetryPolicy},
};

/// The most bytes of a tool's answer, as JSON: it becomes part of an entry.
pub const TOOL_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What repeating a call does. It decides what happens when a process dies between a call and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing in the world changes: repeat freely.
    Read,
    /// The provider honours an idempotency key: repeat with the same key.
    Idempotent,
    /// Whether it happened can be asked: ask, then record.
    Queryable,
    /// Neither: a person decides.
    Irreversible,
}

impl Effect {
    /// Every class, from harmless to not.
    pub const ALL: [Effect; 4] = [Effect::Read, Effect::Idempotent, Effect::Queryable, Effect::Irreversible];
}

/// What a tool is.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: ToolName,
    /// What it does, for the model and for people.
    pub description: String,
    /// JSON Schema of its arguments.
    pub schema: ArgumentSchema,
    /// What repeating it does.
    pub effect: Effect,
    /// Who answers for it.
    pub owner: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// When a call is made again that did not take effect.
    pub retry: RetryPolicy,
    /// What it means that the tool answers an error ([`ToolError::Failed`]).
    pub errors_mean: ErrorsMean,
    /// Whether [`Tool::compensate`] undoes it.
    pub compensable: bool,
    /// Who must permit every call that the policy allows. The policy may ask for somebody else, or deny, but not for nobody.
    pub approval: Option<Role>,
    /// What of its arguments and answers is not shown.
    pub redaction: Redaction,
    /// For how long its answers stay good; only for [`Effect::Read`].
    pub cache: Option<CacheRule>,
}

/// What an answered error says of a call that has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorsMean {
    /// The call did not take effect: whoever runs the tool vouches for it.
    NotDone,
    /// Nothing: the error may come from a proxy, or from a step after the effect.
    #[default]
    Unknown,
}

/// For how long a tool's answers stay good, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRule {
    /// From the moment an answer was given; at most [`CACHED_FOR_MAX`](super::tool_set::CACHED_FOR_MAX).
    pub kept_for: Duration,
    /// Whom an answer is good for.
    pub scope: CacheScope,
}

/// Whom a kept answer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// Everybody of the tenant: the tool answers all of them alike.
    Tenant,
    /// The actor who asked: the tool's answer depends on who asks.
    Actor,
}

/// What goes with every call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallContext {
    /// Whose data it is.
    pub tenant: Tenant,
    /// Who asked for the run.
    pub actor: Actor,
    /// The run.
    pub run: RunId,
    /// Its trace.
    pub trace: TraceId,
    /// The call.
    pub call: CallId,
    /// The same for every attempt of one call, and for no other call.
    pub idempotency_key: String,
    /// The features that are on for the tenant.
    pub flags: BTreeSet<FlagName>,
}

/// Why a call gave no answer. What matters is whether it took effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// This attempt did not take effect and no other would: it was never sent, or cannot be. It says nothing of an earlier attempt.
    #[error("the tool refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// It did not take effect; it may the next time.
    #[error("the tool is unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
        /// What it asked us to wait.
        retry_after: Duration,
    },
    /// The tool answered an error, under the call's key. [`ToolSpec::errors_mean`] says whether it may have taken effect.
    #[error("the tool answered an error: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
    /// It may have taken effect: the connection broke, or time ran out.
    #[error("the tool's outcome is unknown: {message}")]
    Unknown {
        /// What was seen.
        message: String,
    },
}

impl ToolError {
    /// Whether the same call may succeed later. An unknown outcome is resolved by the effect class, not by a retry.
    pub fn retry(&self) -> Retry {
        match self {
            ToolError::Unavailable { retry_after, .. } => Retry::after(*retry_after),
            ToolError::Refused { .. } | ToolError::Failed { .. } | ToolError::Unknown { .. } => Retry::Terminal,
        }
    }
}

/// A call cannot be tried now, for a reason that is not the run's: its server is away, or is not the one that was judged any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotNow {
    /// What is in the way, in words for an operator.
    pub reason: String,
}

/// What an agent can do.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the tool is.
    fn spec(&self) -> &ToolSpec;

    /// Whether `arguments` fit, before policy sees them: by the schema, unless a tool knows better.
    ///
    /// # Errors
    /// What is wrong with them, in words for the model.
    fn check(&self, arguments: &Value) -> Result<(), String> {
        self.spec().schema.check(arguments)
    }

    /// Whether `arguments` fit this run: [`Tool::check`], and whatever of them depends on who asks.
    ///
    /// # Errors
    /// What is wrong with them, in words for the model.
    fn check_for(&self, _context: &CallContext, arguments: &Value) -> Result<(), String> {
        self.check(arguments)
    }

    /// Whether a call may be tried now. Asked right before an attempt is recorded, so that what is in the way costs neither an attempt
    /// nor a strike: the run is held with the reason and goes on later. What it does must be harmless to repeat.
    ///
    /// # Errors
    /// What is in the way.
    async fn ready(&self, _context: &CallContext) -> Result<(), NotNow> {
        Ok(())
    }

    /// Makes the call.
    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError>;

    /// Whether the call under this key took effect, and what it answered. Only asked of [`Effect::Queryable`] tools.
    async fn query(&self, context: &CallContext, _arguments: &Value) -> Result<Option<Value>, ToolError> {
        Err(ToolError::Refused { message: format!("call {} cannot be asked about", context.call) })
    }

    /// Undoes the call under this key, once however often it is asked, and does nothing when the call never took effect. Only
    /// asked when [`ToolSpec::compensable`].
    async fn compensate(&self, context: &CallContext, _arguments: &Value) -> Result<Value, ToolError> {
        Err(ToolError::Refused { message: format!("call {} cannot be undone", context.call) })
    }
}
