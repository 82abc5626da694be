//! The template as one deployment sees it: parameters and conditions decided, defaults merged, references as text.
//!
//! A reference to a resource becomes `${Resource}`, to its attribute `${Resource.Arn}`, as `Fn::Sub` writes them, so that two ways of
//! writing one reference compare equal.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The type of functions.
pub const FUNCTION: &str = "AWS::Serverless::Function";

/// What a deployment chooses.
pub type Parameters = BTreeMap<String, String>;

/// A deployment's view of the template.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Every resource that this deployment makes.
    pub resources: BTreeMap<String, Value>,
}

impl Stack {
    /// The view of a deployment with `chosen` parameters; the others have their defaults.
    pub fn of(template: &Value, chosen: &Parameters) -> Stack {
        let mut parameters = Parameters::new();
        for (name, declared) in fields(&template["Parameters"]) {
            if let Some(default) = declared["Default"].as_str() {
                parameters.insert(name.clone(), default.to_owned());
            }
        }
        parameters.extend(chosen.clone());
        let view = View { parameters: &parameters, conditions: &template["Conditions"] };
        let defaults = view.resolve(&template["Globals"]["Function"]).unwrap_or_default();
        let mut resources = BTreeMap::new();
        for (name, declared) in fields(&template["Resources"]) {
            let wanted = declared["Condition"].as_str().is_none_or(|condition| view.holds(&Value::from(condition)));
            if let (true, Some(mut resource)) = (wanted, view.resolve(declared)) {
                if resource["Type"] == FUNCTION {
                    let own = resource["Properties"].take();
                    resource["Properties"] = merged(defaults.clone(), own);
                }
                resources.insert(name.clone(), resource);
            }
        }
        Stack { resources }
    }

    /// The resources of a type, with their properties.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.resources
            .iter()
            .filter(move |(_, one)| one["Type"] == kind)
            .map(|(name, one)| (name.as_str(), &one["Properties"]))
    }

    /// The properties of the resource that `reference` names (`${Name}` or `${Name.Attribute}`), if it is of this type.
    pub fn named<'a>(&'a self, kind: &str, reference: &Value) -> Option<(&'a str, &'a Value)> {
        let name = resource_name(reference.as_str()?)?;
        let (name, resource) = self.resources.get_key_value(name)?;
        (resource["Type"] == kind).then(|| (name.as_str(), &resource["Properties"]))
    }

    /// The function behind the alias `live` that `reference` names.
    pub fn behind_live(&self, reference: &Value) -> Option<(&str, &Value)> {
        let (_, alias) = self.named("AWS::Lambda::Alias", reference)?;
        if alias["Name"] != "live" {
            return None;
        }
        self.named(FUNCTION, &alias["FunctionName"])
    }
}

/// The name in `${Name}` or `${Name.Attribute}`.
pub fn resource_name(reference: &str) -> Option<&str> {
    let inner = reference.strip_prefix("${")?.strip_suffix('}')?;
    let name = inner.split('.').next()?;
    (!inner.contains("${")).then_some(name)
}

/// An object's fields; none when it is not one.
pub fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// An array's items, or the one thing that stands for an array of one.
pub fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn merged(defaults: Value, own: Value) -> Value {
    match (defaults, own) {
        (Value::Object(mut defaults), Value::Object(own)) => {
            for (name, value) in own {
                let merged = merged(defaults.remove(&name).unwrap_or_default(), value);
                defaults.insert(name, merged);
            }
            Value::Object(defaults)
        }
        (defaults, Value::Null) => defaults,
        (_, own) => own,
    }
}

struct View<'a> {
    parameters: &'a Parameters,
    conditions: &'a Value,
}

