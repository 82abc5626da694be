//! How a conversation is written down for one kind of provider, and how its answer is read.

use serde_json::Value;
use windlass::config::ModelName;

use crate::{
    conversation::Conversation,
    reply::{Reply, Tokens},
};

pub mod anthropic;
pub mod bedrock;
pub mod openai;

/// What one kind of provider speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic's Messages API (<https://docs.anthropic.com/en/api/messages>).
    Anthropic,
    /// OpenAI's Chat Completions API (<https://platform.openai.com/docs/api-reference/chat/create>).
    OpenAi(openai::Limit),
    /// Amazon Bedrock's Converse API
    /// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
    Bedrock,
}

/// What a provider answered is not of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider's answer has an unknown shape: {problem}")]
pub struct UnknownShape {
    /// What is wrong with it.
    pub problem: String,
}

impl UnknownShape {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

impl Dialect {
    /// The body of the request that asks `model`.
    pub fn body(&self, model: &str, conversation: &Conversation, output_tokens_max: u32) -> Value {
        match self {
            Dialect::Anthropic => anthropic::body(model, conversation, output_tokens_max),
            Dialect::OpenAi(limit) => openai::body(model, conversation, output_tokens_max, *limit),
            Dialect::Bedrock => bedrock::body(conversation, output_tokens_max),
        }
    }

    /// What the model said.
    ///
    /// # Errors
    /// When the body is not of the provider's format.
    pub fn read(&self, body: &Value) -> Result<Reply, UnknownShape> {
        match self {
            Dialect::Anthropic => anthropic::read(body),
            Dialect::OpenAi(_) => openai::read(body),
            Dialect::Bedrock => bedrock::read(body),
        }
    }

    /// Whether a body is an error, whatever the status said that came with it: some gateways answer so when they are overloaded.
    pub fn is_error(&self, body: &Value) -> bool {
        match self {
            Dialect::Anthropic => body["type"] == "error",
            Dialect::OpenAi(_) => openai::is_error(body),
            Dialect::Bedrock => body["message"].is_string() && body.get("output").is_none(),
        }
    }

    /// How many tokens an answer took, if it says.
    pub fn tokens(&self, body: &Value) -> Option<Tokens> {
        match self {
            Dialect::Anthropic => anthropic::tokens(&body["usage"]),
            Dialect::OpenAi(_) => openai::tokens(&body["usage"]),
            Dialect::Bedrock => bedrock::tokens(&body["usage"]),
        }
    }

    /// Where it is asked: below `base_url`, or the provider's own address.
    pub fn url(&self, base_url: Option<&str>, model: &str, region: &str) -> String {
        let base_url = base_url.map(|url| url.trim_end_matches('/'));
        match self {
            Dialect::Anthropic => anthropic::url(base_url),
            Dialect::OpenAi(_) => openai::url(base_url),
            Dialect::Bedrock => bedrock::url(base_url, model, region),
        }
    }

    /// Headers that say which version of the format is spoken.
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Dialect::Anthropic => &[("anthropic-version", anthropic::VERSION)],
            Dialect::OpenAi(_) | Dialect::Bedrock => &[],
        }
    }

    /// The dialect of a model and the provider's name for it; `None` for the script.
    pub fn of(model: &ModelName, base_url: Option<&str>) -> Option<(Dialect, String)> {
        match model {
            ModelName::Script => None,
            ModelName::Anthropic(name) => Some((Dialect::Anthropic, name.clone())),
            ModelName::OpenAi(name) => Some((Dialect::OpenAi(openai::Limit::at(base_url)), name.clone())),
            ModelName::Bedrock(id) => Some((Dialect::Bedrock, id.clone())),
        }
    }
}

