//! A model behind a provider's API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tracing::{info, warn};
use windlass::{
    agent::model::{Answer, Lost, Model, ModelError, Proposal, Question, Usage},
    budgets::{usage, worst_case},
    config::Price,
    json,
};

use crate::{
    conversation::Conversation,
    dialect::Dialect,
    fault::{Complaint, Fault},
    transport::{Exchange, Received, Transport, TransportError},
};

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
    /// What tokens cost; `None` when nobody said.
    pub price: Option<Price>,
    /// Whether the provider took the most tokens of an answer only under the other of their names.
    pub renamed: AtomicBool,
}

/// What came of one exchange.
struct Exchanged {
    received: Received,
    /// What it takes at most.
    worst: Usage,
}

#[async_trait]
impl Model for Provider {
    fn name(&self) -> &str {
        &self.name
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        let conversation = Conversation::of(question, &self.name);
        self.worst_of(&self.dialect().body(&self.model, &conversation, self.output_tokens_max))
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let exchanged = self.exchange(&question).await;
        let Exchanged { received, worst } = match exchanged {
            Ok(exchanged) => exchanged,
            Err((error, worst)) => return self.without_an_answer(error, worst),
        };
        let body: Option<Value> = json::read_as_text(&String::from_utf8_lossy(&received.body)).ok();
        let is_error = body.as_ref().is_some_and(|body| self.dialect.is_error(body));
        if is_error || !(200..300).contains(&received.status) {
            return self.complained(&received, &body.unwrap_or_default(), worst);
        }
        let Some(body) = body else { return Ok(self.unusable("the provider's answer is not JSON", worst)) };
        let took = self.dialect.tokens(&body).map_or_else(
            || {
                warn!(model = self.name, "the provider does not say how many tokens it took; the worst case counts");
                worst
            },
            |tokens| usage(self.price, tokens.input, tokens.output),
        );
        match self.dialect.read(&body) {
            Ok(reply) => Ok(self.answered(reply.proposal(question.tools, &self.name), took)),
            Err(error) => Ok(self.unusable(&error.to_string(), took)),
        }
    }
}

impl Provider {
    /// The dialect, with the name for the most tokens that the provider is known to take.
    fn dialect(&self) -> Dialect {
        match (&self.dialect, self.renamed.load(Ordering::Relaxed)) {
            (Dialect::OpenAi(limit), true) => Dialect::OpenAi(limit.other()),
            (dialect, _) => dialect.clone(),
        }
    }

    /// What a question with this body takes at most.
    fn worst_of(&self, body: &Value) -> Usage {
        worst_case(self.price, body.to_string().len() as u64, self.output_tokens_max)
    }

    /// Sends a question; and once more, when the provider takes the most tokens of an answer under their other name only.
    async fn exchange(&self, question: &Question<'_>) -> Result<Exchanged, (TransportError, Usage)> {
        let dialect = self.dialect();
        let conversation = Conversation::of(question, &self.name);
        let mut exchange = Exchange {
            run: question.run,
            model: self.name.clone(),
            url: self.url.clone(),
            headers: dialect.headers(),
            body: dialect.body(&self.model, &conversation, self.output_tokens_max),
        };
        let worst = self.worst_of(&exchange.body);
        let failed = |error| (error, worst);
        let received = self.transport.send(&exchange).await.map_err(failed)?;
        let Dialect::OpenAi(limit) = dialect else { return Ok(Exchanged { received, worst }) };
        if !self.is_about_the_limit(&received) {
            return Ok(Exchanged { received, worst });
        }
        let other = Dialect::OpenAi(limit.other());
        exchange.body = other.body(&self.model, &conversation, self.output_tokens_max);
        let again = self.transport.send(&exchange).await.map_err(failed)?;
        if !self.is_about_the_limit(&again) {
            info!(
                model = self.name,
                name = limit.other().name(),
                "the provider takes the limit of tokens under its other name"
            );
            self.renamed.store(Dialect::OpenAi(limit.other()) != self.dialect, Ordering::Relaxed);
        }
        Ok(Exchanged { received: again, worst })
    }

    fn is_about_the_limit(&self, received: &Received) -> bool {
        let Dialect::OpenAi(limit) = self.dialect() else { return false };
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let complaint = Complaint::of(&self.dialect, &body);
        matches!(received.status, 400 | 422)
            && Fault::of(&self.dialect, received.status, &complaint) == Fault::Misconfigured
            && complaint.is_about(limit)
    }

    fn answered(&self, proposal: Proposal, usage: Usage) -> Answer {
        Answer { proposal, usage, model: self.name.clone(), lost: Lost::default() }
    }

    fn unusable(&self, problem: &str, usage: Usage) -> Answer {
        self.answered(Proposal::Unusable { problem: problem.to_owned() }, usage)
    }

    /// What an error of the provider means for the run.
    fn complained(&self, received: &Received, body: &Value, worst: Usage) -> Result<Answer, ModelError> {
        let complaint = Complaint::of(&self.dialect, body);
        let message = format!("{}: {}", self.name, complaint.words(received.status));
        match Fault::of(&self.dialect, received.status, &complaint) {
            Fault::Busy => Err(ModelError::Unavailable { message, retry_after: received.retry_after }),
            Fault::GaveUp => Err(ModelError::Unanswered { message, lost: Lost::one(worst) }),
            Fault::Misconfigured => Err(ModelError::Misconfigured { message }),
            Fault::Question => Err(ModelError::Refused { message }),
            Fault::Unusable => Ok(self.unusable(&message, worst)),
        }
    }

    /// What it means that nothing came back that can be looked at.
    fn without_an_answer(&self, error: TransportError, worst: Usage) -> Result<Answer, ModelError> {
        let message = format!("{}: {error}", self.name);
        match error {
            TransportError::NotSent { .. } => Err(ModelError::Unreachable { message }),
            TransportError::Broken { .. } => Err(ModelError::Unanswered { message, lost: Lost::one(worst) }),
            TransportError::TooLarge => Ok(self.unusable(&error.to_string(), worst)),
            TransportError::Missing { .. } | TransportError::Recording { .. } => {
                Err(ModelError::Refused { message: error.to_string() })
            }
        }
    }
}
