//! Metric filters: which lines of a log group count for a metric.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html>
//!
//! Answered are patterns for JSON with selectors of one name (`$.name`), `=` and `!=` with texts (in which `*` stands for anything), `=`,
//! `<`, `<=`, `>` and `>=` with numbers, `= *`, `EXISTS`, `NOT EXISTS`, `&&`, `||` and parentheses.

use serde_json::{Map, Value};

/// The longest pattern. <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html>
const CHARS_MAX: usize = 1_024;

/// The deepest nesting: a bound on the parser, not one of CloudWatch's.
const DEPTH_MAX: usize = 32;

/// A pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pattern {
    Any(Vec<Pattern>),
    All(Vec<Pattern>),
    Test { field: String, test: Test },
}

/// What is asked of a field. One that is not there passes no test but [`Test::Absent`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Present,
    Absent,
    Text(String),
    NotText(String),
    Number(Comparison, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longer ones before those that they begin with.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        if text.len() > CHARS_MAX {
            return Err(format!("a pattern has at most {CHARS_MAX} characters"));
        }
        let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let mut reader = Reader { rest: inner.ok_or("only patterns for JSON, in braces, are answered")? };
        let pattern = reader.any(0)?;
        match reader.peek() {
            "" => Ok(pattern),
            rest => Err(format!("`{rest}` is not understood")),
        }
    }

    /// Whether a line, which is a JSON object, matches.
    pub(crate) fn matches(&self, line: &Map<String, Value>) -> bool {
        match self {
            Self::Any(patterns) => patterns.iter().any(|pattern| pattern.matches(line)),
            Self::All(patterns) => patterns.iter().all(|pattern| pattern.matches(line)),
            Self::Test { field, test } => {
                // A dotted selector goes down into objects.
                let mut names = field.split('.');
                let first = names.next().and_then(|name| line.get(name));
                let value = names.fold(first, |value, name| value?.get(name)).filter(|value| !value.is_null());
                value.map_or(*test == Test::Absent, |value| test.passes(value))
            }
        }
    }
}

impl Test {
    fn passes(&self, value: &Value) -> bool {
        let text = || match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        };
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Text(wanted) => text().is_some_and(|text| wild(wanted, &text)),
            Self::NotText(other) => text().is_some_and(|text| !wild(other, &text)),
            Self::Number(comparison, bound) => {
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                number.is_some_and(|number| comparison.holds(number, *bound))
            }
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Equal => number == bound,
            Self::NotEqual => number != bound,
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn wild(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn took(&mut self, sign: &str) -> bool {
        let rest = self.peek().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn any(&mut self, depth: usize) -> Result<Pattern, String> {
        let mut patterns = vec![self.all(depth)?];
        while self.took("||") {
            patterns.push(self.all(depth)?);
        }
        Ok(Pattern::Any(patterns))
    }

    fn all(&mut self, depth: usize) -> Result<Pattern, String> {
        let mut patterns = vec![self.one(depth)?];
        while self.took("&&") {
            patterns.push(self.one(depth)?);
        }
        Ok(Pattern::All(patterns))
    }

    fn one(&mut self, depth: usize) -> Result<Pattern, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a pattern is nested at most {DEPTH_MAX} times"));
        }
        if self.took("(") {
            let inner = self.any(depth + 1)?;
            return if self.took(")") { Ok(inner) } else { Err(format!("`)` is expected before `{}`", self.rest)) };
        }
        if !self.took("$.") {
            return Err(format!("`{}` is no selector", self.rest));
        }
        let end = self.rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter)));
        let (field, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Ok(Pattern::Test { field: field.to_owned(), test: self.test()? })
    }

    fn test(&mut self) -> Result<Test, String> {
        for (words, test) in [("NOT EXISTS", Test::Absent), ("EXISTS", Test::Present)] {
            if self.took(words) {
                return Ok(test);
            }
        }
        let rest = self.peek();
        let found = COMPARISONS.iter().find(|(sign, _)| rest.starts_with(sign));
        let Some((sign, comparison)) = found else { return Err(format!("`{rest}` is no comparison")) };
        self.took(sign);
        if self.took("\"") {
            let (text, rest) = self.rest.split_once('"').ok_or("a text has no end")?;
            self.rest = rest;
            return match comparison {
                Comparison::Equal => Ok(Test::Text(text.to_owned())),
                Comparison::NotEqual => Ok(Test::NotText(text.to_owned())),
                _ => Err(format!("`{sign}` compares numbers")),
            };
        }
        if self.took("*") && *comparison == Comparison::Equal {
            return Ok(Test::Present);
        }
        let rest = self.peek();
        let end = rest.find(|letter: char| !(letter.is_ascii_digit() || ".-".contains(letter))).unwrap_or(rest.len());
        let bound = rest[..end].parse().map_err(|_| format!("`{rest}` is no number"))?;
        self.rest = &rest[end..];
        Ok(Test::Number(*comparison, bound))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: &str, line: Value) -> bool {
        let pattern = Pattern::parse(pattern).unwrap_or_else(|problem| panic!("{pattern}: {problem}"));
        pattern.matches(line.as_object().expect("an object"))
    }

    #[test]
    fn a_line_matches_by_its_fields() {
        let over =
            json!({ "message": "the run is over", "outcome": "failed", "steps": 7, "record": { "status": "ok" } });
        for (pattern, wanted) in [
            (r#"{ $.message = "the run is over" }"#, true),
            (r#"{ $.message = "the run*" && $.outcome != "dead" }"#, true),
            (r#"{ $.message = "the run is over" && ($.outcome = "dead" || $.outcome = "failed") }"#, true),
            (r#"{ $.outcome = "dead" || $.outcome = "lost" }"#, false),
            (r"{ $.steps = * && $.error NOT EXISTS }", true),
            (r"{ $.error = * }", false),
            (r#"{ $.error != "x" }"#, false),
            (r"{ $.steps >= 7 && $.steps < 7.5 }", true),
            (r"{ $.steps > 7 }", false),
            (r#"{ $.record.status != "success" }"#, true),
            (r#"{ $.message = "*over" && $.message = "*run*" }"#, true),
        ] {
            assert_eq!(matches(pattern, over.clone()), wanted, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pattern in
            ["", "ERROR", "{ }", "{ message = 1 }", "{ $.a }", r#"{ $.a < "b" }"#, "{ $.a = b }", "{ $.a = 1 } x"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        assert!(Pattern::parse(&format!("{{{}}}", "(".repeat(500))).is_err());
    }
}
