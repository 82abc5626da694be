//! The policy: what may be done, by whom, on whose say.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{history::History, tool::Effect};
use crate::{
    ids::{ApprovalId, Role, ToolName},
    run::{entry::Decision, request::RunRequest, state::Totals},
    windows::{Window, WindowTotals},
};

/// On whose say a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Authorization {
    /// Nobody's yet.
    #[default]
    None,
    /// The policy's.
    Policy {
        /// Its version.
        version: String,
    },
    /// A person's.
    Approval {
        /// Which approval.
        id: ApprovalId,
    },
}

/// What the policy is asked.
#[derive(Debug)]
pub struct PolicyQuestion<'a> {
    /// What was asked of the run, by whom.
    pub request: &'a RunRequest,
    /// The tool.
    pub tool: &'a ToolName,
    /// Its arguments; they fit the tool's schema.
    pub arguments: &'a Value,
    /// What repeating the call does.
    pub effect: Effect,
    /// What the run has used so far.
    pub totals: &'a Totals,
    /// What the run did before the call, and what else its plan holds.
    pub history: &'a History<'a>,
    /// What the windows of the tool have counted, without the call.
    pub windows: &'a WindowTotals,
    /// How much the live controls tighten the policy; [`judge`] holds to it whatever the policy says.
    pub tightening: Tightening,
}

/// How much the live controls tighten the policy. Calls that only read are not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tightening {
    /// The policy alone decides.
    #[default]
    None,
    /// What has an effect needs a person.
    Approve,
    /// What has an effect is denied.
    Deny,
}

impl Tightening {
    /// Every level, from loose to tight.
    pub const ALL: [Tightening; 3] = [Tightening::None, Tightening::Approve, Tightening::Deny];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Tightening::None => "none",
            Tightening::Approve => "approve",
            Tightening::Deny => "deny",
        }
    }
}

/// What the policy rules, and by which of its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// The decision.
    pub decision: Decision,
    /// The names of the rules that decided, in the policy's order; none when no rule permits the call.
    pub policies: Vec<String>,
}

/// A warning that an approval is about to expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reminder {
    /// How long before.
    pub before: Duration,
    /// Who may decide as well from then on.
    pub escalate_to: Option<Role>,
}

/// Decides what may be done. Pure: the same question has the same answer within one version.
pub trait Policy: Send + Sync {
    /// The version that entries record.
    fn version(&self) -> &str;
    /// How long an approval that it requires stays open.
    fn approval_expires_after(&self) -> Duration;
    /// When to warn that an approval is about to expire, and who may decide it from then on.
    fn reminder(&self) -> Option<Reminder> {
        None
    }
    /// The windows that it looks at: what it declares is counted.
    fn windows(&self) -> &[Window] {
        &[]
    }
    /// Who says whether a call in doubt took effect.
    fn doubt_role(&self) -> Role;
    /// Judges one call.
    fn decide(&self, question: &PolicyQuestion<'_>) -> Ruling;
}

/// Judges one call by `policy`, and tightens what it permits as far as the question says.
pub fn judge(policy: &dyn Policy, question: &PolicyQuestion<'_>) -> Ruling {
    let Ruling { decision, policies } = policy.decide(question);
    Ruling { decision: tightened(policy, question.tightening, question.effect, decision), policies }
}

/// What a decision becomes under a tightened policy: it never permits more. Whoever answers for calls in doubt is asked for the
/// added approvals.
pub fn tightened(policy: &dyn Policy, tightening: Tightening, effect: Effect, decision: Decision) -> Decision {
    match (tightening, effect, decision) {
        (_, Effect::Read, decision) => decision,
        (Tightening::Approve, _, Decision::Allow { reason }) => Decision::RequireApproval {
            role: policy.doubt_role(),
            reason: format!("the controls ask for an approval of every effect; the policy: {reason}"),
        },
        (Tightening::Deny, _, Decision::Allow { reason } | Decision::RequireApproval { reason, .. }) => {
            Decision::Deny { reason: format!("the controls deny every effect; the policy: {reason}") }
        }
        (_, _, decision) => decision,
    }
}
