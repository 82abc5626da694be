//! Prompts on DynamoDB: `pk = prompt#<task>`, `sk = <version>`.

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, operation::put_item::PutItemError, types::ReturnValuesOnConditionCheckFailure};

use super::{attributes::text, errors::Fault, head_item::Item};
use crate::{
    ids::Task,
    prompts::{PromptError, Prompts, SavedPrompt},
};

/// The version is free.
const FREE: &str = "attribute_not_exists(pk)";

/// Prompts on DynamoDB.
#[derive(Clone)]
pub struct PromptVersions {
    client: Client,
    table: String,
}

impl PromptVersions {
    /// Prompts in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }
}

fn partition(task: &Task) -> String {
    format!("prompt#{task}")
}

/// Padded, so that versions sort as text.
fn version_key(version: u32) -> String {
    format!("{version:08}")
}

fn read(item: &Item) -> Result<SavedPrompt, PromptError> {
    let refused = |message: String| PromptError::Refused { message };
    let text = item.get("prompt").and_then(|prompt| prompt.as_s().ok()).ok_or_else(|| refused("no prompt".into()))?;
    serde_json::from_str(text).map_err(|error| refused(format!("a prompt cannot be read: {error}")))
}

#[async_trait]
impl Prompts for PromptVersions {
    async fn save(&self, prompt: &SavedPrompt) -> Result<bool, PromptError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(partition(&prompt.task)))
            .item("sk", text(version_key(prompt.version)))
            .item("prompt", text(serde_json::to_string(prompt).map_err(Fault::refused)?))
            .condition_expression(FREE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = request.send().await else { return Ok(true) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                Ok(refusal.item.as_ref().map(read).transpose()?.as_ref() == Some(prompt))
            }
            _ => Err(Fault::of("PutItem", &error).into()),
        }
    }

    async fn version(&self, task: &Task, version: u32) -> Result<Option<SavedPrompt>, PromptError> {
        let request = self.client.get_item().table_name(&self.table);
        let request = request.key("pk", text(partition(task))).key("sk", text(version_key(version)));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        answer.item.as_ref().map(read).transpose()
    }

    async fn list(&self, task: &Task, limit: usize) -> Result<Vec<SavedPrompt>, PromptError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", text(partition(task)))
            .scan_index_forward(false);
        let (mut found, mut start): (Vec<Item>, _) = (Vec::new(), None);
        while found.len() < limit {
            let missing = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let request = query.clone().limit(missing).set_exclusive_start_key(start);
            let page = request.send().await.map_err(|error| Fault::of("Query", &error))?;
            found.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        found.iter().map(read).collect()
    }
}
