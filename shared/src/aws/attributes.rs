//! Attribute values from what the kit has.

use aws_sdk_dynamodb::types::AttributeValue;

use super::head_item::Item;
use crate::clock::Timestamp;

pub(super) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(super) fn millis(moment: Timestamp) -> AttributeValue {
    number(moment.as_millis())
}

pub(super) fn seconds(moment: Timestamp) -> AttributeValue {
    number(moment.as_seconds())
}

/// When an item may be deleted; one that does not say is kept.
pub(super) fn expires(item: &Item) -> Timestamp {
    let seconds: Option<i64> = item.get("expires").and_then(|expires| expires.as_n().ok()?.parse().ok());
    Timestamp::from_millis(seconds.map_or(i64::MAX, |seconds| seconds.saturating_mul(1000)))
}
