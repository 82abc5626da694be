//! Secrets by name: fetched, cached with a bound on staleness, never printed.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::retry::Retry;

mod cache;

pub use cache::{ATTEMPT_AFTER_MIN, REFRESH_AFTER, STALENESS_MAX, SecretCache};

/// A secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none of that name.
    #[error("secret `{name}` does not exist")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The store could not be reached or throttles.
    #[error("secret `{name}` cannot be reached: {message}")]
    Unavailable {
        /// Its name.
        name: String,
        /// What was seen.
        message: String,
    },
    /// The store refuses.
    #[error("secret `{name}` was refused: {message}")]
    Refused {
        /// Its name.
        name: String,
        /// What was said.
        message: String,
    },
    /// It is not what it should be. The message never quotes it.
    #[error("secret `{name}` is malformed: {problem}")]
    Malformed {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl SecretError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            SecretError::Unavailable { .. } => Retry::SOON,
            SecretError::Missing { .. } | SecretError::Refused { .. } | SecretError::Malformed { .. } => {
                Retry::Terminal
            }
        }
    }
}

/// Where secrets are kept.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The current text of a secret.
    async fn get(&self, name: &str) -> Result<SecretString, SecretError>;

    /// Whether a secret is there and has a current text, without reading it: for whoever must not. A secret without a text, or one that
    /// is being deleted, is [`SecretError::Missing`].
    async fn exists(&self, name: &str) -> Result<(), SecretError>;
}
