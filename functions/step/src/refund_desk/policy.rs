//! What the refund desk may do: Cedar text, built in or from a file.

use std::{path::Path, time::Duration};

use windlass::{
    agent::{policy::Reminder, tool::ToolSpec},
    config::{DrillTools, Environment},
    ids::InvalidId,
};
use windlass_policy::{CedarPolicy, PolicyErrors, PolicyTerms, PolicyText};

use super::tools::Drills;

/// The rules that hold unless `POLICY_FILE` names others.
const RULES: &str = include_str!("refund_desk.cedar");

/// The rules for the drills.
const DRILL_RULES: &str = include_str!("drills.cedar");

/// Who permits large refunds, and says whether a letter in doubt was sent.
const FINANCE: &str = "finance";

/// Who may decide as well once three quarters of the time are over.
const ESCALATION: &str = "operator";

/// What goes with the rules.
///
/// # Errors
/// When a role's name is not one: a mistake in this file.
pub fn terms(environment: Environment, approval_expires_after: Duration) -> Result<PolicyTerms, InvalidId> {
    Ok(PolicyTerms {
        environment,
        approval_expires_after,
        doubt_role: FINANCE.parse()?,
        reminder: Some(Reminder { before: approval_expires_after / 4, escalate_to: Some(ESCALATION.parse()?) }),
    })
}

/// Which drills a configuration has.
pub const fn drills_of(configured: DrillTools) -> Drills {
    match configured {
        DrillTools::On => Drills::Available,
        DrillTools::Off => Drills::Absent,
    }
}

/// The desk's policy for an agent with `tools`: the rules of `file`, or the built-in ones, and those of the drills.
///
/// # Errors
/// When the text cannot be read, does not parse, or does not fit the tools.
pub fn policy<'a>(
    file: Option<&Path>,
    drills: Drills,
    tools: impl IntoIterator<Item = &'a ToolSpec>,
    terms: PolicyTerms,
) -> Result<CedarPolicy, PolicyErrors> {
    let mut texts = vec![match file {
        Some(path) => PolicyText::read(path)?,
        None => PolicyText { file: "refund_desk.cedar".to_owned(), text: RULES.to_owned() },
    }];
    if drills == Drills::Available {
        texts.push(PolicyText { file: "drills.cedar".to_owned(), text: DRILL_RULES.to_owned() });
    }
    CedarPolicy::load(&texts, tools, terms)
}
