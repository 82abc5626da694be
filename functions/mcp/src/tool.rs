//! One tool of one server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use rmcp::model::ToolAnnotations;
use serde_json::{Map, Value, json};
use tracing::error;
use windlass::{
    agent::tool::{CallContext, Effect, NotNow, Tool, ToolError, ToolSpec},
    clock::Clock,
    redaction::cut,
};

use crate::{
    connection::{Connection, Headers},
    failure::RequestError,
    identity::Signer,
    listing::{Fixed, Held, Recent},
    servers::Bound,
    tokens::Whose,
};

/// Where the idempotency key goes along in a call's `_meta`.
const KEY_FIELD: &str = "windlass/idempotency-key";

/// Where the signed token goes along that says who the call is made for.
const IDENTITY_FIELD: &str = "windlass/identity";

/// How much of what a tool says about its own failure is kept.
const REFUSAL_CHARS_MAX: usize = 1_000;

/// How often a server is asked for its list in one look, and how long lies between two times: what is over in two seconds holds no run.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(700);

/// What all tools of one server share.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) fixed: Fixed,
    pub(crate) signer: Option<Signer>,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct McpTool {
    pub(crate) spec: ToolSpec,
    /// What the server calls it.
    pub(crate) called: String,
    /// Arguments that must be what the run is.
    pub(crate) bind: BTreeMap<String, Bound>,
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

    fn check_for(&self, context: &CallContext, arguments: &Value) -> Result<(), String> {
        self.check(arguments)?;
        for (pointer, bound) in &self.bind {
            let (wanted, whose) = match bound {
                Bound::Tenant => (context.tenant.as_str(), "tenant"),
                Bound::Actor => (context.actor.as_str(), "actor"),
            };
            if arguments.pointer(pointer).and_then(Value::as_str) != Some(wanted) {
                return Err(format!("`{pointer}` must be `{wanted}`, the {whose} of this run"));
            }
        }
        Ok(())
    }

    async fn ready(&self, context: &CallContext) -> Result<(), NotNow> {
        let Server { name, connection, signer, .. } = self.server.as_ref();
        let not_now = |what: String| NotNow { reason: format!("the MCP server `{name}` cannot be called: {what}") };
        let token = connection.has_token(&Whose::Of(context.tenant.clone())).await;
        token.map_err(|problem| not_now(problem.to_string()))?;
        if let Some(signer) = signer {
            signer.ready().await.map_err(|problem| not_now(problem.to_string()))?;
        }
        self.hold_to_list().await
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        let not_made = |message: String| ToolError::Unavailable { message, retry_after: Duration::ZERO };
        // Whoever calls has asked whether the tool is ready; this is for whoever has not.
        match self.look(Recent::WillDo).await {
            Ok(Held::Unchanged) => {}
            Ok(Held::Changed) => return Err(not_made(self.changed().reason)),
            Err(error) => return Err(not_made(error.to_string())),
        }
        // What was judged was held to this already.
        self.check_for(context, arguments).map_err(|message| ToolError::Refused { message })?;
        let (meta, headers) = self.told(context).await.map_err(not_made)?;
        let params = json!({ "name": self.called, "arguments": arguments, "_meta": meta });
        let whose = Whose::Of(context.tenant.clone());
        match self.server.connection.request(&whose, "tools/call", params, &headers).await {
            Ok(result) => outcome(result),
            Err(error) => Err(self.tool_error(error)),
        }
    }
}

impl McpTool {
    /// What goes along with a call beside its arguments: under which key and trace it is made, for whom, and a signature of that.
    async fn told(&self, context: &CallContext) -> Result<(Map<String, Value>, Headers), String> {
        let traceparent = context.trace_context().traceparent();
        let mut meta = Map::new();
        let mut tell = |field: &str, value: &str| meta.insert(field.to_owned(), json!(value));
        tell(KEY_FIELD, &context.idempotency_key);
        tell("traceparent", &traceparent);
        tell("windlass/tenant", context.tenant.as_str());
        tell("windlass/actor", context.actor.as_str());
        tell("windlass/run", &context.run.to_string());
        let mut named = vec![("idempotency-key", context.idempotency_key.clone()), ("traceparent", traceparent)];
        if let Some(signer) = &self.server.signer {
            let signed = signer.token(context, &self.called, self.spec.timeout, self.server.clock.now()).await;
            let token = signed.map_err(|error| error.to_string())?;
            tell(IDENTITY_FIELD, &token);
            named.push(("windlass-identity", token));
        }
        let header = |(name, value): (&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        };
        Ok((meta, named.into_iter().filter_map(header).collect()))
    }

    /// A release calls what it was started with: a server that says something else of its tools now is not called.
    async fn hold_to_list(&self) -> Result<(), NotNow> {
        let Server { name, fixed, clock, .. } = self.server.as_ref();
        let recent = if self.spec.effect == Effect::Read { Recent::WillDo } else { Recent::WillNotDo };
        let mut looks = 1;
        loop {
            match self.look(recent).await {
                Ok(Held::Unchanged) => return Ok(()),
                Ok(Held::Changed) => {
                    error!(server = %name, tool = %self.spec.name, fixed = %fixed.digest, "the list of tools has changed");
                    return Err(self.changed());
                }
                Err(RequestError::NotDone { .. } | RequestError::Unknown { .. }) if looks < LOOKS => {}
                Err(error) => {
                    return Err(NotNow { reason: format!("the MCP server `{name}` does not list its tools: {error}") });
                }
            }
            looks += 1;
            clock.sleep_until(clock.now() + BETWEEN_LOOKS).await;
        }
    }

