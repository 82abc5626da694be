//! OpenAI's Chat Completions API, as OpenAI, Ollama, vLLM and most gateways speak it
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use serde_json::{Map, Value, json};

use super::{UnknownShape, has_path};
use crate::{
    conversation::{Conversation, Past, Turn},
    offer::{OPENAI, fit},
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
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::CompletionTokens => "max_completion_tokens",
            Limit::Tokens => "max_tokens",
        }
    }

    /// The other one.
    pub const fn other(self) -> Limit {
        match self {
            Limit::CompletionTokens => Limit::Tokens,
            Limit::Tokens => Limit::CompletionTokens,
        }
    }

    /// The name that is probably known at `base_url`; a provider that refuses it is asked again with the other.
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
                let mut message = json!({ "role": "assistant", "content": null, "tool_calls": calls });
                extend(&mut message, past.iter().find_map(|past| past.echo.as_ref()?.get("message")));
                messages.push(message);
                let result = |past: &Past| json!({ "role": "tool", "tool_call_id": past.id, "content": past.result });
                messages.extend(past.iter().map(result));
            }
        }
    }
    let mut body = json!({ "model": model, "messages": messages });
    body[limit.name()] = json!(output_tokens_max);
    if !conversation.tools.is_empty() {
        let tools = conversation.tools.iter().map(|tool| {
            let tool = fit(tool, OPENAI);
            let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
            json!({ "type": "function", "function": function })
        });
        body["tools"] = tools.collect();
    }
    body
}

fn tool_call(past: &Past) -> Value {
    let function = json!({ "name": past.name, "arguments": crate::conversation::canonical(&past.arguments) });
    let mut call = json!({ "type": "function", "id": past.id, "function": function });
    extend(&mut call, past.echo.as_ref().and_then(|echo| echo.get("call")));
    call
}

/// `object` with the fields of `more` that it does not have.
fn extend(object: &mut Value, more: Option<&Value>) {
    let (Some(object), Some(Value::Object(more))) = (object.as_object_mut(), more) else { return };
    for (name, value) in more {
        object.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// An error in an answer's place: said outright, or no choice where there is always one.
pub(super) fn is_error(body: &Value) -> bool {
    let said = |value: &Value| !value["error"].is_null();
    match body.get("choices") {
        _ if said(body) => true,
        Some(Value::Null) => true,
        Some(Value::Array(choices)) => {
            choices.first().is_none_or(|choice| said(choice) || choice["finish_reason"] == "error")
        }
        _ => false,
    }
}

/// What a model is to be given back with its calls, in whichever of the names that are in use for its thoughts.
const THOUGHTS: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];

/// The fields of a call that every dialect has; what else there is, its provider wants back: Gemini signs its calls in `extra_content`
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
const OF_A_CALL: [&str; 4] = ["id", "type", "function", "index"];

pub(super) fn read(body: &Value) -> Result<Reply, UnknownShape> {
    let choice = body["choices"].get(0).ok_or_else(|| UnknownShape::new("it has no `choices`"))?;
    let message = choice["message"].as_object().ok_or_else(|| UnknownShape::new("its choice has no `message`"))?;
    let mut calls = match message.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) => calls.iter().map(call).collect::<Result<Vec<ReplyCall>, _>>()?,
        Some(_) => return Err(UnknownShape::new("its `tool_calls` are no list")),
    };
    let text = match message.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(UnknownShape::new("its `content` is no text")),
    };
    let thoughts = THOUGHTS.iter().filter_map(|name| Some(((*name).to_owned(), message.get(*name)?.clone())));
    let thoughts: Map<String, Value> = thoughts.filter(|(_, thought)| !thought.is_null()).collect();
    if let Some(first) = calls.first_mut().filter(|_| !thoughts.is_empty()) {
        let echo = first.echo.get_or_insert_with(|| json!({}));
        echo["message"] = Value::Object(thoughts);
    }
    let refusal = message.get("refusal").and_then(Value::as_str).filter(|refusal| !refusal.trim().is_empty());
    let end = match refusal {
        Some(refusal) => End::Declined { message: refusal.to_owned() },
        None => end(choice),
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
    let extra = call.as_object().into_iter().flatten().filter(|(name, _)| !OF_A_CALL.contains(&name.as_str()));
    let extra: Map<String, Value> = extra.map(|(name, value)| (name.clone(), value.clone())).collect();
    let echo = (!extra.is_empty()).then(|| json!({ "call": extra }));
    Ok(ReplyCall { id: call["id"].as_str().map(str::to_owned), name: name.to_owned(), arguments, echo })
}

fn end(choice: &Value) -> End {
    match choice["finish_reason"].as_str() {
        Some("stop") => End::Whole,
        Some("tool_calls" | "function_call") => End::ToCall,
        Some("length") => End::CutOff,
        Some("content_filter") => End::Declined { message: "a content filter stopped the answer".to_owned() },
        _ => End::Unsaid,
    }
}

pub(super) fn tokens(usage: &Value) -> Option<Tokens> {
    Some(Tokens { input: usage["prompt_tokens"].as_u64()?, output: usage["completion_tokens"].as_u64()? })
}
