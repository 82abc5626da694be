//! Amazon Bedrock's Converse API
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::UnknownShape;
use crate::{
    conversation::{Conversation, Past, Turn},
    offer::{OTHERS, fit},
    reply::{End, Reply, ReplyCall, Tokens},
};

pub(super) fn url(base_url: Option<&str>, model: &str, region: &str) -> String {
    let path = format!("/model/{}/converse", percent_encoded(model));
    match base_url {
        Some(base_url) => format!("{base_url}{path}"),
        None => format!("https://bedrock-runtime.{region}.amazonaws.com{path}"),
    }
}

/// One segment of a path: everything but the unreserved characters of RFC 3986 is encoded.
fn percent_encoded(segment: &str) -> String {
    segment.bytes().fold(String::with_capacity(segment.len()), |mut path, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path
    })
}

pub(super) fn body(conversation: &Conversation, output_tokens_max: u32) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for turn in &conversation.turns {
        match turn {
            Turn::Said(text) => say(&mut messages, vec![json!({ "text": text })]),
            Turn::Called(past) => {
                let uses: Vec<Value> = thoughts(past).chain(past.iter().map(tool_use)).collect();
                messages.push(json!({ "role": "assistant", "content": uses }));
                say(&mut messages, past.iter().map(tool_result).collect());
            }
        }
    }
    let mut body = json!({
        "system": [{ "text": conversation.system }],
        "messages": messages,
        "inferenceConfig": { "maxTokens": output_tokens_max },
    });
    if !conversation.tools.is_empty() {
        let tools = conversation.tools.iter().map(|tool| {
            let tool = fit(tool, OTHERS);
            let schema = json!({ "json": tool.schema });
            json!({ "toolSpec": { "name": tool.name, "description": tool.description, "inputSchema": schema } })
        });
        body["toolConfig"] = json!({ "tools": tools.collect::<Vec<Value>>() });
    }
    body
}

/// Roles must alternate.
fn say(messages: &mut Vec<Value>, blocks: Vec<Value>) {
    match messages.last_mut().filter(|last| last["role"] == "user").and_then(|last| last["content"].as_array_mut()) {
        Some(content) => content.extend(blocks),
        None => messages.push(json!({ "role": "user", "content": blocks })),
    }
}

/// What the model thought before its calls: it must come back as it was, with its signature
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningContentBlock.html>).
fn thoughts(past: &[Past]) -> impl Iterator<Item = Value> {
    let echoed = past.iter().filter_map(|past| past.echo.as_ref()?["before"].as_array()).flatten();
    echoed.cloned().collect::<Vec<Value>>().into_iter()
}

fn tool_use(past: &Past) -> Value {
    json!({ "toolUse": { "toolUseId": past.id, "name": past.name, "input": past.arguments } })
}

fn tool_result(past: &Past) -> Value {
    let status = if past.succeeded { "success" } else { "error" };
    json!({ "toolResult": { "toolUseId": past.id, "content": [{ "text": past.result }], "status": status } })
}

pub(super) fn read(body: &Value) -> Result<Reply, UnknownShape> {
    let content = body["output"]["message"]["content"].as_array();
    let content = content.ok_or_else(|| UnknownShape::new("its `output` has no message"))?;
    let mut reply = Reply { text: String::new(), calls: Vec::new(), end: end(body), tokens: tokens(&body["usage"]) };
    let mut thoughts = Vec::new();
    for block in content {
        if let Some(text) = block["text"].as_str() {
            reply.text.push_str(text);
        } else if let Some(name) = block["toolUse"]["name"].as_str() {
            let arguments = Ok(block["toolUse"]["input"].clone());
            let id = block["toolUse"]["toolUseId"].as_str().map(str::to_owned);
            reply.calls.push(ReplyCall { id, name: name.to_owned(), arguments, echo: None });
        } else if block.get("reasoningContent").is_some() {
            thoughts.push(block.clone());
        } else {
            return Err(UnknownShape::new("a block of `content` is neither text nor a tool's use"));
        }
    }
    if let Some(first) = reply.calls.first_mut().filter(|_| !thoughts.is_empty()) {
        first.echo = Some(json!({ "before": thoughts }));
    }
    Ok(reply)
}

fn end(body: &Value) -> End {
    match body["stopReason"].as_str() {
        Some("end_turn" | "stop_sequence") => End::Whole,
        Some("tool_use") => End::ToCall,
        Some("max_tokens" | "model_context_window_exceeded") => End::CutOff,
        Some(reason @ ("guardrail_intervened" | "content_filtered")) => End::Declined { message: reason.to_owned() },
        Some(reason @ ("malformed_model_output" | "malformed_tool_use")) => End::Broken { problem: reason.to_owned() },
        _ => End::Unsaid,
    }
}

pub(super) fn tokens(usage: &Value) -> Option<Tokens> {
    let cached: u64 =
        ["cacheReadInputTokens", "cacheWriteInputTokens"].iter().filter_map(|name| usage[name].as_u64()).sum();
    Some(Tokens {
        input: usage["inputTokens"].as_u64()?.saturating_add(cached),
        output: usage["outputTokens"].as_u64()?,
    })
}
