//! Reading policy text: files, rules, annotations, and what is wrong with them on which line.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    path::Path,
};

use cedar_policy::{Effect, ParseErrors, Policy, PolicyId, PolicySet};
use miette::Diagnostic;
use windlass::{ids::Role, windows::Window};

/// The most characters of a rule's name: entries record it.
const NAME_CHARS_MAX: usize = 64;

/// The most characters of a reason: entries record it.
const REASON_CHARS_MAX: usize = 240;

/// Policy text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// The file's name, for messages.
    pub file: String,
    /// What is in it.
    pub text: String,
}

impl PolicyText {
    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<PolicyText, PolicyErrors> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(PolicyText { file, text }),
            Err(error) => Err(PolicyProblem { file, line: None, message: format!("cannot be read: {error}") }.into()),
        }
    }

    pub(crate) fn problem(&self, offset: Option<usize>, message: impl fmt::Display) -> PolicyProblem {
        let before = |offset: usize| self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
        PolicyProblem {
            file: self.file.clone(),
            line: offset.map(|offset| before(offset) + 1),
            message: message.to_string(),
        }
    }

    /// What Cedar says is wrong, where it says so, else at `offset`.
    pub(crate) fn said(&self, error: &(impl Diagnostic + ?Sized), offset: Option<usize>) -> PolicyProblem {
        let labelled = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let mut message = error.to_string();
        if let Some(hint) = error.help() {
            message.push_str(&format!("; hint: {hint}"));
        }
        self.problem(labelled.or(offset), message.replace('\n', " "))
    }
}

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// In which file.
    pub file: String,
    /// On which line, from 1; `None` when it concerns all of it.
    pub line: Option<usize>,
    /// What.
    pub message: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Everything that is wrong with a policy, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors {
    /// In the order of the text.
    pub problems: Vec<PolicyProblem>,
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<PolicyProblem> for PolicyErrors {
    fn from(problem: PolicyProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// What a rule's annotations say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// Its place in all of the text.
    pub(crate) place: usize,
    /// Which text it is in.
    pub(crate) text: usize,
    /// Where in it.
    pub(crate) offset: Option<usize>,
    /// Who must approve what it permits.
    pub(crate) approval: Option<Role>,
    /// Why it says what it says.
    pub(crate) reason: Option<String>,
    /// The windows that it declares.
    pub(crate) windows: Vec<Window>,
}

/// The rules of several texts as one set, named by their `@id`.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) set: PolicySet,
    pub(crate) by_id: BTreeMap<String, Rule>,
}

impl Rules {
    pub(crate) fn parse(texts: &[PolicyText]) -> Result<Rules, PolicyErrors> {
        let mut rules = Rules::default();
        let mut problems = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match text.text.parse::<PolicySet>() {
                Ok(set) => rules.add(&set, index, text, &mut problems),
                Err(errors) => problems.extend(parse_problems(text, &errors)),
            }
        }
        if problems.is_empty() { Ok(rules) } else { Err(PolicyErrors { problems }) }
    }

    fn add(&mut self, set: &PolicySet, index: usize, text: &PolicyText, problems: &mut Vec<PolicyProblem>) {
        for template in set.templates() {
            let offset = text.text.find(&template.to_string());
            problems.push(text.problem(offset, "a template is never filled in; write a rule without `?` instead"));
        }
        // Cedar numbers the rules of a text as they stand.
        let in_order = (0..).map_while(|number| set.policy(&PolicyId::new(format!("policy{number}"))));
        for policy in in_order {
            let place = self.by_id.len();
            let offset = text.text.find(&policy.to_string());
            match read_rule(
                policy,
                Rule { place, text: index, offset, approval: None, reason: None, windows: Vec::new() },
            ) {
                Ok((id, rule)) => {
                    let btree_map::Entry::Vacant(free) = self.by_id.entry(id.clone()) else {
                        problems.push(text.problem(offset, format!("there is another rule `{id}`")));
                        continue;
                    };
                    free.insert(rule);
                    if let Err(error) = self.set.add(policy.new_id(PolicyId::new(&id))) {
                        problems.push(text.problem(offset, error));
                    }
                }
                Err(message) => problems.push(text.problem(offset, message)),
            }
        }
    }
}

fn parse_problems(text: &PolicyText, errors: &ParseErrors) -> Vec<PolicyProblem> {
    errors.iter().map(|error| text.said(error, None)).collect()
}

fn read_windows(text: &str) -> Result<Vec<Window>, String> {
    text.split(';').map(|one| one.trim().parse().map_err(|error| format!("`@windows`: {error}"))).collect()
}

fn read_rule(policy: &Policy, mut rule: Rule) -> Result<(String, Rule), String> {
    let mut id = None;
    for (name, value) in policy.annotations() {
        match name {
            "id" => id = Some(value.to_owned()),
            "reason" if value.is_empty() || value.chars().count() > REASON_CHARS_MAX => {
                return Err(format!("a `@reason` has 1 to {REASON_CHARS_MAX} characters"));
            }
            "reason" => rule.reason = Some(value.to_owned()),
            "approval" if policy.effect() == Effect::Forbid => {
                return Err("`@approval` on a `forbid`: what is forbidden cannot be approved".to_owned());
            }
            "approval" => rule.approval = Some(value.parse().map_err(|error| format!("`@approval`: {error}"))?),
            "windows" => rule.windows = read_windows(value)?,
            other => {
                let known = "`@id`, `@reason`, `@approval`, `@windows`";
                return Err(format!("there is no annotation `@{other}`; use {known}"));
            }
        }
    }
    let id = id.ok_or("a rule without a name; write `@id(\"…\")` before it")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > NAME_CHARS_MAX || !id.chars().all(allowed) {
        return Err(format!("`@id` is not a name (1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 . _ -)"));
    }
    Ok((id, rule))
}
