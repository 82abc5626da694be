//! Kept answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::locked;
use crate::{
    agent::answers::{AnswerKey, AnswersError, KeptAnswer, KeptAnswers},
    clock::Timestamp,
};

/// Kept answers in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    answers: Arc<Mutex<BTreeMap<AnswerKey, KeptAnswer>>>,
}

impl Answers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl KeptAnswers for Answers {
    async fn get(&self, key: &AnswerKey, now: Timestamp) -> Result<Option<KeptAnswer>, AnswersError> {
        Ok(locked(&self.answers).get(key).filter(|answer| now < answer.expires_at).cloned())
    }

    async fn keep(&self, key: &AnswerKey, answer: &KeptAnswer) -> Result<(), AnswersError> {
        locked(&self.answers).insert(key.clone(), answer.clone());
        Ok(())
    }
}
