//! Functions: one per package, built for Lambda, published to `candidate`, logging where logs end.

use serde_json::json;

use super::View;
use crate::infra_check::{
    finding::Findings,
    stack::{FUNCTION, items},
};

/// The function whose work comes back to it through a queue, which Lambda would otherwise take for a mistake after 16 rounds.
const RECURSIVE: &str = "StepFunction";

/// The resource of a function.
pub(super) fn resource(function: &str) -> String {
    let mut letters = function.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain("Function".chars()).collect()
}

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for function in &view.subject.code.functions {
        let name = resource(function);
        let built = view.stack.resources.get(&name).map(|one| &one["Metadata"]);
        let right = json!({ "BuildMethod": "rust-cargolambda", "BuildProperties": { "Binary": function } });
        findings.unless(built == Some(&right), "packages", &name, || {
            format!("is not built by cargo-lambda from the binary `{function}`")
        });
    }
    for (name, function) in view.stack.of_type(FUNCTION) {
        let known = view.subject.code.functions.iter().any(|function| resource(function) == name);
        findings.unless(known, "packages", name, || "has no package in `functions/`".to_owned());
        findings.unless(function["Runtime"] == "provided.al2023", "packages", name, || {
            "does not run on `provided.al2023`".to_owned()
        });
        let published =
            function["AutoPublishAlias"] == "candidate" && function["AutoPublishAliasAllProperties"] == true;
        findings.unless(published, "release", name, || {
            "does not publish a version for every change to the alias `candidate`".to_owned()
        });
        for property in ["FunctionName", "DeploymentPreference", "Events", "ProvisionedConcurrencyConfig"] {
            findings.unless(function.get(property).is_none(), "release", name, || {
                format!("has `{property}`, which ties work or versions to `candidate` instead of `live`")
            });
        }
        let recursive = function["RecursiveLoop"] == "Allow";
        findings.unless(recursive == (name == RECURSIVE), "recursion", name, || match recursive {
            true => "allows recursion, though nothing that it sends comes back to it".to_owned(),
            false => "does not allow recursion: Lambda stops a run's wake-ups after 16".to_owned(),
        });
        check_logs(view, name, &function["LoggingConfig"], findings);
    }
    for (name, group) in view.stack.of_type("AWS::Logs::LogGroup") {
        findings.unless(group["RetentionInDays"].is_number(), "logs", name, || "keeps everything forever".to_owned());
    }
    for (name, role) in view.stack.of_type("AWS::IAM::Role") {
        findings.unless(items(&role["ManagedPolicyArns"]).is_empty(), "permissions", name, || {
            "has managed policies, which allow more than the code calls".to_owned()
        });
    }
}

fn check_logs(view: &View<'_>, name: &str, logging: &serde_json::Value, findings: &mut Findings) {
    let group = view.stack.named("AWS::Logs::LogGroup", &logging["LogGroup"]);
    findings.unless(group.is_some(), "logs", name, || "logs to a group that the template does not declare".to_owned());
    findings.unless(logging["LogFormat"] == "JSON", "logs", name, || {
        "does not log JSON, which metrics are read from".to_owned()
    });
}
