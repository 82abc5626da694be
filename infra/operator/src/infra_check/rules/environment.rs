//! Environment variables: all that `Config` needs, nothing that it does not read, and values that a version can be trusted to keep.

use serde_json::Value;
use step::refund_desk::tools::Drills;
use windlass::config::{Config, Fallback, VARIABLES};

use super::{View, functions::resource};
use crate::{
    infra_check::{
        finding::Findings,
        stack::{FUNCTION, fields},
    },
    stack::task_names,
};

/// The only variable that may follow a parameter: a stack's environment never changes.
const FOLLOWS_A_PARAMETER: &str = "ENVIRONMENT";

/// Values are literals or names of resources: a parameter's new value changes a function without making a version of it.
pub(super) fn check_literals(template: &Value, findings: &mut Findings) {
    let own = fields(&template["Resources"]).filter(|(_, resource)| resource["Type"] == FUNCTION);
    let own = own.map(|(name, resource)| (name.as_str(), &resource["Properties"]));
    for (name, function) in own.chain([("Globals", &template["Globals"]["Function"])]) {
        for (variable, value) in fields(&function["Environment"]["Variables"]) {
            let moved = moving(template, value).filter(|_| variable != FOLLOWS_A_PARAMETER);
            findings.unless(moved.is_none(), "release", name, || {
                format!("`{variable}` follows `{}`, whose change makes no version", moved.unwrap_or_default())
            });
            findings.unless(variable != "RELEASE" || value.is_string(), "release", name, || {
                "`RELEASE` is not a literal, so that a new release makes no version".to_owned()
            });
        }
    }
}

/// What in a value can change without the value's text: a parameter or a mapping.
fn moving(template: &Value, value: &Value) -> Option<String> {
    let parameters = fields(&template["Parameters"]).map(|(name, _)| name);
    let text = value.to_string();
    let refers = |name: &&String| text.contains(&format!("${{{name}}}")) || value["Ref"] == ***name;
    let mut parameters = parameters.filter(refers);
    parameters.next().cloned().or_else(|| text.contains("Fn::FindInMap").then(|| "a mapping".to_owned()))
}

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (name, function) in view.stack.of_type(FUNCTION) {
        let set = &function["Environment"]["Variables"];
        for variable in VARIABLES.iter().filter(|variable| variable.default == Fallback::Required) {
            findings.unless(set.get(variable.name).is_some(), "environment", name, || {
                format!("does not set `{}`, without which it does not start", variable.name)
            });
        }
        for (variable, _) in fields(set) {
            let read = VARIABLES.iter().any(|known| known.name == variable);
            findings.unless(read, "environment", name, || format!("sets `{variable}`, which nothing reads"));
        }
        if let Err(problems) = Config::parse(|variable| set[variable].as_str().map(|value| plausible(variable, value)))
        {
            let set_wrongly = problems.problems.iter().filter(|problem| set.get(problem.variable).is_some());
            for problem in set_wrongly {
                findings.add("environment", name, format!("would not start: {problem}"));
            }
        }
        findings.unless(set["ENVIRONMENT"] == view.deployment.name, "environment", name, || {
            format!("is told another environment than `{}`", view.deployment.name)
        });
        let (told, has) = (&set[STEP_TIMEOUT], timeout_of_step(view));
        findings.unless(told.as_str() == Some(&has), "environment", name, || {
            format!("is told by `{STEP_TIMEOUT}` that the step function has {told} seconds; it has {has}")
        });
        let known = task_names(Drills::Absent);
        findings.unless(set[TASKS].as_str() == Some(&known), "environment", name, || {
            format!("takes on {} by `{TASKS}`; the agent knows `{known}`", set[TASKS])
        });
        for (variable, kind) in RESOURCES {
            findings.unless(view.stack.named(kind, &set[variable]).is_some(), "environment", name, || {
                format!("`{variable}` names no {kind} of the template")
            });
        }
    }
}

/// The variable with the tasks that functions take on.
const TASKS: &str = "TASKS";

/// The variable that says how long the step function may take.
const STEP_TIMEOUT: &str = "STEP_TIMEOUT_SECONDS";

fn timeout_of_step(view: &View<'_>) -> String {
    let step = view.stack.resources.get(&resource("step"));
    step.map_or(&Value::Null, |step| &step["Properties"]["Timeout"]).to_string()
}

/// The variables that name resources.
const RESOURCES: [(&str, &str); 9] = [
    ("RUNS_TABLE", "AWS::DynamoDB::Table"),
    ("IDEMPOTENCY_TABLE", "AWS::DynamoDB::Table"),
    ("CONTROLS_TABLE", "AWS::DynamoDB::Table"),
    ("MEMORY_TABLE", "AWS::DynamoDB::Table"),
    ("DESK_TABLE", "AWS::DynamoDB::Table"),
    ("STEP_QUEUE_URL", "AWS::SQS::Queue"),
    ("STEP_DEAD_LETTER_QUEUE_URL", "AWS::SQS::Queue"),
    ("APPROVAL_SECRET", "AWS::SecretsManager::Secret"),
    ("APPROVAL_PUBLIC_SECRET", "AWS::SecretsManager::Secret"),
];

/// A value as it is once the resources exist.
fn plausible(variable: &str, value: &str) -> String {
    match (variable, value.strip_prefix("${").and_then(|value| value.strip_suffix('}'))) {
        (name, Some(resource)) if name.ends_with("_URL") => {
            format!("https://sqs.us-east-1.amazonaws.com/111122223333/windlass-{resource}")
        }
        (_, Some(resource)) => format!("windlass-{resource}"),
        _ => decided(&value.replace("${AWS::Region}", "us-east-1").replace("${AWS::URLSuffix}", "amazonaws.com")),
    }
}

/// `https://${Api}.x` as `https://Api.x`. Braces of JSON stay.
fn decided(text: &str) -> String {
    let mut parts = text.split("${");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |before, part| match part.split_once('}') {
        Some((name, rest)) => before + name + rest,
        None => before + part,
    })
}
