//! Who asks or decides, as authentication says.

use std::collections::BTreeSet;

use crate::ids::{Actor, Role, Tenant};

/// The role that sees every run of its tenant and may end any of them.
pub const OPERATOR: &str = "operator";

/// The role that sees every run and every open approval of its tenant. Deciding one takes the role that it names.
pub const APPROVER: &str = "approver";

/// Somebody whom authentication has named. It is never built from what a request says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data they may touch.
    pub tenant: Tenant,
    /// Who they are.
    pub actor: Actor,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

impl Principal {
    /// Whether they hold the role of that name.
    pub fn holds(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.as_str() == role)
    }
}
