//! What a user of the kit supplies: a model, tools, a policy and a prompt.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ids::ToolName, prompts::Prompt};

pub mod answers;
pub mod history;
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
    /// The prompt that comes with the release: what the model is asked with unless the controls route to another.
    pub prompt: Prompt,
}

impl Agent {
    /// The tool of that name.
    pub fn tool(&self, name: &ToolName) -> Option<&Arc<dyn tool::Tool>> {
        self.tools.get(name)
    }
}
