//! The way over HTTP.

use std::{
    error::Error as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use windlass::clock::Clock;

use super::{Exchange, Received, Transport, TransportError, auth::Auth, retry_after::retry_after};

/// The most bytes of an answer that are read, and so the most that are parsed: four times what a plan may hold.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next request. Lambda freezes a function between invocations, and a connection does not
/// survive that for long.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// The type of what is sent and asked for.
pub const JSON: &str = "application/json";

/// Exchanges over HTTP. The client is set up when it is first needed: reading the platform's trust anchors takes longer than
/// everything else that a function does at its start.
pub struct Http {
    client: OnceLock<reqwest::Client>,
    auth: Auth,
    clock: Arc<dyn Clock>,
}

impl Http {
    /// A way to a provider that knows us by `auth`.
    pub fn new(auth: Auth, clock: Arc<dyn Clock>) -> Self {
        Self { client: OnceLock::new(), auth, clock }
    }

    fn client(&self, url: &str) -> Result<&reqwest::Client, TransportError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client(url).map_err(|message| TransportError::NotSent { message })?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn attempt(&self, exchange: &Exchange, body: &[u8]) -> Result<Received, TransportError> {
        let mut request = self.client(&exchange.url)?.post(&exchange.url).header("content-type", JSON);
        for (name, value) in exchange.headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.auth.headers(&exchange.url, body).await? {
            let value = reqwest::header::HeaderValue::from_str(value.expose_secret());
            let mut value = value.map_err(|_| not_sent("a credential does not fit into a header"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let response = request.body(body.to_vec()).send().await.map_err(|error| failed(error, Sent::Perhaps))?;
        self.receive(response).await
    }

    async fn receive(&self, mut response: reqwest::Response) -> Result<Received, TransportError> {
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (status, retry_after) = (response.status().as_u16(), retry_after(header, self.clock.now()));
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // The status of an error says enough.
                Ok(Some(_)) | Err(_) if !(200..300).contains(&status) => break,
                Ok(Some(_)) => return Err(TransportError::TooLarge),
                Err(error) => return Err(failed(error, Sent::Yes)),
            }
        }
        Ok(Received { status, retry_after, body })
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError> {
        let body = exchange.body.to_string().into_bytes();
        let received = self.attempt(exchange, &body).await?;
        let Some(key) = self.auth.key().filter(|_| received.status == 401) else { return Ok(received) };
        // The key may have been rotated since it was fetched.
        let before = key.get().await.ok().map(|key| key.expose().to_owned());
        match key.refresh().await {
            Ok(now) if before.as_deref() != Some(now.expose()) => self.attempt(exchange, &body).await,
            _ => Ok(received),
        }
    }
}

fn not_sent(message: &str) -> TransportError {
    TransportError::NotSent { message: message.to_owned() }
}

/// Whether a request has left when something goes wrong.
enum Sent {
    /// Unless there was no connection.
    Perhaps,
    Yes,
}

/// What was seen, down to its cause. Addresses stay out of it: they may hold more than they should.
fn failed(error: reqwest::Error, sent: Sent) -> TransportError {
    let is_sent = matches!(sent, Sent::Yes) || !(error.is_connect() || error.is_builder());
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    if is_sent { TransportError::Broken { message } } else { TransportError::NotSent { message } }
}

/// A client that speaks TLS through ring, trusts what the platform trusts, and follows nobody elsewhere: a redirect would carry the
/// key along.
fn client(url: &str) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    let plain = url.starts_with("http://");
    if !plain {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_MAX);
    let builder = if plain { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| error.to_string())
}
