//! How a window is written: `refunded = sum(refund, /amount_cents) per /order per day`.

use std::{fmt, str::FromStr};

use super::{Every, Measure, Per, WindowName};
use crate::ids::ToolName;

/// A declared window. Its text is its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What follows `context.windows.` in a policy.
    pub name: WindowName,
    /// Whose calls it counts. A policy sees it where calls of this tool are judged.
    pub tool: ToolName,
    /// What it counts.
    pub measure: Measure,
    /// What has a counter of its own.
    pub per: Per,
    /// When counting starts again.
    pub every: Every,
}

/// A text that declares no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidWindow(pub(super) String);

const FORM: &str = "write `NAME = count(TOOL) per KEY per SPAN` or `NAME = sum(TOOL, /ARGUMENT) per KEY per SPAN`, where KEY is \
                    `tenant`, `actor` or `/ARGUMENT` and SPAN is `hour` or `day`";

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidWindow(format!("`{text}` declares no window; {FORM}"));
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (measured, rest) = rest.split_once(')').ok_or_else(wrong)?;
        let (verb, of) = measured.split_once('(').ok_or_else(wrong)?;
        let (tool, argument) = match of.split_once(',') {
            Some((tool, argument)) => (tool, Some(argument.trim())),
            None => (of, None),
        };
        let measure = match (verb.trim(), argument) {
            ("count", None) => Measure::Count,
            ("sum", Some(argument)) if is_pointer(argument) => Measure::Sum(argument.to_owned()),
            _ => return Err(wrong()),
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let ["per", key, "per", span] = words.as_slice() else { return Err(wrong()) };
        let per = match *key {
            "tenant" => Per::Tenant,
            "actor" => Per::Actor,
            argument if is_pointer(argument) => Per::Argument(argument.to_owned()),
            _ => return Err(wrong()),
        };
        let every = match *span {
            "hour" => Every::Hour,
            "day" => Every::Day,
            _ => return Err(wrong()),
        };
        let tool = tool.trim().parse().map_err(|error| InvalidWindow(format!("`{text}`: {error}")))?;
        Ok(Window { name: name.trim().parse()?, tool, measure, per, every })
    }
}

fn is_pointer(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/')
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { name, tool, measure, per, every } = self;
        match measure {
            Measure::Count => write!(f, "{name} = count({tool})")?,
            Measure::Sum(pointer) => write!(f, "{name} = sum({tool}, {pointer})")?,
        }
        let key = match per {
            Per::Tenant => "tenant",
            Per::Actor => "actor",
            Per::Argument(pointer) => pointer,
        };
        let span = match every {
            Every::Hour => "hour",
            Every::Day => "day",
        };
        write!(f, " per {key} per {span}")
    }
}
