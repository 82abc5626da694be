//! A model that is held to its sources: an answer that cites anything else is replaced before it is recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tracing::warn;

use super::{
    IndexError, SourceIndex, SourceKind,
    citations::{check_citations, cited, fallback},
    filter::{Packet, Reading, filter},
    shown_in,
};
use crate::{
    agent::model::{Answer, Lost, Model, ModelError, Proposal, Question, Usage},
    ids::{CitationLabel, Task},
};

/// What is said when the evidence does not carry an answer.
const WEAK: &str = "the sources do not carry an answer";

/// Holds the answers of `inner` to the sources that it was shown, for some tasks.
pub struct CitedAnswers {
    /// The model.
    pub inner: Arc<dyn Model>,
    /// Where its citations are looked up again.
    pub index: Arc<dyn SourceIndex>,
    /// The tasks whose answers must cite.
    pub tasks: BTreeSet<Task>,
    /// The kinds of source that they may use.
    pub kinds: BTreeSet<SourceKind>,
}

impl CitedAnswers {
    /// What the answer may rest on now: what the model was shown, as far as it still holds; and why what else it cites does not.
    async fn packet(&self, question: &Question<'_>, answer: &Value) -> Result<Packet, IndexError> {
        let mut relevance: BTreeMap<CitationLabel, u8> = BTreeMap::new();
        for shown in shown_in(question.calls) {
            let best = relevance.entry(shown.label).or_default();
            *best = shown.relevance.max(*best);
        }
        let mut labels: BTreeSet<CitationLabel> = relevance.keys().cloned().collect();
        labels.extend(cited(answer).unwrap_or_default());
        let (tenant, actor) = (&question.request.tenant, &question.request.actor);
        let groups = self.index.groups(tenant, actor).await?;
        let mut candidates = self.index.named(tenant, &labels).await?;
        for candidate in &mut candidates {
            candidate.relevance = relevance.get(&candidate.source.citation_label).copied().unwrap_or(0);
        }
        let reading = Reading { groups, kinds: self.kinds.clone() };
        let mut packet = filter(candidates, &reading, question.now);
        packet.evidence.retain(|one| relevance.contains_key(&one.source.citation_label));
        Ok(packet)
    }
}

#[async_trait]
impl Model for CitedAnswers {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        self.inner.worst_case(question)
    }

    fn can_ask(&self, name: &str) -> bool {
        self.inner.can_ask(name)
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let again = question;
        let Answer { proposal, usage, model, lost } = self.inner.answer(question).await?;
        let Proposal::Respond(answer) = &proposal else {
            return Ok(Answer { proposal, usage, model, lost });
        };
        if !self.tasks.contains(&again.request.task) {
            return Ok(Answer { proposal, usage, model, lost });
        }
        let packet = self.packet(&again, answer).await.map_err(|error| {
            // It was answered and is paid for, and nobody can say whether it holds.
            let (message, lost) = (format!("the answer was not checked: {error}"), lost.plus(Lost::one(usage)));
            ModelError::Unanswered { message, lost }
        })?;
        let because = match check_citations(answer, &packet) {
            _ if packet.is_weak() => WEAK.to_owned(),
            Ok(_) => return Ok(Answer { proposal, usage, model, lost }),
            Err(problem) => {
                warn!(run = %again.run, problem = problem.word(), "an answer is not given");
                problem.to_string()
            }
        };
        Ok(Answer { proposal: Proposal::Respond(fallback(&packet, &because)), usage, model, lost })
    }
}
