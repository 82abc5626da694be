//! The template is right, and would not be with any of these defects.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{Subject, finding::Finding, yaml::Document};
use crate::functions::checkout;

mod planted;

/// The template and the code as they are.
fn subject() -> Subject {
    static READ: OnceLock<Subject> = OnceLock::new();
    READ.get_or_init(|| Subject::read(&checkout()).expect("template, contract and code")).clone()
}

fn listed(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|one| format!("\n  {:?} {} ({}): {}", one.line, one.at, one.rule, one.problem));
    lines.collect()
}

#[test]
fn the_template_fits_the_code_in_every_deployment() {
    let subject = subject();
    let deployments: Vec<&str> = subject.deployments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(deployments, ["dev", "staging", "production"]);
    let findings = subject.check();
    assert!(findings.is_empty(), "{}", listed(&findings));
}

#[test]
fn a_finding_says_where_it_is() {
    let mut subject = subject();
    subject.template.value["Resources"]["StepQueue"]["Properties"]["VisibilityTimeout"] = json!(359);
    let findings = subject.check();
    let [finding] = findings.as_slice() else { panic!("{}", listed(&findings)) };
    assert!(finding.line.is_some_and(|line| line > 100), "{finding:?}");
    let wanted = json!({
        "rule": "queues", "at": "StepQueue", "line": finding.line,
        "problem": "hides a message for 359 s; six timeouts of `StepFunction` and the batching window take 360 s",
    });
    assert_eq!(serde_json::to_value(finding).expect("JSON"), wanted);
}

/// The place in the template that a pointer names, made when it is not there.
fn place<'a>(subject: &'a mut Subject, pointer: &str) -> &'a mut Value {
    let mut value = &mut subject.template.value;
    for part in pointer.trim_start_matches('/').split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        value = match value {
            Value::Array(items) => &mut items[part.parse::<usize>().expect("a number")],
            other => &mut other[part],
        };
    }
    value
}

/// The text in YAML, as the template would have it.
fn yaml(text: &str) -> Value {
    Document::parse(text).expect("YAML").value
}
