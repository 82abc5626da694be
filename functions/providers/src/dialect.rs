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

/// A path such as `/a/b` below a base URL that may have a path of its own; without one it gets `default`.
fn has_path(base_url: &str) -> bool {
    base_url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}
