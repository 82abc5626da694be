//! The tools of an agent, checked before the first run, and the names under which a model knows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::tool::{Effect, Tool, ToolSpec};
use crate::ids::ToolName;

/// The longest time to live of a cached answer: what a person had erased must not come back for longer.
pub const CACHED_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest timeout of a tool: what does not fit into a function's time cannot be called at all
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(840);

/// The longest name that every provider takes: OpenAI and Bedrock allow `[a-zA-Z0-9_-]{1,64}`
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html>).
const MODEL_NAME_CHARS_MAX: usize = 64;

/// Hexadecimal digits that tell apart names which would otherwise be the same.
const MARK_CHARS: usize = 8;

/// Everything that is wrong with a set of tools, one line each. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidToolSet {
    /// What is wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for InvalidToolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// Tools by name.
pub type ToolSet = BTreeMap<ToolName, Arc<dyn Tool>>;

/// The tools as an agent takes them.
///
/// # Errors
/// Two tools of one name, and every rule that a tool sets itself and cannot keep.
pub fn tool_set(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Result<ToolSet, InvalidToolSet> {
    let (mut set, mut problems) = (ToolSet::new(), Vec::new());
    for tool in tools {
        let spec = tool.spec();
        problems.extend(problems_of(spec).into_iter().map(|problem| format!("tool `{}`: {problem}", spec.name)));
        let name = spec.name.clone();
        if set.insert(name.clone(), tool).is_some() {
            problems.push(format!("there are two tools `{name}`"));
        }
    }
    if problems.is_empty() { Ok(set) } else { Err(InvalidToolSet { problems }) }
}

fn problems_of(spec: &ToolSpec) -> Vec<String> {
    let mut problems = Vec::new();
    if spec.timeout.is_zero() || spec.timeout > TIMEOUT_MAX {
        problems.push(format!("a timeout of {:?}; more than none and at most {TIMEOUT_MAX:?}", spec.timeout));
    }
    if let Some(cache) = spec.cache {
        if spec.effect != Effect::Read {
            problems.push("only answers of a `Read` tool can be cached".to_owned());
        }
        if cache.kept_for.is_zero() || cache.kept_for > CACHED_FOR_MAX {
            let kept_for = cache.kept_for;
            problems.push(format!("answers cached for {kept_for:?}; more than none and at most {CACHED_FOR_MAX:?}"));
        }
    }
    if spec.compensable && spec.effect == Effect::Read {
        problems.push("a `Read` tool has nothing to undo".to_owned());
    }
    problems
}

/// Names for a model's API, which allows less than [`ToolName`] does, and the way back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelNames {
    to_model: BTreeMap<ToolName, String>,
    from_model: BTreeMap<String, ToolName>,
}

impl ModelNames {
    /// Names for these tools: `shop/refund` becomes `shop__refund`. One that would be too long, or the same as another's, ends in
    /// a mark made from the whole name, so that the names of a set do not depend on its order.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a ToolName>) -> ModelNames {
        let names: BTreeSet<&ToolName> = names.into_iter().collect();
        let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
        for name in &names {
            *wanted.entry(plain(name)).or_default() += 1;
        }
        let mut mapped = ModelNames::default();
        for name in names {
            let plain = plain(name);
            let unique = plain.len() <= MODEL_NAME_CHARS_MAX && wanted.get(&plain) == Some(&1);
            let safe = if unique { plain } else { marked(name, &plain) };
            mapped.from_model.insert(safe.clone(), name.clone());
            mapped.to_model.insert(name.clone(), safe);
        }
        mapped
    }

    /// What a model is told.
    pub fn to_model(&self, name: &ToolName) -> Option<&str> {
        self.to_model.get(name).map(String::as_str)
    }

    /// Which tool a model means.
    pub fn from_model(&self, name: &str) -> Option<&ToolName> {
        self.from_model.get(name)
    }
}

fn plain(name: &ToolName) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.as_str().replace('/', "__").chars().map(safe).collect()
}

fn marked(name: &ToolName, plain: &str) -> String {
    let digest = Sha256::digest(name.as_str());
    let mark: String = digest.iter().take(MARK_CHARS / 2).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = plain.chars().take(MODEL_NAME_CHARS_MAX - MARK_CHARS - 1).collect();
    format!("{kept}_{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_name_of_its_own_that_a_model_may_be_told() {
        let long = format!("server/{}", "x".repeat(100));
        let names: Vec<ToolName> = ["shop/refund", "shop__refund", "a.b", "a:b", "plain", &long]
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect();
        let mapped = ModelNames::of(&names);
        let mut told = BTreeSet::new();
        for name in &names {
            let safe = mapped.to_model(name).expect("it has one");
            let allowed = safe.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            assert!(allowed && (1..=64).contains(&safe.len()), "{safe}");
            assert!(told.insert(safe.to_owned()), "{safe} means two tools");
            assert_eq!(mapped.from_model(safe), Some(name));
        }
        assert_eq!(mapped.to_model(&names[4]), Some("plain"));
        assert_eq!(ModelNames::of(&names[..1]).to_model(&names[0]), Some("shop__refund"));
        assert_eq!(ModelNames::of(names.iter().rev()), mapped);
    }
}
