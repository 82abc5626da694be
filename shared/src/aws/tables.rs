//! The tables as `CreateTable` requests, for the local stack and for tests. `infra/template.yaml` declares the same.

use serde_json::{Value, json};

/// The index of runs by when somebody must look at them. It also holds `expires`, which never changes.
pub const DUE_INDEX: &str = "due";
/// The index of runs that need a person. Keys only, as the next: a claim changes no key, so it writes to no index; the price
/// is a read of each head that is listed, and listing is rare.
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
            {
                "IndexName": DUE_INDEX,
                "KeySchema": keys("due_shard", "due_at"),
                "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["expires"] },
            },
            {
                "IndexName": INBOX_INDEX,
                "KeySchema": keys("inbox", "inbox_since"),
                "Projection": { "ProjectionType": "KEYS_ONLY" },
            },
            {
                "IndexName": OWNER_INDEX,
                "KeySchema": keys("owner", "created"),
                "Projection": { "ProjectionType": "KEYS_ONLY" },
            },
        ],
    });
    Table { create, ttl_attribute: Some("expires".to_owned()) }
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
