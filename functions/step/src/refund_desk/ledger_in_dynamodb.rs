//! The ledger in a DynamoDB table: `pk` = `<tenant>#<order>`, `sk` = `order`, `refund#<key>` or `letter#<id>`;
//! armed drills are `pk` = `drill`, `sk` = the drill's name.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem, Update},
};
use windlass::{
    agent::tool::ToolError,
    ids::{Random, Tenant},
};

use super::ledger::{Ledger, Order, Refund};

const ABSENT: &str = "attribute_not_exists(pk)";
const ENOUGH_LEFT: &str = "attribute_exists(pk) AND refunded_cents <= :most";
const NOT_REVERSED: &str = "attribute_exists(pk) AND attribute_not_exists(reversed)";

/// A ledger in DynamoDB.
pub struct LedgerInDynamoDb {
    client: Client,
    table: String,
    random: Arc<dyn Random>,
}

/// Codes that say that a write did not happen and may the next time
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>).
const NOT_DONE: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionCanceledException",
    "TransactionConflictException",
];

type Item = HashMap<String, AttributeValue>;

/// One attempt: the client's own second attempt could be refused after the first, unheard, took effect, and its answer would say that
/// nothing had happened.
fn once() -> Builder {
    Builder::new().retry_config(RetryConfig::disabled())
}

impl LedgerInDynamoDb {
    /// The ledger in `table`.
    pub fn new(client: Client, table: String, random: Arc<dyn Random>) -> Self {
        Self { client, table, random }
    }

    async fn get(&self, pk: String, sk: String) -> Result<Option<Item>, ToolError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let answer = request.key("pk", text(pk)).key("sk", text(sk)).send().await;
        answer.map(|answer| answer.item).map_err(|error| failed(&error))
    }

    /// What an earlier call under the key came to, if there was one.
    async fn known(&self, tenant: &Tenant, order: &str, key: &str) -> Result<Option<Refund>, ToolError> {
        let Some(item) = self.get(order_pk(tenant, order), format!("refund#{key}")).await? else { return Ok(None) };
        if item.contains_key("reversed") {
            return Err(ToolError::Failed { message: "the refund was reversed".to_owned() });
        }
        Ok(Some(Refund {
            refund: read_text(&item, "refund"),
            order: order.to_owned(),
            amount_cents: read_number(&item, "amount_cents"),
        }))
    }

    fn refund_put(
        &self,
        tenant: &Tenant,
        order: &str,
        key: &str,
    ) -> Result<aws_sdk_dynamodb::types::builders::PutBuilder, ToolError> {
        Ok(Put::builder()
            .table_name(&self.table)
            .item("pk", text(order_pk(tenant, order)))
            .item("sk", text(format!("refund#{key}")))
            .condition_expression(ABSENT))
    }
}

#[async_trait]
impl Ledger for LedgerInDynamoDb {
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError> {
        let item = self.get(order_pk(tenant, order), "order".to_owned()).await?;
        Ok(item.map(|item| Order {
            order: order.to_owned(),
            customer: read_text(&item, "customer"),
            total_cents: read_number(&item, "total_cents"),
            refunded_cents: read_number(&item, "refunded_cents"),
        }))
    }

