//! Counters of windows on DynamoDB: one item per counter, `pk = window#<tenant>#<window>#<of>`, `sk = <begin>`.
//!
//! `total` is what is settled and reserved together, since a condition compares one attribute; `open` counts the reservations. A
//! reservation is an attribute `r#<id>` that holds its process's deadline, so that a repetition finds its own.

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, operation::update_item::builders::UpdateItemFluentBuilder};

use super::{
    attributes::{millis, number, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    windows::{
        Became, COUNTER_KEPT_FOR, CountReservation, CountReserved, Counted, Counter, OPEN_MAX, WindowError, Windows,
    },
};

/// The call is not counted yet.
const NEW: &str = "attribute_not_exists(#r)";
/// It is.
const OPEN: &str = "attribute_exists(#r)";
/// The counter is as it was seen.
const AS_SEEN: &str = "#total = :seen";
/// Nothing was counted, as was seen.
const EMPTY_AS_SEEN: &str = "attribute_not_exists(#total)";
/// There is room for one more.
const ROOM: &str = "(attribute_not_exists(#open) OR #open < :open_max)";
/// What counting does.
const RESERVE: &str = "SET #r = :deadline, expires = :expires ADD #total :amount, #open :one";
/// What settling does.
const SETTLE: &str = "REMOVE #r ADD #total :amount, #open :minus_one";

/// Before the id in a reservation's attribute.
const RESERVATION: &str = "r#";

/// Counters on DynamoDB.
#[derive(Clone)]
pub struct Counters {
    client: Client,
    table: String,
}

impl Counters {
    /// Counters in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    fn update_counter(&self, counter: &Counter, id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(partition(counter)))
            .key("sk", text(counter.from))
            .expression_attribute_names("#r", format!("{RESERVATION}{id}"))
            .expression_attribute_names("#total", "total")
            .expression_attribute_names("#open", "open")
    }

    async fn settle_as(&self, counter: &Counter, id: &str, change: i128) -> Result<bool, WindowError> {
        let request = self
            .update_counter(counter, id)
            .update_expression(SETTLE)
            .condition_expression(OPEN)
            .expression_attribute_values(":amount", number(change))
            .expression_attribute_values(":minus_one", number(-1));
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }
}

#[async_trait]
impl Windows for Counters {
    async fn total(&self, counter: &Counter) -> Result<u128, WindowError> {
        let request = self.client.get_item().table_name(&self.table);
        let request = request.key("pk", text(partition(counter))).key("sk", text(counter.from));
        let request = request.projection_expression("#total").expression_attribute_names("#total", "total");
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        answer.item.as_ref().map_or(Ok(0), total)
    }

    async fn reserve(
        &self,
        reservation: &CountReservation,
        seen: u128,
        now: Timestamp,
    ) -> Result<CountReserved, WindowError> {
        let CountReservation { counted: Counted { counter, amount }, id, deadline } = reservation;
        let as_seen = if seen == 0 { format!("({EMPTY_AS_SEEN} OR {AS_SEEN})") } else { AS_SEEN.to_owned() };
        let seen_number = i128::try_from(seen).unwrap_or(i128::MAX);
        let request = self
            .update_counter(counter, id)
            .update_expression(RESERVE)
            .condition_expression(format!("{NEW} AND {as_seen} AND {ROOM}"))
            .expression_attribute_values(":deadline", millis(*deadline))
            .expression_attribute_values(":expires", seconds(counter.until + COUNTER_KEPT_FOR))
            .expression_attribute_values(":amount", number(*amount))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":seen", number(seen_number))
            .expression_attribute_values(":open_max", number(OPEN_MAX as i128));
        let Updated::No(item) = update(request).await? else { return Ok(CountReserved::Done) };
        let item = item.unwrap_or_default();
        let open = open(&item);
        if open.iter().any(|(known, _)| known == id) {
            return Ok(CountReserved::Done);
        }
        let total = total(&item)?;
        if total != seen {
            return Ok(CountReserved::Changed { total });
        }
        for (orphan, _) in open.iter().filter(|(_, deadline)| *deadline + CLOCK_SKEW_MAX <= now) {
            self.settle_as(counter, orphan, 0).await?;
        }
        Ok(CountReserved::Crowded)
    }

    async fn settle(&self, counted: &Counted, id: &str, became: Became) -> Result<bool, WindowError> {
        let change = match became {
            Became::Made => 0,
            Became::NotMade => -i128::from(counted.amount),
        };
        self.settle_as(&counted.counter, id, change).await
    }
}

fn partition(counter: &Counter) -> String {
    format!("window#{}#{}#{}", counter.tenant, counter.window, counter.of)
}

fn total(item: &Item) -> Result<u128, WindowError> {
    let Some(value) = item.get("total") else { return Ok(0) };
    let number = value.as_n().ok().and_then(|number| number.parse().ok());
    number.ok_or_else(|| WindowError::Refused { message: "a counter without a number".to_owned() })
}

fn open(item: &Item) -> Vec<(String, Timestamp)> {
    let reservation = |(name, value): (&String, &aws_sdk_dynamodb::types::AttributeValue)| {
        let id = name.strip_prefix(RESERVATION)?;
        Some((id.to_owned(), Timestamp::from_millis(value.as_n().ok()?.parse().ok()?)))
    };
    item.iter().filter_map(reservation).collect()
}
