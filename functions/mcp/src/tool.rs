//! One tool of one server.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ContentBlock, RequestMetaObject,
    ServerResult, ToolAnnotations,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::error;
use windlass::{
    agent::tool::{CallContext, Effect, Tool, ToolError, ToolSpec},
    clock::Clock,
    redaction::cut,
};

use crate::{
    connection::{Connection, Headers, RequestError},
    listing::{Fixed, Held, Recent, hex},
};

/// Where the idempotency key goes along in a call's `_meta`.
const KEY_FIELD: &str = "windlass/idempotency-key";

/// How much of what a tool says about its own failure is kept.
const REFUSAL_CHARS_MAX: usize = 1_000;

/// What all tools of one server share.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) fixed: Fixed,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct McpTool {
    pub(crate) spec: ToolSpec,
    /// What the server calls it.
    pub(crate) called: String,
    pub(crate) server: Arc<Server>,
}

/// What repeating a tool does, by what its server says of it. Saying nothing, or only that it destroys nothing, means that a
/// repetition may happen twice.
pub(crate) fn effect_of(annotations: Option<&ToolAnnotations>) -> Effect {
    let says = |hint: fn(&ToolAnnotations) -> Option<bool>| annotations.and_then(hint) == Some(true);
    if says(|hints| hints.read_only_hint) {
        Effect::Read
    } else if says(|hints| hints.idempotent_hint) {
        Effect::Idempotent
    } else {
        Effect::Irreversible
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        self.hold_to_list().await?;
        let Value::Object(arguments) = arguments else {
            return Err(ToolError::Refused { message: "arguments are given by name".to_owned() });
        };
        let traceparent = traceparent(context);
        let mut meta = RequestMetaObject::new();
        meta.insert(KEY_FIELD.to_owned(), json!(context.idempotency_key));
        meta.insert("traceparent".to_owned(), json!(traceparent));
        let mut params = CallToolRequestParams::new(self.called.clone()).with_arguments(arguments.clone());
        params.meta = Some(meta);
        let named = [("idempotency-key", context.idempotency_key.as_str()), ("traceparent", traceparent.as_str())];
        let headers: Headers = named
            .into_iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)))
            .collect();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        match self.server.connection.request(request, headers).await.map_err(tool_error)? {
            ServerResult::CallToolResult(result) => outcome(result),
            ServerResult::InputRequiredResult(_) => {
                Err(ToolError::Failed { message: "the tool asks for input that nobody can give".to_owned() })
            }
            _ => Err(ToolError::Unknown { message: "the server answered with something else".to_owned() }),
        }
    }
}

impl McpTool {
    /// A release calls what it was started with: a server that says something else of its tools now is not called.
    async fn hold_to_list(&self) -> Result<(), ToolError> {
        let Server { name, connection, fixed, clock } = self.server.as_ref();
        let recent = if self.spec.effect == Effect::Read { Recent::WillDo } else { Recent::WillNotDo };
        match fixed.look(connection, clock.as_ref(), recent).await {
            Ok(Held::Unchanged) => Ok(()),
            Ok(Held::Changed) => {
                error!(server = %name, tool = %self.spec.name, fixed = %fixed.digest, "the list of tools has changed");
                let message = format!("the MCP server `{name}` has changed its tools since this release was started");
                Err(ToolError::Refused { message })
            }
            // The call itself was not sent.
            Err(RequestError::NotDone { message, retry_after }) => Err(ToolError::Unavailable { message, retry_after }),
            Err(RequestError::Rejected { message } | RequestError::Unknown { message }) => {
                Err(ToolError::Unavailable { message, retry_after: std::time::Duration::ZERO })
            }
        }
    }
}

fn tool_error(error: RequestError) -> ToolError {
    match error {
        RequestError::NotDone { message, retry_after } => ToolError::Unavailable { message, retry_after },
        // It was answered: by the server, or by what stands before it.
        RequestError::Rejected { message } => ToolError::Failed { message },
        RequestError::Unknown { message } => ToolError::Unknown { message },
    }
}

fn outcome(result: CallToolResult) -> Result<Value, ToolError> {
    if result.is_error == Some(true) {
        let said: Vec<&str> = result.content.iter().filter_map(text_of).collect();
        let message = cut(&said.join("\n"), REFUSAL_CHARS_MAX).to_owned();
        return Err(ToolError::Failed { message });
    }
    if let Some(structured) = result.structured_content {
        return Ok(structured);
    }
    match result.content.as_slice() {
        [only] if text_of(only).is_some() => Ok(json!({ "text": text_of(only) })),
        several => Ok(json!({ "content": several })),
    }
}

fn text_of(content: &ContentBlock) -> Option<&str> {
    match content {
        ContentBlock::Text(text) => Some(&text.text),
        _ => None,
    }
}

/// The W3C trace context of a call (<https://www.w3.org/TR/trace-context/>): the run's trace, and a parent that is the same for
/// every attempt.
fn traceparent(context: &CallContext) -> String {
    let span = hex(&Sha256::digest(&context.idempotency_key)[..8]);
    format!("00-{}-{span}-01", context.trace)
}
