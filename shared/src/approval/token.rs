//! Callback tokens: what a decision must bring along, bound to one exact action, one tenant, one approver and one moment.
//!
//! `v1.<key id>.<expiry in seconds since 1970>.<HMAC-SHA-256, base64url>`. A token is not an identity: who decides comes from
//! authentication. It proves that this approver was shown this action: somebody else's token decides nothing.
//!
//! The same keys sign decisions ([`signature`](super::signature)): the Ed25519 seed of each is derived from it.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{
    ApprovalRequest,
    signature::{self, DecisionKeys, DecisionSignature},
};
use crate::{clock::Timestamp, ids::Tenant, principal::Principal, run::entry::Event};

/// The longest a token is valid: whoever was shown the action longer ago looks again. The question's own expiry comes first.
pub const TOKEN_VALID_FOR: Duration = Duration::from_secs(3600);

/// The most characters of a token: its parts at their longest make 100.
pub const TOKEN_CHARS_MAX: usize = 128;

/// The fewest bytes of a key: as many as the hash yields, as RFC 2104 asks
/// (<https://www.rfc-editor.org/rfc/rfc2104#section-3>).
pub const KEY_BYTES_MIN: usize = 32;

/// The most keys that are in use at once: the current one and those whose tokens have not expired.
pub const KEYS_MAX: usize = 16;

const KEY_ID_CHARS_MAX: usize = 32;
const MAC_BYTES: usize = 32;
const VERSION: &str = "v1";

type HmacSha256 = Hmac<Sha256>;

/// What the seed of a key's signatures is derived with.
const SIGNING_SEED: &[u8] = b"windlass decision signing v1";

/// The keys that tokens and decisions are signed with: one signs, all verify tokens.
pub struct ApprovalKeys {
    current: String,
    keys: BTreeMap<String, Key>,
}

struct Key {
    /// Already in the state that every token starts from; the key itself is gone.
    mac: HmacSha256,
    /// Signs decisions.
    signer: Ed25519KeyPair,
}

impl fmt::Debug for ApprovalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalKeys").field("current", &self.current).finish_non_exhaustive()
    }
}

/// The secret does not hold keys. No message quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// It is not JSON of the wanted shape.
    #[error(r#"not JSON of the form {{"current":"k1","keys":{{"k1":"<base64>"}}}} (line {line}, column {column})"#)]
    Shape {
        /// Where it departs from it.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// `current` names none of the keys.
    #[error("`current` names none of the `keys`")]
    NoCurrent,
    /// There are too many.
    #[error("{count} keys; at most {KEYS_MAX} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A key id is not one.
    #[error("key {number}: its id is not 1 to {KEY_ID_CHARS_MAX} of A-Z a-z 0-9 _ -")]
    Id {
        /// Which, in the order of their ids, from 1.
        number: usize,
    },
    /// A key is not base64.
    #[error("key {number}: it is not base64")]
    Base64 {
        /// Which, in the order of their ids, from 1.
        number: usize,
    },
    /// A key is too short.
    #[error("key {number}: it has {bytes} bytes; at least {KEY_BYTES_MIN} are needed")]
    TooShort {
        /// Which, in the order of their ids, from 1.
        number: usize,
        /// Its size.
        bytes: usize,
    },
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token.
    #[error("not an approval token")]
    Malformed,
    /// It was signed with a key that is not in use (any more).
    #[error("the approval token was signed with a key that is not in use")]
    UnknownKey,
    /// It was altered, or issued for another action, approval, tenant or approver.
    #[error("the approval token does not belong to this action and to you")]
    Altered,
    /// Its time is over.
    #[error("the approval token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// A token as sent: well formed, not yet verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    key: String,
    expires_seconds: u32,
    mac: [u8; MAC_BYTES],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.key, self.expires_seconds, URL_SAFE_NO_PAD.encode(self.mac))
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('.');
            parts.next().filter(|version| *version == VERSION)?;
            let key = parts.next().filter(|id| is_key_id(id))?.to_owned();
            let expires_seconds = parts.next()?.parse().ok()?;
            let mac = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
            let token = Token { key, expires_seconds, mac };
            // Only the canonical form is a token, so that one token has one text.
            (parts.next().is_none() && token.to_string() == text).then_some(token)
        };
        if text.len() > TOKEN_CHARS_MAX { None } else { parse() }.ok_or(TokenError::Malformed)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysJson {
    current: String,
    keys: BTreeMap<String, String>,
}

