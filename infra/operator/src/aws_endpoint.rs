//! The stack's AWS endpoint as a plain client sees it: JSON requests, for seeding and for counting what is there.

use serde_json::{Value, json};

use crate::{
    scenario::SeedOrder,
    stack::{DESK_TABLE, TENANT},
};

/// The endpoint did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It could not be reached.
    #[error("the AWS endpoint: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It refused.
    #[error("the AWS endpoint refused `{operation}`: {answer}")]
    Refused {
        /// What was asked.
        operation: String,
        /// What it said.
        answer: String,
    },
}

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub struct AwsEndpoint {
    http: reqwest::Client,
    url: String,
}

/// What the sample agent has done in the world, for one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// Refunds that stand.
    pub refunds: usize,
    /// Letters sent.
    pub letters: usize,
}

impl AwsEndpoint {
    /// The endpoint at `url`.
    pub fn new(http: reqwest::Client, url: &str) -> Self {
        Self { http, url: url.to_owned() }
    }

    /// Calls `operation` (a service's JSON target such as `DynamoDB_20120810.GetItem`).
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Value, EndpointError> {
        let request = self.http.post(&self.url).header("x-amz-target", operation);
        let request = request.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
        let answer = request.send().await?;
        let ok = answer.status().is_success();
        let text = answer.text().await?;
        match serde_json::from_str(&text) {
            Ok(value) if ok => Ok(value),
            _ => Err(EndpointError::Refused { operation: operation.to_owned(), answer: text }),
        }
    }

    /// Puts an order into the sample agent's table, unless it is there.
    ///
    /// # Errors
    /// When it cannot be put.
    pub async fn seed(&self, order: &SeedOrder) -> Result<(), EndpointError> {
        let body = json!({
            "TableName": DESK_TABLE,
            "Item": {
                "pk": { "S": format!("{TENANT}#{}", order.order) },
                "sk": { "S": "order" },
                "customer": { "S": order.customer },
                "total_cents": { "N": order.total_cents.to_string() },
                "refunded_cents": { "N": "0" },
            },
            "ConditionExpression": "attribute_not_exists(pk)",
        });
        match self.call("DynamoDB_20120810.PutItem", &body).await {
            Err(EndpointError::Refused { answer, .. }) if answer.contains("ConditionalCheckFailed") => Ok(()),
            other => other.map(drop),
        }
    }

    /// What was done for one order.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn effects(&self, order: &str) -> Result<Effects, EndpointError> {
        let body = json!({
            "TableName": DESK_TABLE,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": format!("{TENANT}#{order}") } },
            "ConsistentRead": true,
        });
        let answer = self.call("DynamoDB_20120810.Query", &body).await?;
        let items = answer["Items"].as_array().cloned().unwrap_or_default();
        let count = |prefix: &str| {
            let of_kind = |item: &&Value| item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with(prefix));
            items.iter().filter(of_kind).filter(|item| item.get("reversed").is_none()).count()
        };
        Ok(Effects { refunds: count("refund#"), letters: count("letter#") })
    }
}