impl View<'_> {
    /// The value with everything decided; `None` for `AWS::NoValue`.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(object) => self.object(object),
            Value::Array(items) => Some(items.iter().filter_map(|item| self.resolve(item)).collect()),
            other => Some(other.clone()),
        }
    }

    fn object(&self, object: &Map<String, Value>) -> Option<Value> {
        let mut fields = object.iter();
        if let (Some((name, inner)), None) = (fields.next(), fields.next()) {
            match (name.as_str(), inner) {
                ("Ref", Value::String(name)) if name == "AWS::NoValue" => return None,
                ("Ref", Value::String(name)) => return Some(self.reference(name)),
                ("Fn::GetAtt", Value::Array(parts)) => {
                    let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
                    return Some(Value::from(format!("${{{}}}", parts.join("."))));
                }
                ("Fn::Sub", Value::String(text)) => return Some(Value::from(self.substituted(text))),
                ("Fn::Join", Value::Array(parts)) if parts.len() == 2 => {
                    return Some(self.joined(&parts[0], &parts[1]));
                }
                ("Fn::If", Value::Array(parts)) if parts.len() == 3 => {
                    return self.resolve(&parts[if self.holds(&parts[0]) { 1 } else { 2 }]);
                }
                _ => {}
            }
        }
        let fields = object.iter().filter_map(|(name, value)| Some((name.clone(), self.resolve(value)?)));
        Some(Value::Object(fields.collect()))
    }

    /// A list of texts as one. A parameter that is a list stands here as the text that a deployment writes.
    fn joined(&self, separator: &Value, list: &Value) -> Value {
        let separator = separator.as_str().unwrap_or_default();
        let list = self.resolve(list).unwrap_or_default();
        let texts: Vec<&str> = items(&list).into_iter().filter_map(Value::as_str).collect();
        Value::from(texts.join(separator))
    }

    fn reference(&self, name: &str) -> Value {
        self.parameters
            .get(name)
            .map_or_else(|| Value::from(format!("${{{name}}}")), |value| Value::from(value.as_str()))
    }

    fn substituted(&self, text: &str) -> String {
        self.parameters.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    }

    /// Whether a condition, named or spelled out, holds.
    fn holds(&self, condition: &Value) -> bool {
        if let Some(name) = condition.as_str() {
            return self.holds(&self.conditions[name]);
        }
        let list = |name: &str| items(&condition[name]);
        if let [left, right] = list("Fn::Equals")[..] {
            return self.resolve(left) == self.resolve(right);
        }
        match (list("Fn::Not")[..].first(), list("Fn::And"), list("Fn::Or")) {
            (Some(inner), _, _) => !self.holds(inner),
            (None, all, _) if !all.is_empty() => all.into_iter().all(|one| self.holds(one)),
            (None, _, any) if !any.is_empty() => any.into_iter().any(|one| self.holds(one)),
            _ => condition["Condition"].as_str().is_some_and(|name| self.holds(&Value::from(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_sees_parameters_conditions_and_defaults_decided() {
        let template = json!({
            "Parameters": { "Stage": {}, "Size": { "Default": "9" } },
            "Conditions": { "Big": { "Fn::Not": [{ "Fn::Equals": [{ "Ref": "Stage" }, "dev"] }] } },
            "Globals": { "Function": { "Timeout": 3, "Environment": { "Variables": { "A": "1" } } } },
            "Resources": {
                "F": { "Type": FUNCTION, "Properties": {
                    "Environment": { "Variables": { "B": { "Fn::Sub": "${Size}-${Q.Arn}" } } },
                    "Reserved": { "Fn::If": ["Big", 5, { "Ref": "AWS::NoValue" }] },
                } },
                "Q": { "Type": "Queue", "Condition": "Big" },
            },
        });
        let view = |stage: &str| Stack::of(&template, &Parameters::from([("Stage".to_owned(), stage.to_owned())]));
        let (dev, live) = (view("dev"), view("production"));
        assert_eq!(
            live.resources["F"]["Properties"],
            json!({ "Timeout": 3, "Environment": { "Variables": { "A": "1", "B": "9-${Q.Arn}" } }, "Reserved": 5 })
        );
        assert_eq!(dev.resources["F"]["Properties"].get("Reserved"), None);
        assert_eq!((dev.resources.contains_key("Q"), live.resources.contains_key("Q")), (false, true));
    }
}