    async fn look(&self, recent: Recent) -> Result<Held, RequestError> {
        let Server { connection, fixed, clock, .. } = self.server.as_ref();
        fixed.look(connection, clock.as_ref(), recent).await
    }

    fn changed(&self) -> NotNow {
        let name = &self.server.name;
        NotNow {
            reason: format!(
                "the MCP server `{name}` has changed its tools since this process was started; it goes on when the server takes that back, \
                 or a release starts that was judged with the new list"
            ),
        }
    }

    fn tool_error(&self, error: RequestError) -> ToolError {
        match error {
            RequestError::NotDone { message, retry_after } => ToolError::Unavailable { message, retry_after },
            // It was answered: by the server, or by what stands before it.
            RequestError::Rejected { message } => ToolError::Failed { message },
            // Nothing can have happened, and only this has a place for what the server asked us to wait.
            RequestError::Unknown { message, retry_after }
                if self.spec.effect == Effect::Read && !retry_after.is_zero() =>
            {
                ToolError::Unavailable { message, retry_after }
            }
            RequestError::Unknown { message, .. } => ToolError::Unknown { message },
            // It would be as large again.
            RequestError::TooLarge { message } if self.spec.effect == Effect::Read => ToolError::Refused { message },
            RequestError::TooLarge { message } => ToolError::Unknown { message },
        }
    }
}

/// What a result says.
fn outcome(result: Value) -> Result<Value, ToolError> {
    let Value::Object(mut result) = result else {
        return Err(ToolError::Unknown { message: "the server answered with something else".to_owned() });
    };
    let content = match result.remove("content") {
        Some(Value::Array(content)) => content,
        _ => Vec::new(),
    };
    if result.get("isError") == Some(&json!(true)) {
        let said: Vec<&str> = content.iter().filter_map(text_of).collect();
        let message = cut(&said.join("\n"), REFUSAL_CHARS_MAX).to_owned();
        return Err(ToolError::Failed { message });
    }
    if result.get("resultType").is_some_and(|kind| kind == "input_required") {
        return Err(ToolError::Failed { message: "the tool asks for input that nobody can give".to_owned() });
    }
    let structured = result.remove("structuredContent").unwrap_or_default();
    Ok(answer(structured, content))
}

/// Structured content is the answer. What stands beside it is kept, unless it is the same once more, as the protocol asks for.
fn answer(structured: Value, content: Vec<Value>) -> Value {
    let same = |block: &Value| {
        text_of(block).is_some_and(|text| serde_json::from_str::<Value>(text).is_ok_and(|told| told == structured))
    };
    let beside: Vec<Value> = content.into_iter().filter(|block| structured.is_null() || !same(block)).collect();
    let said = match beside.as_slice() {
        [only] if text_of(only).is_some() => json!({ "text": text_of(only) }),
        several => json!({ "content": several }),
    };
    match structured {
        structured if beside.is_empty() && !structured.is_null() => structured,
        Value::Null => said,
        Value::Object(fields) if fields.is_empty() => said,
        structured => {
            let mut both = said;
            both["structured"] = structured;
            both
        }
    }
}

fn text_of(content: &Value) -> Option<&str> {
    if content["type"] == "text" { content["text"].as_str() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_no_object_says_nothing_of_the_call() {
        for result in [json!(8), json!("done"), json!([]), json!(null)] {
            let said = outcome(result.clone());
            assert!(matches!(said, Err(ToolError::Unknown { .. })), "{result}: {said:?}");
        }
    }

    fn answer_of(result: Value) -> Value {
        outcome(result).expect("it is an answer")
    }

    #[test]
    fn text_beside_structured_content_is_kept_unless_it_is_the_same_once_more() {
        let paid = json!({ "type": "text", "text": "PAID 42" });
        let text = json!({ "text": "PAID 42" });
        assert_eq!(answer_of(json!({ "content": [paid], "structuredContent": {} })), text);
        assert_eq!(answer_of(json!({ "content": [paid], "structuredContent": null })), text);
        assert_eq!(answer_of(json!({ "content": [paid] })), text);
        let both = json!({ "text": "PAID 42", "structured": { "elapsed_ms": 3 } });
        assert_eq!(answer_of(json!({ "content": [paid], "structuredContent": { "elapsed_ms": 3 } })), both);
        let same = json!({ "type": "text", "text": "{\"b\":[1],\"a\":2}" });
        let structured = json!({ "a": 2, "b": [1] });
        assert_eq!(answer_of(json!({ "content": [same], "structuredContent": structured })), structured);
        assert_eq!(answer_of(json!({ "content": [], "structuredContent": structured })), structured);
        let image = json!({ "type": "image", "data": "aGk=", "mimeType": "image/png" });
        assert_eq!(answer_of(json!({ "content": [image] })), json!({ "content": [image] }));
        assert_eq!(answer_of(json!({ "content": [] })), json!({ "content": [] }));
    }
}
