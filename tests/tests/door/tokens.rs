//! Tokens that must not count.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use windlass_local::{Issuer, Stack, StackSpec};
use windlass_operator::{local, stack::TENANT};

use super::scene::LONG;

/// A token by its name in the table. Each would be `ops`, operator of the victim's tenant, if it counted.
pub fn forged(name: &str, issuer: &Issuer, foreign: &Issuer, jwks: &Value) -> String {
    let signed = |claims: Value| issuer.token("ops", claims_with(claims), LONG);
    let good = signed(json!({}));
    let mut parts = good.split('.').map(ToOwned::to_owned);
    let [header, payload, signature] = [0, 1, 2].map(|_| parts.next().unwrap_or_default());
    match name {
        "empty" => String::new(),
        "not a JWT" => "abc".to_owned(),
        "wrong issuer" => signed(json!({ "iss": "https://elsewhere.example" })),
        "wrong audience" => signed(json!({ "aud": "other" })),
        "audience in the client's id only" => signed(json!({ "aud": "other", "client_id": "windlass" })),
        "no audience" => signed(json!({ "aud": null })),
        "expired" => signed(json!({ "exp": 1_000_000_000 })),
        "no expiry" => signed(json!({ "exp": null })),
        "expiry as text" => signed(json!({ "exp": "4000000000" })),
        "not yet valid" => signed(json!({ "nbf": 4_000_000_000_u64 })),
        "issued later" => signed(json!({ "iat": 4_000_000_000_u64 })),
        "another key" => foreign.token("ops", claims_with(json!({ "iss": issuer.url() })), LONG),
        "alg none" => format!("{}.{payload}.", part(&json!({ "alg": "none", "typ": "JWT" }))),
        "alg NoNe with a signature" => {
            format!("{}.{payload}.{signature}", part(&json!({ "alg": "NoNe", "typ": "JWT" })))
        }
        "alg HS256, keyed with the public key" => {
            let key = &jwks["keys"][0];
            let secret = BASE64_URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap_or_default()).unwrap_or_default();
            hs256(&part(&json!({ "alg": "HS256", "typ": "JWT", "kid": key["kid"] })), &payload, &secret)
        }
        "alg HS256, keyed with the key set" => {
            hs256(&part(&json!({ "alg": "HS256", "typ": "JWT" })), &payload, jwks.to_string().as_bytes())
        }
        "a key of its own in the header" => {
            let header =
                json!({ "alg": "ES256", "jwk": { "kty": "EC", "crv": "P-256" }, "jku": "http://127.0.0.1:1/keys" });
            format!("{}.{payload}.{signature}", part(&header))
        }
        "a key id that is a path" => {
            format!("{}.{payload}.{signature}", part(&json!({ "alg": "ES256", "kid": "../../../../dev/null" })))
        }
        "altered claims" => {
            let claims = json!({ "iss": issuer.url(), "aud": "windlass", "sub": "ops", "tenant": TENANT, "exp": 4_000_000_000_u64 });
            format!("{header}.{}.{signature}", part(&claims))
        }
        "cut signature" => format!("{header}.{payload}.{}", &signature[..40]),
        "no signature" => format!("{header}.{payload}."),
        "no tenant" => signed(json!({ "tenant": null })),
        "a tenant that is a list" => signed(json!({ "tenant": [TENANT] })),
        "a tenant with a key separator" => signed(json!({ "tenant": format!("{TENANT}#ada") })),
        "no subject" => signed(json!({ "sub": null })),
        "a subject with a line break" => signed(json!({ "sub": "ops\r\nx: y" })),
        "roles that are an object" => signed(json!({ "roles": { "operator": true } })),
        "a group `not finance`" => signed(json!({ "roles": ["not finance"] })),
        "a group `finance readers`" => signed(json!({ "roles": ["finance readers"] })),
        "roles `finance, audit`" => signed(json!({ "roles": "finance, audit" })),
        "roles `[finance]`" => signed(json!({ "roles": "[finance]" })),
        "roles that break out of their list" => signed(json!({ "roles": ["operator] [x"] })),
        other => panic!("there is no token `{other}`"),
    }
}

fn claims_with(more: Value) -> Map<String, Value> {
    let mut claims = Map::from_iter([("tenant".to_owned(), json!(TENANT)), ("roles".to_owned(), json!(["operator"]))]);
    claims.extend(more.as_object().cloned().unwrap_or_default());
    claims
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(header: &str, payload: &str, secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key will do");
    mac.update(format!("{header}.{payload}").as_bytes());
    format!("{header}.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// An issuer that the stack does not trust.
pub async fn foreign() -> Stack {
    Stack::start(StackSpec::empty("windlass")).await.expect("another stack")
}

/// A good token.
pub fn good(issuer: &Issuer, tenant: &str, actor: &str, roles: &[&str]) -> String {
    local::token(issuer, tenant, actor, roles)
}
