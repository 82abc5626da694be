//! Changes an input: JSON in its structure, also within texts that are JSON themselves; anything in its bytes.

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};

use super::INPUT_BYTES_MAX;

/// The most changes to one input.
const CHANGES_MAX: usize = 4;

/// How deep a value is nested on purpose.
const NESTING: usize = 200;

/// Texts that have meant something to some parser.
const TEXTS: &[&str] = &[
    "",
    " ",
    "0",
    "-0",
    "1",
    "-1",
    "1e999",
    "4294967296",
    "18446744073709551616",
    "9223372036854775807",
    "NaN",
    "null",
    "true",
    "..",
    "/",
    "//",
    "%00",
    "%2e%2e%2f",
    "\u{0}",
    "\u{7f}",
    "\r\n",
    "\u{feff}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "𝔘",
    "\u{10ffff}",
    "#",
    "acme#ada",
    "head",
    "entry#00000001",
    "a:b",
    "*",
    "?",
    "${x}",
    "{{x}}",
    "$(x)",
    "`",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "//",
    "--",
    "-",
    "=",
    "==",
    "%",
    "100%",
    "101%",
    "person:",
    "none",
    "off",
    "Bearer ",
    "sk-0000000000000000000000000000000000000000000000",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJub25lIn0.e30.",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "-9999-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00+14:00",
    "PT1S",
    "01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "__proto__",
    "constructor",
    "wait=5",
    "wait=18446744073709551615",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "a@b.example",
    "[S1]",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\n",
    "\t",
];

/// One of the changed forms of `base`; `others` lend parts.
pub fn mutated(base: &[u8], others: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = base.to_vec();
    // Mostly one: what is changed in many places is refused for the first.
    let changes = (1..CHANGES_MAX).take_while(|_| rng.random_bool(0.3)).count() + 1;
    for _ in 0..changes {
        input = match serde_json::from_slice::<Value>(&input) {
            Ok(mut value) if (value.is_object() || value.is_array()) && rng.random_bool(0.8) => {
                let lent = others.choose(rng).and_then(|other| serde_json::from_slice(other).ok()).unwrap_or_default();
                change_somewhere(&mut value, &lent, rng);
                value.to_string().into_bytes()
            }
            _ => change_bytes(input, others, rng),
        };
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

/// Changes one place in `value`, chosen by walking down.
fn change_somewhere(value: &mut Value, lent: &Value, rng: &mut StdRng) {
    let stay = rng.random_bool(0.2);
    match value {
        Value::Object(fields) if !fields.is_empty() && !stay => {
            let name = nth_name(fields, rng);
            if rng.random_bool(0.75) {
                change_somewhere(&mut fields[&name], lent, rng);
            } else {
                change_field(fields, &name, lent, rng);
            }
        }
        Value::Array(items) if !items.is_empty() && !stay => {
            let at = rng.random_range(0..items.len());
            match rng.random_range(0..6) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, items[at].clone()),
                2 => {
                    let other = rng.random_range(0..items.len());
                    items.swap(at, other);
                }
                _ => change_somewhere(&mut items[at], lent, rng),
            }
        }
        Value::String(text) if rng.random_bool(0.8) => change_text(text, lent, rng),
        _ => *value = anything(lent, rng),
    }
}

fn change_field(fields: &mut Map<String, Value>, name: &str, lent: &Value, rng: &mut StdRng) {
    match rng.random_range(0..4) {
        0 => drop(fields.remove(name)),
        1 => {
            let value = fields.remove(name).unwrap_or_default();
            let mut renamed = name.to_owned();
            change_text(&mut renamed, lent, rng);
            fields.insert(renamed, value);
        }
        2 => {
            let other = nth_name(fields, rng);
            let (a, b) = (fields[name].clone(), fields[&other].clone());
            fields.insert(name.to_owned(), b);
            fields.insert(other, a);
        }
        _ => {
            let name = TEXTS.choose(rng).copied().unwrap_or_default().to_owned();
            fields.insert(name, anything(lent, rng));
        }
    }
}

fn change_text(text: &mut String, lent: &Value, rng: &mut StdRng) {
    if let Ok(mut inner) = serde_json::from_str::<Value>(text)
        && (inner.is_object() || inner.is_array())
        && rng.random_bool(0.8)
    {
        change_somewhere(&mut inner, lent, rng);
        *text = inner.to_string();
        return;
    }
    let mut chars: Vec<char> = text.chars().collect();
    let at = rng.random_range(0..=chars.len());
    let put: Vec<char> = TEXTS.choose(rng).copied().unwrap_or_default().chars().collect();
    match rng.random_range(0..6) {
        0 => chars.truncate(at),
        1 => chars = put,
        2 => chars = chars.repeat(rng.random_range(2..40)),
        3 if at < chars.len() => {
            chars[at] = char::from_u32(u32::from(chars[at]) ^ (1 << rng.random_range(0..8))).unwrap_or('\u{fffd}');
        }
        4 if at < chars.len() => drop(chars.remove(at)),
        _ => drop(chars.splice(at..at, put)),
    }
    *text = chars.into_iter().collect();
}

fn anything(lent: &Value, rng: &mut StdRng) -> Value {
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!([0, 1, -1, 2, 100, 1_000].choose(rng)),
        3 => json!([i64::MIN, i64::MAX, i64::from(u32::MAX), i64::from(u32::MAX) + 1, -9_999_999_999_999].choose(rng)),
        4 => json!([u64::MAX, u64::MAX - 1, 1 << 53].choose(rng)),
        5 => json!([0.5, -0.0, 1e308, 5e-324, 1.5e19].choose(rng)),
        6 => json!({}),
        7 => json!([]),
        8 => (0..rng.random_range(1..NESTING)).fold(Value::Null, |inner, _| json!([inner])),
        9 => (0..rng.random_range(1..NESTING)).fold(Value::Null, |inner, _| json!({ "a": inner })),
        10 => part_of(lent, rng).clone(),
        _ => json!(TEXTS.choose(rng)),
    }
}

/// Some part of a value.
fn part_of<'v>(value: &'v Value, rng: &mut StdRng) -> &'v Value {
    if rng.random_bool(0.3) {
        return value;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => part_of(&fields[&nth_name(fields, rng)], rng),
        Value::Array(items) if !items.is_empty() => part_of(&items[rng.random_range(0..items.len())], rng),
        _ => value,
    }
}

fn nth_name(fields: &Map<String, Value>, rng: &mut StdRng) -> String {
    fields.keys().nth(rng.random_range(0..fields.len())).cloned().unwrap_or_default()
}

fn change_bytes(mut input: Vec<u8>, others: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let at = rng.random_range(0..=input.len());
    let until = rng.random_range(at..=input.len().min(at + 32));
    match rng.random_range(0..8) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = rng.random(),
        2 => drop(input.drain(at..until)),
        3 => input.truncate(at),
        4 => {
            let part = input[at..until].repeat(rng.random_range(1..16));
            input.splice(at..at, part);
        }
        5 => {
            let other = others.choose(rng).map(Vec::as_slice).unwrap_or_default();
            let from = rng.random_range(0..=other.len());
            let part = other[from..rng.random_range(from..=other.len())].to_vec();
            input.splice(at..until, part);
        }
        6 => input.insert(at, rng.random()),
        _ => {
            let put = TEXTS.choose(rng).copied().unwrap_or_default().as_bytes().to_vec();
            input.splice(at..at, put);
        }
    }
    input
}
