//! Calls that are too many to be shown one by one: what was done, in short, and how often.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass::{
    agent::tool::Effect,
    run::state::{Call, short_arguments},
};

use super::{data, outcome};

/// The most calls that a model is shown one by one. What is told of each is at least some 300 bytes.
pub const CALLS_SHOWN_MAX: usize = 200;

/// The most bytes of what is told of the calls before them.
pub const EARLIER_BYTES_MAX: usize = 32 * 1024;

/// The calls that are told in short, and those that are shown one by one: calls of one plan stay together.
pub(super) fn split(calls: &[Call]) -> (&[Call], &[Call]) {
    let mut at = calls.len().saturating_sub(CALLS_SHOWN_MAX);
    while at > 0 && at < calls.len() && calls[at].step == calls[at - 1].step {
        at += 1;
    }
    calls.split_at(at)
}

/// What is told of calls that are not shown; `None` of none. Those that changed something come one by one, the last first, as long as
/// there is room; all others are counted.
pub(super) fn told(calls: &[Call]) -> Option<String> {
    let (mut one_by_one, mut bytes) = (Vec::new(), 0);
    let mut counted: BTreeMap<(&str, String), u32> = BTreeMap::new();
    for call in calls.iter().rev() {
        let (_, outcome) = outcome(&call.status);
        let status = outcome["status"].as_str().unwrap_or_default().to_owned();
        let line = (call.effect != Effect::Read).then(|| {
            json!({ "call": call.id.to_string(), "tool": call.tool, "arguments": short_arguments(&call.arguments), "status": status })
        });
        match line.map(|line| (line.to_string().len(), line)) {
            Some((length, line)) if bytes + length <= EARLIER_BYTES_MAX => {
                bytes += length;
                one_by_one.push(line);
            }
            _ => *counted.entry((call.tool.as_str(), status)).or_default() += 1,
        }
    }
    if calls.is_empty() {
        return None;
    }
    let counted: Vec<Value> = counted
        .into_iter()
        .map(|((tool, status), calls)| json!({ "tool": tool, "status": status, "calls": calls }))
        .collect();
    let told = json!({ "last_first": one_by_one, "counted": counted });
    Some(format!("Before what follows you made these calls:\n{}", data("earlier calls", &told)))
}
