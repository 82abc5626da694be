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
//! What a `$ref` within the schema leads to counts as if it stood there. `properties` that stand beside `anyOf`, `oneOf` or `allOf`, or in
//! their branches, are all arguments; one that branches describe differently has no type.
//!
//! What has a type and does not fit it is denied, never dropped: a rule that looks at it would otherwise see less than the tool does.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
};

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Number, Value, json};
use windlass::{
    agent::history::OtherCall,
    json::normalised,
    json_bounds,
    run::state::{Detail, LEFT_OUT},
};

/// The deepest nesting of a schema that a policy can refer to.
pub const SCHEMA_DEPTH_MAX: usize = 8;

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
        match shape_of(&Root(schema), schema, 0) {
            Some((record @ Shape::Record(_), _)) => record,
            _ => Shape::Record(BTreeMap::new()),
        }
    }

    /// What of arguments can be added up over calls: whole numbers and decimals, in records of their own. Every part is there; what
    /// no call has is zero.
    pub fn sums(&self) -> Shape {
        self.summable().unwrap_or_else(|| Shape::Record(BTreeMap::new()))
    }

    fn summable(&self) -> Option<Shape> {
        match self {
            Shape::Whole => Some(Shape::Whole),
            Shape::Decimal => Some(Shape::Decimal),
            Shape::Record(fields) => {
                let sum = |(name, field): (&String, &Field)| {
                    let shape = field.shape.as_ref()?.summable()?;
                    Some((name.clone(), Field { shape: Some(shape), required: true }))
                };
                let sums: BTreeMap<String, Field> = fields.iter().filter_map(sum).collect();
                (!sums.is_empty()).then_some(Shape::Record(sums))
            }
            Shape::Text | Shape::Truth | Shape::Set(_) => None,
        }
    }

    /// The shape at a JSON pointer (RFC 6901), through records only.
    pub fn at(&self, pointer: &str) -> Option<&Shape> {
        let mut shape = self;
        for segment in pointer.strip_prefix('/')?.split('/') {
            let Shape::Record(fields) = shape else { return None };
            shape = fields.get(&segment.replace("~1", "/").replace("~0", "~"))?.shape.as_ref()?;
        }
        Some(shape)
    }

    /// The sums of the arguments of `calls` in the form of [`Shape::sums`]. Amounts below zero count as zero, so that nothing makes room for
    /// something else; what does not fit the shape, and what an older call's shortened arguments leave out, counts as much as can be.
    ///
    /// # Errors
    /// When Cedar does not take the record: a mistake in this module.
    pub fn express_sums(sums: &Shape, calls: &[&OtherCall<'_>]) -> Result<RestrictedExpression, Unfit> {
        summed(sums, calls, "")
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
        json_bounds::check(arguments).map_err(|error| Unfit::new("", error.to_string()))?;
        express(self, arguments, "")
    }
}

/// The schema that references within it are relative to.
struct Root<'a>(&'a Value);

