//! Who a call is made for, signed, so that a server can hold it to its tenant whatever arguments a model chose.
//!
//! The token is a JWT (<https://www.rfc-editor.org/rfc/rfc7519>) in `_meta["windlass/identity"]` and in the header `Windlass-Identity`:
//!
//! | claim | is |
//! |---|---|
//! | `iss` | `windlass` |
//! | `aud` | the server's name in `MCP_SERVERS`: a token for one server is worth nothing at another |
//! | `sub`, `tenant` | the actor, and the tenant whose data it is |
//! | `run`, `tool`, `jti` | the run, the tool by the server's own name, and the call's idempotency key |
//! | `iat`, `exp` | when it was signed, and when it ends, in seconds since 1970 |
//!
//! Its key is the text of the secret that `identity_secret` names: an Ed25519 private key in PEM (`openssl genpkey -algorithm ed25519`;
//! the server gets the public key), which signs by `EdDSA`; or anything else of at least 32 bytes, which both sides know and which signs
//! by `HS256`. It is read at most five minutes late.

use std::{fmt, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::Ed25519KeyPair;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use windlass::{
    agent::tool::CallContext,
    clock::{Clock, Timestamp},
    secrets::{SecretCache, SecretError, Secrets},
};

/// How long a token is valid beyond the call's own timeout: clocks differ by some seconds, and requests wait in a server's queue.
const VALID_BEYOND: Duration = Duration::from_secs(60);

/// The fewest bytes of a key that both sides know: as many as the hash yields (<https://www.rfc-editor.org/rfc/rfc2104#section-3>).
const KEY_BYTES_MIN: usize = 32;

/// How a PEM file with a private key begins and ends.
const PEM: (&str, &str) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");

/// A key that tokens are signed with.
pub enum IdentityKey {
    /// The server has its public half.
    Ed25519(Ed25519KeyPair),
    /// The server has the same one.
    Shared(Hmac<Sha256>),
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

impl IdentityKey {
    /// Reads the text of a secret.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &SecretString) -> Result<IdentityKey, String> {
        let text = text.expose_secret().trim();
        if text.starts_with("-----BEGIN") {
            let inner = text.strip_prefix(PEM.0).and_then(|rest| rest.strip_suffix(PEM.1));
            let encoded: String = inner.unwrap_or_default().split_whitespace().collect();
            let der = STANDARD.decode(encoded).unwrap_or_default();
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
            return key.map(IdentityKey::Ed25519).map_err(|_| "not an Ed25519 private key in PEM (PKCS #8)".to_owned());
        }
        if text.len() < KEY_BYTES_MIN {
            return Err(format!("a key of less than {KEY_BYTES_MIN} bytes"));
        }
        let key = Hmac::new_from_slice(text.as_bytes());
        key.map(IdentityKey::Shared).map_err(|_| "not a key".to_owned())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            IdentityKey::Ed25519(_) => "EdDSA",
            IdentityKey::Shared(_) => "HS256",
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({ "alg": self.algorithm(), "typ": "JWT" })), encode(claims));
        let signature = match self {
            IdentityKey::Ed25519(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
            IdentityKey::Shared(key) => key.clone().chain_update(signed.as_bytes()).finalize().into_bytes().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Signs for one server.
pub(crate) struct Signer {
    audience: String,
    key: SecretCache<IdentityKey>,
}

impl Signer {
    pub(crate) fn new(audience: &str, name: &str, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Signer {
        Signer { audience: audience.to_owned(), key: SecretCache::new(secrets, clock, name, IdentityKey::parse) }
    }

    /// Whether there is a key to sign with.
    pub(crate) async fn ready(&self) -> Result<(), SecretError> {
        self.key.get().await.map(drop)
    }

    /// A token for one call of `tool` that may take `timeout`.
    pub(crate) async fn token(
        &self,
        context: &CallContext,
        tool: &str,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<String, SecretError> {
        let key = self.key.get().await?;

        Ok(key.sign(&json!({
            "iss": "windlass",
            "aud": self.audience,
            "sub": context.actor,
            "tenant": context.tenant,
            "run": context.run,
            "tool": tool,
            "jti": context.idempotency_key,
            "iat": now.as_seconds(),
            "exp": (now + timeout + VALID_BEYOND).as_seconds(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused_without_quoting_it() {
        for text in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"] {
            let problem = IdentityKey::parse(&text.into()).expect_err(text);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let shared = IdentityKey::parse(&"k".repeat(KEY_BYTES_MIN).into()).expect("a key");
        assert_eq!(shared.algorithm(), "HS256");
    }
}
