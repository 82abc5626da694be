//! Roles: one per function, allowing what its code calls on what it calls it on, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    View,
    calls::{By, CALLS, EVERY_FUNCTION, NOT_IN_FUNCTIONS},
    functions::resource,
};
use crate::infra_check::{
    code::Code,
    finding::Findings,
    stack::{FUNCTION, items},
};

const ROLE: &str = "AWS::IAM::Role";

/// The controls table holds everybody's switches, prompts and accounts; functions may come to these partitions of it only.
const LEADING_KEYS: [(&str, &str, &[&str]); 5] = [
    ("intake", "dynamodb:GetItem", &["budget#*", "controls"]),
    ("intake", "dynamodb:UpdateItem", &["rate#*"]),
    ("step", "dynamodb:GetItem", &["budget#*", "controls", "prompt#*"]),
    ("step", "dynamodb:UpdateItem", &["budget#*"]),
    ("cleanup", "dynamodb:UpdateItem", &["schedule"]),
];

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mut taken = BTreeSet::new();
    for function in &view.subject.code.functions {
        let name = resource(function);
        let properties = view.stack.resources.get(&name).map_or(&Value::Null, |one| &one["Properties"]);
        let role = properties["Role"].as_str().and_then(|role| role.strip_prefix("${")?.strip_suffix(".Arn}"));
        let Some((role, properties)) =
            role.and_then(|role| view.stack.named(ROLE, &Value::from(format!("${{{role}}}"))))
        else {
            findings.add("permissions", name, "has no role of the template");
            continue;
        };
        findings.unless(taken.insert(role), "permissions", role, || "is the role of two functions".to_owned());
        let allowed: Vec<String> =
            allowed(properties).into_iter().map(|(action, on, _)| format!("{action} on {on}")).collect();
        let called = called(function);
        let words = ("is called, and not allowed", "is allowed, and never called");
        findings.differ("permissions", role, &called, &allowed, words);
        check_keys(function, role, properties, findings);
    }
    for (name, role) in view.stack.of_type(ROLE) {
        for (action, on, _) in allowed(role) {
            findings.unless(!action.contains('*') && !on.contains('*'), "permissions", name, || {
                format!("allows `{action}` on `{on}`: a wildcard")
            });
        }
    }
    for (name, _) in view.stack.of_type(FUNCTION) {
        let policies = view.stack.resources[name]["Properties"].get("Policies");
        findings.unless(policies.is_none(), "permissions", name, || "has policies beside its role".to_owned());
    }
}

/// What a role allows: action, resource, and the condition on it.
fn allowed(role: &Value) -> Vec<(String, String, &Value)> {
    let mut allowed = Vec::new();
    let policies = items(&role["Policies"]);
    let statements = policies.iter().flat_map(|policy| items(&policy["PolicyDocument"]["Statement"]));
    for statement in statements.filter(|statement| statement["Effect"] == "Allow") {
        let inverse = ["NotAction", "NotResource"].iter().any(|key| statement.get(key).is_some());
        let text = |value: &Value| if inverse { "*".to_owned() } else { value.as_str().unwrap_or("*").to_owned() };
        for action in items(&statement["Action"]) {
            for on in items(&statement["Resource"]) {
                allowed.push((text(action), text(on), &statement["Condition"]));
            }
        }
    }
    allowed
}

/// What a function calls, as a role says it.
fn called(function: &str) -> Vec<String> {
    let capital = resource(function).replace("Function", "");
    let own =
        CALLS.iter().filter(|call| call.function == function).map(|call| format!("{} on {}", call.action, call.on));
    let every = EVERY_FUNCTION.iter().map(|(action, on, _)| format!("{action} on {}", on.replace('%', &capital)));
    own.chain(every).collect()
}

fn check_keys(function: &str, role: &str, properties: &Value, findings: &mut Findings) {
    for (_, action, wanted) in LEADING_KEYS.iter().filter(|(of, _, _)| *of == function) {
        for (_, _, condition) in
            allowed(properties).into_iter().filter(|(one, on, _)| one == action && on == "${ControlsTable.Arn}")
        {
            let keys = items(&condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
            let needs_keys = condition["Null"]["dynamodb:LeadingKeys"] == "false";
            let fits = keys.iter().map(|key| key.as_str()).eq(wanted.iter().map(|key| Some(*key)));
            findings.unless(fits && needs_keys, "permissions", role, || {
                format!("allows `{action}` on the controls table under other keys than {wanted:?}")
            });
        }
    }
}

/// The table of calls against the sources: each operation that the code has is in the table, and the other way round; and a function
/// names exactly the types through which it makes its calls.
pub(super) fn check_calls(code: &Code, findings: &mut Findings) {
    let listed = CALLS.iter().map(|call| &call.by).chain(EVERY_FUNCTION.iter().map(|(_, _, by)| by));
    let mut known: Vec<String> =
        listed.filter_map(of_code).map(|(file, operation, _)| format!("{file}: {operation}")).collect();
    known.extend(NOT_IN_FUNCTIONS.iter().map(|&one| one.to_owned()));
    let found: Vec<String> = code.operations().into_iter().collect();
    let words = ("is called, and not in the table of calls", "is in the table of calls, and not called");
    findings.differ("calls", "rules/calls.rs", &found, &known, words);
    let types: BTreeSet<&str> = CALLS.iter().filter_map(|call| of_code(&call.by)).map(|(_, _, name)| name).collect();
    for function in &code.functions {
        let folder = format!("functions/{function}/src/");
        let sources = || code.sources.iter().filter(|(file, _)| file.starts_with(&folder));
        let names =
            |name: &str| sources().any(|(_, text)| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == name));
        for name in &types {
            let uses =
                CALLS.iter().any(|call| call.function == function && of_code(&call.by).is_some_and(|by| by.2 == *name));
            findings.unless(uses == names(name), "calls", function, || match uses {
                true => format!("is said to call through `{name}`, and does not name it"),
                false => format!("names `{name}`, and the table of calls has nothing that it calls through it"),
            });
        }
    }
}

const fn of_code(by: &By) -> Option<(&'static str, &'static str, &'static str)> {
    match by {
        By::Code(file, operation, name) => Some((file, operation, name)),
        By::Lambda => None,
    }
}
