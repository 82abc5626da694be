//! Roles: one per function, allowing what its code calls on what it calls it on, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    View,
    calls::{BY_PARAMETER, By, ByParameter, CALLS, EVERY_FUNCTION, NOT_IN_FUNCTIONS},
    functions::resource,
};
use crate::infra_check::{
    code::Code,
    finding::Findings,
    stack::{FUNCTION, items},
};

const ROLE: &str = "AWS::IAM::Role";

/// The controls table holds everybody's switches, prompts and accounts; functions may come to these partitions of it only.
const LEADING_KEYS: [(&str, &str, &[&str]); 7] = [
    ("intake", "dynamodb:GetItem", &["budget#*", "controls", "controls#*"]),
    ("intake", "dynamodb:UpdateItem", &["rate#*"]),
    ("step", "dynamodb:GetItem", &["budget#*", "controls", "controls#*", "prompt#*"]),
    ("step", "dynamodb:UpdateItem", &["budget#*"]),
    ("step", "dynamodb:DeleteItem", &["budget#*"]),
    ("step", "dynamodb:Query", &["budget#*"]),
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
        let called: Vec<String> = called(function).into_iter().chain(by_parameter(view, function)).collect();
        let words = ("is called, and not allowed", "is allowed, and never called");
        findings.differ("permissions", role, &called, &allowed, words);
        check_keys(function, role, properties, findings);
        check_parameters(view, function, role, findings);
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
                // A parameter that is a list is one text here.
                allowed.extend(text(on).split(',').map(|on| (text(action), on.to_owned(), &statement["Condition"])));
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

/// What a deployment says about a parameter.
fn said<'a>(view: &'a View<'_>, parameter: &str) -> &'a str {
    let default = view.subject.template.value["Parameters"][parameter]["Default"].as_str().unwrap_or_default();
    view.deployment.parameters.get(parameter).map_or(default, String::as_str)
}

/// What a deployment lets a function do besides, as a role says it.
fn by_parameter(view: &View<'_>, function: &str) -> Vec<String> {
    let of_function = BY_PARAMETER.iter().filter(|one| one.function == function);
    let on = |one: &ByParameter| -> Vec<String> {
        let arns = said(view, one.parameter).split(',').map(str::trim).filter(|arn| !arn.is_empty());
        arns.map(|arn| format!("{} on {arn}", one.action)).collect()
    };
    of_function.flat_map(on).collect()
}

/// What a variable wants is allowed in the deployment, and nothing that no variable wants.
fn check_parameters(view: &View<'_>, function: &str, role: &str, findings: &mut Findings) {
    let properties = &view.stack.resources[&resource(function)]["Properties"];
    let set = &properties["Environment"]["Variables"];
    for ByParameter { parameter, action, wanted_by, .. } in BY_PARAMETER.iter().filter(|one| one.function == function) {
        let (wanted, given) = (wanted_by.by(set), !said(view, parameter).is_empty());
        findings.unless(wanted.is_empty() || given, "permissions", role, || {
            format!("does not allow `{action}`, which `{}` wants: `{parameter}` is empty", wanted.join("` and `"))
        });
        findings.unless(!wanted.is_empty() || !given, "permissions", role, || {
            format!("allows `{action}` by `{parameter}`, and no variable wants it")
        });
    }
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
