//! Redaction: credentials and personal data are taken out before anything is logged, traced or answered.
//!
//! Two kinds of rules: **keys** (`password`, `dateOfBirth`: whatever is under them goes) and **patterns** in any text (an AWS key,
//! a card number that passes Luhn's check). What is taken out leaves a mark, `[redacted:email]`, so that a reader knows what was
//! there. Objects keep their fields and arrays their lengths, and redacting twice changes nothing more.
//!
//! Patterns are scanned for by hand: a function that logs should neither carry nor compile a regular-expression engine. Redaction is
//! linear in the bytes of a text: what a rule has looked at it does not look at again, and what it does not remember is bounded. A test
//! counts the bytes that are looked at, over hostile alphabets.
//!
//! What it is not: a guarantee. A name in a sentence, or a secret that looks like a word, has no pattern. What must never leave
//! belongs in a secret store, and the journal at rest is protected by the table's encryption and access rules.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value};

mod credentials;
mod keys;
mod kind;
mod personal;
mod pointer;
mod scan;
mod shown;
mod values;

pub use kind::{Class, Kind};
pub use pointer::{InvalidPointer, Pointer};
pub use shown::{InOrder, InvalidRedactions, Redactions, ToolRedaction};

/// How deep values are looked into; what is deeper is taken out whole. Payloads are at most 32 levels deep.
const DEPTH_MAX: usize = 64;

/// How many texts that are JSON are looked into, each within the last; one that is deeper is taken out whole. Each is read again for
/// those around it.
const TEXTS_MAX: usize = 4;

/// In the place of what is too deep to be looked into.
const TOO_DEEP: &str = "[redacted:depth]";

/// What the text within a text is called in a path: no pointer points there.
const TEXT: &str = "(text)";

/// The first `chars_max` characters of a text, or fewer: of something that must not be shown no part is left over, since a part
/// has no pattern by which it would be known later.
pub fn cut(text: &str, chars_max: usize) -> &str {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => scan::whole(text, end),
        None => text,
    }
}

/// How many bytes are looked at to redact a text strictly: a measure of time that is the same on every machine. It stays below
/// [`LOOKS_PER_BYTE_MAX`] for each byte of the text.
pub fn looked_at(text: &str) -> u64 {
    scan::counted(text, Class::Personal).1
}

/// The most bytes that are looked at for each byte of a text. What is bounded, and not remembered, is the most of it: at each word 60
/// bytes of an IP address, 42 of an IBAN, 40 of a key, 25 of a card, 24 of a telephone number; no byte begins a word for all of them.
/// That is 70 a byte at most, and at most four times, if something is taken out.
pub const LOOKS_PER_BYTE_MAX: u64 = 280;

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
            return Value::String(TOO_DEEP.to_owned());
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
            if path.iter().filter(|place| *place == TEXT).count() >= TEXTS_MAX {
                return Cow::Borrowed(TOO_DEEP);
            }
            path.push(TEXT.to_owned());
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
        let mut taken: BTreeMap<String, u32> = BTreeMap::new();
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
            if shown.contains_key(&shown_name) {
                shown_name = another(&shown, &mut taken, shown_name);
            }
            shown.insert(shown_name, field);
        }
        Value::Object(shown)
    }

    fn allows(&self, path: &[String]) -> bool {
        !self.allowed.is_empty() && self.allowed.iter().any(|pointer| pointer.is(path))
    }
}

/// A name that no field has yet. Fields whose names are the same once they are redacted are counted from 2; what was counted is not
/// counted again.
fn another(shown: &Map<String, Value>, taken: &mut BTreeMap<String, u32>, name: String) -> String {
    let count = taken.entry(name.clone()).or_insert(1);
    loop {
        *count += 1;
        let numbered = format!("{name}'{count}");
        if !shown.contains_key(&numbered) {
            return numbered;
        }
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
