//! The tables as `CreateTable` requests, for the local stack and for tests. `infra/template.yaml` declares the same.

use serde_json::{Value, json};

/// The index of runs by when somebody must look at them.
pub const DUE_INDEX: &str = "due";
/// The index of runs that need a person.
pub const INBOX_INDEX: &str = "inbox";
/// The index of runs by who asked.
pub const OWNER_INDEX: &str = "owner";

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The body of its `CreateTable` request.
    pub create: Value,
    /// Its time to live attribute.
    pub ttl_attribute: Option<String>,
}

/// Every table, named `<prefix>-runs` and so on.
pub fn all(prefix: &str) -> Vec<Table> {
    vec![
        runs(&format!("{prefix}-runs")),
        idempotency(&format!("{prefix}-idempotency")),
        keyed_by_pk_and_sk(&format!("{prefix}-controls")),
        keyed_by_pk_and_sk(&format!("{prefix}-memory")),
    ]
}

fn runs(name: &str) -> Table {
    let create = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            text("pk"), text("sk"), text("due_shard"), number("due_at"), text("inbox"), number("inbox_since"),
            text("owner"), number("created"),
        ],
        "KeySchema": keys("pk", "sk"),
        "GlobalSecondaryIndexes": [
            index(DUE_INDEX, "due_shard", "due_at"),
            index(INBOX_INDEX, "inbox", "inbox_since"),
            index(OWNER_INDEX, "owner", "created"),
        ],
    });
    Table { create, ttl_attribute: Some("expires".to_owned()) }
}

/// An index that holds keys and `expires`, which never changes. So a claim, a step's most frequent companion, writes to no index;
/// the price is a read of each head that is listed, and listing is rare.
fn index(name: &str, partition: &str, sort: &str) -> Value {
    json!({
        "IndexName": name,
        "KeySchema": keys(partition, sort),
        "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["expires"] },
    })
}

fn idempotency(name: &str) -> Table {
    let create = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [text("id")],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
    });
    Table { create, ttl_attribute: Some("expiration".to_owned()) }
}

fn keyed_by_pk_and_sk(name: &str) -> Table {
    let create = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [text("pk"), text("sk")],
        "KeySchema": keys("pk", "sk"),
    });
    Table { create, ttl_attribute: Some("expires".to_owned()) }
}

fn text(name: &str) -> Value {
    json!({ "AttributeName": name, "AttributeType": "S" })
}

fn number(name: &str) -> Value {
    json!({ "AttributeName": name, "AttributeType": "N" })
}

fn keys(partition: &str, sort: &str) -> Value {
    json!([{ "AttributeName": partition, "KeyType": "HASH" }, { "AttributeName": sort, "KeyType": "RANGE" }])
}
