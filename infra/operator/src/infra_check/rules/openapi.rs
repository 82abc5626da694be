//! The contract of the HTTP API: its paths are the routes, and its problems are those that the functions answer with.

use serde_json::Value;
use windlass_http::Kind;

use crate::infra_check::{Subject, finding::Findings, stack::fields};

const AT: &str = "openapi.yaml";

/// Answers that every operation with a token can give: the gateway's and the functions'.
const ALWAYS: [&str; 4] = ["401", "429", "500", "503"];

pub(super) fn check(subject: &Subject, findings: &mut Findings) {
    let api = &subject.openapi;
    let mut documented = Vec::new();
    for (path, operations) in fields(&api["paths"]) {
        for (method, operation) in fields(operations).filter(|(key, _)| *key != "parameters") {
            let key = format!("{} {path}", method.to_ascii_uppercase());
            check_operation(subject, &key, operation, findings);
            documented.push(key);
        }
    }
    let routes: Vec<String> = subject.code.routes.iter().map(|route| route.key.clone()).collect();
    findings.differ("openapi", AT, &routes, &documented, ("is not documented", "is documented, and no route"));
    let text = api.to_string();
    for kind in Kind::ALL {
        let urn = kind.urn();
        findings.unless(text.contains(&format!("\"{urn}\"")), "openapi", AT, || {
            format!("does not name the problem `{urn}`")
        });
    }
}

fn check_operation(subject: &Subject, key: &str, operation: &Value, findings: &mut Findings) {
    let is_open = subject.code.routes.iter().any(|route| route.key == key && route.is_open);
    let no_security = operation["security"].as_array().is_some_and(Vec::is_empty);
    findings
        .unless(no_security == is_open, "openapi", AT, || format!("`{key}` is documented with another authorization"));
    findings.unless(operation["operationId"].is_string(), "openapi", AT, || format!("`{key}` has no operation id"));
    for status in ALWAYS.iter().filter(|_| !is_open) {
        findings.unless(operation["responses"].get(*status).is_some(), "openapi", AT, || {
            format!("`{key}` does not document {status}")
        });
    }
}
