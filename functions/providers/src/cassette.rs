//! Exchanges with a provider on file: recorded once, replayed as often as needed, with no key and no network.
//!
//! One exchange is one file, `KEY.json`, whose key is a digest of the model's name and of what it was asked. The run's id stands as
//! `{run}` in it, so that every run that is asked the same finds the same answer. Recording writes over what was there: that is how
//! a cassette is refreshed. Only answers are recorded, not errors, and no header is; see [`cleanse`] for what else stays out.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tracing::info;

use crate::transport::{Exchange, Received, Transport, TransportError, auth::KeyCache};

pub mod cleanse;
pub mod nearest;
pub mod tape;

use tape::Tape;

/// The most files of one cassette that are looked at.
pub const TAPES_MAX: usize = 10_000;

/// Sends every exchange on, and writes down what came back.
pub struct Recorder {
    /// The way to the provider.
    pub inner: Arc<dyn Transport>,
    /// The folder.
    pub folder: PathBuf,
    /// The key that must not be written down.
    pub key: Option<KeyCache>,
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError> {
        let received = self.inner.send(exchange).await?;
        if !(200..300).contains(&received.status) {
            return Ok(received);
        }
        let key = match &self.key {
            Some(key) => key.get().await.ok(),
            None => None,
        };
        let tape = Tape::of(exchange, &received, key.as_deref().map(|key| key.expose()));
        tape.write(&self.folder)?;
        info!(model = exchange.model, key = tape.key, "recorded");
        Ok(received)
    }
}

/// Answers from a recording.
pub struct Replayer {
    /// The folder.
    pub folder: PathBuf,
}

#[async_trait]
impl Transport for Replayer {
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError> {
        let (key, request) = tape::request_of(exchange, None);
        match Tape::read(&self.folder, &key)? {
            Some(tape) => Ok(Received { status: 200, retry_after: Duration::ZERO, body: tape.body_for(exchange.run) }),
            None => {
                let nearest = nearest::nearest(&Tape::all(&self.folder)?, &exchange.model, &request);
                let nearest = nearest.map_or_else(|| "it is empty".to_owned(), |near| near.to_string());
                let message = format!(
                    "the cassette `{}` has no exchange `{key}` with `{}`; {nearest}; hint: record it anew with \
                     `MODEL_CASSETTE=record:{}`",
                    self.folder.display(),
                    exchange.model,
                    self.folder.display()
                );
                Err(TransportError::Missing { message })
            }
        }
    }
}

#[cfg(test)]
mod tests;
