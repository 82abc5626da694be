//! Answers of `Read` tools that say for how long theirs stay good: a second call with the same arguments makes none.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{
    clock::Timestamp,
    ids::{Actor, Tenant, ToolName},
    json,
};

/// Whose answer to which question. Tenants share nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnswerKey {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The tool.
    pub tool: ToolName,
    /// [`json::digest`] of the arguments; of the arguments and the actor when the answer is good for one only.
    pub arguments: String,
}

impl AnswerKey {
    /// The key of one question that the tool answers alike for everybody of the tenant.
    pub fn of(tenant: &Tenant, tool: &ToolName, arguments: &Value) -> AnswerKey {
        AnswerKey { tenant: tenant.clone(), tool: tool.clone(), arguments: json::digest(arguments) }
    }

    /// The key of one question whose answer depends on who asks.
    pub fn of_actor(tenant: &Tenant, actor: &Actor, tool: &ToolName, arguments: &Value) -> AnswerKey {
        // Arguments are an object, so that none are equal to this list.
        AnswerKey::of(tenant, tool, &json!([arguments, actor]))
    }
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptAnswer {
    /// The answer.
    pub value: Value,
    /// When the tool gave it.
    pub given_at: Timestamp,
    /// From then on it is not read.
    pub expires_at: Timestamp,
}

/// Answers could not be kept or looked up. The tool is called instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kept answers cannot be had: {message}")]
pub struct AnswersError {
    /// What was seen.
    pub message: String,
}

/// Where answers are kept.
#[async_trait]
pub trait KeptAnswers: Send + Sync {
    /// An answer that is still good at `now`.
    async fn get(&self, key: &AnswerKey, now: Timestamp) -> Result<Option<KeptAnswer>, AnswersError>;
    /// Keeps an answer in the place of an earlier one.
    async fn keep(&self, key: &AnswerKey, answer: &KeptAnswer) -> Result<(), AnswersError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_arguments_have_one_key_however_they_are_written_and_tenants_share_none() {
        let key = |tenant: &str, tool: &str, arguments: Value| {
            AnswerKey::of(&tenant.parse().expect("a tenant"), &tool.parse().expect("a tool"), &arguments)
        };
        let one = key("acme", "look_up", json!({ "a": 1.0, "b": [true] }));
        assert_eq!(one, key("acme", "look_up", json!({ "b": [true], "a": 1 })));
        assert_ne!(one, key("globex", "look_up", json!({ "a": 1, "b": [true] })));
        assert_ne!(one, key("acme", "look_down", json!({ "a": 1, "b": [true] })));
        assert_ne!(one, key("acme", "look_up", json!({ "a": 2, "b": [true] })));
        let record = |id: u64| key("acme", "get", json!({ "id": id }));
        assert_ne!(record(9_007_199_254_740_992), record(9_007_199_254_740_993));
    }

    #[test]
    fn actors_share_an_answer_unless_it_is_good_for_one_only() {
        let (tenant, tool) = ("acme".parse().expect("a tenant"), "look_up".parse().expect("a tool"));
        let arguments = json!({ "a": 1 });
        let of_actor = |actor: &str| AnswerKey::of_actor(&tenant, &actor.parse().expect("an actor"), &tool, &arguments);
        assert_eq!(of_actor("ada"), of_actor("ada"));
        assert_ne!(of_actor("ada"), of_actor("ops"));
        assert_ne!(of_actor("ada"), AnswerKey::of(&tenant, &tool, &arguments));
    }
}
