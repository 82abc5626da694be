//! Idempotency: an operation done once under a key, by records laid out as Powertools for AWS Lambda lays them out
//! (<https://docs.aws.amazon.com/powertools/python/latest/utilities/idempotency/>), so that a Python or Node function can
//! share the table.

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    ids::{Actor, Tenant},
    json,
    retry::Retry,
};

pub mod once;
pub mod powertools;

/// The most characters of a client's key. The Idempotency-Key draft leaves the bound to the server
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
pub const CLIENT_KEY_CHARS_MAX: usize = 256;

/// A key under which a record is kept: never the client's own text, which may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The key of `client_key` within one `scope` (an operation), for one tenant's actor.
    ///
    /// # Errors
    /// When the client's key is not one.
    pub fn of(scope: &str, tenant: &Tenant, actor: &Actor, client_key: &str) -> Result<Key, InvalidKey> {
        check_client_key(client_key)?;
        let mut hash = Sha256::new();
        for part in [tenant.as_str(), actor.as_str(), client_key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Ok(Key(format!("{scope}#{}", hex(&hash.finalize()))))
    }

    /// The record's `id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a request's canonical JSON, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PayloadHash(String);

impl PayloadHash {
    /// [`json::digest`] of a request.
    pub fn of(request: &Value) -> PayloadHash {
        PayloadHash(json::digest(request))
    }

    /// As the record's `validation`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for PayloadHash {
    /// A hash as a record holds it; one that we did not write equals none of ours.
    fn from(text: String) -> Self {
        PayloadHash(text)
    }
}

/// The text is not an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is none.
    #[error("an idempotency key is missing or empty")]
    Missing,
    /// It is too long.
    #[error("an idempotency key of {chars} characters; at most {CLIENT_KEY_CHARS_MAX} are allowed")]
    TooLong {
        /// Its length.
        chars: usize,
    },
    /// It has characters that do not belong in a header.
    #[error("an idempotency key may hold visible ASCII characters only")]
    Unprintable,
}

/// Whether `key` can be a client's key.
///
/// # Errors
/// Why it cannot.
pub fn check_client_key(key: &str) -> Result<(), InvalidKey> {
    match key.chars().count() {
        0 => Err(InvalidKey::Missing),
        chars if chars > CLIENT_KEY_CHARS_MAX => Err(InvalidKey::TooLong { chars }),
        _ if key.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !key.trim().is_empty() => Ok(()),
        _ => Err(InvalidKey::Unprintable),
    }
}

/// What came of beginning an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The caller is to do it.
    Started,
    /// Somebody else is doing it.
    InProgress {
        /// Until when they may at most.
        until: Timestamp,
    },
    /// It was done.
    Completed {
        /// With this result, as JSON.
        data: String,
    },
    /// The key was used for something else.
    Mismatch,
}

/// The records' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It could not be reached or throttles.
    #[error("the idempotency records are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses.
    #[error("the idempotency records refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// A record cannot be read.
    #[error("idempotency record `{id}`: {problem}")]
    Damaged {
        /// The record.
        id: String,
        /// What is wrong.
        problem: String,
    },
}

impl RecordError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            RecordError::Unavailable { .. } => Retry::SOON,
            RecordError::Refused { .. } | RecordError::Damaged { .. } => Retry::Terminal,
        }
    }
}

/// Who is doing an operation, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// A mark that nobody else has.
    pub owner: String,
    /// The time.
    pub now: Timestamp,
    /// Until when the owner may be at it; then somebody else may take over.
    pub in_progress_until: Timestamp,
    /// Until when the record counts.
    pub expires: Timestamp,
}

/// Where idempotency records are kept.
#[async_trait]
pub trait IdempotencyRecords: Send + Sync {
    /// Begins an operation. A record counts as absent once it has expired (whether or not it has been deleted), or once its
    /// owner's time has run out. A repeat by the same owner whose first answer was lost starts again. A live record with another
    /// hash is a mismatch, whatever else it says.
    ///
    /// ```text
    /// A: put k INPROGRESS owner=a IF absent OR expired OR in progress and out of time ── started
    /// B: put k …                                                                      ── refused: in progress
    ///    …A's time runs out…
    /// B: put k INPROGRESS owner=b …                                                   ── started
    /// A: update k COMPLETED IF owner = a                                              ── refused: B owns it
    /// ```
    async fn begin(&self, key: &Key, hash: &PayloadHash, turn: &Turn) -> Result<Begun, RecordError>;

    /// Records the result; false when `owner` does not own the record any more. Repeating it with the same result is true.
    async fn complete(&self, key: &Key, owner: &str, data: &str, expires: Timestamp) -> Result<bool, RecordError>;

    /// Deletes the record of an operation that was not done; false when `owner` does not own it any more, or it was done.
    async fn release(&self, key: &Key, owner: &str) -> Result<bool, RecordError>;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
