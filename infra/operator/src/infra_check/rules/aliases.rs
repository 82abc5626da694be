//! `live`: made once, moved by rollouts only, and the one thing that work is given to.

use serde_json::{Value, json};

use super::View;
use crate::infra_check::{
    finding::Findings,
    stack::{FUNCTION, fields},
};

const ALIAS: &str = "AWS::Lambda::Alias";

/// An alias that is declared once and never declared differently: three properties, and version 1 as a literal.
pub(super) fn check_declarations(template: &Value, findings: &mut Findings) {
    for (name, resource) in fields(&template["Resources"]).filter(|(_, resource)| resource["Type"] == ALIAS) {
        let function = resource["Properties"]["FunctionName"]["Ref"].as_str().unwrap_or_default();
        let right = json!({ "FunctionName": { "Ref": function }, "FunctionVersion": "1", "Name": "live" });
        findings.unless(resource["Properties"] == right, "release", name, || {
            "is not declared as version 1 of a function under the name `live` and nothing else: CloudFormation would move it".to_owned()
        });
        findings.unless(resource["DependsOn"] == format!("{function}Aliascandidate"), "release", name, || {
            "does not wait for the first version, which comes with the alias `candidate`".to_owned()
        });
        let extra: Vec<&String> = fields(resource)
            .map(|(key, _)| key)
            .filter(|key| !["Type", "DependsOn", "Properties"].contains(&key.as_str()))
            .collect();
        findings
            .unless(extra.is_empty(), "release", name, || format!("has {extra:?}, which a later change may act on"));
    }
}

/// Routes, queue, schedules and permissions name a `live` alias; each function has one.
pub(super) fn check_uses(view: &View<'_>, findings: &mut Findings) {
    for (function, _) in view.stack.of_type(FUNCTION) {
        let count =
            view.stack.of_type(ALIAS).filter(|(_, alias)| alias["FunctionName"] == format!("${{{function}}}")).count();
        findings.unless(count == 1, "release", function, || format!("has {count} aliases that take work, not one"));
    }
    let work: [(&str, &str); 4] = [
        ("AWS::ApiGatewayV2::Integration", "/IntegrationUri"),
        ("AWS::Lambda::EventSourceMapping", "/FunctionName"),
        ("AWS::Lambda::Permission", "/FunctionName"),
        ("AWS::Scheduler::Schedule", "/Target/Arn"),
    ];
    for (kind, place) in work {
        for (name, properties) in view.stack.of_type(kind) {
            let target = properties.pointer(place).unwrap_or(&Value::Null);
            findings.unless(view.stack.behind_live(target).is_some(), "release", name, || {
                format!("gives work to `{}`, which is no alias `live`", target.as_str().unwrap_or("nothing"))
            });
        }
    }
    for (name, config) in view.stack.of_type("AWS::Lambda::EventInvokeConfig") {
        findings.unless(config["Qualifier"] == "live", "release", name, || "is not about the alias `live`".to_owned());
    }
}
