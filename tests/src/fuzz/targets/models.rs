//! What models' providers answer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt as _;
use serde_json::json;
use windlass::{
    agent::model::{Model as _, Question},
    clock::Timestamp,
    ids::TraceId,
    run::request::RunRequest,
};
use windlass_providers::{
    dialect::{Dialect, openai::Limit},
    provider::Provider,
    transport::{Exchange, Received, Transport, TransportError},
};

use super::super::Said;

/// A provider that says one thing.
struct Says(Received);

#[async_trait]
impl Transport for Says {
    async fn send(&self, _: &Exchange) -> Result<Received, TransportError> {
        Ok(self.0.clone())
    }
}

fn ask(dialect: Dialect, status: u16, body: &[u8]) -> Said {
    let received = Received { status, retry_after: Duration::ZERO, body: body.to_vec() };
    let provider = Provider {
        name: "fuzzed:m".to_owned(),
        model: "m".to_owned(),
        dialect,
        url: String::new(),
        transport: Arc::new(Says(received)),
        timeout: Duration::from_secs(20),
        output_tokens_max: 1_000,
        price: Some(windlass::config::Price::default()),
        renamed: Default::default(),
    };
    let request = RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
        roles: Default::default(),
    };
    let question = Question {
        run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id"),
        trace: TraceId::from_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("a trace"),
        instructions: "be brief",
        tools: &[],
        model: None,
        flags: &BTreeSet::new(),
        request: &request,
        calls: &[],
        steps: 0,
        problem: None,
        failures: 0,
        now: Timestamp::from_millis(1_768_000_000_000),
    };
    let answer = provider.answer(question).now_or_never().expect("nothing waits");
    match &answer {
        Ok(answer) => Said::Taken(format!("{:?}", std::mem::discriminant(&answer.proposal))),
        Err(error) => Said::refused(error),
    }
}

/// The first byte chooses the status, so that errors are read too.
fn status(input: &[u8]) -> u16 {
    match input.first() {
        Some(b'!') => 429,
        Some(b'?') => 400,
        Some(b'~') => 500,
        _ => 200,
    }
}

fn body(input: &[u8]) -> &[u8] {
    input.strip_prefix(b"!").or(input.strip_prefix(b"?")).or(input.strip_prefix(b"~")).unwrap_or(input)
}

pub fn anthropic(input: &[u8]) -> Said {
    ask(Dialect::Anthropic, status(input), body(input))
}

pub fn openai(input: &[u8]) -> Said {
    ask(Dialect::OpenAi(Limit::Tokens), status(input), body(input))
}

pub fn bedrock(input: &[u8]) -> Said {
    ask(Dialect::Bedrock, status(input), body(input))
}

pub fn anthropic_seeds() -> Vec<Vec<u8>> {
    let text = json!({ "content": [{ "type": "text", "text": "{\"ok\":true}" }], "stop_reason": "end_turn", "usage": { "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 2 } });
    let call = json!({ "content": [{ "type": "thinking", "thinking": "hm" }, { "type": "tool_use", "id": "t", "name": "refund", "input": { "order": "A-1" } }], "stop_reason": "tool_use", "usage": { "input_tokens": 10, "output_tokens": 5 } });
    let refused = json!({ "content": [], "stop_reason": "refusal" });
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    seeds(&[text, call, refused], &error)
}

pub fn openai_seeds() -> Vec<Vec<u8>> {
    let text = json!({ "choices": [{ "finish_reason": "stop", "message": { "content": "{\"ok\":true}", "refusal": null } }], "usage": { "prompt_tokens": 10, "completion_tokens": 5 } });
    let call = json!({ "choices": [{ "finish_reason": "tool_calls", "message": { "content": null, "tool_calls": [{ "id": "t", "type": "function", "function": { "name": "refund", "arguments": "{\"order\":\"A-1\"}" } }] } }] });
    let refused = json!({ "choices": [{ "finish_reason": "content_filter", "message": { "refusal": "no" } }] });
    let error = json!({ "error": { "message": "rate limited", "code": "rate_limit_exceeded" } });
    seeds(&[text, call, refused], &error)
}

pub fn bedrock_seeds() -> Vec<Vec<u8>> {
    let text = json!({ "output": { "message": { "content": [{ "text": "{\"ok\":true}" }] } }, "stopReason": "end_turn", "usage": { "inputTokens": 10, "outputTokens": 5 } });
    let call = json!({ "output": { "message": { "content": [{ "toolUse": { "toolUseId": "t", "name": "refund", "input": { "order": "A-1" } } }] } }, "stopReason": "tool_use" });
    let refused = json!({ "output": { "message": { "content": [] } }, "stopReason": "guardrail_intervened" });
    seeds(&[text, call, refused], &json!({ "message": "too many requests" }))
}

fn seeds(answers: &[serde_json::Value], error: &serde_json::Value) -> Vec<Vec<u8>> {
    let answers = answers.iter().map(|answer| answer.to_string().into_bytes());
    answers.chain(["!", "?", "~"].map(|status| format!("{status}{error}").into_bytes())).collect()
}
