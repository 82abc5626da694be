//! Who a call is made for: what a server is told, how it verifies it, and what it refuses.

mod support;

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, decode, errors::Error};
use serde_json::{Value, json};
use support::{FalseServer, Request, catalogue, context, http, ports, result, sound, tool};
use windlass::{
    agent::tool::ToolError,
    clock::{Clock as _, Timestamp},
    memory::ManualClock,
};
use windlass_mcp::catalogue::Ports;

const KEY: &str = "a key of more than thirty-two bytes, for tests";
const OTHER_KEY: &str = "another key of more than thirty-two bytes, for tests";

/// The first test key of RFC 8032, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write keys.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

/// How a server verifies a call; the example of `docs/tools.md`.
fn verified(token: &str, key: &DecodingKey, algorithm: Algorithm, server: &str) -> Result<TokenData<Value>, Error> {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[server]);
    validation.set_issuer(&["windlass"]);
    validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
    decode::<Value>(token, key, &validation)
}

fn shared_key(key: &str) -> DecodingKey {
    DecodingKey::from_secret(key.as_bytes())
}

fn token_of(request: &Request) -> String {
    let token = request.body["params"]["_meta"]["windlass/identity"].as_str().expect("a token").to_owned();
    assert_eq!(request.header("windlass-identity"), Some(token.as_str()));
    token
}

/// A server whose order `G-1` is globex's, and which believes the token and nothing else.
async fn careful() -> FalseServer {
    FalseServer::start(|request, _| {
        if request.rpc() != "tools/call" {
            return sound(request);
        }
        let Ok(token) = verified(&token_of(request), &shared_key(KEY), Algorithm::HS256, "shop") else {
            return http("403 Forbidden", "text/plain", "");
        };
        let wanted = if request.body["params"]["arguments"]["order"] == "G-1" { "globex" } else { "acme" };
        match token.claims["tenant"] == wanted {
            true => sound(request),
            false => result(
                request,
                json!({ "isError": true, "content": [{ "type": "text", "text": "there is no such order" }] }),
            ),
        }
    })
    .await
}

fn signed(server: &FalseServer, tools: Value) -> Value {
    let mut configuration = server.configuration(tools);
    configuration[0]["identity_secret"] = json!("shop/identity");
    configuration
}

#[tokio::test]
async fn a_run_that_names_another_tenants_order_is_known_by_its_signature_and_refused() {
    let server = careful().await;
    let ports = ports(&[("shop/identity", KEY)]);
    let catalogue = catalogue(&signed(&server, json!({ "ship": {} })), &ports).await;
    let ship = tool(&catalogue, "shop/ship");
    assert!(ship.call(&context("globex"), &json!({ "order": "G-1" })).await.is_ok());
    let stolen = ship.call(&context("acme"), &json!({ "order": "G-1" })).await.expect_err("it is globex'");
    assert!(stolen.to_string().contains("there is no such order"), "{stolen}");
    let context = context("acme");
    assert!(ship.call(&context, &json!({ "order": "A-1" })).await.is_ok());
    let call = server.last("tools/call");
    let claims = verified(&token_of(&call), &shared_key(KEY), Algorithm::HS256, "shop").expect("it is good").claims;
    assert_eq!((&claims["tenant"], &claims["sub"]), (&json!("acme"), &json!("ada")));
    assert_eq!((&claims["run"], &claims["tool"]), (&json!(context.run), &json!("ship")));
    assert_eq!(claims["jti"], json!(context.idempotency_key));
    let meta = &call.body["params"]["_meta"];
    assert_eq!((&meta["windlass/tenant"], &meta["windlass/actor"]), (&json!("acme"), &json!("ada")));
}

