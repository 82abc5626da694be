//! Tools made fit for a provider: what one of them refuses in a tool's schema or description is taken out, and said in words instead.
//!
//! | what | who refuses it | what is offered |
//! |---|---|---|
//! | `anyOf`, `oneOf`, `allOf`, `enum`, `not` at a schema's top | OpenAI, Anthropic and most gateways: HTTP 400 for every question | the schema without it, with the fields of its branches; the rule in the description |
//! | a schema without `properties` | OpenAI's dialect | `properties: {}` |
//! | a description of more than 1,024 characters | OpenAI's dialect | its beginning |
//!
//! What a model proposes is held to the tool's own schema all the same.

use serde_json::{Map, Value, json};

use crate::conversation::{Offer, canonical};

/// What no provider wants at a schema's top (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
const CHOICES: [&str; 5] = ["anyOf", "oneOf", "allOf", "enum", "not"];

/// The most characters of a rule that is said in words.
const RULE_CHARS_MAX: usize = 400;

/// What one kind of provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most characters of a description.
    pub description_chars_max: usize,
}

/// OpenAI's dialect (<https://platform.openai.com/docs/api-reference/chat/create>, `tools.function.description`).
pub const OPENAI: Bounds = Bounds { description_chars_max: 1_024 };

/// Anthropic's and Bedrock's: no bound is documented, and this is above what is kept of a description.
pub const OTHERS: Bounds = Bounds { description_chars_max: 4_096 };

/// A tool as a provider of this kind takes it.
pub fn fit(tool: &Offer, bounds: Bounds) -> Offer {
    let mut schema = tool.schema.clone();
    let rules = schema.as_object_mut().map(without_choices).unwrap_or_default();
    let description = described(&tool.description, &rules, bounds);
    Offer { name: tool.name.clone(), description, schema }
}

/// Takes the choices out of a schema's top and says what they were. Fields that only their branches name are named at the top.
fn without_choices(schema: &mut Map<String, Value>) -> Vec<String> {
    let taken: Vec<(&str, Value)> = CHOICES.iter().filter_map(|name| Some((*name, schema.remove(*name)?))).collect();
    let mut fields = Map::new();
    for (name, branches) in &taken {
        // What must not be is no field to offer.
        for branch in branches.as_array().into_iter().flatten().filter(|_| *name != "not") {
            let branch = resolved(schema, branch);
            fields.extend(branch["properties"].as_object().cloned().unwrap_or_default());
        }
    }
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        for (name, field) in fields {
            properties.entry(name).or_insert(field);
        }
    }
    let rule = |(name, branches): (&str, Value)| {
        let told: String = canonical(&json!({ name: branches })).chars().take(RULE_CHARS_MAX).collect();
        format!("Its arguments must also fit {told}")
    };
    taken.into_iter().map(rule).collect()
}

/// A branch, or the part of the schema that it refers to.
fn resolved(schema: &Map<String, Value>, branch: &Value) -> Value {
    let pointer = branch["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    let found = pointer.and_then(|pointer| {
        let (first, rest) = pointer.strip_prefix('/')?.split_once('/')?;
        schema.get(first)?.pointer(&format!("/{rest}"))
    });
    found.unwrap_or(branch).clone()
}

/// The description, with the rules. The note on the effect at its end stays, whatever is cut.
fn described(description: &str, rules: &[String], bounds: Bounds) -> String {
    let (text, effect) = match description.rfind(" (effect: ") {
        Some(at) => description.split_at(at),
        None => (description, ""),
    };
    let mut end: String = rules.iter().map(|rule| format!(" {rule}")).collect();
    end.push_str(effect);
    let max = bounds.description_chars_max;
    let left = max.saturating_sub(end.chars().count());
    let shown: String = if text.chars().count() <= left {
        text.to_owned()
    } else {
        text.chars().take(left.saturating_sub(1)).chain(['…']).collect()
    };
    format!("{shown}{end}").chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(description: &str, schema: Value) -> Offer {
        Offer { name: "find".to_owned(), description: format!("{description} (effect: none, it only reads)"), schema }
    }

    #[test]
    fn a_choice_at_a_schemas_top_is_said_in_words() {
        let fields = json!({ "id": { "type": "string" }, "email": { "type": "string" } });
        let choice = json!([{ "required": ["id"] }, { "required": ["email"] }]);
        let tool = offer("Finds", json!({ "type": "object", "properties": fields, "anyOf": choice }));
        let fitted = fit(&tool, OPENAI);
        assert_eq!(fitted.schema, json!({ "type": "object", "properties": fields }));
        let said = r#"Finds Its arguments must also fit {"anyOf":[{"required":["id"]},{"required":["email"]}]} (effect: none, it only reads)"#;
        assert_eq!(fitted.description, said);
    }

    #[test]
    fn fields_that_only_branches_name_are_offered() {
        let schema = json!({
            "type": "object",
            "$defs": { "by_mail": { "properties": { "email": { "type": "string" } } } },
            "oneOf": [{ "properties": { "id": { "type": "string" } } }, { "$ref": "#/$defs/by_mail" }],
            "not": { "properties": { "never": {} } },
        });
        let fitted = fit(&offer("Finds", schema), OTHERS).schema;
        assert_eq!(fitted["properties"], json!({ "id": { "type": "string" }, "email": { "type": "string" } }));
        assert!(fitted.get("oneOf").is_none() && fitted.get("not").is_none() && fitted.get("$defs").is_some());
    }

    #[test]
    fn a_schema_without_fields_says_so_and_one_with_fields_stays_as_it_is() {
        let fitted = fit(&offer("Pings", json!({ "type": "object" })), OPENAI);
        assert_eq!(fitted.schema, json!({ "type": "object", "properties": {} }));
        let plain = offer("Reads", json!({ "type": "object", "properties": { "a": { "anyOf": [{}, {}] } } }));
        assert_eq!(fit(&plain, OPENAI), plain);
    }

    #[test]
    fn a_long_description_is_cut_to_what_the_provider_takes_and_keeps_its_effect() {
        let tool = offer(&"ü".repeat(1_900), json!({ "type": "object", "properties": {} }));
        let fitted = fit(&tool, OPENAI).description;
        assert_eq!(fitted.chars().count(), OPENAI.description_chars_max);
        assert!(fitted.ends_with("… (effect: none, it only reads)"), "{fitted}");
        assert_eq!(fit(&tool, OTHERS).description, tool.description);
        let choice =
            offer(&"x".repeat(1_900), json!({ "type": "object", "anyOf": [{ "required": ["y".repeat(2_000)] }] }));
        assert_eq!(fit(&choice, OPENAI).description.chars().count(), OPENAI.description_chars_max);
    }
}
