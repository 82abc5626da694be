//! Reading variables one by one, collecting what is wrong.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use super::{
    digest_of,
    model::{self, Cassette, ModelName, Price},
    variables::{Fallback, Variable},
};
use crate::redaction::{Redaction, cut};

/// One thing that is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong, following the name in a sentence.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}; hint: {}", self.variable, self.problem, self.hint)
    }
}

/// Everything that is wrong with a configuration, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// In the order of [`VARIABLES`](super::VARIABLES), what concerns several last.
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The most characters of a value: Lambda allows 4 KB for all variables together
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const VALUE_CHARS_MAX: usize = 1_024;

/// The most characters of a value that is a document: what the other variables leave of Lambda's 4 KB.
const DOCUMENT_CHARS_MAX: usize = 2_800;

/// How much of a bad number or choice is quoted. Other values are not: somebody may have put a secret there.
const QUOTED_CHARS_MAX: usize = 40;

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<ConfigProblem>,
    in_force: BTreeMap<&'static str, String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, problems: Vec::new(), in_force: BTreeMap::new() }
    }

    /// The result, if nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigErrors { problems: self.problems }),
        }
    }

    /// Over every value in force.
    pub(super) fn digest(&self) -> String {
        let values: Vec<_> = self.in_force.iter().map(|(name, value)| (*name, value.clone())).collect();
        digest_of(&values)
    }

    pub(super) fn refuse(&mut self, variable: &Variable, problem: impl Into<String>, hint: impl Into<String>) {
        let (problem, hint) = (problem.into(), hint.into());
        self.problems.push(ConfigProblem { variable: variable.name, problem, hint });
    }

    /// Whatever the variable says, or its default; not empty.
    pub(super) fn text(&mut self, variable: &Variable) -> Option<String> {
        self.text_of(variable, VALUE_CHARS_MAX)
    }

    /// A longer text, such as a list as JSON, on one line.
    pub(super) fn document(&mut self, variable: &Variable) -> Option<String> {
        self.text_of(variable, DOCUMENT_CHARS_MAX)
    }

    fn text_of(&mut self, variable: &Variable, chars_max: usize) -> Option<String> {
        let value = match ((self.lookup)(variable.name), variable.default) {
            (Some(value), _) => value,
            (None, Fallback::Value(value)) => value.to_owned(),
            (None, Fallback::Required | Fallback::None) => {
                self.refuse(variable, "is required and not set", format!("set it to {}", variable.meaning));
                return None;
            }
        };
        if value.trim().is_empty() {
            let hint = match variable.default {
                Fallback::Required => format!("set it to {}", variable.meaning),
                Fallback::Value(value) => format!("set it, or remove it for the default `{value}`"),
                Fallback::None => "set it, or remove it".to_owned(),
            };
            self.refuse(variable, "is empty", hint);
            return None;
        }
        if value.chars().count() > chars_max || value.chars().any(char::is_control) {
            let problem = format!("is longer than {chars_max} characters, or has control characters");
            self.refuse(variable, problem, format!("set it to {}", variable.meaning));
            return None;
        }
        self.in_force.insert(variable.name, value.clone());
        Some(value)
    }

    /// What `read` makes of a variable that may be left out: `None` when it is wrong, `Some(None)` when it is left out.
    pub(super) fn optional<T>(
        &mut self,
        variable: &Variable,
        read: impl FnOnce(&mut Self, &Variable) -> Option<T>,
    ) -> Option<Option<T>> {
        match (self.lookup)(variable.name) {
            None => Some(None),
            Some(_) => read(self, variable).map(Some),
        }
    }

    pub(super) fn one_of<T: Copy>(&mut self, variable: &Variable, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(variable)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.refuse(variable, format!("is {}", quoted(&text)), format!("use {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn number(&mut self, variable: &Variable, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(variable)?;
        let number = text.parse::<u64>().ok();
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            let problem = match number {
                Some(_) => format!("is {}, which is out of range", quoted(&text)),
                None => format!("is {}, which is not a whole number", quoted(&text)),
            };
            self.refuse(variable, problem, format!("use {} to {}", range.start(), range.end()));
        }
        fits
    }

    pub(super) fn span(&mut self, variable: &Variable, unit: Duration, range: RangeInclusive<u64>) -> Option<Duration> {
        let number = self.number(variable, range)?;
        Some(unit.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    pub(super) fn id<T: FromStr>(&mut self, variable: &Variable) -> Option<T> {
        let id = self.text(variable)?.parse().ok();
        if id.is_none() {
            let problem = "has characters that it may not have, or too many";
            self.refuse(variable, problem, "use 1 to 128 of A-Z a-z 0-9 . _ - @ : + | /");
        }
        id
    }

    /// A DynamoDB table's name
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>).
    pub(super) fn table(&mut self, variable: &Variable) -> Option<String> {
        let hint = "use 3 to 255 of A-Z a-z 0-9 _ - .";
        self.name(variable, 3..=255, "_-.", "is not a table name", hint)
    }

    /// A secret's name or ARN
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
    pub(super) fn secret_name(&mut self, variable: &Variable) -> Option<String> {
        let hint = "use the secret's name or ARN (1 to 512 of A-Z a-z 0-9 / _ + = . @ - :), never its value";
        self.name(variable, 1..=512, "/_+=.@-:", "is not a secret's name", hint)
    }

    fn name(
        &mut self,
        variable: &Variable,
        chars: RangeInclusive<usize>,
        marks: &str,
        problem: &str,
        hint: &str,
    ) -> Option<String> {
        let text = self.text(variable)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
        if chars.contains(&text.len()) && text.chars().all(allowed) {
            return Some(text);
        }
        self.refuse(variable, problem, hint);
        None
    }

    pub(super) fn model_name(&mut self, variable: &Variable) -> Option<ModelName> {
        let text = self.text(variable)?;
        let name = text.parse().ok();
        if name.is_none() {
            let hint = "use `script`, `anthropic:NAME`, `openai:NAME` or `bedrock:ID`";
            self.refuse(variable, format!("is {}", quoted(&text)), hint);
        }
        name
    }

    pub(super) fn prices(&mut self, variable: &Variable) -> Option<BTreeMap<ModelName, Price>> {
        let text = self.text(variable)?;
        model::prices(&text)
            .map_err(|problem| self.refuse(variable, problem, format!("set it to {}", variable.meaning)))
            .ok()
    }

    pub(super) fn cassette(&mut self, variable: &Variable) -> Option<Cassette> {
        let text = self.text(variable)?;
        let cassette = model::cassette(&text);
        if cassette.is_none() {
            self.refuse(variable, format!("is {}", quoted(&text)), "use `record:FOLDER` or `replay:FOLDER`");
        }
        cassette
    }

    pub(super) fn url(&mut self, variable: &Variable) -> Option<String> {
        let text = self.text(variable)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        let sound = host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
        if sound && text.chars().all(|c| c.is_ascii_graphic()) {
            return Some(text);
        }
        self.refuse(variable, "is not a URL", "use `https://host/path`, without a user name");
        None
    }
}

fn quoted(text: &str) -> String {
    // A secret may have been put where its name belongs.
    let text = Redaction::CREDENTIALS.text(text);
    let shown = cut(&text, QUOTED_CHARS_MAX);
    if shown.len() < text.len() { format!("`{shown}…`") } else { format!("`{shown}`") }
}
