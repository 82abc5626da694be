//! A token issuer of one's own: an OpenID Connect provider reduced to its key, its discovery document and signing.

use std::{io, path::Path, sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use rand::Rng as _;
use serde_json::{Map, Value, json};

use crate::{clock::Clock, data_directory};

/// A PKCS #8 document of a P-256 key up to its 32 secret bytes (RFC 5208, RFC 5915; the public key is left out).
const PKCS8_PREFIX: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
];

const SECRET_BYTES: usize = 32;

/// Random numbers tried as a key; all but one in four billion are one.
const ATTEMPTS_MAX: usize = 8;

/// The issuer could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The key file could not be read or written.
    #[error("cannot access the issuer's key")]
    File(#[source] io::Error),
    /// The key is not one.
    #[error("the issuer's key is unusable")]
    Key(#[source] jsonwebtoken::errors::Error),
}

/// Signs tokens that the stack's authorizer accepts (ES256).
///
/// Tokens outlive a restart only when the stack has a data directory and a fixed `api_port`, because the issuer is
/// named by its URL.
pub struct Issuer {
    url: String,
    audience: String,
    key_id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    jwk: Jwk,
    clock: Arc<dyn Clock>,
}

impl Issuer {
    /// Reads the key from `file`, or makes one and keeps it there.
    pub(crate) fn open(
        url: String,
        audience: String,
        file: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuerError> {
        let kept = match file.map(std::fs::read) {
            Some(Ok(der)) => Some(der),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(IssuerError::File(error)),
            _ => None,
        };
        let (der, jwk) = match kept {
            Some(der) => {
                let jwk = public(&der)?;
                (der, jwk)
            }
            None => {
                let (der, jwk) = generate()?;
                if let Some(path) = file {
                    data_directory::write_private(path, &der).map_err(IssuerError::File)?;
                }
                (der, jwk)
            }
        };
        let mut jwk = jwk;
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(IssuerError::Key)?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            url,
            audience,
            key_id,
            signing: EncodingKey::from_ec_der(&der),
            verifying: DecodingKey::from_jwk(&jwk).map_err(IssuerError::Key)?,
            jwk,
            clock,
        })
    }

    /// The issuer's name, which is the URL of the HTTP API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token for `subject`, valid from now for `ttl`. `claims` are added and win over `iss`, `aud`, `iat` and `exp`,
    /// so that a test can ask for a token that must be refused.
    pub fn token(&self, subject: &str, claims: Map<String, Value>, ttl: Duration) -> String {
        let now = self.clock.since_epoch().as_secs();
        let mut all = Map::from_iter([
            ("iss".to_owned(), json!(self.url)),
            ("aud".to_owned(), json!(self.audience)),
            ("sub".to_owned(), json!(subject)),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now.saturating_add(ttl.as_secs()))),
        ]);
        all.extend(claims);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, &all, &self.signing).unwrap_or_else(|error| {
            // The key was used to derive the public one, and a map of JSON values is always serialisable.
            tracing::error!(%error, "cannot sign a token");
            String::new()
        })
    }

    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    pub(crate) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }

    /// `/.well-known/openid-configuration`
    pub(crate) fn configuration(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/.well-known/jwks.json", self.url),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/.well-known/jwks.json`
    pub(crate) fn keys(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }
}

fn generate() -> Result<(Vec<u8>, Jwk), IssuerError> {
    let mut refused = None;
    for _ in 0..ATTEMPTS_MAX {
        let mut secret = [0u8; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        let der = [&PKCS8_PREFIX[..], &secret].concat();
        match public(&der) {
            Ok(jwk) => return Ok((der, jwk)),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| IssuerError::File(io::Error::other("no key was tried"))))
}

fn public(der: &[u8]) -> Result<Jwk, IssuerError> {
    Jwk::from_encoding_key(&EncodingKey::from_ec_der(der), Algorithm::ES256).map_err(IssuerError::Key)
}
