//! OpenAI's Chat Completions API, as OpenAI, Ollama, vLLM and most gateways speak it
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use serde_json::{Value, json};

use super::{UnknownShape, has_path};
use crate::{
    conversation::{Conversation, Past, Turn},
    reply::{End, Reply, ReplyCall, Tokens, parsed_arguments},
};

/// The provider's own address.
const BASE_URL: &str = "https://api.openai.com/v1";

/// By which name the most tokens of an answer are given: OpenAI's reasoning models take only the new one, and not everything
/// that speaks like OpenAI knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `max_completion_tokens`, at OpenAI.
    CompletionTokens,
    /// `max_tokens`, elsewhere.
    Tokens,
}

impl Limit {
    /// The name that is known at `base_url`.
    pub fn at(base_url: Option<&str>) -> Limit {
        match base_url {
            None => Limit::CompletionTokens,
            Some(url) if url.trim_end_matches('/') == BASE_URL => Limit::CompletionTokens,
            Some(_) => Limit::Tokens,
        }
    }
}

pub(super) fn url(base_url: Option<&str>) -> String {
    match base_url.unwrap_or(BASE_URL) {
        url if has_path(url) => format!("{url}/chat/completions"),
        url => format!("{url}/v1/chat/completions"),
    }
}

pub(super) fn body(model: &str, conversation: &Conversation, output_tokens_max: u32, limit: Limit) -> Value {
    let mut messages = vec![json!({ "role": "system", "content": conversation.system })];
    for turn in &conversation.turns {
        match turn {
            Turn::Said(text) => messages.push(json!({ "role": "user", "content": text })),
            Turn::Called(past) => {
                let calls: Vec<Value> = past.iter().map(tool_call).collect();
                messages.push(json!({ "role": "assistant", "content": null, "tool_calls": calls }));
                let result = |past: &Past| json!({ "role": "tool", "tool_call_id": past.id, "content": past.result });
                messages.extend(past.iter().map(result));
            }
        }
    }
    let mut body = json!({ "model": model, "messages": messages });
    let limit = match limit {
        Limit::CompletionTokens => "max_completion_tokens",
        Limit::Tokens => "max_tokens",
    };
    body[limit] = json!(output_tokens_max);
    if !conversation.tools.is_empty() {
        let tools = conversation.tools.iter().map(|tool| {
            let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
            json!({ "type": "function", "function": function })
        });
        body["tools"] = tools.collect();
    }
    body
}

fn tool_call(past: &Past) -> Value {
    let function = json!({ "name": past.name, "arguments": crate::conversation::canonical(&past.arguments) });
    json!({ "type": "function", "id": past.id, "function": function })
}

pub(super) fn read(body: &Value) -> Result<Reply, UnknownShape> {
    let choice = body["choices"].get(0).ok_or_else(|| UnknownShape::new("it has no `choices`"))?;
    let message = choice["message"].as_object().ok_or_else(|| UnknownShape::new("its choice has no `message`"))?;
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) => calls.iter().map(call).collect::<Result<_, _>>()?,
        Some(_) => return Err(UnknownShape::new("its `tool_calls` are no list")),
    };
    let text = match message.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(UnknownShape::new("its `content` is no text")),
    };
    let end = match message.get("refusal").and_then(Value::as_str) {
        Some(refusal) => End::Declined { message: refusal.to_owned() },
        None => end(choice)?,
    };
    Ok(Reply { text, calls, end, tokens: tokens(&body["usage"]) })
}

fn call(call: &Value) -> Result<ReplyCall, UnknownShape> {
    let function = &call["function"];
    let name = function["name"].as_str().ok_or_else(|| UnknownShape::new("a tool call without a `name`"))?;
    let arguments = match &function["arguments"] {
        Value::String(text) => parsed_arguments(text),
        // Some servers send them as they are.
        Value::Object(arguments) => Ok(Value::Object(arguments.clone())),
        Value::Null => Ok(json!({})),
        _ => Err("they are neither text nor an object".to_owned()),
    };
    Ok(ReplyCall { name: name.to_owned(), arguments })
}

fn end(choice: &Value) -> Result<End, UnknownShape> {
    match choice["finish_reason"].as_str() {
        Some("stop" | "tool_calls" | "function_call") => Ok(End::Whole),
        Some("length") => Ok(End::CutOff),
        Some("content_filter") => Ok(End::Declined { message: "a content filter stopped the answer".to_owned() }),
        _ => Err(UnknownShape::new("its `finish_reason` is unknown")),
    }
}

fn tokens(usage: &Value) -> Option<Tokens> {
    Some(Tokens { input: usage["prompt_tokens"].as_u64()?, output: usage["completion_tokens"].as_u64()? })
}
