//! Anthropic's Messages API (<https://docs.anthropic.com/en/api/messages>).

use serde_json::{Value, json};

use super::UnknownShape;
use crate::{
    conversation::{Conversation, Past, Turn},
    reply::{End, Reply, ReplyCall, Tokens},
};

/// The version of the format (<https://docs.anthropic.com/en/api/versioning>).
pub const VERSION: &str = "2023-06-01";

/// The provider's own address.
const BASE_URL: &str = "https://api.anthropic.com";

pub(super) fn url(base_url: Option<&str>) -> String {
    let base_url = base_url.unwrap_or(BASE_URL);
    format!("{}/v1/messages", base_url.strip_suffix("/v1").unwrap_or(base_url))
}

pub(super) fn body(model: &str, conversation: &Conversation, output_tokens_max: u32) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for turn in &conversation.turns {
        match turn {
            Turn::Said(text) => say(&mut messages, vec![json!({ "type": "text", "text": text })]),
            Turn::Called(past) => {
                let uses: Vec<Value> = past.iter().map(tool_use).collect();
                messages.push(json!({ "role": "assistant", "content": uses }));
                say(&mut messages, past.iter().map(tool_result).collect());
            }
        }
    }
    let mut body = json!({
        "model": model,
        "max_tokens": output_tokens_max,
        "system": conversation.system,
        "messages": messages,
    });
    if !conversation.tools.is_empty() {
        let tools = conversation
            .tools
            .iter()
            .map(|tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema }));
        body["tools"] = tools.collect();
    }
    body
}

/// What comes from this side goes into one message until the model speaks again.
fn say(messages: &mut Vec<Value>, blocks: Vec<Value>) {
    match messages.last_mut().filter(|last| last["role"] == "user").and_then(|last| last["content"].as_array_mut()) {
        Some(content) => content.extend(blocks),
        None => messages.push(json!({ "role": "user", "content": blocks })),
    }
}

fn tool_use(past: &Past) -> Value {
    json!({ "type": "tool_use", "id": past.id, "name": past.name, "input": past.arguments })
}

fn tool_result(past: &Past) -> Value {
    json!({ "type": "tool_result", "tool_use_id": past.id, "content": past.result, "is_error": !past.succeeded })
}

pub(super) fn read(body: &Value) -> Result<Reply, UnknownShape> {
    let content = body["content"].as_array().ok_or_else(|| UnknownShape::new("it has no `content`"))?;
    let mut reply = Reply { text: String::new(), calls: Vec::new(), end: end(body)?, tokens: tokens(&body["usage"]) };
    for block in content {
        match block["type"].as_str() {
            Some("text") => reply.text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => {
                let name = block["name"].as_str().ok_or_else(|| UnknownShape::new("a `tool_use` without a `name`"))?;
                reply.calls.push(ReplyCall { name: name.to_owned(), arguments: Ok(block["input"].clone()) });
            }
            Some("thinking" | "redacted_thinking") => {}
            _ => return Err(UnknownShape::new("a block of `content` is neither text nor a tool's use")),
        }
    }
    Ok(reply)
}

fn end(body: &Value) -> Result<End, UnknownShape> {
    match body["stop_reason"].as_str() {
        Some("end_turn" | "tool_use" | "stop_sequence") => Ok(End::Whole),
        Some("max_tokens" | "model_context_window_exceeded") => Ok(End::CutOff),
        Some("refusal") => Ok(End::Declined { message: "the model declines to answer".to_owned() }),
        _ => Err(UnknownShape::new("its `stop_reason` is unknown")),
    }
}

fn tokens(usage: &Value) -> Option<Tokens> {
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached = cached.iter().filter_map(|name| usage[name].as_u64()).fold(0, u64::saturating_add);
    Some(Tokens {
        input: usage["input_tokens"].as_u64()?.saturating_add(cached),
        output: usage["output_tokens"].as_u64()?,
    })
}
