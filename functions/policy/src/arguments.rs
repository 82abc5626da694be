//! A tool's arguments as a policy sees them: typed by the tool's JSON Schema.
//!
//! | JSON Schema | Cedar |
//! |---|---|
//! | `string`, or an `enum` of strings | `String` |
//! | `integer` | `Long` (64 bits) |
//! | `number` | `decimal` (at most four digits after the point) |
//! | `boolean` | `Bool` |
//! | `array` of one of these | `Set`: neither order nor repetition is kept |
//! | `object` with `properties` | a record; what is not `required`, or may be null, is optional |
//! | anything else | nothing: a policy that refers to it is not taken on |
//!
//! What has a type and does not fit it is denied, never dropped: a rule that looks at it would otherwise see less than the tool does.

use std::{collections::BTreeMap, fmt};

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Number, Value, json};

/// The deepest nesting of a schema that a policy can refer to.
pub const SCHEMA_DEPTH_MAX: usize = 8;

/// The deepest nesting of arguments, parts without a type included.
pub const ARGUMENTS_DEPTH_MAX: usize = 32;

/// A Cedar decimal is a 64-bit number of ten-thousandths (<https://docs.cedarpolicy.com/policies/syntax-datatypes.html#datatype-decimal>).
const DECIMAL_DIGITS_MAX: usize = 4;

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A string.
    Text,
    /// A whole number of 64 bits.
    Whole,
    /// A number with at most four digits after the point.
    Decimal,
    /// True or false.
    Truth,
    /// Any number of values of one shape.
    Set(Box<Shape>),
    /// Values by name.
    Record(BTreeMap<String, Field>),
}

/// A part of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// What it must be; `None` when a policy cannot refer to it.
    pub shape: Option<Shape>,
    /// Whether it is always there.
    pub required: bool,
}

/// Arguments that a policy cannot judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the argument `{pointer}` {problem}")]
pub struct Unfit {
    /// JSON pointer (RFC 6901) to it.
    pub pointer: String,
    /// What is wrong with it, without its value.
    pub problem: String,
}

impl Unfit {
    fn new(pointer: &str, problem: impl fmt::Display) -> Self {
        Self { pointer: if pointer.is_empty() { "/" } else { pointer }.to_owned(), problem: problem.to_string() }
    }
}

impl Shape {
    /// The shape of a tool's arguments; a record without fields when the schema names none.
    pub fn of_arguments(schema: &Value) -> Shape {
        match shape_of(schema, 0) {
            Some((record @ Shape::Record(_), _)) => record,
            _ => Shape::Record(BTreeMap::new()),
        }
    }

    /// The type in a Cedar schema.
    pub fn cedar_type(&self) -> Value {
        match self {
            Shape::Text => json!({ "type": "String" }),
            Shape::Whole => json!({ "type": "Long" }),
            Shape::Decimal => json!({ "type": "Extension", "name": "decimal" }),
            Shape::Truth => json!({ "type": "Boolean" }),
            Shape::Set(element) => json!({ "type": "Set", "element": element.cedar_type() }),
            Shape::Record(fields) => {
                let typed = |(name, field): (&String, &Field)| {
                    let mut of = field.shape.as_ref()?.cedar_type();
                    of["required"] = json!(field.required);
                    Some((name.clone(), of))
                };
                let attributes: Map<String, Value> = fields.iter().filter_map(typed).collect();
                json!({ "type": "Record", "attributes": attributes })
            }
        }
    }

    /// `arguments` as a policy sees them.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn express(&self, arguments: &Value) -> Result<RestrictedExpression, Unfit> {
        if !is_within(arguments, ARGUMENTS_DEPTH_MAX) {
            return Err(Unfit::new("", format!("is nested more than {ARGUMENTS_DEPTH_MAX} levels deep")));
        }
        express(self, arguments, "")
    }
}

