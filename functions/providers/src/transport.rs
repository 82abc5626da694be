//! How an exchange with a provider travels: over HTTP, over HTTP with a recording, or from a recording.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use windlass::ids::RunId;

pub mod auth;
pub mod http;
pub mod retry_after;

/// One request to a provider. It holds no credential: those are added on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// For which run.
    pub run: RunId,
    /// Which model is asked, as entries record it.
    pub model: String,
    /// Where.
    pub url: String,
    /// Which version of the format is spoken.
    pub headers: &'static [(&'static str, &'static str)],
    /// What is asked.
    pub body: Value,
}

/// What came back, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its HTTP status.
    pub status: u16,
    /// What it asked us to wait; zero when it said nothing.
    pub retry_after: Duration,
    /// Its body.
    pub body: Vec<u8>,
}

/// Nothing came back that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request was not sent: there is no connection, or no key to ask with.
    #[error("{message}")]
    NotSent {
        /// What was seen.
        message: String,
    },
    /// The request was sent, and what came back broke off, or nothing did.
    #[error("{message}")]
    Broken {
        /// What was seen.
        message: String,
    },
    /// The answer is longer than anything a model says here.
    #[error("the answer is longer than {} bytes", http::BODY_BYTES_MAX)]
    TooLarge,
    /// The recording does not hold this exchange.
    #[error("{message}")]
    Missing {
        /// What was looked for, and what is nearest to it.
        message: String,
    },
    /// The recording cannot be read or written.
    #[error("{message}")]
    Recording {
        /// What was seen.
        message: String,
    },
}

/// Carries an exchange.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and waits for what comes back. How long is up to the caller.
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError>;
}
