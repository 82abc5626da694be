//! Which recorded exchange is nearest to one that is missing, and where they differ.

use std::fmt;

use serde_json::Value;

use super::tape::Tape;
use crate::conversation::canonical;

/// The nearest recorded exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// Its key.
    pub key: String,
    /// Its model.
    pub model: String,
    /// JSON pointer (RFC 6901) to the first place where the requests differ; `None` when only the models do.
    pub differs_at: Option<String>,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nearest is `{}`, ", self.key)?;
        match &self.differs_at {
            Some(pointer) => write!(f, "which differs at `{pointer}`"),
            None => write!(f, "which was recorded with `{}`", self.model),
        }
    }
}

/// The exchange that has the longest beginning in common with `request`, one with the same model before any other.
pub fn nearest(tapes: &[Tape], model: &str, request: &Value) -> Option<Nearest> {
    let wanted = canonical(request);
    let common = |tape: &Tape| {
        canonical(&tape.request).bytes().zip(wanted.bytes()).take_while(|(one, other)| one == other).count()
    };
    let tape = tapes.iter().max_by_key(|tape| (tape.model == model, common(tape)))?;
    let differs_at = difference(&tape.request, request, String::new());
    Some(Nearest { key: tape.key.clone(), model: tape.model.clone(), differs_at })
}

fn difference(one: &Value, other: &Value, pointer: String) -> Option<String> {
    match (one, other) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names = ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name)));
            let below = |name: &String| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            names.into_iter().find_map(|name| {
                difference(
                    ours.get(name).unwrap_or(&Value::Null),
                    theirs.get(name).unwrap_or(&Value::Null),
                    below(name),
                )
            })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let longest = ours.len().max(theirs.len());
            (0..longest).find_map(|at| match (ours.get(at), theirs.get(at)) {
                (Some(one), Some(other)) => difference(one, other, format!("{pointer}/{at}")),
                _ => Some(format!("{pointer}/{at}")),
            })
        }
        _ => (one != other).then_some(pointer),
    }
}
