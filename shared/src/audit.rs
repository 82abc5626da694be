//! The audit trail: who did what to the kit itself, and why. Kept in the `controls` table, whoever writes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ids::{Actor, Random},
    redaction::cut,
};

/// How long a line of the audit trail is kept.
pub const AUDIT_KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

/// The most characters of a record's detail.
pub const DETAIL_CHARS_MAX: usize = 4_000;

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// A sortable id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who, as was typed.
    pub by: Actor,
    /// Whose credentials wrote it, as AWS names them; lines of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What was done, as `area.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why, or with what result.
    pub detail: String,
}

impl AuditRecord {
    /// A record of what `by` does at `at`. A detail that is too long is cut.
    pub fn new(at: Timestamp, random: &dyn Random, by: &Actor, action: &str, subject: &str, detail: &str) -> Self {
        AuditRecord {
            id: sortable_id(at, random),
            at,
            by: by.clone(),
            principal: None,
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: cut(detail, DETAIL_CHARS_MAX).to_owned(),
        }
    }
}

/// A new id that sorts by time: a ULID (<https://github.com/ulid/spec>).
pub(crate) fn sortable_id(at: Timestamp, random: &dyn Random) -> String {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    ulid::Ulid::from_parts(millis, random.bits()).to_string()
}
