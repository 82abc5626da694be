//! A tool that is not available now: its server was away when this process started, or has nothing of that name.

use async_trait::async_trait;
use serde_json::Value;
use windlass::agent::{
    schema::ArgumentSchema,
    tool::{CallContext, Effect, NotNow, Tool, ToolError, ToolSpec},
};

use crate::servers::{McpServer, ToolRules};

/// What a model is told of such a tool.
const DESCRIPTION: &str = "It is not available now; a call of it waits until it is.";

/// A tool of which only the configuration is known. Runs that plan it are held with the reason; no call of it is judged or made.
pub(crate) struct AwayTool {
    spec: ToolSpec,
    reason: String,
}

impl AwayTool {
    pub(crate) fn new(server: &McpServer, name: &str, rules: &ToolRules, reason: &str) -> Result<AwayTool, String> {
        let spec = ToolSpec {
            name: format!("{}/{name}", server.name).parse().map_err(|error| format!("{error}"))?,
            description: DESCRIPTION.to_owned(),
            schema: ArgumentSchema::unknown(),
            effect: rules.effect.unwrap_or(Effect::Irreversible),
            owner: server.owner.clone(),
            timeout: rules.timeout,
            retry: server.retry,
            errors_mean: server.errors_mean,
            compensable: false,
            approval: rules.approval.clone(),
            redaction: rules.redaction.clone(),
            cache: None,
        };
        Ok(AwayTool { spec, reason: reason.to_owned() })
    }
}

#[async_trait]
impl Tool for AwayTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn ready(&self, _: &CallContext) -> Result<(), NotNow> {
        Err(NotNow { reason: self.reason.clone() })
    }

    async fn call(&self, _: &CallContext, _: &Value) -> Result<Value, ToolError> {
        Err(ToolError::Unavailable { message: self.reason.clone(), retry_after: std::time::Duration::ZERO })
    }
}