#[tokio::test]
async fn a_token_of_another_server_key_or_time_is_refused_and_so_is_a_changed_one() {
    let server = careful().await;
    let catalogue = catalogue(&signed(&server, json!({ "ship": {} })), &ports(&[("shop/identity", KEY)])).await;
    tool(&catalogue, "shop/ship").call(&context("acme"), &json!({ "order": "A-1" })).await.expect("it is shipped");
    let token = token_of(&server.last("tools/call"));
    assert!(verified(&token, &shared_key(KEY), Algorithm::HS256, "shop").is_ok());
    assert!(verified(&token, &shared_key(KEY), Algorithm::HS256, "bank").is_err(), "it is for another server");
    assert!(verified(&token, &shared_key(OTHER_KEY), Algorithm::HS256, "shop").is_err(), "another key");
    let mut parts: Vec<&str> = token.split('.').collect();
    let globex =
        base64(&json!({ "iss": "windlass", "aud": "shop", "sub": "ada", "tenant": "globex", "exp": u32::MAX }));
    parts[1] = &globex;
    assert!(verified(&parts.join("."), &shared_key(KEY), Algorithm::HS256, "shop").is_err(), "another tenant");
    // Signed by a worker whose clock stood at 2026-01-09: ended long ago.
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
    let old = Ports { clock, ..ports(&[("shop/identity", KEY)]) };
    let catalogue = support::catalogue(&signed(&server, json!({ "ship": {} })), &old).await;
    let refused = tool(&catalogue, "shop/ship").call(&context("acme"), &json!({ "order": "A-1" })).await;
    assert!(matches!(refused, Err(ToolError::Unavailable { .. })), "{refused:?}");
    assert!(verified(&token_of(&server.last("tools/call")), &shared_key(KEY), Algorithm::HS256, "shop").is_err());
}

