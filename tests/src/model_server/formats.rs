//! The three wire formats, from the provider's side.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::clerk::{Said, Told, data};

/// Tokens that every answer is said to have taken: read and written.
pub const TOKENS: (u64, u64) = (1_000, 50);

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenAI's Chat Completions.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// Amazon Bedrock's Converse.
    Bedrock,
}

impl Format {
    /// Each of them.
    pub const ALL: [Format; 3] = [Format::OpenAi, Format::Anthropic, Format::Bedrock];

    /// The prefix of its models' names in the configuration.
    pub const fn prefix(self) -> &'static str {
        match self {
            Format::OpenAi => "openai",
            Format::Anthropic => "anthropic",
            Format::Bedrock => "bedrock",
        }
    }

    /// Where it must be asked for the model `test`.
    pub const fn path(self) -> &'static str {
        match self {
            Format::OpenAi => "/v1/chat/completions",
            Format::Anthropic => "/v1/messages",
            Format::Bedrock => "/model/test/converse",
        }
    }

    /// The key that a request brings.
    pub fn key_of(self, headers: &HeaderMap) -> Option<&str> {
        match self {
            Format::OpenAi | Format::Bedrock => headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer "),
            Format::Anthropic => headers.get("x-api-key")?.to_str().ok(),
        }
    }

    /// What a request tells. It checks what the provider would refuse: roles that do not alternate, results without their calls.
    ///
    /// # Panics
    /// When the request is not of the format.
    pub(super) fn conversation(self, body: &Value) -> Told {
        let messages = body["messages"].as_array().expect("messages");
        match self {
            Format::OpenAi => openai(messages),
            Format::Anthropic => blocks(messages, |block| match block["type"].as_str().expect("a type") {
                "text" => Block::Text(text(&block["text"])),
                "tool_use" => Block::Use(text(&block["id"])),
                "tool_result" => Block::Result(text(&block["tool_use_id"]), text(&block["content"])),
                other => panic!("a block of type {other}"),
            }),
            Format::Bedrock => blocks(messages, |block| {
                let (used, result) = (&block["toolUse"], &block["toolResult"]);
                match (used.is_object(), result.is_object()) {
                    (true, _) => Block::Use(text(&used["toolUseId"])),
                    (_, true) => Block::Result(text(&result["toolUseId"]), text(&result["content"][0]["text"])),
                    _ => Block::Text(text(&block["text"])),
                }
            }),
        }
    }

    /// What the model says, in the format.
    pub(super) fn reply(self, said: &Said) -> Value {
        match (self, said) {
            (Format::OpenAi, Said::Call(calls)) => {
                let call = |(n, (tool, arguments)): (usize, &(String, Value))| {
                    let function = json!({ "name": tool, "arguments": arguments.to_string() });
                    json!({ "id": format!("call_{n}"), "type": "function", "function": function })
                };
                let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
                self.whole(json!({ "role": "assistant", "content": null, "tool_calls": calls }), "tool_calls")
            }
            (Format::OpenAi, Said::Answer(answer)) => {
                self.whole(json!({ "role": "assistant", "content": answer.to_string(), "refusal": null }), "stop")
            }
            (Format::Anthropic, Said::Call(calls)) => {
                let call = |(n, (tool, arguments)): (usize, &(String, Value))| json!({ "type": "tool_use", "id": format!("toolu_{n}"), "name": tool, "input": arguments });
                let thought = json!({ "type": "text", "text": "Let me see." });
                let blocks: Vec<Value> = std::iter::once(thought).chain(calls.iter().enumerate().map(call)).collect();
                self.whole(json!(blocks), "tool_use")
            }
            (Format::Anthropic, Said::Answer(answer)) => {
                self.whole(json!([{ "type": "text", "text": answer.to_string() }]), "end_turn")
            }
            (Format::Bedrock, Said::Call(calls)) => {
                let call = |(n, (tool, arguments)): (usize, &(String, Value))| json!({ "toolUse": { "toolUseId": format!("tooluse_{n}"), "name": tool, "input": arguments } });
                self.whole(calls.iter().enumerate().map(call).collect(), "tool_use")
            }
            (Format::Bedrock, Said::Answer(answer)) => self.whole(json!([{ "text": answer.to_string() }]), "end_turn"),
        }
    }

    fn whole(self, content: Value, end: &str) -> Value {
        let (read, written) = TOKENS;
        match self {
            Format::OpenAi => json!({
                "id": "chatcmpl-1", "object": "chat.completion", "model": "test",
                "choices": [{ "index": 0, "message": content, "finish_reason": end }],
                "usage": { "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written },
            }),
            Format::Anthropic => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "test",
                "content": content, "stop_reason": end, "stop_sequence": null,
                "usage": { "input_tokens": read, "output_tokens": written },
            }),
            Format::Bedrock => json!({
                "output": { "message": { "role": "assistant", "content": content } }, "stopReason": end,
                "usage": { "inputTokens": read, "outputTokens": written, "totalTokens": read + written },
                "metrics": { "latencyMs": 12 },
            }),
        }
    }

    /// A call whose arguments cannot be read, or are no object.
    pub(super) fn malformed_call(self) -> Value {
        match self {
            Format::OpenAi => {
                let function = json!({ "name": "refund", "arguments": "{\"order\": \"A-1001\", \"amount_cents\": " });
                let call = json!({ "id": "call_1", "type": "function", "function": function });
                self.whole(json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls")
            }
            Format::Anthropic => self
                .whole(json!([{ "type": "tool_use", "id": "t", "name": "refund", "input": "all of it" }]), "tool_use"),
            Format::Bedrock => {
                let used = json!({ "toolUseId": "t", "name": "refund", "input": "all of it" });
                self.whole(json!([{ "toolUse": used }]), "tool_use")
            }
        }
    }

    pub(super) fn cut_off(self) -> Value {
        match self {
            Format::OpenAi => self.whole(json!({ "role": "assistant", "content": "{\"refunded" }), "length"),
            Format::Anthropic => self.whole(json!([{ "type": "text", "text": "{\"refunded" }]), "max_tokens"),
            Format::Bedrock => self.whole(json!([{ "text": "{\"refunded" }]), "max_tokens"),
        }
    }

    pub(super) fn declined(self) -> Value {
        match self {
            Format::OpenAi => {
                self.whole(json!({ "role": "assistant", "content": null, "refusal": "I will not." }), "stop")
            }
            Format::Anthropic => self.whole(json!([]), "refusal"),
            Format::Bedrock => self.whole(json!([]), "guardrail_intervened"),
        }
    }

    pub(super) fn error(self, kind: &str, message: &str) -> Value {
        match self {
            Format::OpenAi => json!({ "error": { "message": message, "type": kind, "code": null } }),
            Format::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
            Format::Bedrock => json!({ "message": message }),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn openai(messages: &[Value]) -> Told {
    let mut open: Vec<String> = Vec::new();
    let (mut payload, mut results) = (None, Vec::new());
    for message in messages {
        match message["role"].as_str().expect("a role") {
            "system" => assert!(message["content"].is_string()),
            "user" if payload.is_none() => payload = Some(data(&text(&message["content"]))),
            "user" => {}
            "assistant" => {
                assert!(open.is_empty(), "calls without their results: {open:?}");
                open = message["tool_calls"].as_array().expect("calls").iter().map(|call| text(&call["id"])).collect();
            }
            "tool" => {
                assert_eq!(open.remove(0), text(&message["tool_call_id"]), "a result of another call");
                results.push(data(&text(&message["content"])));
            }
            other => panic!("a message of role {other}"),
        }
    }
    assert!(open.is_empty(), "calls without their results: {open:?}");
    Told { payload: payload.expect("a request"), results }
}

enum Block {
    Text(String),
    Use(String),
    Result(String, String),
}

fn blocks(messages: &[Value], read: impl Fn(&Value) -> Block) -> Told {
    let mut open: Vec<String> = Vec::new();
    let (mut payload, mut results) = (None, Vec::new());
    for (at, message) in messages.iter().enumerate() {
        let wanted = if at % 2 == 0 { "user" } else { "assistant" };
        assert_eq!(message["role"], wanted, "roles alternate");
        for block in message["content"].as_array().expect("content") {
            match read(block) {
                Block::Text(text) if payload.is_none() => payload = Some(data(&text)),
                Block::Text(_) => assert!(open.is_empty(), "something is said before the results"),
                Block::Use(id) => open.push(id),
                Block::Result(id, result) => {
                    assert_eq!(open.remove(0), id, "a result of another call");
                    results.push(data(&result));
                }
            }
        }
    }
    assert!(open.is_empty(), "calls without their results: {open:?}");
    Told { payload: payload.expect("a request"), results }
}
