//! The JWT authorizer of an HTTP API.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use crate::issuer::Issuer;

/// Verified tokens remembered; checking a signature is the most expensive part of a request.
const REMEMBERED_MAX: usize = 1024;

/// Claims as API Gateway passes them on: every value is a string.
pub(crate) type Claims = Arc<BTreeMap<String, String>>;

/// The request has no token that counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unauthorized;

struct Remembered {
    claims: Claims,
    expires_epoch_seconds: u64,
}

/// Verifies bearer tokens of one issuer for one audience.
pub(crate) struct Authorizer {
    issuer: Arc<Issuer>,
    validation: Validation,
    verified: Mutex<HashMap<String, Remembered>>,
}

impl Authorizer {
    pub(crate) fn new(issuer: Arc<Issuer>) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_issuer(&[issuer.url()]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        Self { issuer, validation, verified: Mutex::default() }
    }

    /// The claims of the token in an `Authorization` header.
    pub(crate) fn claims(&self, authorization: Option<&str>, now_epoch_seconds: u64) -> Result<Claims, Unauthorized> {
        let (scheme, token) = authorization.and_then(|value| value.split_once(' ')).ok_or(Unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unauthorized);
        }
        let token = token.trim();
        if let Some(known) = lock(&self.verified).get(token)
            && now_epoch_seconds < known.expires_epoch_seconds
        {
            return Ok(Arc::clone(&known.claims));
        }
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, self.issuer.verifying(), &self.validation)
            .map_err(|error| {
                tracing::debug!(%error, "token refused");
                Unauthorized
            })?
            .claims;
        if !for_audience(&claims, self.issuer.audience()) || issued_later(&claims, now_epoch_seconds) {
            return Err(Unauthorized);
        }
        let expires_epoch_seconds = claims.get("exp").and_then(Value::as_u64).unwrap_or(0);
        let claims: Claims = Arc::new(claims.iter().map(|(name, value)| (name.clone(), text(value))).collect());
        let mut verified = lock(&self.verified);
        if verified.len() >= REMEMBERED_MAX {
            verified.clear();
        }
        verified.insert(token.to_owned(), Remembered { claims: Arc::clone(&claims), expires_epoch_seconds });
        Ok(claims)
    }
}

/// `aud` decides; `client_id` counts only for a token that has no `aud`.
fn for_audience(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud").or_else(|| claims.get("client_id")) {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

fn issued_later(claims: &Map<String, Value>, now_epoch_seconds: u64) -> bool {
    claims.get("iat").is_some_and(|value| value.as_u64().is_none_or(|issued| issued > now_epoch_seconds))
}

/// How API Gateway writes a claim: lists as `[a b]`, objects as `map[name:value]`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{}", text(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_written_as_api_gateway_writes_them() {
        let written = |value| text(&value);
        assert_eq!(written(json!(["admin", "ops"])), "[admin ops]");
        assert_eq!(written(json!(1_700_000_000)), "1700000000");
        assert_eq!(written(json!(true)), "true");
        assert_eq!(written(json!({ "a": 1, "b": ["c"] })), "map[a:1 b:[c]]");
    }

    #[test]
    fn a_client_id_counts_only_without_an_audience() {
        let claims = |value: Value| value.as_object().cloned().unwrap_or_default();
        assert!(for_audience(&claims(json!({ "client_id": "kit" })), "kit"));
        assert!(!for_audience(&claims(json!({ "aud": "other", "client_id": "kit" })), "kit"));
        assert!(for_audience(&claims(json!({ "aud": ["other", "kit"] })), "kit"));
        assert!(!for_audience(&claims(json!({})), "kit"));
    }
}
