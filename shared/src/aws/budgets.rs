//! Accounts on DynamoDB: one item per actor and day, `pk = budget#<tenant>#<actor>`, `sk = <date>`.
//!
//! `usd` and `tokens` are what is spent and reserved together, since a condition compares one attribute; `used_usd` and
//! `used_tokens` are what is known to be spent. A reservation is an attribute `r#<id>`, so that a repetition finds its own.

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue};

use super::{
    attributes::{number, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    budgets::{ACCOUNT_KEPT_FOR, Account, Allowance, Balance, BudgetError, Budgets, Reservation, Reserved, Spend},
    clock::Timestamp,
};

/// The call has no reservation yet.
const NEW: &str = "attribute_not_exists(#r)";
/// It has one.
const OPEN: &str = "attribute_exists(#r)";
/// It fits.
const FITS: &str =
    "(attribute_not_exists(usd) OR usd <= :room_usd) AND (attribute_not_exists(#tokens) OR #tokens <= :room_tokens)";
/// What reserving does.
const RESERVE: &str = "SET #r = :worst, expires = :expires ADD usd :usd, #tokens :tokens";
/// What settling does.
const SETTLE: &str = "REMOVE #r ADD usd :usd, #tokens :tokens, used_usd :used_usd, used_tokens :used_tokens";

/// Before the id in a reservation's attribute.
const RESERVATION: &str = "r#";

/// The most that is compared with: DynamoDB's numbers have 38 digits, ours must not need more than 63 bits.
const UNBOUNDED: u64 = i64::MAX as u64;

/// Accounts on DynamoDB.
#[derive(Clone)]
pub struct Accounts {
    client: Client,
    table: String,
}

impl Accounts {
    /// Accounts in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    fn update_account(&self, account: &Account, id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(partition(account)))
            .key("sk", text(account.date()))
            .expression_attribute_names("#r", format!("{RESERVATION}{id}"))
            .expression_attribute_names("#tokens", "tokens")
    }

    async fn settle_at(&self, account: &Account, id: &str, worst: Spend, used: Spend) -> Result<bool, BudgetError> {
        let change = |used: u64, worst: u64| number(i128::from(used) - i128::from(worst));
        let request = self
            .update_account(account, id)
            .update_expression(SETTLE)
            .condition_expression(OPEN)
            .expression_attribute_values(":usd", change(used.micro_usd, worst.micro_usd))
            .expression_attribute_values(":tokens", change(used.tokens, worst.tokens))
            .expression_attribute_values(":used_usd", number(used.micro_usd))
            .expression_attribute_values(":used_tokens", number(used.tokens));
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }
}

#[async_trait]
impl Budgets for Accounts {
    async fn reserve(
        &self,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, BudgetError> {
        let Reservation { account, id, worst, deadline } = reservation;
        let Some(room) = allowance.room_for(*worst) else { return Ok(Reserved::Exhausted) };
        let kept = format!("{}:{}:{}", worst.micro_usd, worst.tokens, deadline.as_millis());
        let request = self
            .update_account(account, id)
            .update_expression(RESERVE)
            .condition_expression(format!("{NEW} AND {FITS}"))
            .expression_attribute_values(":worst", text(kept))
            .expression_attribute_values(":expires", seconds(account.renews_at() + ACCOUNT_KEPT_FOR))
            .expression_attribute_values(":usd", number(worst.micro_usd))
            .expression_attribute_values(":tokens", number(worst.tokens))
            .expression_attribute_values(":room_usd", number(room.micro_usd.min(UNBOUNDED)))
            .expression_attribute_values(":room_tokens", number(room.tokens.min(UNBOUNDED)));
        let Updated::No(item) = update(request).await? else { return Ok(Reserved::Done) };
        let mut balance = read(&item.unwrap_or_default());
        if balance.open.contains_key(id) {
            return Ok(Reserved::Done);
        }
        let orphans: Vec<(String, Spend)> = balance.orphans(now).map(|(id, worst)| (id.clone(), worst)).collect();
        for (id, worst) in orphans {
            if self.settle_at(account, &id, worst, worst).await? {
                balance.settled = balance.settled.plus(worst);
            }
        }
        Ok(balance.refusal(allowance, *worst))
    }

    async fn settle(&self, reservation: &Reservation, used: Spend) -> Result<bool, BudgetError> {
        self.settle_at(&reservation.account, &reservation.id, reservation.worst, used).await
    }

    async fn balance(&self, account: &Account) -> Result<Balance, BudgetError> {
        let request = self.client.get_item().table_name(&self.table);
        let request = request.key("pk", text(partition(account))).key("sk", text(account.date()));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        Ok(answer.item.as_ref().map(read).unwrap_or_default())
    }
}

fn partition(account: &Account) -> String {
    format!("budget#{}#{}", account.tenant, account.actor)
}

fn read(item: &Item) -> Balance {
    let amount = |name: &str| {
        let found = item.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
        found.unwrap_or(0)
    };
    let open = item.iter().filter_map(|(name, value): (&String, &AttributeValue)| {
        let id = name.strip_prefix(RESERVATION)?;
        let mut parts = value.as_s().ok()?.split(':');
        let worst = Spend { micro_usd: parts.next()?.parse().ok()?, tokens: parts.next()?.parse().ok()? };
        Some((id.to_owned(), (worst, Timestamp::from_millis(parts.next()?.parse().ok()?))))
    });
    Balance { settled: Spend { micro_usd: amount("used_usd"), tokens: amount("used_tokens") }, open: open.collect() }
}
