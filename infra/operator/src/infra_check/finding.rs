//! What is wrong with a template.

use serde::Serialize;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The resource, route or metric that is concerned.
    pub at: String,
    /// What is wrong, and what would be right.
    pub problem: String,
    /// The line in the template, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// What has been found so far, under one rule after another.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, rule: &'static str, at: impl Into<String>, problem: impl Into<String>) {
        self.found.push(Finding { rule, at: at.into(), problem: problem.into(), line: None });
    }

    /// Adds one unless `holds`.
    pub fn unless(&mut self, holds: bool, rule: &'static str, at: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, at, problem());
        }
    }

    /// Adds what is on one side only.
    pub fn differ<'a>(
        &mut self,
        rule: &'static str,
        at: &str,
        here: impl IntoIterator<Item = &'a String> + Clone,
        there: impl IntoIterator<Item = &'a String> + Clone,
        words: (&str, &str),
    ) {
        for one in here.clone() {
            self.unless(there.clone().into_iter().any(|other| other == one), rule, at, || {
                format!("`{one}` {}", words.0)
            });
        }
        for one in there {
            self.unless(here.clone().into_iter().any(|other| other == one), rule, at, || {
                format!("`{one}` {}", words.1)
            });
        }
    }

    /// All of them, each once, in order; `line` says where a resource is.
    pub fn sorted(self, line: impl Fn(&str) -> Option<usize>) -> Vec<Finding> {
        let mut found = self.found;
        for finding in &mut found {
            finding.line = line(&finding.at);
        }
        found.sort();
        found.dedup();
        found
    }
}