    /// ```text
    /// A: transact{refund k absent, order has enough left} ── written
    /// A: the same again (its answer was lost)             ── refused: refund k is there ──► its answer
    /// ```
    async fn refund(&self, tenant: &Tenant, order: &str, amount_cents: u64, key: &str) -> Result<Refund, ToolError> {
        if let Some(refund) = self.known(tenant, order, key).await? {
            return Ok(refund);
        }
        let Some(found) = self.order(tenant, order).await? else {
            return Err(ToolError::Failed { message: format!("there is no order `{order}`") });
        };
        let Some(most) = found.total_cents.checked_sub(amount_cents) else {
            return Err(ToolError::Failed { message: "more than was paid".to_owned() });
        };
        let refund = Refund { refund: format!("re_{key}"), order: order.to_owned(), amount_cents };
        let put = self
            .refund_put(tenant, order, key)?
            .item("refund", text(refund.refund.clone()))
            .item("amount_cents", number(amount_cents))
            .build()
            .map_err(|error| mistaken(&error))?;
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", text(order_pk(tenant, order)))
            .key("sk", text("order".to_owned()))
            .update_expression("ADD refunded_cents :amount")
            .condition_expression(ENOUGH_LEFT)
            .expression_attribute_values(":amount", number(amount_cents))
            .expression_attribute_values(":most", number(most))
            .build()
            .map_err(|error| mistaken(&error))?;
        let request = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(update).build());
        match request.customize().config_override(once()).send().await {
            Ok(_) => Ok(refund),
            Err(error) => match refused_at(&error) {
                Some(0) => match self.known(tenant, order, key).await? {
                    Some(refund) => Ok(refund),
                    None => Err(ToolError::Unknown { message: "the refund came and went".to_owned() }),
                },
                Some(_) => Err(ToolError::Failed { message: "more than is left of the order".to_owned() }),
                None => Err(failed(&error)),
            },
        }
    }

    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError> {
        let made = match self.known(tenant, order, key).await {
            Ok(made) => made,
            // Reversed already.
            Err(ToolError::Failed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let request = self.client.transact_write_items();
        let request = match made {
            // There is none, and with this mark there never will be.
            None => {
                let mark = self.refund_put(tenant, order, key)?.item("reversed", AttributeValue::Bool(true));
                request.transact_items(
                    TransactWriteItem::builder().put(mark.build().map_err(|error| mistaken(&error))?).build(),
                )
            }
            Some(refund) => {
                let reverse = Update::builder()
                    .table_name(&self.table)
                    .key("pk", text(order_pk(tenant, order)))
                    .key("sk", text(format!("refund#{key}")))
                    .update_expression("SET reversed = :true")
                    .condition_expression(NOT_REVERSED)
                    .expression_attribute_values(":true", AttributeValue::Bool(true));
                let take_back = Update::builder()
                    .table_name(&self.table)
                    .key("pk", text(order_pk(tenant, order)))
                    .key("sk", text("order".to_owned()))
                    .update_expression("SET refunded_cents = refunded_cents - :amount")
                    .expression_attribute_values(":amount", number(refund.amount_cents));
                let item = |update: aws_sdk_dynamodb::types::builders::UpdateBuilder| {
                    let update = update.build().map_err(|error| mistaken(&error))?;
                    Ok::<_, ToolError>(TransactWriteItem::builder().update(update).build())
                };
                request.transact_items(item(reverse)?).transact_items(item(take_back)?)
            }
        };
        match request.customize().config_override(once()).send().await {
            Ok(_) => Ok(()),
            Err(error) if refused_at(&error).is_some() => {
                // Somebody was faster: with the refund itself, or with its reversal. Look again next time.
                Err(ToolError::Unavailable {
                    message: "the refund changed meanwhile".to_owned(),
                    retry_after: Duration::ZERO,
                })
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn send_letter(&self, tenant: &Tenant, order: &str, letter: &str) -> Result<String, ToolError> {
        let id = format!("{:032x}", self.random.bits());
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(order_pk(tenant, order)))
            .item("sk", text(format!("letter#{id}")))
            .item("text", text(letter.to_owned()));
        let sent = request.customize().config_override(once()).send().await;
        sent.map(|_| id).map_err(|error| failed(&error))
    }

    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError> {
        Ok(self.get("drill".to_owned(), drill.to_owned()).await?.is_some())
    }
}

fn order_pk(tenant: &Tenant, order: &str) -> String {
    format!("{tenant}#{order}")
}

fn text(text: String) -> AttributeValue {
    AttributeValue::S(text)
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn read_text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

fn read_number(item: &Item, name: &str) -> u64 {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Which condition of a transaction was not met, if that is what went wrong.
fn refused_at(error: &SdkError<TransactWriteItemsError>) -> Option<usize> {
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error.as_service_error()? else {
        return None;
    };
    cancelled.cancellation_reasons().iter().position(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

fn mistaken(error: &aws_sdk_dynamodb::error::BuildError) -> ToolError {
    ToolError::Refused { message: error.to_string() }
}

/// An answer that never came may hide a write that did happen.
fn failed<E: ProvideErrorMetadata>(error: &SdkError<E>) -> ToolError {
    let code = error.code().unwrap_or("no answer");
    let message = format!("the ledger: {code}");
    match error {
        SdkError::ServiceError(_)
            if matches!(code, "ValidationException" | "AccessDeniedException" | "ResourceNotFoundException") =>
        {
            ToolError::Refused { message }
        }
        SdkError::ServiceError(_) if NOT_DONE.contains(&code) => {
            ToolError::Unavailable { message, retry_after: Duration::ZERO }
        }
        SdkError::ConstructionFailure(_) => ToolError::Refused { message },
        _ => ToolError::Unknown { message },
    }
}
