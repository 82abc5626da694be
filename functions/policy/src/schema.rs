//! What a policy may refer to, derived from the tools and from the windows that the policy declares.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Schema, SchemaError};
use serde_json::{Map, Value, json};
use windlass::{
    agent::{
        policy::Tightening,
        tool::{Effect, ToolSpec},
    },
    config::Environment,
    ids::ToolName,
    windows::Window,
};

use crate::arguments::Shape;

/// The word for an effect class in a policy.
pub const fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Idempotent => "idempotent",
        Effect::Queryable => "queryable",
        Effect::Irreversible => "irreversible",
    }
}

/// The arguments of every tool, by name.
pub fn shapes<'a>(tools: impl IntoIterator<Item = &'a ToolSpec>) -> BTreeMap<ToolName, Shape> {
    tools.into_iter().map(|tool| (tool.name.clone(), Shape::of_arguments(&tool.schema))).collect()
}

/// The schema as Cedar's JSON (<https://docs.cedarpolicy.com/schema/json-schema.html>). `remembered` are the tools whose calls are counted
/// and summed in the context.
pub fn schema_json(shapes: &BTreeMap<ToolName, Shape>, remembered: &BTreeSet<ToolName>, windows: &[Window]) -> Value {
    let environments = [Environment::Dev, Environment::Staging, Environment::Production].map(Environment::name);
    let record = |attributes: Value| json!({ "type": "Record", "attributes": attributes });
    let entity = |name: &str| json!({ "type": "Entity", "name": name });
    let (text, long) = (json!({ "type": "String" }), json!({ "type": "Long" }));
    let calls_of = |tool: &ToolName| {
        let sums = shapes.get(tool).map(Shape::sums)?;
        Some((tool.to_string(), record(json!({ "count": long, "sum": sums.cedar_type() }))))
    };
    let calls: Map<String, Value> = remembered.iter().filter_map(calls_of).collect();
    let action = |(tool, shape): (&ToolName, &Shape)| {
        let of_tool = windows.iter().filter(|window| window.tool == *tool);
        let counted: Map<String, Value> = of_tool.map(|window| (window.name.to_string(), long.clone())).collect();
        let context = record(json!({
            "arguments": shape.cedar_type(),
            "server": text,
            "effect": entity("Effect"),
            "environment": entity("Environment"),
            "tightening": entity("Tightening"),
            "steps": long,
            "tokens": long,
            "cost_micro_usd": long,
            "run": { "type": "Calls" },
            "plan": { "type": "Calls" },
            "windows": record(json!(counted)),
        }));
        let applies_to = json!({ "principalTypes": ["Actor"], "resourceTypes": ["Tenant"], "context": context });
        (tool.to_string(), json!({ "appliesTo": applies_to }))
    };
    let actions: Map<String, Value> = shapes.iter().map(action).collect();
    let roles = json!({ "type": "Set", "element": text });
    json!({ "": {
        "commonTypes": { "Calls": record(json!(calls)) },
        "entityTypes": {
            "Tenant": {},
            "Actor": {
                "memberOfTypes": ["Tenant"],
                "shape": record(json!({ "tenant": entity("Tenant"), "name": text, "agent": text, "roles": roles })),
            },
            "Effect": { "enum": Effect::ALL.map(effect_name) },
            "Environment": { "enum": environments },
            "Tightening": { "enum": Tightening::ALL.map(Tightening::name) },
        },
        "actions": actions,
    } })
}

/// The schema.
///
/// # Errors
/// When Cedar does not take it: a mistake in this module.
pub fn schema(
    shapes: &BTreeMap<ToolName, Shape>,
    remembered: &BTreeSet<ToolName>,
    windows: &[Window],
) -> Result<Schema, Box<SchemaError>> {
    Schema::from_json_value(schema_json(shapes, remembered, windows)).map_err(Box::new)
}
