//! What a policy remembers: windows, held against the tools, and the other calls of a run, as Cedar sees them.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use windlass::{
    agent::{
        history::OtherCall,
        tool::{Effect, ToolSpec},
    },
    ids::ToolName,
    windows::{Measure, Per, WINDOWS_PER_TOOL_MAX, Window},
};

use crate::{
    arguments::{Shape, Unfit},
    text::{PolicyProblem, PolicyText, Rules},
};

/// The windows that rules declare, each once.
///
/// # Errors
/// Those that do not fit the tools or each other.
pub(crate) fn windows(
    rules: &Rules,
    texts: &[PolicyText],
    tools: &[&ToolSpec],
    shapes: &BTreeMap<ToolName, Shape>,
) -> Result<Vec<Window>, Vec<PolicyProblem>> {
    let (mut windows, mut problems) = (Vec::<Window>::new(), Vec::new());
    let mut in_order: Vec<_> = rules.by_id.values().collect();
    in_order.sort_by_key(|rule| rule.place);
    for (rule, window) in in_order.into_iter().flat_map(|rule| rule.windows.iter().map(move |window| (rule, window))) {
        if windows.contains(window) {
            continue;
        }
        match fits(window, &windows, tools, shapes) {
            Ok(()) => windows.push(window.clone()),
            Err(problem) => {
                problems.push(texts[rule.text].problem(rule.offset, format!("the window `{window}` {problem}")));
            }
        }
    }
    if problems.is_empty() { Ok(windows) } else { Err(problems) }
}

fn fits(
    window: &Window,
    others: &[Window],
    tools: &[&ToolSpec],
    shapes: &BTreeMap<ToolName, Shape>,
) -> Result<(), String> {
    if let Some(other) = others.iter().find(|other| other.name == window.name) {
        return Err(format!("has the name of `{other}`"));
    }
    let tool = tools.iter().find(|tool| tool.name == window.tool);
    let (Some(tool), Some(shape)) = (tool, shapes.get(&window.tool)) else {
        return Err(format!("counts `{}`, and there is no such tool", window.tool));
    };
    if !tool.schema.is_known() {
        // Its server has not answered yet, and until it does no call of it is judged.
        return Ok(());
    }
    if tool.effect == Effect::Read {
        return Err(format!("counts `{}`, which only reads; windows count effects", window.tool));
    }
    if others.iter().filter(|other| other.tool == window.tool).count() >= WINDOWS_PER_TOOL_MAX {
        return Err(format!("is one too many: at most {WINDOWS_PER_TOOL_MAX} count one tool"));
    }
    if let Measure::Sum(pointer) = &window.measure
        && shape.at(pointer) != Some(&Shape::Whole)
    {
        return Err(format!("sums `{pointer}`, which is no whole number of `{}`", window.tool));
    }
    if let Per::Argument(pointer) = &window.per
        && !matches!(shape.at(pointer), Some(Shape::Text | Shape::Whole))
    {
        return Err(format!(
            "counts per `{pointer}`, which is neither a string nor a whole number of `{}`",
            window.tool
        ));
    }
    Ok(())
}

/// Counts and sums by tool, as the schema's `Calls` has them. `sums` has the tools that are remembered.
pub(crate) fn calls(sums: &BTreeMap<ToolName, Shape>, calls: &[OtherCall<'_>]) -> Result<RestrictedExpression, Unfit> {
    let of_tool = |(tool, sums): (&ToolName, &Shape)| {
        let calls: Vec<&OtherCall<'_>> = calls.iter().filter(|call| call.tool == tool).collect();
        let count = RestrictedExpression::new_long(i64::try_from(calls.len()).unwrap_or(i64::MAX));
        let sum = Shape::express_sums(sums, &calls)?;
        Ok((tool.to_string(), record([("count".to_owned(), count), ("sum".to_owned(), sum)])?))
    };
    record(sums.iter().map(of_tool).collect::<Result<Vec<_>, _>>()?)
}

pub(crate) fn record(
    parts: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<RestrictedExpression, Unfit> {
    let made = RestrictedExpression::new_record(parts);
    made.map_err(|error| Unfit { pointer: "/".to_owned(), problem: error.to_string() })
}
