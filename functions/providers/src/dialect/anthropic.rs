//! Anthropic's Messages API (<https://docs.anthropic.com/en/api/messages>).

use serde_json::{Value, json};

use super::UnknownShape;
use crate::{
    conversation::{Conversation, Past, Turn},
    offer::{OTHERS, fit},
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
                let uses: Vec<Value> = thoughts(past).chain(past.iter().map(tool_use)).collect();
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
            .map(|tool| fit(tool, OTHERS))
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

/// What the model thought before its calls: it must come back as it was, with its signature
/// (<https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#preserving-thinking-blocks>).
fn thoughts(past: &[Past]) -> impl Iterator<Item = Value> {
    let echoed = past.iter().filter_map(|past| past.echo.as_ref()?["before"].as_array()).flatten();
    echoed.cloned().collect::<Vec<Value>>().into_iter()
}

fn tool_use(past: &Past) -> Value {
    json!({ "type": "tool_use", "id": past.id, "name": past.name, "input": past.arguments })
}

fn tool_result(past: &Past) -> Value {
    json!({ "type": "tool_result", "tool_use_id": past.id, "content": past.result, "is_error": !past.succeeded })
}

pub(super) fn read(body: &Value) -> Result<Reply, UnknownShape> {
    let content = body["content"].as_array().ok_or_else(|| UnknownShape::new("it has no `content`"))?;
    let mut reply = Reply { text: String::new(), calls: Vec::new(), end: end(body), tokens: tokens(&body["usage"]) };
    let mut thoughts = Vec::new();
    for block in content {
        match block["type"].as_str() {
            Some("text") => reply.text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => {
                let name = block["name"].as_str().ok_or_else(|| UnknownShape::new("a `tool_use` without a `name`"))?;
                let id = block["id"].as_str().map(str::to_owned);
                let arguments = Ok(block["input"].clone());
                reply.calls.push(ReplyCall { id, name: name.to_owned(), arguments, echo: None });
            }
            Some("thinking" | "redacted_thinking") => thoughts.push(block.clone()),
            _ => return Err(UnknownShape::new("a block of `content` is neither text nor a tool's use")),
        }
    }
    if let Some(first) = reply.calls.first_mut().filter(|_| !thoughts.is_empty()) {
        first.echo = Some(json!({ "before": thoughts }));
    }
    Ok(reply)
}

fn end(body: &Value) -> End {
    match body["stop_reason"].as_str() {
        Some("end_turn" | "stop_sequence") => End::Whole,
        Some("tool_use") => End::ToCall,
        Some("max_tokens" | "model_context_window_exceeded") => End::CutOff,
        Some("refusal") => End::Declined { message: "the model declines to answer".to_owned() },
        _ => End::Unsaid,
    }
}

pub(super) fn tokens(usage: &Value) -> Option<Tokens> {
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached = cached.iter().filter_map(|name| usage[name].as_u64()).fold(0, u64::saturating_add);
    Some(Tokens {
        input: usage["input_tokens"].as_u64()?.saturating_add(cached),
        output: usage["output_tokens"].as_u64()?,
    })
}
