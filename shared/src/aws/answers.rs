//! Kept answers, in the memory table: one item each under its tenant.

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, types::AttributeValue};

use super::{
    attributes::{millis, seconds, text},
    errors::Fault,
    head_item::Item,
};
use crate::{
    agent::answers::{AnswerKey, AnswersError, KeptAnswer, KeptAnswers},
    clock::Timestamp,
};

/// Kept answers in DynamoDB.
///
/// ```text
/// pk  <tenant>#cache    sk  <tool>#<digest of the arguments>
/// value (JSON)   given_at, expires_at (milliseconds)   expires (time to live, seconds)
/// ```
#[derive(Debug, Clone)]
pub struct AnswerTable {
    client: Client,
    table: String,
}

impl AnswerTable {
    /// In the table of governed memory.
    pub fn new(client: Client, memory_table: &str) -> Self {
        Self { client, table: memory_table.to_owned() }
    }
}

fn pk(key: &AnswerKey) -> AttributeValue {
    text(format!("{}#cache", key.tenant))
}

fn sk(key: &AnswerKey) -> AttributeValue {
    text(format!("{}#{}", key.tool, key.arguments))
}

impl From<Fault> for AnswersError {
    fn from(fault: Fault) -> Self {
        let (Fault::Unavailable(message) | Fault::Refused(message)) = fault;
        AnswersError { message }
    }
}

/// An item that cannot be read counts as none: the tool is called and its answer takes the item's place.
fn read(item: &Item) -> Option<KeptAnswer> {
    let moment = |name: &str| item.get(name)?.as_n().ok()?.parse().ok().map(Timestamp::from_millis);
    let value = serde_json::from_str(item.get("value")?.as_s().ok()?).ok()?;
    Some(KeptAnswer { value, given_at: moment("given_at")?, expires_at: moment("expires_at")? })
}

#[async_trait]
impl KeptAnswers for AnswerTable {
    /// Eventually consistent: at worst the tool is called once more.
    async fn get(&self, key: &AnswerKey, now: Timestamp) -> Result<Option<KeptAnswer>, AnswersError> {
        let asked = self.client.get_item().table_name(&self.table).key("pk", pk(key)).key("sk", sk(key)).send().await;
        let found = asked.map_err(|error| Fault::of("GetItem", &error))?.item;
        Ok(found.as_ref().and_then(read).filter(|answer| now < answer.expires_at))
    }

    async fn keep(&self, key: &AnswerKey, answer: &KeptAnswer) -> Result<(), AnswersError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", pk(key))
            .item("sk", sk(key))
            .item("value", text(&answer.value))
            .item("given_at", millis(answer.given_at))
            .item("expires_at", millis(answer.expires_at))
            .item("expires", seconds(answer.expires_at));
        put.send().await.map_err(|error| Fault::of("PutItem", &error))?;
        Ok(())
    }
}
