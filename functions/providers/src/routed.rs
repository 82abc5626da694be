//! Several models as one: the first that answers, each behind its breaker, and a last resort.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tracing::{info, warn};
use windlass::{
    agent::model::{Answer, Lost, Model, ModelError, Proposal, Question, Usage},
    clock::{Clock, before},
    config::LastResort,
    telemetry::Teller,
};

use crate::breaker::{Admission, Breaker, Counters};

/// What is left between the models' own timeouts and this one's, so that theirs come first.
const SLACK: Duration = Duration::from_secs(1);

/// What entries record as the model when none answered and the run is handed over.
pub const NOBODY: &str = "nobody";

/// From which wait on a person takes over at once, when that is the last resort: more than a moment's trouble.
const HAND_OVER_FROM: Duration = Duration::from_secs(30);

/// Failures in a row of a run's questions after which a person takes over, when that is the last resort.
const HAND_OVER_AFTER: u32 = 3;

/// Several models as one. The first whose breaker is closed and who answers, answers.
///
/// What cannot be used is an answer too: asking another model would hide it. A refusal goes on to the next model: another may take what
/// is too long for this one.
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
    /// Who refuses this question.
    refused: usize,
    /// Who said that it cannot now, could not be reached, or did not answer.
    failed: usize,
    /// Who was not asked.
    turned_away: usize,
    /// What was sent and not answered.
    lost: Lost,
    /// The shortest wait until one of them may be asked again, of those who said.
    wait: Option<Duration>,
}

impl Seen {
    fn waits(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |shortest| shortest.min(wait)));
    }

    /// Takes in that a model did not answer.
    fn note(&mut self, error: ModelError) {
        self.said.push(match &error {
            ModelError::TurnedAway { message, .. }
            | ModelError::Unreachable { message }
            | ModelError::Unavailable { message, .. }
            | ModelError::Unanswered { message, .. }
            | ModelError::Misconfigured { message }
            | ModelError::Refused { message }
            | ModelError::Malformed { message } => message.clone(),
        });
        match error {
            ModelError::TurnedAway { retry_after, .. } => {
                self.turned_away += 1;
                self.waits(retry_after);
            }
            ModelError::Unavailable { retry_after, .. } => {
                self.failed += 1;
                self.waits(retry_after);
            }
            ModelError::Unreachable { .. } => {
                self.failed += 1;
                self.waits(Duration::ZERO);
            }
            ModelError::Unanswered { lost, .. } => {
                self.failed += 1;
                self.waits(Duration::ZERO);
                self.lost = self.lost.plus(lost);
            }
            ModelError::Refused { .. } => self.refused += 1,
            ModelError::Misconfigured { .. } | ModelError::Malformed { .. } => {}
        }
    }

    /// Whether that is more than a moment's trouble of a run whose last questions failed so often: somebody was asked, nobody will answer
    /// soon.
    fn is_lasting(&self, failures: u32) -> bool {
        self.failed > 0 && (self.wait >= Some(HAND_OVER_FROM) || failures.saturating_add(1) >= HAND_OVER_AFTER)
    }

    /// What that is, of so many models.
    fn error(self, models: usize) -> ModelError {
        let (message, retry_after) = (self.said.join("; "), self.wait.unwrap_or_default());
        match self {
            Seen { lost, .. } if lost.questions > 0 => ModelError::Unanswered { message, lost },
            Seen { refused, .. } if refused == models => ModelError::Refused { message },
            Seen { failed: 1.., .. } => ModelError::Unavailable { message, retry_after },
            Seen { turned_away: 1.., .. } => ModelError::TurnedAway { message, retry_after },
            _ => ModelError::Misconfigured { message },
        }
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

    /// Asks one model.
    async fn ask(&self, line: &Line, question: Question<'_>) -> Result<Answer, ModelError> {
        let name = line.model.name();
        let permit = match line.breaker.admit(&question.request.tenant) {
            Admission::Granted(permit) => permit,
            Admission::Denied { until } => {
                let retry_after = until.since(self.clock.now());
                return Err(ModelError::TurnedAway {
                    message: format!("{name}: left alone until {until}"),
                    retry_after,
                });
            }
        };
        let timeout = line.model.timeout();
        let until = self.clock.now() + timeout;
        let answered = before(self.clock.as_ref(), until, line.model.answer(question)).await.unwrap_or_else(|| {
            let lost = Lost::one(line.model.worst_case(&question));
            Err(ModelError::Unanswered { message: format!("{name}: no answer within {timeout:?}"), lost })
        });
        match &answered {
            Ok(_) | Err(ModelError::Malformed { .. }) => permit.answered(),
            Err(ModelError::Refused { .. } | ModelError::Misconfigured { .. }) => permit.refused(),
            Err(ModelError::Unavailable { retry_after, .. }) => permit.failed(*retry_after),
            Err(ModelError::Unreachable { .. }) => permit.unreachable(),
            Err(ModelError::Unanswered { .. } | ModelError::TurnedAway { .. }) => permit.unanswered(),
        }
        answered
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
    fn worst_case(&self, question: &Question<'_>) -> Usage {
        self.lines.iter().fold(Usage::default(), |sum, line| sum.plus(line.model.worst_case(question)))
    }

    fn can_ask(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.model.can_ask(name))
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let mut seen = Seen::default();
        for line in self.lines_for(question.model) {
            match self.ask(line, question).await {
                Ok(answer) => return Ok(Answer { lost: answer.lost.plus(seen.lost), ..answer }),
                // It is an answer, and would be lost with what was sent before it.
                Err(error @ ModelError::Malformed { .. }) if seen.lost.questions == 0 => return Err(error),
                Err(error) => {
                    warn!(model = line.model.name(), %error, "no answer");
                    seen.note(error);
                }
            }
        }
        if self.last_resort == LastResort::Person && seen.is_lasting(question.failures) {
            let message = seen.said.join("; ");
            info!(message, "no model answers; a person is to take the run over");
            return Ok(Answer { lost: seen.lost, ..handed_over(&question, &message) });
        }
        Err(seen.error(self.lines.len()))
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
    Answer {
        proposal: Proposal::Respond(response),
        usage: Usage::default(),
        model: NOBODY.to_owned(),
        lost: Lost::default(),
    }
}

#[cfg(test)]
mod tests;
