//! CBOR to JSON and back. JSON has no times: in a request they become seconds since the epoch, and in an answer the fields named for
//! one become times again.

use minicbor::{
    Decoder, Encoder,
    data::{IanaTag, Type},
    decode,
};
use serde_json::{Map, Number, Value};

/// How deep a request may be nested; those of CloudWatch are five deep.
const DEPTH_MAX: usize = 32;

/// Reads one value that is the whole input. The error says what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder::new(bytes);
    let value = value(&mut decoder, DEPTH_MAX).map_err(|error| error.to_string())?;
    if decoder.position() < bytes.len() { Err("there is more than one value".into()) } else { Ok(value) }
}

fn value(from: &mut Decoder<'_>, depth: usize) -> Result<Value, decode::Error> {
    let Some(depth) = depth.checked_sub(1) else { return Err(decode::Error::message("nested too deeply")) };
    Ok(match from.datatype()? {
        Type::Bool => Value::Bool(from.bool()?),
        Type::Null => from.null().map(|()| Value::Null)?,
        Type::Undefined => from.undefined().map(|()| Value::Null)?,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.u64()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => from.i64()?.into(),
        Type::F32 => number(f64::from(from.f32()?)),
        Type::F64 => number(from.f64()?),
        Type::String | Type::StringIndef => text(from)?.into(),
        // A time is told by its field; the tag only says so again.
        Type::Tag => {
            from.tag()?;
            value(from, depth)?
        }
        Type::Array | Type::ArrayIndef => {
            let mut items = Vec::new();
            let length = from.array()?;
            while goes_on(from, length, items.len())? {
                items.push(value(from, depth)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let (mut fields, mut read) = (Map::new(), 0);
            let length = from.map()?;
            while goes_on(from, length, read)? {
                let name = text(from)?;
                fields.insert(name, value(from, depth)?);
                read += 1;
            }
            Value::Object(fields)
        }
        other => return Err(decode::Error::message(format!("{other} is not expected"))),
    })
}

/// Whether another item follows. Nothing is made ready for a length that is only claimed.
fn goes_on(from: &mut Decoder<'_>, length: Option<u64>, read: usize) -> Result<bool, decode::Error> {
    match length {
        Some(length) => Ok(u64::try_from(read).is_ok_and(|read| read < length)),
        None if from.datatype()? == Type::Break => from.skip().map(|()| false),
        None => Ok(true),
    }
}

fn text(from: &mut Decoder<'_>) -> Result<String, decode::Error> {
    from.str_iter()?.collect()
}

/// JSON has no infinities; what is none of its numbers is missing.
fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Writes an answer.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Encoder::new(Vec::new());
    // Writing to memory does not fail.
    if let Err(error) = put(&mut bytes, value, Kind::Plain) {
        tracing::error!(%error, "cannot write an answer");
    }
    bytes.into_writer()
}

/// What a number is.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Time,
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn put(to: &mut Encoder<Vec<u8>>, value: &Value, kind: Kind) -> Written {
    match value {
        Value::Null => to.null()?.ok(),
        Value::Bool(value) => to.bool(*value)?.ok(),
        Value::String(value) => to.str(value)?.ok(),
        Value::Number(value) => put_number(to, value, kind),
        Value::Array(items) => {
            to.array(items.len() as u64)?;
            items.iter().try_for_each(|item| put(to, item, kind))
        }
        Value::Object(fields) => {
            to.map(fields.len() as u64)?;
            for (name, value) in fields {
                let kind = if name.ends_with("Timestamp") || name == "Timestamps" { Kind::Time } else { Kind::Plain };
                to.str(name)?;
                put(to, value, kind)?;
            }
            Ok(())
        }
    }
}

fn put_number(to: &mut Encoder<Vec<u8>>, number: &Number, kind: Kind) -> Written {
    if let Kind::Time = kind {
        to.tag(IanaTag::Timestamp)?;
    }
    match (number.as_u64(), number.as_i64()) {
        (Some(value), _) => to.u64(value)?.ok(),
        (None, Some(value)) => to.i64(value)?.ok(),
        (None, None) => to.f64(number.as_f64().unwrap_or_default())?.ok(),
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, RngExt as _, SeedableRng as _};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "text": "é", "list": [1, -2, 1.5, true, null], "empty": {}, "large": u64::MAX,
            "Timestamps": [1_800_000_000, 1_800_000_000.5],
        });
        assert_eq!(read(&write(&value)), Ok(value));
    }

    #[test]
    fn a_time_is_tagged_and_another_number_is_not() {
        assert_eq!(
            write(&json!({ "Timestamps": [1] })),
            [&[0xa1, 0x6a], &b"Timestamps"[..], &[0x81, 0xc1, 0x01]].concat()
        );
        assert_eq!(write(&json!({ "Period": 1 })), [&[0xa1, 0x66], &b"Period"[..], &[0x01]].concat());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut dice = rand::rngs::StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let mut bytes = vec![0; dice.random_range(0..64)];
            dice.fill_bytes(&mut bytes);
            let _ = read(&bytes);
        }
    }

    #[test]
    fn lengths_may_be_left_open() {
        let open = [0xbf, 0x61, b'a', 0x9f, 0x01, 0x7f, 0x61, b'x', 0x61, b'y', 0xff, 0xff, 0xff];
        assert_eq!(read(&open), Ok(json!({ "a": [1, "xy"] })));
    }

    #[test]
    fn what_is_broken_or_too_deep_is_refused() {
        let deep = [0x81; 100];
        let cases: [&[u8]; 7] = [
            &[],
            &[0xa1],
            &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &deep,
            &[1, 1],
            &[0xa1, 1, 1],
            &[0xff],
        ];
        for bytes in cases {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(read(&[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]), Ok(Value::Null), "not a number");
    }
}
