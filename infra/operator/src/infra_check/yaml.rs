//! YAML as CloudFormation reads it: short intrinsic functions become long ones, and every place has a line.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

/// The deepest nesting of a document.
const DEPTH_MAX: usize = 64;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it holds.
    pub value: Value,
    lines: BTreeMap<String, usize>,
}

/// The text is not a document that CloudFormation takes.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error("not YAML: {0}")]
    Syntax(#[from] ScanError),
    /// It ends early.
    #[error("not YAML: it ends early")]
    Unfinished,
    /// It is YAML that CloudFormation does not take.
    #[error("line {line}: {problem}")]
    Refused {
        /// Where.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is not one YAML document, has a key twice, or has anchors and aliases, which CloudFormation does not take.
    pub fn parse(text: &str) -> Result<Document, YamlError> {
        let mut reader = Reader { events: Parser::new_from_str(text), lines: BTreeMap::new() };
        let value = loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, _) => return Err(YamlError::Unfinished),
                (event, span) => break reader.node(event, span, String::new(), 0)?,
            }
        };
        Ok(Document { value, lines: reader.lines })
    }

    /// The line of the place that a JSON pointer names, or of the nearest one around it.
    pub fn line(&self, pointer: &str) -> usize {
        let mut place = pointer;
        loop {
            match (self.lines.get(place), place.rfind('/')) {
                (Some(line), _) => return *line,
                (None, Some(cut)) => place = &place[..cut],
                (None, None) => return 1,
            }
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: BTreeMap<String, usize>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        Ok(self.events.next_event().ok_or(YamlError::Unfinished)??)
    }

    fn node(&mut self, event: Event<'a>, span: Span, place: String, depth: usize) -> Result<Value, YamlError> {
        let line = span.start.line();
        let refused = |problem: String| YamlError::Refused { line, problem };
        if depth > DEPTH_MAX {
            return Err(refused(format!("nested more than {DEPTH_MAX} levels deep")));
        }
        self.lines.entry(place.clone()).or_insert(line);
        match event {
            Event::Scalar(text, style, 0, tag) => Ok(match tag {
                Some(tag) => intrinsic(&tag, Value::String(text.into_owned())),
                None if style == ScalarStyle::Plain => plain(&text),
                None => Value::String(text.into_owned()),
            }),
            Event::SequenceStart(0, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => {
                            let place = format!("{place}/{}", items.len());
                            items.push(self.node(event, span, place, depth + 1)?);
                        }
                    }
                }
                Ok(wrapped(tag.as_deref(), Value::Array(items)))
            }
            Event::MappingStart(0, tag) => {
                let fields = self.mapping(&place, depth)?;
                Ok(wrapped(tag.as_deref(), Value::Object(fields)))
            }
            Event::Alias(_) => Err(refused("an alias, which CloudFormation does not take".to_owned())),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                Err(refused("an anchor, which CloudFormation does not take".to_owned()))
            }
            _ => Err(YamlError::Unfinished),
        }
    }

    fn mapping(&mut self, place: &str, depth: usize) -> Result<Map<String, Value>, YamlError> {
        let mut fields = Map::new();
        loop {
            let (key, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(fields),
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => {
                    let problem = "a key that is not text".to_owned();
                    return Err(YamlError::Refused { line: span.start.line(), problem });
                }
            };
            let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            self.lines.insert(place.clone(), span.start.line());
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, place, depth + 1)?;
            if fields.insert(key.clone(), value).is_some() {
                let problem = format!("`{key}` is there twice");
                return Err(YamlError::Refused { line: span.start.line(), problem });
            }
        }
    }
}

fn wrapped(tag: Option<&Tag>, value: Value) -> Value {
    match tag {
        Some(tag) => intrinsic(tag, value),
        None => value,
    }
}

/// `!Ref x` is `{"Ref": x}`, `!GetAtt a.b` is `{"Fn::GetAtt": [a, b]}`, `!Sub x` is `{"Fn::Sub": x}`.
fn intrinsic(tag: &Tag, value: Value) -> Value {
    if tag.is_yaml_core_schema() {
        return value;
    }
    let name = match tag.suffix.as_str() {
        name @ ("Ref" | "Condition") => name.to_owned(),
        name => format!("Fn::{name}"),
    };
    let value = match value {
        Value::String(text) if name == "Fn::GetAtt" => {
            let (resource, attribute) = text.split_once('.').unwrap_or((&text, ""));
            Value::from(vec![resource, attribute])
        }
        other => other,
    };
    Value::Object(Map::from_iter([(name, value)]))
}

/// A plain scalar, by the core schema of YAML 1.2 with the booleans that CloudFormation takes.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" | "True" => return Value::Bool(true),
        "false" | "False" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text.parse::<f64>() {
        Ok(number) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Value::from(number),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn short_intrinsic_functions_become_long_ones_and_places_have_lines() {
        let text =
            "a: !Ref X\nb:\n  - !GetAtt Q.Arn\n  - !Sub ${Q}/x\nc: !If [P, 1, !Ref AWS::NoValue]\nd: { e: \"2\" }\n";
        let document = Document::parse(text).expect("a document");
        assert_eq!(
            document.value,
            json!({
                "a": { "Ref": "X" },
                "b": [{ "Fn::GetAtt": ["Q", "Arn"] }, { "Fn::Sub": "${Q}/x" }],
                "c": { "Fn::If": ["P", 1, { "Ref": "AWS::NoValue" }] },
                "d": { "e": "2" },
            })
        );
        assert_eq!([document.line("/b/1"), document.line("/d/e/nothing"), document.line("/zz")], [4, 6, 1]);
    }

    #[test]
    fn what_cloudformation_does_not_take_is_refused() {
        for (text, wanted) in [
            ("a: 1\na: 2\n", "twice"),
            ("a: &x 1\n", "anchor"),
            ("a: &x [1]\nb: *x\n", "anchor"),
            ("a: [1\n", "not YAML"),
            ("", "ends early"),
        ] {
            let problem = Document::parse(text).expect_err(text).to_string();
            assert!(problem.contains(wanted), "{text}: {problem}");
        }
    }
}
