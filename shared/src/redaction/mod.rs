//! Redaction: credentials and personal data are taken out before anything is logged, traced or answered.
//!
//! Two kinds of rules: **keys** (`password`, `dateOfBirth`: whatever is under them goes) and **patterns** in any text (an AWS key,
//! a card number that passes Luhn's check). What is taken out leaves a mark, `[redacted:email]`, so that a reader knows what was
//! there. Objects keep their fields and arrays their lengths, and redacting twice changes nothing more.
//!
//! Patterns are scanned for by hand, in one pass, with bounds on every match: a function that logs should neither carry nor
//! compile a regular-expression engine.
//!
//! What it is not: a guarantee. A name in a sentence, or a secret that looks like a word, has no pattern. What must never leave
//! belongs in a secret store, and the journal at rest is protected by the table's encryption and access rules.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value};

mod credentials;
mod keys;
mod kind;
mod personal;
mod pointer;
mod scan;
mod shown;

pub use kind::{Class, Kind};
pub use pointer::{InvalidPointer, Pointer};
pub use shown::{InOrder, InvalidRedactions, Redactions, ToolRedaction};

/// How deep values are looked into; what is deeper is taken out whole. Payloads are at most 32 levels deep.
const DEPTH_MAX: usize = 64;

/// The first `chars_max` characters of a text, or fewer: of something that must not be shown no part is left over, since a part
/// has no pattern by which it would be known later.
pub fn cut(text: &str, chars_max: usize) -> &str {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => scan::whole(text, end),
        None => text,
    }
}

/// What may be shown of one value.
///
/// An allowed field shows personal data, because somebody said that it is needed. Credentials are never shown: nobody needs to
/// read one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    allowed: BTreeSet<Pointer>,
    least: Class,
}

impl Default for Redaction {
    fn default() -> Self {
        Redaction::STRICT
    }
}

impl Redaction {
    /// Everything goes.
    pub const STRICT: Redaction = Redaction { allowed: BTreeSet::new(), least: Class::Personal };

    /// Only credentials go. For a person who must see the exact action that they permit.
    pub const CREDENTIALS: Redaction = Redaction { allowed: BTreeSet::new(), least: Class::Credential };

    /// Everything goes but personal data at and below these pointers.
    pub fn allowing(pointers: impl IntoIterator<Item = Pointer>) -> Redaction {
        Redaction { allowed: pointers.into_iter().collect(), ..Redaction::STRICT }
    }

    /// `text` with marks in the place of what it must not say. One that is JSON is redacted as what it says, so that keys count.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.string(text, &mut Vec::new(), self.least)
    }

    /// `value` with marks in the place of what it must not say.
    pub fn value(&self, value: &Value) -> Value {
        self.walk(value, &mut Vec::new(), self.least)
    }

    fn walk(&self, value: &Value, path: &mut Vec<String>, least: Class) -> Value {
        let least = if self.allows(path) { Class::Credential } else { least };
        if path.len() > DEPTH_MAX {
            return Value::String("[redacted:depth]".to_owned());
        }
        match value {
            Value::Object(fields) => self.object(fields, path, least),
            Value::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    path.push(index.to_string());
                    let item = self.walk(item, path, least);
                    path.pop();
                    item
                });
                Value::Array(items.collect())
            }
            Value::String(text) => Value::String(self.string(text, path, least).into_owned()),
            Value::Number(number) => match scan::number(&number.to_string(), least) {
                Some(kind) => Value::String(kind.mark()),
                None => value.clone(),
            },
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn string<'t>(&self, text: &'t str, path: &mut Vec<String>, least: Class) -> Cow<'t, str> {
        let is_json = text.trim_start().starts_with(['{', '[']);
        if let Some(inner) = is_json.then(|| serde_json::from_str::<Value>(text).ok()).flatten() {
            // No pointer points into a text.
            path.push("(text)".to_owned());
            let shown = self.walk(&inner, path, least);
            path.pop();
            if shown != inner {
                return Cow::Owned(shown.to_string());
            }
        }
        scan::replace(text, least)
    }

    fn object(&self, fields: &Map<String, Value>, path: &mut Vec<String>, least: Class) -> Value {
        let mut shown = Map::new();
        for (name, field) in fields {
            path.push(name.clone());
            let least_here = if self.allows(path) { Class::Credential } else { least };
            let mut shown_name = scan::replace(name, least).into_owned();
            // By the name as it is shown, too: what is redacted again must come out the same.
            let kind = keys::kind_of(name).or_else(|| keys::kind_of(&shown_name));
            let field = match kind.filter(|kind| kind.class() >= least_here) {
                Some(kind) => marked(field, kind),
                None => self.walk(field, path, least_here),
            };
            path.pop();
            while shown.contains_key(&shown_name) {
                shown_name.push('\'');
            }
            shown.insert(shown_name, field);
        }
        Value::Object(shown)
    }

    fn allows(&self, path: &[String]) -> bool {
        !self.allowed.is_empty() && self.allowed.iter().any(|pointer| pointer.is(path))
    }
}

/// `value` with every leaf marked: its shape stays. What says only that something is there, or not, stays too.
fn marked(value: &Value, kind: Kind) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if text.is_empty() || scan::is_mark(text) => value.clone(),
        Value::String(_) | Value::Number(_) => Value::String(kind.mark()),
        Value::Array(items) => Value::Array(items.iter().map(|item| marked(item, kind)).collect()),
        Value::Object(fields) => {
            let strict = |name: &String| scan::replace(name, Class::Personal).into_owned();
            Value::Object(fields.iter().map(|(name, field)| (strict(name), marked(field, kind))).collect())
        }
    }
}

#[cfg(test)]
mod tests;