fn base64(value: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn a_server_may_verify_with_a_public_key_alone() {
    let server = FalseServer::start(|request, _| sound(request)).await;
    let catalogue = catalogue(&signed(&server, json!({ "ship": {} })), &ports(&[("shop/identity", PRIVATE)])).await;
    tool(&catalogue, "shop/ship").call(&context("acme"), &json!({ "order": "A-1" })).await.expect("it is shipped");
    let key = DecodingKey::from_ed_pem(PUBLIC.as_bytes()).expect("a public key");
    let token = verified(&token_of(&server.last("tools/call")), &key, Algorithm::EdDSA, "shop").expect("it is good");
    assert_eq!(token.claims["tenant"], "acme");
    let (iat, exp) = (token.claims["iat"].as_i64().unwrap_or(0), token.claims["exp"].as_i64().unwrap_or(0));
    assert_eq!(exp - iat, 80, "as long as the call may take and a minute");
}

#[tokio::test]
async fn each_tenants_calls_have_its_own_token_and_session_and_lists_have_one_of_their_own() {
    let server = FalseServer::start(|request, _| sound(request)).await;
    let mut configuration = server.configuration(json!({ "ship": {} }));
    configuration[0]["auth_secret"] = json!("shop/{tenant}");
    configuration[0]["list_secret"] = json!("shop/lists");
    let ports =
        ports(&[("shop/acme", "acme-token\n"), ("shop/globex", "globex-token"), ("shop/lists", "list-token\r\n")]);
    let catalogue = catalogue(&configuration, &ports).await;
    let ship = tool(&catalogue, "shop/ship");
    for tenant in ["acme", "globex"] {
        ship.call(&context(tenant), &json!({ "order": "A-1" })).await.expect("it is shipped");
        let bearer = format!("Bearer {tenant}-token");
        assert_eq!(server.last("tools/call").header("authorization"), Some(bearer.as_str()));
        assert_eq!(server.last("initialize").header("authorization"), Some(bearer.as_str()));
    }
    assert_eq!(server.last("tools/list").header("authorization"), Some("Bearer list-token"));
    assert_eq!(server.count("initialize"), 3);
}

#[tokio::test]
async fn a_tenant_without_a_token_makes_no_call_and_is_told_which_secret_is_missing() {
    let server = FalseServer::start(|request, _| sound(request)).await;
    let mut configuration = server.configuration(json!({ "ship": {} }));
    configuration[0]["auth_secret"] = json!("shop/{tenant}");
    let catalogue = catalogue(&configuration, &ports(&[("shop/acme", "acme-token")])).await;
    let ship = tool(&catalogue, "shop/ship");
    assert_eq!(ship.ready(&context("acme")).await, Ok(()));
    let not_now = ship.ready(&context("initech")).await.expect_err("there is no token");
    assert!(not_now.reason.contains("secret `shop/initech` does not exist"), "{not_now}");
    let strange = ship.ready(&context("acme/../globex")).await.expect_err("that is no name of a secret");
    assert!(strange.reason.contains("cannot be in the name of a secret"), "{strange}");
    let not_made = ship.call(&context("initech"), &json!({ "order": "A-1" })).await;
    assert!(matches!(not_made, Err(ToolError::Unavailable { .. })), "{not_made:?}");
    assert_eq!(server.count("tools/call"), 0);
}

#[tokio::test]
async fn a_token_that_is_none_names_its_secret_and_not_its_text() {
    let server = FalseServer::start(|request, _| sound(request)).await;
    for (text, fine) in [("tok\n", true), ("tok\r\n", true), ("hun\nter2", false)] {
        let mut configuration = server.configuration(json!({ "ship": {} }));
        configuration[0]["auth_secret"] = json!("shop/token");
        let catalogue = catalogue(&configuration, &ports(&[("shop/token", text)])).await;
        match catalogue.away().next() {
            None => assert!(fine && server.last("tools/list").header("authorization") == Some("Bearer tok")),
            Some((_, reason)) => {
                assert!(!fine && reason.contains("`shop/token`") && !reason.contains("ter2"), "{reason}");
            }
        }
    }
}

#[tokio::test]
async fn an_argument_that_is_bound_to_the_tenant_cannot_be_anything_else() {
    let server = FalseServer::start(|request, _| sound(request)).await;
    let bound = json!({ "ship": { "bind": { "/order": "tenant" } } });
    let ship = tool(&catalogue(&server.configuration(bound), &ports(&[])).await, "shop/ship");
    let context = context("acme");
    assert_eq!(ship.check_for(&context, &json!({ "order": "acme" })), Ok(()));
    let problem = ship.check_for(&context, &json!({ "order": "globex" })).expect_err("it is another tenant");
    assert!(problem.contains("`/order` must be `acme`"), "{problem}");
    assert!(ship.check_for(&context, &json!({})).is_err());
    let refused = ship.call(&context, &json!({ "order": "globex" })).await;
    assert!(matches!(refused, Err(ToolError::Refused { .. })), "{refused:?}");
    assert_eq!(server.count("tools/call"), 0);
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again_and_its_tools_are_there() {
    let (clock, gone) = (Arc::new(ManualClock::at(windlass::clock::SystemClock.now())), Arc::new(()));
    let up = Arc::clone(&gone);
    let server = FalseServer::start(move |request, _| match Arc::strong_count(&up) {
        1 => sound(request),
        _ => http("502 Bad Gateway", "text/html", "<p>no</p>"),
    })
    .await;
    let ports = Ports { clock: clock.clone(), ..ports(&[]) };
    let mut catalogue = catalogue(&server.configuration(json!({ "ship": {} })), &ports).await;
    assert_eq!(catalogue.away().count(), 1);
    drop(gone);
    use windlass_mcp::catalogue::Asked;
    assert_eq!(catalogue.ask_again().await, Asked::Unchanged, "it was asked a moment ago");
    clock.advance(Duration::from_secs(15));
    assert_eq!(catalogue.ask_again().await, Asked::Changed);
    assert_eq!(catalogue.away().count(), 0);
    assert_eq!(tool(&catalogue, "shop/ship").ready(&context("acme")).await, Ok(()));
    assert_eq!(catalogue.ask_again().await, Asked::Unchanged);
}
