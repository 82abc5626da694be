//! What answers in the agent's place when the agent is switched off: a fixed answer, perhaps once a person agrees.
//!
//! The question to the person is an ordinary approval of a call of a tool that has no effect, so that it is listed, signed, expires
//! and is decided like any other.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::state::{Call, CallStatus};
use crate::{
    agent::{
        redaction::Redaction,
        schema::ArgumentSchema,
        tool::{CallContext, Effect, ErrorsMean, Tool, ToolError, ToolSpec},
    },
    ids::ToolName,
    retry::RetryPolicy,
};

/// The model that entries record for an answer that no model gave.
pub const MODEL: &str = "controls";

/// The tool's name.
pub const NAME: &str = "fallback_answer";

static SPEC: LazyLock<Option<ToolSpec>> = LazyLock::new(|| {
    Some(ToolSpec {
        name: NAME.parse().ok()?,
        description: "Answers in the agent's place once a person agrees.".to_owned(),
        schema: ArgumentSchema::compile(json!({ "type": "object" })).ok()?,
        effect: Effect::Read,
        owner: "windlass".to_owned(),
        timeout: Duration::from_secs(1),
        retry: RetryPolicy::PATIENT,
        errors_mean: ErrorsMean::NotDone,
        compensable: false,
        approval: None,
        redaction: Redaction::default(),
        cache: None,
    })
});

struct FallbackAnswer(&'static ToolSpec);

#[async_trait]
impl Tool for FallbackAnswer {
    fn spec(&self) -> &ToolSpec {
        self.0
    }

    async fn call(&self, _context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        Ok(arguments["answer"].clone())
    }
}

/// Whether it is this tool.
pub(crate) fn is(name: &ToolName) -> bool {
    name.as_str() == NAME
}

/// The tool, if `wanted` names it.
pub(crate) fn tool(wanted: &ToolName) -> Option<Arc<dyn Tool>> {
    let spec = SPEC.as_ref().filter(|_| is(wanted))?;
    Some(Arc::new(FallbackAnswer(spec)))
}

/// What is answered after a person was asked: the fallback, or that nothing is.
pub(crate) fn agreed(call: &Call) -> Option<Value> {
    match &call.status {
        _ if !is(&call.tool) => None,
        CallStatus::Succeeded { value } => Some(value.clone()),
        CallStatus::Failed { message } => Some(json!({ "declined": true, "message": message })),
        _ => None,
    }
}

/// The tool's name, parsed.
pub(crate) fn name() -> ToolName {
    SPEC.as_ref().map_or_else(|| unreachable!("the name is one"), |spec| spec.name.clone())
}
