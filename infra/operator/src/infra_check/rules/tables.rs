//! Tables: keys, indexes and time to live as the code has them; kept, protected, paid by use.

use serde_json::{Value, json};

use super::View;
use crate::infra_check::finding::Findings;

const TABLE: &str = "AWS::DynamoDB::Table";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (name, wanted) in &view.subject.code.tables {
        let Some(declared) = view.stack.resources.get(*name).filter(|one| one["Type"] == TABLE) else {
            findings.add("tables", *name, "is not declared");
            continue;
        };
        let properties = &declared["Properties"];
        for part in ["KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode"] {
            findings.unless(sorted(&properties[part]) == sorted(&wanted.create[part]), "tables", name, || {
                format!("has another `{part}` than `shared/src/aws/tables.rs`")
            });
        }
        let ttl =
            wanted.ttl_attribute.as_ref().map_or(Value::Null, |name| json!({ "AttributeName": name, "Enabled": true }));
        findings.unless(properties["TimeToLiveSpecification"] == ttl, "tables", name, || {
            format!("deletes by another attribute than `{}`", wanted.ttl_attribute.as_deref().unwrap_or("none"))
        });
    }
    for (name, table) in view.stack.of_type(TABLE) {
        let known = view.subject.code.tables.iter().any(|(known, _)| *known == name);
        findings.unless(known, "tables", name, || "is no table of the code".to_owned());
        let backed_up = table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true;
        findings.unless(backed_up, "tables", name, || "has no point-in-time recovery".to_owned());
        findings
            .unless(table["SSESpecification"]["SSEEnabled"] == true, "tables", name, || "is not encrypted".to_owned());
        let guarded = table["DeletionProtectionEnabled"] == true;
        findings.unless(guarded || !view.is_production(), "tables", name, || "can be deleted in production".to_owned());
        findings.unless(table.get("TableName").is_none(), "tables", name, || {
            "has a fixed name, which a replacement or a second stack collides with".to_owned()
        });
    }
    for kind in [TABLE, "AWS::SecretsManager::Secret"] {
        for (name, _) in view.stack.of_type(kind) {
            let resource = &view.stack.resources[name];
            let kept =
                resource["DeletionPolicy"] == "RetainExceptOnCreate" && resource["UpdateReplacePolicy"] == "Retain";
            findings.unless(kept, "tables", name, || "is lost with its stack, or when it is replaced".to_owned());
        }
    }
    for (name, secret) in view.stack.of_type("AWS::SecretsManager::Secret") {
        findings.unless(secret.get("SecretString").is_none(), "secrets", name, || {
            "has its value in the template".to_owned()
        });
    }
}

/// A list without its order, by which nothing is meant.
fn sorted(value: &Value) -> Vec<String> {
    let mut texts: Vec<String> = value.as_array().into_iter().flatten().map(ToString::to_string).collect();
    if let Some(text) = value.as_str() {
        texts.push(text.to_owned());
    }
    texts.sort();
    texts
}
