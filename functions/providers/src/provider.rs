//! A model behind a provider's API.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tracing::warn;
use windlass::{
    agent::model::{Answer, Model, ModelError, Question, Usage},
    budgets::{Spend, worst_case},
    config::Price,
};

use crate::{
    cassette::cleanse::cleanse,
    conversation::{Conversation, excerpt},
    dialect::Dialect,
    reply::Tokens,
    transport::{Exchange, Received, Transport, TransportError},
};

/// How much of what a provider says about an error is kept.
const COMPLAINT_BYTES_MAX: usize = 300;

/// How many bytes a token is taken to be, when a provider does not count: fewer than it is, so that nothing seems cheaper than it
/// was.
const BYTES_PER_TOKEN: u64 = 3;

/// A model behind a provider's API.
pub struct Provider {
    /// As entries record it.
    pub name: String,
    /// The provider's name for it.
    pub model: String,
    /// What the provider speaks.
    pub dialect: Dialect,
    /// Where it is asked.
    pub url: String,
    /// How requests travel.
    pub transport: Arc<dyn Transport>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The most tokens of one answer.
    pub output_tokens_max: u32,
    /// What tokens cost.
    pub price: Price,
}

#[async_trait]
impl Model for Provider {
    fn name(&self) -> &str {
        &self.name
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn worst_case(&self, question_bytes: u64) -> Spend {
        worst_case(self.price, question_bytes, self.output_tokens_max)
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let conversation = Conversation::of(&question);
        let exchange = Exchange {
            run: question.run,
            model: self.name.clone(),
            url: self.url.clone(),
            headers: self.dialect.headers(),
            body: self.dialect.body(&self.model, &conversation, self.output_tokens_max),
        };
        let received = self.transport.send(&exchange).await.map_err(unsent)?;
        if !(200..300).contains(&received.status) {
            return Err(self.refusal(&received));
        }
        let body: Value = windlass::json::read_as_text(&String::from_utf8_lossy(&received.body))
            .map_err(|_| ModelError::Malformed { message: "the provider's answer is not JSON".to_owned() })?;
        let reply = self.dialect.read(&body).map_err(|error| ModelError::Malformed { message: error.to_string() })?;
        let tokens = reply.tokens.unwrap_or_else(|| self.estimate(&exchange, &received));
        let usage = Usage {
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cost_micro_usd: self.price.cost_micro_usd(tokens.input, tokens.output),
        };
        Ok(Answer { proposal: reply.proposal(question.tools)?, usage, model: self.name.clone() })
    }
}

impl Provider {
    fn estimate(&self, exchange: &Exchange, received: &Received) -> Tokens {
        warn!(model = self.name, "the provider does not say how many tokens it took; they are estimated");
        let tokens = |bytes: usize| (bytes as u64).div_ceil(BYTES_PER_TOKEN);
        Tokens { input: tokens(exchange.body.to_string().len()), output: tokens(received.body.len()) }
    }

    /// What an error status means.
    fn refusal(&self, received: &Received) -> ModelError {
        let status = received.status;
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        // What is said about a key may quote it.
        let complaint = match status {
            401 | 403 => Some("the provider does not accept the key, or what it is used for".to_owned()),
            _ => self.dialect.complaint(&body).map(|said| cleanse(&said, None)),
        };
        let complaint = complaint.unwrap_or_else(|| "the provider does not say why".to_owned());
        let message = format!("{}: HTTP {status}: {}", self.name, excerpt(&complaint, COMPLAINT_BYTES_MAX));
        match status {
            // Request timeout, too early, too many requests, and Bedrock's "the model failed"
            // (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>).
            408 | 424 | 425 | 429 | 500.. => ModelError::Unavailable { message, retry_after: received.retry_after },
            _ => ModelError::Refused { message },
        }
    }
}

fn unsent(error: TransportError) -> ModelError {
    let message = error.to_string();
    match error {
        TransportError::Unavailable { .. } => ModelError::Unavailable { message, retry_after: Duration::ZERO },
        TransportError::TooLarge => ModelError::Malformed { message },
        TransportError::Missing { .. } | TransportError::Recording { .. } => ModelError::Refused { message },
    }
}
