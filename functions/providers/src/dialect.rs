//! How a conversation is written down for one kind of provider, and how its answer is read.

use serde_json::Value;
use windlass::config::ModelName;

use crate::{conversation::Conversation, reply::Reply};

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

    /// What the provider says about an error, if its body is of the provider's format.
    pub fn complaint(&self, body: &Value) -> Option<String> {
        let message = match self {
            Dialect::Anthropic | Dialect::OpenAi(_) => &body["error"]["message"],
            Dialect::Bedrock => &body["message"],
        };
        message.as_str().map(str::to_owned)
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
            json!({ "choices": [{ "finish_reason": "other", "message": { "content": "x" } }] }),
            json!({ "content": [], "stop_reason": "other" }),
            json!({ "content": [{ "type": "tool_use" }], "stop_reason": "tool_use" }),
            json!({ "content": [{ "type": "image" }], "stop_reason": "end_turn" }),
            json!({ "output": { "message": { "content": [{}] } }, "stopReason": "end_turn" }),
            json!({ "output": { "message": { "content": [] } }, "stopReason": 1 }),
        ];
        for dialect in &dialects {
            for body in &bodies {
                assert!(dialect.read(body).is_err(), "{dialect:?} {body}");
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
