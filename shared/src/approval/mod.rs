//! Approvals: a question to a person about one exact action, answered once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    ids::{ApprovalId, Role, Tenant, ToolName},
    json,
};

pub use self::evidence::{CallResult, Evidence};

pub mod decide;
pub mod evidence;
pub mod signature;
pub mod token;

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// Which question.
    pub id: ApprovalId,
    /// What is to be decided.
    pub subject: Subject,
    /// The exact action.
    pub action: Action,
    /// [`Action::digest`] of `action`: what a decision is bound to.
    pub digest: String,
    /// Who may decide.
    pub role: Role,
    /// Why somebody has to.
    pub reason: String,
    /// What is known of a call in doubt; `None` when a permission is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it counts as denied.
    pub expires_at: Timestamp,
    /// When whoever may decide is warned that time runs out; `None` when nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Timestamp>,
    /// Who may decide as well, once that warning has been given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<Role>,
}

/// What is to be decided about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// May it be done? `approved` or `denied`.
    Permission,
    /// Was it done? `happened`, `happened_and_failed` or `not_happened`.
    Doubt,
}

/// One exact action: a tool with its arguments, for one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Whose data it touches.
    pub tenant: Tenant,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
}

impl Action {
    /// [`json::digest`] of the action: equal for equal actions, however they were written.
    pub fn digest(&self) -> String {
        let Action { tenant, tool, arguments } = self;
        json::digest(&serde_json::json!({ "tenant": tenant, "tool": tool, "arguments": arguments }))
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be done.
    Approved,
    /// It may not be done.
    Denied,
    /// It was done.
    Happened,
    /// It was tried and failed: it has no effect, and will have none.
    HappenedAndFailed,
    /// It was not done.
    NotHappened,
    /// Nobody decided in time: a permission counts as denied, a doubt ends the run.
    Expired,
}

impl Verdict {
    /// Whether a person can answer a question about `subject` so.
    pub const fn answers(self, subject: Subject) -> bool {
        match subject {
            Subject::Permission => matches!(self, Verdict::Approved | Verdict::Denied),
            Subject::Doubt => {
                matches!(self, Verdict::Happened | Verdict::HappenedAndFailed | Verdict::NotHappened)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn action(arguments: Value) -> Action {
        Action { tenant: "acme".parse().expect("a tenant"), tool: "refund".parse().expect("a tool"), arguments }
    }

    #[test]
    fn the_digest_depends_on_what_is_said_and_not_on_how_it_is_written() {
        let one: Value = serde_json::from_str(r#"{"order": "A-1", "cents": 100}"#).expect("JSON");
        let same: Value = serde_json::from_str(r#"{"cents":1e2,"order":"A-1"}"#).expect("JSON");
        assert_eq!(action(one.clone()).digest(), action(same).digest());
        assert_ne!(action(one.clone()).digest(), action(json!({"order": "A-1", "cents": 101})).digest());
        let record = |id: u64| action(json!({ "id": id })).digest();
        assert_ne!(record(9_007_199_254_740_992), record(9_007_199_254_740_993));
        let foreign = Action { tenant: "other".parse().expect("a tenant"), ..action(one.clone()) };
        assert_ne!(action(one).digest(), foreign.digest());
    }
}
