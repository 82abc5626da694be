//! Several models as one: the first that answers, each behind its breaker, and a last resort.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tracing::{info, warn};
use windlass::{
    agent::model::{Answer, Model, ModelError, Proposal, Question, Usage},
    budgets::Spend,
    clock::{Clock, before},
    config::LastResort,
    telemetry::Teller,
};

use crate::breaker::{Admission, Breaker, Counters};

/// What is left between the models' own timeouts and this one's, so that theirs come first.
const SLACK: Duration = Duration::from_secs(1);

/// What entries record as the model when none answered and the run is handed over.
pub const NOBODY: &str = "nobody";

/// Several models as one. The first whose breaker is closed and who answers, answers.
///
/// What cannot be used is an answer too: asking another model would hide it. A refusal goes on to the next model, since it is
/// often about the provider (a key that was withdrawn, a model that is gone) and not about the question.
pub struct Routed {
    name: String,
    lines: Vec<Line>,
    last_resort: LastResort,
    clock: Arc<dyn Clock>,
}

struct Line {
    model: Arc<dyn Model>,
    breaker: Breaker,
}

/// What has come of asking them all.
#[derive(Default)]
struct Seen {
    said: Vec<String>,
    refused: usize,
    /// The shortest wait that one of them asked for.
    wait: Option<Duration>,
}

impl Seen {
    fn unavailable(&mut self, message: String, wait: Duration) {
        self.said.push(message);
        self.wait = Some(self.wait.map_or(wait, |shortest| shortest.min(wait)));
    }
}

impl Routed {
    /// `models` in the order in which they are asked.
    pub fn new(models: Vec<Arc<dyn Model>>, last_resort: LastResort, clock: Arc<dyn Clock>) -> Self {
        let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
        let name = names.join(", else ");
        let line = |model: Arc<dyn Model>| Line { breaker: Breaker::new(model.name(), Arc::clone(&clock)), model };
        Self { name, lines: models.into_iter().map(line).collect(), last_resort, clock }
    }

    /// With every model's requests and the changes of its breaker told as metrics.
    pub fn told_by(self, teller: &Arc<Teller>) -> Self {
        let told = |line: Line| Line { breaker: line.breaker.told_by(Arc::clone(teller)), ..line };
        Self { lines: self.lines.into_iter().map(told).collect(), ..self }
    }

    /// What has come of the requests to each model in this process.
    pub fn counters(&self) -> Vec<(&str, Counters)> {
        self.lines.iter().map(|line| (line.model.name(), line.breaker.counters())).collect()
    }

    /// The models in the order in which they are asked: the one that the question is routed to, then the others.
    fn lines_for(&self, routed: Option<&str>) -> impl Iterator<Item = &Line> {
        let is_first = move |line: &&Line| routed.is_some_and(|name| line.model.can_ask(name));
        self.lines.iter().filter(is_first).chain(self.lines.iter().filter(move |line| !is_first(line)))
    }

    /// Asks one model; `None` when the next is to be asked.
    async fn ask(&self, line: &Line, question: Question<'_>, seen: &mut Seen) -> Option<Result<Answer, ModelError>> {
        let permit = match line.breaker.admit() {
            Admission::Granted(permit) => permit,
            Admission::Denied { until } => {
                let wait = until.since(self.clock.now());
                seen.unavailable(format!("{}: left alone until {until}", line.model.name()), wait);
                return None;
            }
        };
        let timeout = line.model.timeout();
        let until = self.clock.now() + timeout;
        match before(self.clock.as_ref(), until, line.model.answer(question)).await {
            Some(Ok(answer)) => {
                permit.answered();
                Some(Ok(answer))
            }
            Some(Err(error @ ModelError::Malformed { .. })) => {
                permit.answered();
                Some(Err(error))
            }
            Some(Err(ModelError::Refused { message })) => {
                permit.refused();
                warn!(model = line.model.name(), message, "refused");
                seen.refused += 1;
                seen.said.push(message);
                None
            }
            Some(Err(ModelError::Unavailable { message, retry_after })) => {
                permit.failed(retry_after);
                warn!(model = line.model.name(), message, "unavailable");
                seen.unavailable(message, retry_after);
                None
            }
            None => {
                permit.failed(Duration::ZERO);
                warn!(model = line.model.name(), ?timeout, "no answer in time");
                seen.unavailable(format!("{}: no answer within {timeout:?}", line.model.name()), Duration::ZERO);
                None
            }
        }
    }

    /// Whether every model is left alone now: not a moment's trouble.
    fn all_are_left_alone(&self) -> bool {
        self.lines.iter().all(|line| line.breaker.open_until().is_some())
    }
}

#[async_trait]
impl Model for Routed {
    fn name(&self) -> &str {
        &self.name
    }

    fn timeout(&self) -> Duration {
        self.lines.iter().map(|line| line.model.timeout()).sum::<Duration>() + SLACK
    }

    /// Each may be asked in turn, and each may have its price.
    fn worst_case(&self, question_bytes: u64) -> Spend {
        self.lines.iter().fold(Spend::default(), |sum, line| sum.plus(line.model.worst_case(question_bytes)))
    }

    fn can_ask(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.model.can_ask(name))
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let mut seen = Seen::default();
        for line in self.lines_for(question.model) {
            if let Some(answered) = self.ask(line, question, &mut seen).await {
                return answered;
            }
        }
        let message = seen.said.join("; ");
        if seen.refused == self.lines.len() {
            return Err(ModelError::Refused { message });
        }
        if self.last_resort == LastResort::Person && self.all_are_left_alone() {
            info!(message, "no model answers; a person is to take the run over");
            return Ok(handed_over(&question, &message));
        }
        Err(ModelError::Unavailable { message, retry_after: seen.wait.unwrap_or_default() })
    }
}

/// The run's end, when a person is to go on with it.
fn handed_over(question: &Question<'_>, because: &str) -> Answer {
    let made = question.calls.iter().filter(|call| call.attempts > 0).map(|call| call.tool.as_str());
    let response = json!({
        "handed_over_to": "person",
        "because": because,
        "calls_made": made.collect::<Vec<&str>>(),
    });
    Answer { proposal: Proposal::Respond(response), usage: Usage::default(), model: NOBODY.to_owned() }
}

#[cfg(test)]
mod tests;
