//! What the refund desk may do. Default deny.

use std::time::Duration;

use windlass::{
    agent::policy::{Policy, PolicyQuestion, Reminder},
    ids::Role,
    run::entry::Decision,
};

/// Small refunds pass, larger ones need finance, everything unknown is denied.
pub struct DeskPolicy {
    /// Up to this a refund needs nobody, in cents.
    pub small_refund_max_cents: u64,
    /// Who permits larger ones, and says whether a letter in doubt was sent.
    pub finance: Role,
    /// Who may decide as well once three quarters of the time are over.
    pub escalation: Role,
    /// How long a question stays open.
    pub approval_expires_after: Duration,
    /// The version that entries record.
    pub version: String,
}

impl Policy for DeskPolicy {
    fn version(&self) -> &str {
        &self.version
    }

    fn approval_expires_after(&self) -> Duration {
        self.approval_expires_after
    }

    fn reminder(&self) -> Option<Reminder> {
        Some(Reminder { before: self.approval_expires_after / 4, escalate_to: Some(self.escalation.clone()) })
    }

    fn doubt_role(&self) -> Role {
        self.finance.clone()
    }

    fn decide(&self, question: &PolicyQuestion<'_>) -> Decision {
        match question.tool.as_str() {
            "look_up_order" | "write_to_customer" => Decision::Allow { reason: "the desk's daily work".to_owned() },
            "refund" => match question.arguments["amount_cents"].as_u64() {
                Some(cents) if cents <= self.small_refund_max_cents => {
                    Decision::Allow { reason: format!("{cents} cents are at most {}", self.small_refund_max_cents) }
                }
                Some(cents) => Decision::RequireApproval {
                    role: self.finance.clone(),
                    reason: format!("{cents} cents are more than {}", self.small_refund_max_cents),
                },
                None => Decision::Deny { reason: "no amount".to_owned() },
            },
            tool if tool.starts_with("drill_") => Decision::Allow { reason: "a drill".to_owned() },
            tool => Decision::Deny { reason: format!("no rule permits `{tool}`") },
        }
    }
}
