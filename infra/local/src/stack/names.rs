//! Names in a spec that must lead somewhere.

use super::error::StackError;
use crate::{lambda::AliasName, spec::StackSpec};

/// Finds every name that leads nowhere before anything starts.
pub(super) fn check(spec: &StackSpec) -> Result<(), StackError> {
    let mut functions = std::collections::HashSet::new();
    for function in &spec.functions {
        if !functions.insert(function.name.as_str()) {
            return Err(StackError::Duplicate { function: function.name.clone() });
        }
    }
    if !spec.aliases.contains(&spec.traffic_alias) {
        return Err(StackError::UnknownAlias { alias: spec.traffic_alias.clone() });
    }
    let routes =
        spec.routes.iter().map(|route| (format!("the route `{} {}`", route.method, route.path), &route.function));
    let mappings =
        spec.mappings.iter().map(|mapping| (format!("the mapping of `{}`", mapping.queue), &mapping.function));
    let schedules =
        spec.schedules.iter().map(|schedule| (format!("the schedule `{}`", schedule.name), &schedule.function));
    for (what, function) in routes.chain(mappings).chain(schedules) {
        if !functions.contains(function.as_str()) {
            return Err(StackError::UnknownFunction { what, function: function.clone() });
        }
    }
    let mapped = spec.mappings.iter().map(|mapping| (format!("the mapping to `{}`", mapping.function), &mapping.queue));
    let redriven = spec.queues.iter().filter_map(|queue| {
        let redrive = queue.redrive.as_ref()?;
        Some((format!("the redrive policy of `{}`", queue.name), &redrive.dead_letter_queue))
    });
    for (what, queue) in mapped.chain(redriven) {
        if !has_queue(spec, queue) {
            return Err(StackError::UnknownQueue { what, queue: queue.clone() });
        }
    }
    Ok(())
}

pub(super) fn has_queue(spec: &StackSpec, name: &str) -> bool {
    spec.queues.iter().any(|queue| queue.name == name)
}

/// The aliases that every function starts with.
pub(super) fn aliases(spec: &StackSpec) -> Result<Vec<AliasName>, StackError> {
    let parse = |alias: &String| AliasName::parse(alias).ok_or_else(|| StackError::AliasName { alias: alias.clone() });
    spec.aliases.iter().map(parse).collect()
}
