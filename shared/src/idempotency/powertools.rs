//! Keys and payload hashes that a function with Powertools for AWS Lambda (Python) derives from the same data, so that either of the two
//! does an operation and the other gives its answer again.
//!
//! Both must be told the same: on the Python side
//!
//! ```python
//! config = IdempotencyConfig(event_key_jmespath="id", payload_validation_jmespath="amount", hash_function="sha256")
//!
//! @idempotent_function(data_keyword_argument="order", key_prefix="refunds", config=config, persistence_store=store)
//! def refund(order): ...
//! ```
//!
//! and here
//!
//! ```
//! # use windlass::idempotency::powertools;
//! # fn example(order: &serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
//! let key = powertools::key("refunds", &order["id"])?;
//! let hash = powertools::payload_hash(&order["amount"]);
//! # Ok(()) }
//! ```
//!
//! `hash_function` must be `sha256`; what Powertools takes when nothing is said, MD5, is not offered here. Two things differ in Powertools
//! (3.37) and cannot be told otherwise: it completes and deletes records without asking whose they are, so that of two owners where the
//! first ran out of time it is not always the later one's answer that stays; and it gives an answer that Python takes for false (`0`,
//! `""`, `[]`, `{}`, `false`) again as `None`.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{InvalidKey, Key, PayloadHash, hex};

/// The key of `data` under a `key_prefix`; `data` is what `event_key_jmespath` selects.
///
/// # Errors
/// When there is nothing in `data`: Powertools would not be idempotent then.
pub fn key(prefix: &str, data: &Value) -> Result<Key, InvalidKey> {
    if is_missing(data) {
        return Err(InvalidKey::Missing);
    }
    Ok(Key(format!("{prefix}#{}", hash(data))))
}

/// The hash of what `payload_validation_jmespath` selects.
pub fn payload_hash(data: &Value) -> PayloadHash {
    PayloadHash(hash(data))
}

/// As `is_missing_idempotency_key` of Powertools has it.
fn is_missing(data: &Value) -> bool {
    match data {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(Value::is_null),
        Value::Object(fields) => fields.values().all(Value::is_null),
    }
}

fn hash(data: &Value) -> String {
    let mut json = String::new();
    write_value(&mut json, data);
    hex(&Sha256::digest(json))
}

/// As Python's `json.dumps(value, sort_keys=True)`: spaces after `,` and `:`, ASCII only, floats by `repr`
/// (<https://docs.python.org/3/library/json.html#json.dumps>).
fn write_value(json: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_text(json, text),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => write_float(json, float),
            None => json.push_str(&number.to_string()),
        },
        Value::Null | Value::Bool(_) => json.push_str(&value.to_string()),
        Value::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                json.push_str(if index == 0 { "" } else { ", " });
                write_value(json, item);
            }
            json.push(']');
        }
        Value::Object(fields) => {
            // Python orders by code points, as Rust orders text.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            json.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                json.push_str(if index == 0 { "" } else { ", " });
                write_text(json, name);
                json.push_str(": ");
                write_value(json, value);
            }
            json.push('}');
        }
    }
}

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` does not fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
}

/// Rust's `Debug` and Python's `repr` both take the shortest digits that read back as the same number, and an exponent from 1e16 on and
/// below 1e-4; they differ in how they write the exponent.
fn write_float(json: &mut String, float: f64) {
    let debug = format!("{float:?}");
    match debug.split_once('e') {
        None => json.push_str(&debug),
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            let _ = write!(json, "{digits}e{sign}{exponent:0>2}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_python_writes_it() {
        for (value, expected) in [
            (json!({"b": 1, "a": [true, null, "x"]}), r#"{"a": [true, null, "x"], "b": 1}"#),
            (json!({}), "{}"),
            (json!([]), "[]"),
            (json!("é😀\u{7f}\u{0}\n\u{8}\u{c}\"\\/"), r#""\u00e9\ud83d\ude00\u007f\u0000\n\b\f\"\\/""#),
            (json!([1.0, -0.0, 0.1, 1e15, 1e16, 1.5e300]), "[1.0, -0.0, 0.1, 1000000000000000.0, 1e+16, 1.5e+300]"),
            (json!([0.0001, 0.00001, 1.25e-7, 5e-324]), "[0.0001, 1e-05, 1.25e-07, 5e-324]"),
            (json!([u64::MAX, i64::MIN]), "[18446744073709551615, -9223372036854775808]"),
            (json!({"\u{ffff}": 1, "\u{10000}": 2}), r#"{"\uffff": 1, "\ud800\udc00": 2}"#),
        ] {
            let mut written = String::new();
            write_value(&mut written, &value);
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn a_key_is_the_one_that_powertools_derives() {
        // `hashlib.sha256(b'"order-17"').hexdigest()`
        let hash = "dce02a7b0ea5eefdb57dbe5cae1a5decd9ea129aaf9dff6a7d40a59d9e0291c8";
        let key = key("refunds", &json!("order-17")).expect("a key");
        assert_eq!(key.as_str(), format!("refunds#{hash}"));
    }

    #[test]
    fn nothing_is_no_key() {
        for nothing in [json!(null), json!(""), json!([]), json!([null]), json!({}), json!({"id": null})] {
            assert_eq!(key("refunds", &nothing), Err(InvalidKey::Missing), "{nothing}");
        }
        for something in [json!(0), json!(false), json!([null, 1]), json!({"id": ""})] {
            assert!(key("refunds", &something).is_ok(), "{something}");
        }
    }
}
