//! Leases on DynamoDB. The races that the conditions decide are drawn at [`Leases`].

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};

use super::{
    Runs,
    attributes::{millis, number, seconds, text},
    errors::Fault,
    head_item::{HEAD, Item, TROUBLE, due_key, held_key, read_head, status_attributes},
};
use crate::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::RunId,
    journal::{DueQueue, Head, Inbox, JournalError, Lease, due_shard},
    lease::{Claim, Leases, Leave, Left},
};

/// There is something to do, and the head has not expired. A run that is over has no `ready_from`.
const READY: &str = "ready_from <= :now AND expires >= :seconds";
/// Nobody holds it, by any clock.
const UNHELD: &str = "(attribute_not_exists(lease_until) OR lease_until <= :lapsed)";
/// The caller holds it.
const MINE: &str = "epoch = :epoch AND lease_holder = :holder";
/// Nobody appended to the journal since the caller read it.
const UNDISTURBED: &str = "interjections = :interjections";
/// What a claim does. It changes no key of an index.
const TAKE: &str = "SET lease_holder = :holder, lease_until = :until ADD epoch :one, strikes :one";
/// What a renewal does.
const EXTEND: &str = "SET lease_until = :until, due_shard = :shard, due_at = :until";

/// What came of a conditional update.
pub(super) enum Updated {
    /// It was made; the item as it is now, if it was asked for.
    Yes(Option<Item>),
    /// The condition failed; the item as it is, if there is one.
    No(Option<Item>),
}

/// Sends a conditional update.
pub(super) async fn update(request: UpdateItemFluentBuilder) -> Result<Updated, Fault> {
    let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match request.send().await {
        Ok(answer) => Ok(Updated::Yes(answer.attributes)),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => Ok(Updated::No(refusal.item.clone())),
            _ => Err(Fault::of("UpdateItem", &error)),
        },
    }
}

impl Runs {
    pub(super) fn update_head(&self, run: RunId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("pk", text(run)).key("sk", text(HEAD))
    }
}

#[async_trait]
impl Leases for Runs {
    async fn claim(&self, run: RunId, holder: &str, now: Timestamp, until: Timestamp) -> Result<Claim, JournalError> {
        let request = self
            .update_head(run)
            .update_expression(TAKE)
            .condition_expression(format!("{READY} AND {UNHELD}"))
            .expression_attribute_values(":holder", text(holder))
            .expression_attribute_values(":until", millis(until))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":seconds", seconds(now))
            .expression_attribute_values(":lapsed", millis(now - CLOCK_SKEW_MAX))
            .return_values(ReturnValue::AllNew);
        match update(request).await? {
            Updated::Yes(item) => {
                let head = read_head(item.unwrap_or_default())?;
                let lease = Lease { epoch: head.epoch, holder: holder.to_owned(), until };
                Ok(Claim::Won(Box::new(head), lease))
            }
            Updated::No(item) => Ok(Claim::refused(item.map(read_head).transpose()?, holder, now)),
        }
    }

    async fn renew(&self, run: RunId, lease: &Lease, until: Timestamp) -> Result<Option<Lease>, JournalError> {
        let request = self
            .update_head(run)
            .update_expression(EXTEND)
            .condition_expression(MINE)
            .expression_attribute_values(":epoch", number(lease.epoch))
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":until", millis(until))
            .expression_attribute_values(":shard", text(due_key(DueQueue::Repair, due_shard(run))));
        match update(request).await? {
            Updated::Yes(_) => Ok(Some(Lease { until, ..lease.clone() })),
            Updated::No(_) => Ok(None),
        }
    }

    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Result<Left, JournalError> {
        let request = set_standing(self.update_head(run), run, leave)
            .condition_expression(format!("{MINE} AND {UNDISTURBED}"))
            .expression_attribute_values(":epoch", number(lease.epoch))
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":interjections", number(leave.interjections));
        match update(request).await? {
            Updated::Yes(_) => Ok(Left::Done),
            Updated::No(item) => {
                let head: Option<Head> = item.map(read_head).transpose()?;
                Ok(Left::refused(head.as_ref(), lease))
            }
        }
    }
}

/// Takes the lease off and says where the run stands. What it is not any more is removed, so that the sparse indexes lose it.
fn set_standing(mut request: UpdateItemFluentBuilder, run: RunId, leave: &Leave) -> UpdateItemFluentBuilder {
    let mut set = vec!["strikes = :strikes".to_owned()];
    let mut remove = vec!["lease_holder", "lease_until"];
    request = request.expression_attribute_values(":strikes", number(leave.strikes));
    for (name, value) in status_attributes(&leave.status) {
        match value {
            Some(value) => {
                set.push(format!("#{name} = :{name}"));
                request = request
                    .expression_attribute_names(format!("#{name}"), name)
                    .expression_attribute_values(format!(":{name}"), text(value));
            }
            None => remove.push(name),
        }
    }
    match leave.ready_from {
        Some(from) => {
            set.push("ready_from = :from".to_owned());
            request = request.expression_attribute_values(":from", millis(from));
        }
        None => remove.push("ready_from"),
    }
    match leave.due {
        Some(due) => {
            set.push("due_shard = :shard, due_at = :due".to_owned());
            request = request
                .expression_attribute_values(":shard", text(due_key(DueQueue::of(&leave.status), due_shard(run))))
                .expression_attribute_values(":due", millis(due));
        }
        None => remove.extend(["due_shard", "due_at"]),
    }
    match leave.status.inbox() {
        Some(inbox) => {
            let of_kind = match inbox {
                Inbox::Approval => "approval_inbox",
                Inbox::Trouble => ":trouble",
                Inbox::Held => ":held",
            };
            set.push(format!("inbox = {of_kind}, inbox_since = :since"));
            request = request.expression_attribute_values(":since", millis(leave.now));
            request = match inbox {
                Inbox::Approval => request,
                Inbox::Trouble => request.expression_attribute_values(":trouble", text(TROUBLE)),
                Inbox::Held => request.expression_attribute_values(":held", text(held_key(due_shard(run)))),
            };
        }
        None => remove.extend(["inbox", "inbox_since"]),
    }
    request.update_expression(format!("SET {} REMOVE {}", set.join(", "), remove.join(", ")))
}