/// The shape that a schema describes, and whether null will do as well.
fn shape_of(schema: &Value, depth: usize) -> Option<(Shape, Nullable)> {
    if depth > SCHEMA_DEPTH_MAX {
        return None;
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let is_null = |choice: &&Value| choice["type"] == "null";
        let mut others = choices.iter().filter(|choice| !is_null(choice));
        let (only, more) = (others.next()?, others.next());
        return match more {
            None => shape_of(only, depth + 1).map(|(shape, _)| (shape, Nullable::Yes)),
            Some(_) => None,
        };
    }
    let (name, nullable) = type_name(schema)?;
    let shape = match name {
        "string" => Shape::Text,
        "integer" => Shape::Whole,
        "number" => Shape::Decimal,
        "boolean" => Shape::Truth,
        "array" => match shape_of(schema.get("items")?, depth + 1)? {
            (element, Nullable::No) => Shape::Set(Box::new(element)),
            (_, Nullable::Yes) => return None,
        },
        "object" => Shape::Record(fields(schema, depth)?),
        _ => return None,
    };
    Some((shape, nullable))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nullable {
    Yes,
    No,
}

fn type_name(schema: &Value) -> Option<(&str, Nullable)> {
    match schema.get("type") {
        Some(Value::String(name)) => Some((name, Nullable::No)),
        Some(Value::Array(names)) => {
            let mut others = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let (only, more) = (others.next()?, others.next());
            let nullable = if names.iter().any(|name| name == "null") { Nullable::Yes } else { Nullable::No };
            more.is_none().then_some((only, nullable))
        }
        Some(_) => None,
        None => {
            let choices = schema.get("enum")?.as_array()?;
            let all_text = !choices.is_empty() && choices.iter().all(Value::is_string);
            all_text.then_some(("string", Nullable::No))
        }
    }
}

fn fields(schema: &Value, depth: usize) -> Option<BTreeMap<String, Field>> {
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let field = |(name, of): (&String, &Value)| {
        let (shape, nullable) = match shape_of(of, depth + 1) {
            Some((shape, nullable)) => (Some(shape), nullable),
            None => (None, Nullable::Yes),
        };
        (name.clone(), Field { shape, required: required(name) && nullable == Nullable::No })
    };
    Some(schema.get("properties")?.as_object()?.iter().map(field).collect())
}

fn express(shape: &Shape, value: &Value, at: &str) -> Result<RestrictedExpression, Unfit> {
    match (shape, value) {
        (Shape::Text, Value::String(text)) => Ok(RestrictedExpression::new_string(text.clone())),
        (Shape::Truth, Value::Bool(truth)) => Ok(RestrictedExpression::new_bool(*truth)),
        (Shape::Whole, Value::Number(number)) => match number.as_i64() {
            Some(whole) => Ok(RestrictedExpression::new_long(whole)),
            None => Err(Unfit::new(at, "is not a whole number of 64 bits")),
        },
        (Shape::Decimal, Value::Number(number)) => match decimal(number) {
            Some(text) => Ok(RestrictedExpression::new_decimal(text)),
            None => Err(Unfit::new(at, "is too large, or has more than four digits after the point")),
        },
        (Shape::Set(element), Value::Array(values)) => {
            let one = |(index, value): (usize, &Value)| express(element, value, &format!("{at}/{index}"));
            Ok(RestrictedExpression::new_set(values.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?))
        }
        (Shape::Record(fields), Value::Object(values)) => record(fields, values, at),
        _ => Err(Unfit::new(at, format!("is {}; the tool's schema says otherwise", kind(value)))),
    }
}

fn record(
    fields: &BTreeMap<String, Field>,
    values: &Map<String, Value>,
    at: &str,
) -> Result<RestrictedExpression, Unfit> {
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    if let Some(stranger) = values.keys().find(|name| !fields.contains_key(*name)) {
        return Err(Unfit::new(&below(stranger), "is not in the tool's schema"));
    }
    let mut parts = Vec::with_capacity(fields.len());
    for (name, field) in fields {
        match (values.get(name), &field.shape) {
            (None | Some(Value::Null), _) if !field.required => {}
            (None, _) => return Err(Unfit::new(&below(name), "is missing")),
            (Some(_), None) => {}
            (Some(value), Some(shape)) => parts.push((name.clone(), express(shape, value, &below(name))?)),
        }
    }
    RestrictedExpression::new_record(parts).map_err(|error| Unfit::new(at, error))
}

/// A number as Cedar writes decimals, when it can hold it.
fn decimal(number: &Number) -> Option<String> {
    let text = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => format!("{whole}.0"),
        (None, Some(float)) if float.is_finite() => format!("{float:?}"),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.trim_start_matches('-')) || !digits(fraction) || fraction.len() > DECIMAL_DIGITS_MAX {
        return None;
    }
    let ten_thousandths = format!("{whole}{fraction:0<DECIMAL_DIGITS_MAX$}");
    ten_thousandths.parse::<i64>().ok().map(|_| text)
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| is_within(value, levels - 1)),
        Value::Object(values) => levels > 0 && values.values().all(|value| is_within(value, levels - 1)),
        _ => true,
    }
}
