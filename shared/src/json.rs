//! JSON whose numbers stay as they were written.
//!
//! [`serde_json::Value`] holds integers of 64 bits and doubles. An integer beyond both loses its last digits when it is read, and
//! RFC 8785 writes every integer as a double, so that 9007199254740993 becomes ...992: another order, another account. So text
//! from outside is read by [`read`] or [`read_as_text`], and digests, keys and what models read are written by [`canonical`].
//!
//! | written | held | written canonically |
//! |---|---|---|
//! | `9007199254740993` | the same integer | `9007199254740993` |
//! | `1200.0`, `1.2e3` | the integer 1200 | `1200` |
//! | `12.50` | the double 12.5 | `12.5` |
//! | `123456789012345678901`, `3.14159265358979323846` | no value holds it | refused, or kept as a string of its digits |
//!
//! The feature `arbitrary_precision` of `serde_json` would hold all of them, but it turns numbers into maps wherever a type is chosen
//! by its content (untagged and internally tagged enums, as in MCP's messages and in Cedar's), in every crate of the build.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};

/// The most digits of an integer that 64 bits hold.
const INTEGER_DIGITS_MAX: usize = 20;

/// A number that no value holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the number `{number}` at byte {at} has more digits than can be kept; send it as a string")]
pub struct Inexact {
    /// The number, cut to 40 characters.
    pub number: String,
    /// Its place in the text, in bytes from 0.
    pub at: usize,
}

/// Text that is not JSON of the wanted form, or holds a number that would change.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON of the wanted form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It holds a number that no value holds.
    #[error(transparent)]
    Inexact(#[from] Inexact),
}

/// Reads JSON and refuses a number that would change. For what a client can send again otherwise: requests, messages, a model's arguments.
/// One pass over the text before it is read; nothing is allocated for text whose numbers are plain.
///
/// # Errors
/// [`ReadError`].
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    Ok(serde_json::from_str(&rewritten(text, |number, at| Err(Inexact { number, at }))?)?)
}

/// Reads JSON and keeps a number that would change as a string of its digits. For what nobody can be asked to send again: the answers of
/// tools and models.
///
/// # Errors
/// When it is not JSON of the wanted form.
pub fn read_as_text<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(&numbers_as_text(text))
}

/// `text` with each number that would change between quotation marks, and the rest as it was.
pub fn numbers_as_text(text: &str) -> Cow<'_, str> {
    let quoted = rewritten(text, |number, _| Ok::<_, std::convert::Infallible>(format!("\"{number}\"")));
    quoted.unwrap_or_else(|never| match never {})
}

/// Rewrites the numbers of a JSON text: `1200.0` as `1200`, and what no value holds as `beyond` says. Text that is not JSON stays as
/// wrong as it was.
fn rewritten<E>(text: &str, beyond: impl Fn(String, usize) -> Result<String, E>) -> Result<Cow<'_, str>, E> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count();
                let number = &text[at..end];
                let instead = match written(number) {
                    Written::Kept => None,
                    Written::Integer(integer) => Some(integer),
                    Written::Beyond => Some(beyond(number.to_owned(), at)?),
                };
                if let Some(instead) = instead {
                    out.push_str(&text[copied..at]);
                    out.push_str(&instead);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[copied..]);
    Ok(Cow::Owned(out))
}

/// The place after the string that begins at `at`.
fn after_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

enum Written {
    /// A value holds it as it is written.
    Kept,
    /// A value holds the integer that it is.
    Integer(String),
    /// No value holds it.
    Beyond,
}

fn written(number: &str) -> Written {
    if number.parse::<i64>().is_ok_and(|whole| whole != 0)
        || number == "0"
        || number.parse::<u64>().is_ok_and(|n| n != 0)
    {
        return Written::Kept;
    }
    // What is not a number in JSON is left for the reader to refuse.
    let Some(decimal) = Decimal::of(number) else { return Written::Kept };
    if let Some(integer) = decimal.integer() {
        return Written::Integer(integer);
    }
    match number.parse::<f64>() {
        Ok(float) if float.is_finite() && Decimal::of(&format!("{float:e}")) == Some(decimal) => Written::Kept,
        _ => Written::Beyond,
    }
}

/// A decimal number without superfluous zeros: `sign 0.digits × 10^point`, equal for equal numbers.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    /// How many digits stand before the point.
    point: i64,
}

impl Decimal {
    /// Reads a number as JSON writes it.
    fn of(number: &str) -> Option<Decimal> {
        let (is_negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (number, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || (whole.len() > 1 && whole.starts_with('0'))
            || !are_digits(whole)
            || !are_digits(fraction)
        {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Decimal { is_negative: false, digits: String::new(), point: 0 });
        }
        let leading = all.len() - digits.len();
        let point = whole.len() as i64 - leading as i64 + i64::from(exponent);
        Some(Decimal { is_negative, digits: digits.trim_end_matches('0').to_owned(), point })
    }

    /// The integer that it is, if 64 bits hold it.
    fn integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        let width = usize::try_from(self.point).ok().filter(|width| *width <= INTEGER_DIGITS_MAX)?;
        if self.digits.len() > width {
            return None;
        }
        let text = format!("{}{:0<width$}", if self.is_negative { "-" } else { "" }, self.digits);
        (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()).then_some(text)
    }
}

/// A value whose integral doubles are integers: 1200.0 is 1200.
pub fn normalised(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(integral(&number).unwrap_or(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(normalised).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, field)| (name, normalised(field))).collect())
        }
        other => other,
    }
}

/// The integer that a double is written as.
fn integral(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)?;
    let integer = Decimal::of(&format!("{float:e}"))?.integer()?;
    integer.parse::<i64>().map(Number::from).or_else(|_| integer.parse::<u64>().map(Number::from)).ok()
}

/// The one text of a value: fields by name, integers in full, no blanks. Equal for values that are equal as numbers and texts, in whatever
/// order their fields were built.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => match integral(number) {
            Some(integer) => text.push_str(&integer.to_string()),
            None => text.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(field, text);
            }
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// SHA-256, in hexadecimal, of the value's canonical text.
pub fn digest(value: &Value) -> String {
    Sha256::digest(canonical(value)).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
