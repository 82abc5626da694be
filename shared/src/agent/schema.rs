//! The JSON Schema of a tool's arguments, compiled when the tool is made.

use std::{fmt, ops::Deref, sync::Arc};

use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, json};

/// How many things that are wrong with arguments the model is told at once.
const PROBLEMS_MAX: usize = 5;

/// How much of one of them it is told. A schema may hold long lists of choices.
const PROBLEM_CHARS_MAX: usize = 200;

/// A schema that compiles, and describes an object. It derefs to its JSON, for those who pass it on to a model.
#[derive(Clone)]
pub struct ArgumentSchema {
    json: Value,
    holds: Holds,
}

/// What arguments are held to.
#[derive(Clone)]
enum Holds {
    To(Arc<Validator>),
    /// Nobody knows yet.
    Unknown,
}

/// A schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchema {
    /// It is not a JSON Schema, refers to something outside of itself, or has a pattern that cannot be matched in linear time.
    #[error("the schema does not compile: {problem}")]
    DoesNotCompile {
        /// What is wrong with it.
        problem: String,
    },
    /// Models give arguments by name.
    #[error("the schema is not one of an object (`\"type\": \"object\"`)")]
    NotAnObject,
}

impl ArgumentSchema {
    /// Compiles `json` by the draft that its `$schema` names, or the newest. Nothing outside of it is fetched. Patterns run in
    /// linear time, since a schema may come from a stranger's server: one with look-around does not compile.
    ///
    /// # Errors
    /// When it does not compile, or is not one of an object.
    pub fn compile(json: Value) -> Result<ArgumentSchema, InvalidSchema> {
        if json.get("type").and_then(Value::as_str) != Some("object") {
            return Err(InvalidSchema::NotAnObject);
        }
        let built = jsonschema::options().with_pattern_options(PatternOptions::regex()).build(&json);
        let validator = built.map_err(|error| InvalidSchema::DoesNotCompile { problem: cut(&error.to_string()) })?;
        Ok(ArgumentSchema { json, holds: Holds::To(Arc::new(validator)) })
    }

    /// The schema of a tool whose server has not said it yet: an object, and nothing is known of its fields. No call of such a tool is
    /// judged or made.
    pub fn unknown() -> ArgumentSchema {
        ArgumentSchema { json: json!({ "type": "object", "properties": {} }), holds: Holds::Unknown }
    }

    /// Whether it is known what arguments must fit.
    pub const fn is_known(&self) -> bool {
        matches!(self.holds, Holds::To(_))
    }

    /// Has the validator of schemas themselves built, which every schema needs and is built once in a process. Meant for a thread of its
    /// own, beside a start that waits for something; without it, the first [`ArgumentSchema::compile`] takes that much longer.
    pub fn warm_up() {
        // Of interest is only what it leaves behind.
        let _ = ArgumentSchema::compile(json!({ "type": "object" }));
    }

    /// Whether `arguments` fit.
    ///
    /// # Errors
    /// What is wrong with them and where, without quoting them.
    pub fn check(&self, arguments: &Value) -> Result<(), String> {
        let Holds::To(validator) = &self.holds else {
            return Err("nobody knows yet what they must be".to_owned());
        };
        let mut problems = validator.iter_errors(arguments).map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the arguments".to_owned() } else { format!("`{place}`") };
            cut(&format!("{place}: {}", error.masked()))
        });
        let told: Vec<String> = problems.by_ref().take(PROBLEMS_MAX).collect();
        if told.is_empty() { Ok(()) } else { Err(told.join("; ")) }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(PROBLEM_CHARS_MAX).collect()
}

impl Deref for ArgumentSchema {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.json
    }
}

impl PartialEq for ArgumentSchema {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json && self.is_known() == other.is_known()
    }
}

impl fmt::Debug for ArgumentSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.json, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refund() -> ArgumentSchema {
        let schema = json!({
            "type": "object",
            "properties": {
                "order": { "type": "string", "pattern": "^[A-Z]-[0-9]+$" },
                "amount_cents": { "type": "integer", "minimum": 1 },
            },
            "required": ["order", "amount_cents"],
            "additionalProperties": false,
        });
        ArgumentSchema::compile(schema).expect("it compiles")
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused_with_the_place_and_without_quoting_them() {
        let schema = refund();
        assert_eq!(schema.check(&json!({ "order": "A-1", "amount_cents": 1 })), Ok(()));
        for (arguments, place) in [
            (json!({ "order": "A-1", "amount_cents": "hunter2" }), "`/amount_cents`"),
            (json!({ "order": "hunter2", "amount_cents": 1 }), "`/order`"),
            (json!({ "order": "A-1" }), "the arguments"),
            (json!({ "order": "A-1", "amount_cents": 0 }), "`/amount_cents`"),
            (json!(["hunter2"]), "the arguments"),
        ] {
            let problem = schema.check(&arguments).expect_err("it does not fit");
            assert!(problem.contains(place) && !problem.contains("hunter2"), "{arguments} gave: {problem}");
        }
    }

    #[test]
    fn a_schema_that_does_not_compile_is_refused() {
        for (schema, problem) in [
            (json!({ "type": "object", "properties": { "a": { "type": "strin" } } }), "does not compile"),
            (json!({ "type": "object", "properties": { "a": { "pattern": "(a" } } }), "does not compile"),
            (json!({ "type": "object", "properties": { "a": { "pattern": "(?=a)b" } } }), "does not compile"),
            (json!({ "type": "object", "$ref": "https://example.com/schema.json" }), "does not compile"),
            (json!({ "type": "object", "$ref": "file:///etc/passwd" }), "does not compile"),
            (json!({ "type": "string" }), "not one of an object"),
            (json!(true), "not one of an object"),
        ] {
            let error = ArgumentSchema::compile(schema.clone()).expect_err("it is not sound").to_string();
            assert!(error.contains(problem), "{schema} gave: {error}");
        }
    }
}
