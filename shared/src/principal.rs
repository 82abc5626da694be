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
    /// Who they are: the subject of their token, which may be a client's.
    pub actor: Actor,
    /// The person behind it, where the token names one.
    pub person: Option<Actor>,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// Whether a decision takes a [`person`](Principal::person).
    pub decisions: Decisions,
}

/// Whose decisions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decisions {
    /// Any subject's: each is a person.
    OfSubjects,
    /// A person's only: tokens name one, and those of machines do not.
    OfPeople,
}

impl Principal {
    /// Whether they are whoever asked as `actor` for `person`: the same subject, or the same person through another client.
    pub fn is(&self, actor: &Actor, person: Option<&Actor>) -> bool {
        let asked = [Some(actor), person];
        [Some(&self.actor), self.person.as_ref()].into_iter().flatten().any(|one| asked.contains(&Some(one)))
    }

    /// Whether they hold the role of that name.
    pub fn holds(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.as_str() == role)
    }
}
