//! The tools of an agent, checked before the first run.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::tool::{Effect, Tool, ToolSpec};
use crate::{ids::ToolName, retry::REST_LONGEST};

/// The longest time to live of a cached answer: what a person had erased must not come back for longer.
pub const CACHED_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest timeout of a tool: what does not fit into a function's time cannot be called at all
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(840);

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
    if spec.retry.rest_max > REST_LONGEST {
        problems.push(format!("rests of {:?}; at most {REST_LONGEST:?}", spec.retry.rest_max));
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
