//! The document: typed, versioned, and strict about what it does not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ControlsError, Flag};
use crate::{
    agent::policy::Tightening,
    clock::Timestamp,
    ids::{Actor, FlagName, Role, RunId, Task, ToolName},
};

/// The schema of documents that this code writes.
pub const SCHEMA: u32 = 1;

/// What may happen now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: u32,
    /// 0 before the first change, then 1, 2, 3 …
    pub version: u64,
    /// The change that made this version; `None` for version 0.
    pub change: Option<Change>,
    /// What it says.
    pub settings: Settings,
}

/// Who changed it, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// It may be.
    #[default]
    On,
    /// It may not be.
    Off,
}

/// What happens to runs of the whole agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentSwitch {
    /// They go on.
    #[default]
    On,
    /// They are held where they are: no model is asked, nothing is done.
    Off,
    /// They do nothing more and end with the fallback answer.
    Fallback,
    /// They do nothing more; a person with this role decides whether the fallback answer is given.
    Person {
        /// The role.
        role: Role,
    },
}

/// With which prompt the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptSwitch {
    /// A run keeps the version that it was first asked with; new runs take the one that their route names.
    #[default]
    On,
    /// Every run takes what its route names now, whatever it was asked with before.
    Routed,
    /// Every run takes the prompt that comes with the release.
    Default,
    /// No run's model is asked.
    Off,
}

/// Where a task's questions go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The model's name; the configured one when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The prompt's version; the release's own prompt when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u32>,
}

/// That the tables were restored: what they hold of a run may be older than what the run did in the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// Runs that were accepted before this are held.
    pub at: Timestamp,
    /// But for these, which an operator has released; at most [`RELEASED_MAX`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub released: BTreeSet<RunId>,
}

/// The most runs that are released one by one: some 29 bytes each, half of [`DOCUMENT_BYTES_MAX`](super::DOCUMENT_BYTES_MAX).
pub const RELEASED_MAX: usize = 1_000;

/// What the document says. The default lets everything happen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The whole agent.
    pub agent: AgentSwitch,
    /// The model.
    pub model: Switch,
    /// The prompt.
    pub prompt: PromptSwitch,
    /// Writing to governed memory.
    pub memory_writes: Switch,
    /// Taking on runs.
    pub new_runs: Switch,
    /// The policy.
    pub policy: Tightening,
    /// Tools that may not be called.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tools_off: BTreeSet<ToolName>,
    /// Where questions go, by task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<Task, Route>,
    /// Features.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<FlagName, Flag>,
    /// What is answered in the agent's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_answer: Option<Value>,
    /// Which runs wait for an operator because the tables were restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

impl Default for Document {
    fn default() -> Self {
        Document { schema: SCHEMA, version: 0, change: None, settings: Settings::default() }
    }
}

impl Document {
    /// Reads a stored document.
    ///
    /// # Errors
    /// [`ControlsError::Unreadable`], also for what a later release may have written: an unknown field may be a switch.
    pub fn parse(text: &str) -> Result<Document, ControlsError> {
        let unreadable = |problem: String| ControlsError::Unreadable { problem };
        let document: Document = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        match document.schema {
            0 => Err(unreadable("schema 0".to_owned())),
            schema if schema > SCHEMA => Err(unreadable(format!("schema {schema}; this release reads up to {SCHEMA}"))),
            _ if !document.settings.can_be_typed() => Err(unreadable("it says what cannot be set".to_owned())),
            _ => Ok(document),
        }
    }

    /// The document after a change.
    pub fn changed(&self, settings: Settings, change: Change) -> Document {
        Document { schema: SCHEMA, version: self.version + 1, change: Some(change), settings }
    }
}

impl Settings {
    /// What is answered in the agent's place.
    pub fn fallback(&self) -> Value {
        let told = json!({ "unavailable": true, "message": "this cannot be done automatically at the moment" });
        self.fallback_answer.clone().unwrap_or(told)
    }

    /// Where a task's questions go.
    pub fn route(&self, task: &Task) -> Route {
        self.routes.get(task).cloned().unwrap_or_default()
    }

    /// Whether governed memory may be written to.
    pub fn allows_memory_writes(&self) -> bool {
        self.memory_writes == Switch::On && self.agent == AgentSwitch::On
    }

    /// The features that are on for a tenant.
    pub fn flags_of(&self, tenant: &crate::ids::Tenant) -> BTreeSet<FlagName> {
        self.flags.iter().filter(|(name, flag)| flag.is_on_for(name, tenant)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a feature is on for a tenant. Unknown features are off.
    pub fn has(&self, flag: &FlagName, tenant: &crate::ids::Tenant) -> bool {
        self.flags.get(flag).is_some_and(|found| found.is_on_for(flag, tenant))
    }
}