impl<'a> Root<'a> {
    /// What a schema refers to, if it refers to something within the root; else itself.
    fn resolved(&self, schema: &'a Value, depth: usize) -> Option<&'a Value> {
        let Some(reference) = schema.get("$ref") else { return Some(schema) };
        let target = self.0.pointer(reference.as_str()?.strip_prefix('#')?)?;
        if depth < SCHEMA_DEPTH_MAX { self.resolved(target, depth + 1) } else { None }
    }
}

/// The shape that a schema describes, and whether null will do as well.
fn shape_of<'a>(root: &Root<'a>, schema: &'a Value, depth: usize) -> Option<(Shape, Nullable)> {
    if depth > SCHEMA_DEPTH_MAX {
        return None;
    }
    let schema = root.resolved(schema, depth)?;
    if schema.get("type").is_some_and(|of| of == "object") {
        return fields(root, schema, depth).map(|fields| (Shape::Record(fields), Nullable::No));
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let is_null = |choice: &&Value| choice["type"] == "null";
        let mut others = choices.iter().filter(|choice| !is_null(choice));
        let (only, more) = (others.next()?, others.next());
        return match more {
            None => shape_of(root, only, depth + 1).map(|(shape, _)| (shape, Nullable::Yes)),
            Some(_) => None,
        };
    }
    let (name, nullable) = type_name(schema)?;
    let shape = match name {
        "string" => Shape::Text,
        "integer" => Shape::Whole,
        "number" => Shape::Decimal,
        "boolean" => Shape::Truth,
        "array" => match shape_of(root, schema.get("items")?, depth + 1)? {
            (element, Nullable::No) => Shape::Set(Box::new(element)),
            (_, Nullable::Yes) => return None,
        },
        "object" => Shape::Record(fields(root, schema, depth)?),
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

/// Every argument that a schema of an object names: its own, and those of the schemas that it is combined with.
fn fields<'a>(root: &Root<'a>, schema: &'a Value, depth: usize) -> Option<BTreeMap<String, Field>> {
    let mut all = BTreeMap::new();
    let names = schema.get("required").and_then(Value::as_array);
    let required = |name: &str| names.is_some_and(|names| names.iter().any(|one| one == name));
    let own = schema.get("properties").and_then(Value::as_object);
    for (name, of) in own.into_iter().flatten() {
        let (shape, nullable) = match shape_of(root, of, depth + 1) {
            Some((shape, nullable)) => (Some(shape), nullable),
            None => (None, Nullable::Yes),
        };
        all.insert(name.clone(), Field { shape, required: required(name) && nullable == Nullable::No });
    }
    let mut named = own.is_some();
    for (keyword, always) in [("allOf", true), ("anyOf", false), ("oneOf", false)] {
        for branch in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
            let Some(branch) = root.resolved(branch, depth).filter(|_| depth < SCHEMA_DEPTH_MAX) else { continue };
            let Some(fields) = fields(root, branch, depth + 1) else { continue };
            named = true;
            for (name, field) in fields {
                combine(&mut all, name, Field { required: field.required && always, ..field });
            }
        }
    }
    named.then_some(all)
}

/// Of two descriptions of one argument the same is kept; if they differ, it is an argument without a type.
fn combine(all: &mut BTreeMap<String, Field>, name: String, field: Field) {
    match all.entry(name) {
        btree_map::Entry::Vacant(free) => {
            free.insert(field);
        }
        btree_map::Entry::Occupied(mut there) => {
            let known = there.get_mut();
            known.required |= field.required;
            if known.shape != field.shape {
                known.shape = None;
            }
        }
    }
}

fn express(shape: &Shape, value: &Value, at: &str) -> Result<RestrictedExpression, Unfit> {
    match (shape, value) {
        (Shape::Text, Value::String(text)) => Ok(RestrictedExpression::new_string(text.clone())),
        (Shape::Truth, Value::Bool(truth)) => Ok(RestrictedExpression::new_bool(*truth)),
        (Shape::Whole, Value::Number(number)) => match whole(number) {
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

fn summed(sums: &Shape, calls: &[&OtherCall<'_>], at: &str) -> Result<RestrictedExpression, Unfit> {
    let sum = |amount: fn(&Number) -> Option<i64>| {
        calls.iter().fold(0_i64, |sum, call| {
            let left_out = call.detail == Detail::Short && call.arguments.get(LEFT_OUT).is_some();
            let amount = match call.arguments.pointer(at) {
                None if left_out => i64::MAX,
                None | Some(Value::Null) => 0,
                Some(Value::Number(number)) => amount(number).unwrap_or(i64::MAX).max(0),
                Some(_) => i64::MAX,
            };
            sum.saturating_add(amount)
        })
    };
    match sums {
        Shape::Decimal => {
            let sum = sum(|number| ten_thousandths(&decimal(number)?));
            Ok(RestrictedExpression::new_decimal(format!("{}.{:04}", sum / 10_000, sum % 10_000)))
        }
        Shape::Record(fields) => {
            let part = |(name, field): (&String, &Field)| {
                let below = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                let shape = field.shape.as_ref()?;
                Some(summed(shape, calls, &below).map(|sum| (name.clone(), sum)))
            };
            let parts = fields.iter().filter_map(part).collect::<Result<Vec<_>, _>>()?;
            RestrictedExpression::new_record(parts).map_err(|error| Unfit::new(at, error))
        }
        _ => Ok(RestrictedExpression::new_long(sum(whole))),
    }
}

/// A whole number of 64 bits, however it is written: 1200.0 is 1200.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| normalised(Value::Number(number.clone())).as_i64())
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
    ten_thousandths(&text).map(|_| text)
}

/// A decimal as Cedar writes it, in ten-thousandths.
fn ten_thousandths(decimal: &str) -> Option<i64> {
    let (whole, fraction) = decimal.split_once('.')?;
    format!("{whole}{fraction:0<DECIMAL_DIGITS_MAX$}").parse().ok()
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
