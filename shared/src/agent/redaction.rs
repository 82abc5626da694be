//! Which parts of a tool's arguments and answers nobody but the tool and the model gets to see.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands where something was.
pub const REDACTED: &str = "[redacted]";

/// A JSON pointer (RFC 6901) whose segment `*` stands for every field or item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Vec<String>);

/// The text is not a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a JSON pointer such as `/customer/iban` or `/items/*/note`")]
pub struct InvalidPointer {
    text: String,
}

impl FromStr for Pointer {
    type Err = InvalidPointer;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let escapes_well = |segment: &str| segment.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["", segments @ ..] if segments.iter().all(|segment| escapes_well(segment)) => {
                Ok(Self(segments.iter().map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()))
            }
            _ => Err(InvalidPointer { text: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}

impl TryFrom<String> for Pointer {
    type Error = InvalidPointer;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> String {
        pointer.to_string()
    }
}

impl Pointer {
    /// Puts [`REDACTED`] in the places it points to.
    fn redact(&self, value: &mut Value) {
        redact_below(value, &self.0);
    }
}

fn redact_below(value: &mut Value, segments: &[String]) {
    let Some((segment, rest)) = segments.split_first() else {
        *value = Value::String(REDACTED.to_owned());
        return;
    };
    match value {
        Value::Object(fields) if segment == "*" => fields.values_mut().for_each(|child| redact_below(child, rest)),
        Value::Object(fields) => fields.get_mut(segment).into_iter().for_each(|child| redact_below(child, rest)),
        Value::Array(items) if segment == "*" => items.iter_mut().for_each(|child| redact_below(child, rest)),
        Value::Array(items) => {
            let item = segment.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.into_iter().for_each(|child| redact_below(child, rest));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What of a tool's arguments and answers is left out wherever a call is logged, traced or shown.
///
/// A plan records it with each call: whoever reads the journal holds to it, without knowing the tool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Redaction {
    /// Places in the arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Pointer>,
    /// Places in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<Pointer>,
}

impl Redaction {
    /// Whether it leaves nothing out.
    pub const fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.answer.is_empty()
    }

    /// Arguments as they may be shown.
    pub fn of_arguments(&self, arguments: &Value) -> Value {
        redacted(arguments, &self.arguments)
    }

    /// An answer as it may be shown.
    pub fn of_answer(&self, answer: &Value) -> Value {
        redacted(answer, &self.answer)
    }
}

fn redacted(value: &Value, places: &[Pointer]) -> Value {
    let mut value = value.clone();
    places.iter().for_each(|place| place.redact(&mut value));
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_pointed_to_is_left_out_wherever_it_is() {
        let rule = Redaction {
            arguments: vec!["/iban".parse().expect("a pointer"), "/a~1b/0".parse().expect("a pointer")],
            answer: vec!["/items/*/note".parse().expect("a pointer"), "/absent".parse().expect("a pointer")],
        };
        assert_eq!(
            rule.of_arguments(&json!({ "iban": { "deep": "DE1" }, "a/b": ["x", "y"], "amount": 1 })),
            json!({ "iban": REDACTED, "a/b": [REDACTED, "y"], "amount": 1 }),
        );
        assert_eq!(
            rule.of_answer(&json!({ "items": [{ "note": "n", "id": 1 }, { "id": 2 }, 3] })),
            json!({ "items": [{ "note": REDACTED, "id": 1 }, { "id": 2 }, 3] }),
        );
    }

    #[test]
    fn a_pointer_is_written_as_it_was_read() {
        for text in ["", "/a", "/a~1b/0", "/items/*/no~0te"] {
            assert_eq!(text.parse::<Pointer>().expect("a pointer").to_string(), text);
        }
        for bad in ["a", "a/b", "/a~2", "/a~"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}
