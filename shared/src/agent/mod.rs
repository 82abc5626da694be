//! What a user of the kit supplies: a model, tools, a policy and a prompt.

use std::{collections::BTreeMap, sync::Arc};

use crate::ids::ToolName;

pub mod answers;
pub mod model;
pub mod policy;
pub mod redaction;
pub mod schema;
pub mod tool;
pub mod tool_set;

/// One agent: everything that its runs are decided and acted with.
#[derive(Clone)]
pub struct Agent {
    /// Says what to do next.
    pub model: Arc<dyn model::Model>,
    /// What can be done, by name.
    pub tools: BTreeMap<ToolName, Arc<dyn tool::Tool>>,
    /// What may be done.
    pub policy: Arc<dyn policy::Policy>,
    /// The version of the prompt that the model is asked with.
    pub prompt_version: String,
    /// The text of that prompt: what the model is told about its job.
    pub instructions: String,
}

impl Agent {
    /// The tool of that name.
    pub fn tool(&self, name: &ToolName) -> Option<&Arc<dyn tool::Tool>> {
        self.tools.get(name)
    }
}