/// Whether a URL without a final slash has a path.
fn has_path(base_url: &str) -> bool {
    base_url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conversation::{Past, Turn};

    #[test]
    fn each_provider_is_asked_at_its_own_address_or_below_the_configured_one() {
        let url = |model: &str, base_url: Option<&str>| {
            let (dialect, name) = Dialect::of(&model.parse().expect(model), base_url).expect("a provider");
            dialect.url(base_url, &name, "eu-west-1")
        };
        for (model, base_url, wanted) in [
            ("openai:m", None, "https://api.openai.com/v1/chat/completions"),
            ("openai:m", Some("http://127.0.0.1:11434"), "http://127.0.0.1:11434/v1/chat/completions"),
            ("openai:m", Some("http://127.0.0.1:11434/v1/"), "http://127.0.0.1:11434/v1/chat/completions"),
            ("openai:m", Some("https://gateway.example/team/v2"), "https://gateway.example/team/v2/chat/completions"),
            ("anthropic:m", None, "https://api.anthropic.com/v1/messages"),
            ("anthropic:m", Some("https://gateway.example/v1"), "https://gateway.example/v1/messages"),
            ("bedrock:a.b-1:0", None, "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a.b-1%3A0/converse"),
            ("bedrock:m", Some("http://127.0.0.1:1/"), "http://127.0.0.1:1/model/m/converse"),
        ] {
            assert_eq!(url(model, base_url), wanted);
        }
    }

    #[test]
    fn a_body_of_any_other_shape_is_an_error_and_never_a_panic() {
        let dialects = [Dialect::Anthropic, Dialect::OpenAi(openai::Limit::Tokens), Dialect::Bedrock];
        let bodies = [
            json!(null),
            json!([]),
            json!("text"),
            json!({}),
            json!({ "choices": [] }),
            json!({ "choices": [{ "finish_reason": "stop" }] }),
            json!({ "choices": [{ "finish_reason": "stop", "message": { "content": [1] } }] }),
            json!({ "choices": [{ "finish_reason": "stop", "message": { "tool_calls": {} } }] }),
            json!({ "choices": [{ "finish_reason": "tool_calls", "message": { "tool_calls": [{}] } }] }),
            json!({ "choices": [{ "finish_reason": "other" }] }),
            json!({ "content": {}, "stop_reason": "end_turn" }),
            json!({ "content": [{ "type": "tool_use" }], "stop_reason": "tool_use" }),
            json!({ "content": [{ "type": "image" }], "stop_reason": "end_turn" }),
            json!({ "output": { "message": { "content": [{}] } }, "stopReason": "end_turn" }),
            json!({ "output": { "message": { "content": 1 } }, "stopReason": "end_turn" }),
        ];
        for dialect in &dialects {
            for body in &bodies {
                assert!(dialect.read(body).is_err(), "{dialect:?} {body}");
            }
        }
    }

    #[test]
    fn how_an_answer_says_that_it_ended_is_read_and_what_nobody_knows_is_not_held_against_it() {
        use crate::reply::End;
        let openai = |reason: Value| {
            let body =
                json!({ "choices": [{ "finish_reason": reason, "message": { "content": "{}", "refusal": "" } }] });
            Dialect::OpenAi(openai::Limit::Tokens).read(&body).expect("it is of the format").end
        };
        let anthropic = |reason: Value| {
            let body = json!({ "content": [{ "type": "text", "text": "{}" }], "stop_reason": reason });
            Dialect::Anthropic.read(&body).expect("it is of the format").end
        };
        let bedrock = |reason: Value| {
            let body = json!({ "output": { "message": { "content": [{ "text": "{}" }] } }, "stopReason": reason });
            Dialect::Bedrock.read(&body).expect("it is of the format").end
        };
        for unknown in [json!(null), json!(""), json!("eos"), json!(7)] {
            for end in [openai(unknown.clone()), anthropic(unknown.clone()), bedrock(unknown.clone())] {
                assert_eq!(end, End::Unsaid, "{unknown}");
            }
        }
        assert_eq!((openai(json!("stop")), openai(json!("tool_calls"))), (End::Whole, End::ToCall));
        assert_eq!((anthropic(json!("end_turn")), anthropic(json!("tool_use"))), (End::Whole, End::ToCall));
        assert_eq!((bedrock(json!("end_turn")), bedrock(json!("tool_use"))), (End::Whole, End::ToCall));
        assert_eq!((openai(json!("length")), anthropic(json!("max_tokens"))), (End::CutOff, End::CutOff));
        assert!(matches!(bedrock(json!("guardrail_intervened")), End::Declined { .. }));
        assert!(matches!(bedrock(json!("malformed_tool_use")), End::Broken { .. }));
        let refused = json!({ "choices": [{ "message": { "content": null, "refusal": "I will not." } }] });
        let refused = Dialect::OpenAi(openai::Limit::Tokens).read(&refused).expect("it is of the format");
        assert!(matches!(refused.end, End::Declined { .. }));
    }

    #[test]
    fn an_error_is_one_whatever_status_it_comes_with() {
        let openai = Dialect::OpenAi(openai::Limit::Tokens);
        for body in [
            json!({ "error": { "message": "overloaded", "code": 429 } }),
            json!({ "error": "overloaded" }),
            json!({ "choices": [] }),
            json!({ "choices": null }),
            json!({ "choices": [{ "finish_reason": "error", "message": { "content": "" } }] }),
            json!({ "choices": [{ "error": { "code": 502 }, "message": { "content": "" } }] }),
        ] {
            assert!(openai.is_error(&body), "{body}");
        }
        for body in [
            json!({ "error": null, "choices": [{ "message": { "content": "x" } }] }),
            json!({ "choices": [{ "error": null, "finish_reason": null, "message": { "content": "x" } }] }),
            json!({ "result": "hello" }),
        ] {
            assert!(!openai.is_error(&body), "{body}");
        }
        assert!(Dialect::Anthropic.is_error(&json!({ "type": "error", "error": { "type": "overloaded_error" } })));
        assert!(Dialect::Bedrock.is_error(&json!({ "message": "Too many requests" })));
    }

    #[test]
    fn what_a_provider_wants_back_with_a_call_is_kept_and_sent_back() {
        let openai = Dialect::OpenAi(openai::Limit::Tokens);
        let function = json!({ "name": "refund", "arguments": "{}" });
        let signed = json!({ "google": { "thought_signature": "c2ln" } });
        let call = json!({ "id": "c1", "type": "function", "index": 0, "extra_content": signed, "function": function });
        let message = json!({ "role": "assistant", "reasoning_content": "hm", "content": null, "tool_calls": [call] });
        let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "c2ln" });
        let used = json!({ "type": "tool_use", "id": "t", "name": "refund", "input": {} });
        let reasoning = json!({ "reasoningContent": { "reasoningText": { "text": "hm", "signature": "c2ln" } } });
        let wanted = json!({ "toolUse": { "toolUseId": "t", "name": "refund", "input": {} } });
        for (dialect, body) in [
            (openai, json!({ "choices": [{ "finish_reason": "tool_calls", "message": message }] })),
            (Dialect::Anthropic, json!({ "content": [thought, used], "stop_reason": "tool_use" })),
            (
                Dialect::Bedrock,
                json!({ "output": { "message": { "content": [reasoning, wanted] } }, "stopReason": "tool_use" }),
            ),
        ] {
            let reply = dialect.read(&body).expect("it is of the format");
            let past = Past {
                id: "c00000001".to_owned(),
                name: "refund".to_owned(),
                arguments: json!({}),
                result: "{}".to_owned(),
                succeeded: true,
                echo: reply.calls[0].echo.clone(),
            };
            let turns = vec![Turn::Said("x".to_owned()), Turn::Called(vec![past])];
            let conversation = Conversation { system: String::new(), turns, tools: Vec::new() };
            let messages = &dialect.body("m", &conversation, 10)["messages"];
            let said = messages.as_array().expect("messages").iter().find(|one| one["role"] == "assistant");
            let said = said.expect("what the model said");
            match dialect {
                Dialect::OpenAi(_) => {
                    assert_eq!(
                        (&said["reasoning_content"], &said["tool_calls"][0]["extra_content"]),
                        (&json!("hm"), &signed)
                    );
                    assert!(said["tool_calls"][0].get("index").is_none(), "{said}");
                }
                Dialect::Anthropic => assert_eq!(said["content"][0], thought),
                Dialect::Bedrock => assert_eq!(said["content"][0], reasoning),
            }
        }
    }

    #[test]
    fn cached_tokens_count_and_thoughts_are_no_text() {
        let body = json!({
            "content": [{ "type": "thinking", "thinking": "hm" }, { "type": "text", "text": "{}" }],
            "stop_reason": "end_turn",
            "usage": { "input_tokens": 1, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 5 },
        });
        let reply = Dialect::Anthropic.read(&body).expect("it is of the format");
        assert_eq!(reply.text, "{}");
        assert_eq!(reply.tokens.map(|tokens| (tokens.input, tokens.output)), Some((111, 5)));
    }
}
