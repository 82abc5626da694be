//! How large a JSON value may be in memory: its nodes and its depth, not only its bytes.
//!
//! 64 KB of `[{"a":0},{"a":0},…]` take about 4 MB as a [`Value`], because every object is a tree of its own. So whatever a peer sends
//! (a request, a tool's answer, a model's arguments) is counted, before it is built where its text is at hand, and is refused or left
//! out where it is too much.

use serde_json::Value;

/// The most nodes of one value: every number, text, array and object is one. Eight bytes a node in the 64 KB that a payload, an answer
/// or a plan may have; documents have twenty. As objects of one field, the densest, they take 2.6 MB.
pub const JSON_NODES_MAX: usize = 8 * 1024;

/// The deepest nesting of arrays and objects: enough for any document, too little to exhaust a stack.
pub const JSON_DEPTH_MAX: usize = 32;

/// The nodes of an envelope around a value: a request's other fields.
pub const ENVELOPE_NODES_MAX: usize = 16;

/// Bytes of a node that is no object, where it stands in an array.
const NODE_BYTES: usize = 32;
/// Bytes of an object of up to eleven fields: a node of a B-tree of texts and values.
const OBJECT_BYTES: usize = 632;
/// How many times its JSON a value of usual density takes in memory.
const USUAL_DENSITY: usize = 8;

/// A value that is not built, or not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// It has too many nodes.
    #[error("it has more than {JSON_NODES_MAX} values")]
    TooManyNodes,
    /// It is nested too deeply.
    #[error("it is nested more than {JSON_DEPTH_MAX} levels deep")]
    TooDeep,
}

/// Whether a value is within [`JSON_NODES_MAX`] and [`JSON_DEPTH_MAX`].
///
/// # Errors
/// Which one it is not within.
pub fn check(value: &Value) -> Result<(), OutOfBounds> {
    check_each([value])
}

/// The same for several values together.
///
/// # Errors
/// Which one they are not within.
pub fn check_each<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<(), OutOfBounds> {
    let mut left = JSON_NODES_MAX;
    values.into_iter().try_for_each(|value| walk(value, JSON_DEPTH_MAX, &mut left))
}

fn walk(value: &Value, levels: usize, left: &mut usize) -> Result<(), OutOfBounds> {
    *left = left.checked_sub(1).ok_or(OutOfBounds::TooManyNodes)?;
    let below = || levels.checked_sub(1).ok_or(OutOfBounds::TooDeep);
    match value {
        Value::Array(items) => {
            let below = below()?;
            items.iter().try_for_each(|item| walk(item, below, left))
        }
        Value::Object(fields) => {
            let below = below()?;
            fields.values().try_for_each(|field| walk(field, below, left))
        }
        _ => Ok(()),
    }
}

/// Where `serde_json` stops reading: what is nested more deeply is never built
/// (<https://docs.rs/serde_json/latest/serde_json/struct.Deserializer.html#method.disable_recursion_limit>).
const READ_DEPTH_MAX: usize = 128;

/// How many nodes a JSON text has, counted without building anything, up to where a parser stops reading it. Of a text that is not JSON
/// it counts what looks like some.
pub fn nodes_of_text(text: &[u8]) -> usize {
    let (mut nodes, mut in_text, mut escaped, mut opened, mut depth) = (1, false, false, false, 0_usize);
    for byte in text {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        // The first of a container has no comma before it.
        nodes += usize::from(std::mem::take(&mut opened) && !matches!(byte, b']' | b'}'));
        match byte {
            b'"' => in_text = true,
            b',' => nodes += 1,
            b'[' | b'{' if depth >= READ_DEPTH_MAX => return nodes,
            b'[' | b'{' => {
                opened = true;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    nodes
}

/// Whether the text of an envelope with one value in it may be built.
///
/// # Errors
/// When it has more than [`JSON_NODES_MAX`] nodes besides [`ENVELOPE_NODES_MAX`].
pub fn check_text(text: &[u8]) -> Result<(), OutOfBounds> {
    if nodes_of_text(text) > JSON_NODES_MAX + ENVELOPE_NODES_MAX { Err(OutOfBounds::TooManyNodes) } else { Ok(()) }
}

/// What keeping a value takes, in bytes of JSON of the usual density: its own bytes, or more when it is dense.
pub fn kept_bytes(value: &Value) -> usize {
    let mut text = 0;
    let memory = memory_bytes(value, &mut text);
    text.max(memory / USUAL_DENSITY)
}

/// About what a value takes in memory, and in `text` about how long its JSON is.
fn memory_bytes(value: &Value, text: &mut usize) -> usize {
    match value {
        Value::Null | Value::Bool(_) => {
            *text += 5;
            NODE_BYTES
        }
        Value::Number(_) => {
            *text += 8;
            NODE_BYTES
        }
        Value::String(string) => {
            *text += string.len() + 3;
            NODE_BYTES + string.len()
        }
        Value::Array(items) => {
            *text += 2;
            NODE_BYTES + items.iter().map(|item| memory_bytes(item, text)).sum::<usize>()
        }
        Value::Object(fields) => {
            *text += 2;
            let trees = fields.len().div_ceil(11) * OBJECT_BYTES;
            let fields = fields.iter().map(|(name, field)| {
                *text += name.len() + 4;
                name.len() + memory_bytes(field, text)
            });
            NODE_BYTES + trees + fields.sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes_of(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(nodes_of).sum(),
            Value::Object(fields) => fields.values().map(nodes_of).sum::<usize>(),
            _ => 0,
        }
    }

    #[test]
    fn a_text_has_as_many_nodes_as_the_value_that_it_becomes() {
        for text in [
            "1",
            "[]",
            "{}",
            "[[],[],{}]",
            r#"{"a":[1,2,{"b":"x,[{\"y"}],"c":null}"#,
            "[ 1 , [ ] , { } ]",
            r#"["\\","\\\"",","]"#,
        ] {
            let value: Value = serde_json::from_str(text).expect(text);
            assert_eq!(nodes_of_text(text.as_bytes()), nodes_of(&value), "{text}");
        }
    }

    #[test]
    fn the_densest_json_is_refused_before_it_is_built() {
        let dense = format!("[{}1]", r#"{"a":0},"#.repeat(8_000));
        assert!(dense.len() < 64 * 1024);
        assert_eq!(check_text(dense.as_bytes()), Err(OutOfBounds::TooManyNodes));
        let value = serde_json::from_str(&dense).expect("it is JSON");
        assert_eq!(check(&value), Err(OutOfBounds::TooManyNodes));
        assert!(kept_bytes(&value) > 8 * dense.len(), "it counts as what it takes");
    }

    #[test]
    fn a_document_of_64_kb_is_within_bounds() {
        let line = json!({ "sku": "A-1001-blue", "title": "a lamp for the desk", "cents": 1_999, "count": 2 });
        let document = json!({ "lines": vec![line; 850] });
        let text = document.to_string();
        assert!((60_000..65_536).contains(&text.len()), "{}", text.len());
        assert_eq!((check(&document), check_text(text.as_bytes())), (Ok(()), Ok(())));
    }

    #[test]
    fn a_value_may_be_32_levels_deep() {
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(check(&nested(JSON_DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(JSON_DEPTH_MAX + 1)), Err(OutOfBounds::TooDeep));
    }
}