impl ApprovalKeys {
    /// Reads the secret `{"current":"k2","keys":{"k1":"<base64, at least 32 bytes>","k2":"…"}}`.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(secret: &SecretString) -> Result<ApprovalKeys, InvalidKeys> {
        let KeysJson { current, keys } = serde_json::from_str(secret.expose_secret())
            .map_err(|error| InvalidKeys::Shape { line: error.line(), column: error.column() })?;
        if keys.len() > KEYS_MAX {
            return Err(InvalidKeys::TooMany { count: keys.len() });
        }
        let parsed: Result<BTreeMap<String, Key>, InvalidKeys> =
            keys.into_iter().zip(1..).map(|((id, key), number)| parse_key(id, key.into(), number)).collect();
        let keys = parsed?;
        if !keys.contains_key(&current) {
            return Err(InvalidKeys::NoCurrent);
        }
        Ok(ApprovalKeys { current, keys })
    }

    /// Whether the token's key is one of these.
    pub fn know(&self, token: &Token) -> bool {
        self.keys.contains_key(&token.key)
    }

    /// `decided` with the signature of the current key: `at`, about the call with this digest, of this tenant.
    pub fn sign(&self, mut decided: Event, digest: &str, tenant: &Tenant, at: Timestamp) -> Event {
        // `parse` has made sure that the current key is there.
        let Some(key) = self.keys.get(&self.current) else { return decided };
        let message = signature::message(&self.current, &decided, digest, tenant, at);
        let signed = key.signer.sign(&message);
        let bytes = signed.as_ref().try_into().ok();
        if let Event::ApprovalDecided { signature, .. } = &mut decided {
            *signature = bytes.map(|bytes| Box::new(DecisionSignature { key: self.current.clone(), bytes }));
        }
        decided
    }

    /// Whether decisions that are signed now can be verified with `public`.
    pub fn are_known_to(&self, public: &DecisionKeys) -> bool {
        let current = self.keys.get(&self.current);
        current.is_some_and(|key| public.hold(&self.current, key.signer.public_key().as_ref()))
    }

    /// The public halves, as the secret of public keys holds them.
    pub fn public(&self) -> String {
        let public = |(id, key): (&String, &Key)| (id.clone(), STANDARD.encode(key.signer.public_key()));
        let all: BTreeMap<String, String> = self.keys.iter().map(public).collect();
        serde_json::json!(all).to_string()
    }

    /// A token for `approver`'s decision on `request`, valid until it expires but at most for [`TOKEN_VALID_FOR`].
    pub fn issue(&self, request: &ApprovalRequest, approver: &Principal, now: Timestamp) -> Token {
        let expires = request.expires_at.min(now + TOKEN_VALID_FOR).as_seconds();
        let expires_seconds = u32::try_from(expires.max(0)).unwrap_or(u32::MAX);
        let mut token = Token { key: self.current.clone(), expires_seconds, mac: [0; MAC_BYTES] };
        // `parse` has made sure that the current key is there.
        if let Some(mac) = self.mac(&token, request, approver) {
            token.mac = mac.finalize().into_bytes().into();
        }
        token
    }

    /// Whether `token` was issued for `approver`'s decision on `request`, and is still valid.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        token: &Token,
        request: &ApprovalRequest,
        approver: &Principal,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let mac = self.mac(token, request, approver).ok_or(TokenError::UnknownKey)?;
        // Takes the same time wherever the first difference is.
        mac.verify_slice(&token.mac).map_err(|_| TokenError::Altered)?;
        let at = Timestamp::from_millis(i64::from(token.expires_seconds) * 1_000);
        if at <= now { Err(TokenError::Expired { at }) } else { Ok(()) }
    }

    /// Everything that a token is bound to, each part preceded by its length, so that no two lists of parts read the same.
    fn mac(&self, token: &Token, request: &ApprovalRequest, approver: &Principal) -> Option<HmacSha256> {
        let mut mac = self.keys.get(&token.key)?.mac.clone();
        let (id, expires) = (request.id.to_string(), token.expires_seconds.to_string());
        let Principal { tenant, actor, .. } = approver;
        let bound = [id.as_str(), &request.digest, tenant.as_str(), actor.as_str(), expires.as_str()];
        let parts = ["windlass approval", VERSION, &token.key].into_iter().chain(bound);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac)
    }
}

pub(super) fn is_key_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text.len() <= KEY_ID_CHARS_MAX && text.bytes().all(allowed)
}

fn parse_key(id: String, key: SecretString, number: usize) -> Result<(String, Key), InvalidKeys> {
    if !is_key_id(&id) {
        return Err(InvalidKeys::Id { number });
    }
    let decoded = STANDARD.decode(key.expose_secret()).map_err(|_| InvalidKeys::Base64 { number })?;
    let bytes: SecretSlice<u8> = decoded.into();
    let too_short = InvalidKeys::TooShort { number, bytes: bytes.expose_secret().len() };
    if bytes.expose_secret().len() < KEY_BYTES_MIN {
        return Err(too_short);
    }
    let mac = HmacSha256::new_from_slice(bytes.expose_secret()).map_err(|_| too_short.clone())?;
    let seed: [u8; 32] = mac.clone().chain_update(SIGNING_SEED).finalize().into_bytes().into();
    let signer = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| too_short)?;
    Ok((id, Key { mac, signer }))
}

#[cfg(test)]
mod tests;
