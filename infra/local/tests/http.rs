//! The HTTP API and its authorizer.

mod support;

use std::time::Duration;

use serde_json::{Map, Value, json};
use support::{LIMIT, http, route, spec};
use windlass_local::{Authorization, Stack, StackSpec};

async fn start() -> Stack {
    let routes = vec![
        route("GET", "/open/{id}", Authorization::None),
        route("POST", "/open/{id}", Authorization::None),
        route("GET", "/runs/{id}", Authorization::Jwt),
    ];
    Stack::start(StackSpec { routes, ..spec() }).await.expect("the stack starts")
}

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

async fn post(stack: &Stack, body: Value) -> (u16, String) {
    let answer = http().post(format!("{}/open/1", stack.api_url())).json(&body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn a_token_opens_a_route_and_its_claims_are_passed_on_as_text() {
    let stack = start().await;
    let token = stack.issuer().token("ada", claims(json!({ "groups": ["admin", "ops"], "n": 7, "ok": true })), LIMIT);
    let request = http().get(format!("{}/runs/a%20b?x=1&x=2", stack.api_url())).bearer_auth(token);
    let answer = request.header("cookie", "a=1; b=2").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("apigw-requestid"));
    let event: Value = answer.json().await.expect("JSON");
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["routeKey"], "GET /runs/{id}");
    assert_eq!(event["pathParameters"], json!({ "id": "a b" }));
    assert_eq!(event["queryStringParameters"], json!({ "x": "1,2" }));
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(event["requestContext"]["stage"], "$default");
    let jwt = &event["requestContext"]["authorizer"]["jwt"];
    assert_eq!(jwt["scopes"], Value::Null);
    assert_eq!(jwt["claims"]["sub"], "ada");
    assert_eq!(jwt["claims"]["groups"], "[admin ops]");
    assert_eq!(jwt["claims"]["n"], "7");
    assert_eq!(jwt["claims"]["ok"], "true");
    assert_eq!(jwt["claims"]["iss"], stack.api_url());
    stack.shutdown().await;
}

#[tokio::test]
async fn no_other_token_opens_a_route() {
    let stack = start().await;
    let signed = |extra: Value| stack.issuer().token("ada", claims(extra), LIMIT);
    let good = signed(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |value: Value| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, value.to_string());
    let payload = json!({ "iss": stack.api_url(), "aud": "kit", "sub": "eve", "exp": 4_000_000_000u64 });
    let foreign = Stack::start(spec()).await.expect("another stack");
    let from_another_key = foreign.issuer().token("eve", claims(json!({ "iss": stack.api_url() })), LIMIT);
    let none = encoded(json!({ "alg": "none", "typ": "JWT" }));
    let hmac = encoded(json!({ "alg": "HS256", "typ": "JWT" }));
    let tokens = [
        ("no token", None),
        ("an empty token", Some(String::new())),
        ("no JWT", Some("abc".into())),
        ("wrong issuer", Some(signed(json!({ "iss": "https://elsewhere" })))),
        ("wrong audience", Some(signed(json!({ "aud": "other" })))),
        ("no audience", Some(signed(json!({ "aud": null })))),
        ("expired", Some(signed(json!({ "exp": 1_000_000_000 })))),
        ("no expiry", Some(signed(json!({ "exp": null })))),
        ("not yet valid", Some(signed(json!({ "nbf": 4_000_000_000u64 })))),
        ("issued later", Some(signed(json!({ "iat": 4_000_000_000u64 })))),
        ("another key", Some(from_another_key)),
        ("alg none", Some(format!("{none}.{}.", encoded(payload.clone())))),
        ("alg none with a signature", Some(format!("{none}.{}.{}", parts[1], parts[2]))),
        ("another algorithm", Some(format!("{hmac}.{}.{}", parts[1], parts[2]))),
        ("altered claims", Some(format!("{}.{}.{}", parts[0], encoded(payload), parts[2]))),
        ("cut signature", Some(format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]))),
    ];
    for (what, token) in tokens {
        let request = http().get(format!("{}/runs/1", stack.api_url()));
        let request = match &token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{what}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{what}");
        assert_eq!(answer.text().await.expect("text"), r#"{"message":"Unauthorized"}"#, "{what}");
    }
    let basic = http().get(format!("{}/runs/1", stack.api_url())).header("authorization", format!("Basic {good}"));
    assert_eq!(basic.send().await.expect("an answer").status(), 401);
    let answer = http().get(format!("{}/runs/1", stack.api_url())).bearer_auth(good).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    foreign.shutdown().await;
    stack.shutdown().await;
}

#[tokio::test]
async fn a_remembered_token_expires_all_the_same() {
    let stack = start().await;
    let token = stack.issuer().token("ada", Map::new(), Duration::from_secs(2));
    let status = async || {
        let request = http().get(format!("{}/runs/1", stack.api_url())).bearer_auth(&token);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status().await, 200);
    support::eventually("the token expires", async || (status().await == 401).then_some(())).await;
    stack.shutdown().await;
}

#[tokio::test]
async fn what_no_route_matches_is_not_found() {
    let stack = start().await;
    for (method, path) in
        [("GET", "/"), ("GET", "/open"), ("GET", "/open/1/2"), ("DELETE", "/open/1"), ("POST", "/runs/1")]
    {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = http().request(method, format!("{}{path}", stack.api_url())).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.text().await.expect("text"), r#"{"message":"Not Found"}"#);
    }
    stack.shutdown().await;
}

#[tokio::test]
async fn a_response_is_passed_on_as_the_function_wrote_it() {
    let stack = start().await;
    let response = json!({ "statusCode": 201, "headers": { "X-Kit": "1" }, "cookies": ["a=1"], "body": "made" });
    let request = http().post(format!("{}/open/1", stack.api_url())).json(&json!({ "response": response }));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-kit"], "1");
    assert_eq!(answer.headers()["set-cookie"], "a=1");
    assert_eq!(answer.text().await.expect("text"), "made");
    assert_eq!(post(&stack, json!({ "response": { "a": 1 } })).await, (200, r#"{"a":1}"#.into()));
    stack.shutdown().await;
}

#[tokio::test]
async fn a_crash_and_a_malformed_response_are_internal_errors() {
    let stack = start().await;
    let failed = (500, r#"{"message":"Internal Server Error"}"#.to_owned());
    assert_eq!(post(&stack, json!({ "exit": 1 })).await, failed);
    assert_eq!(post(&stack, json!({ "response": { "statusCode": "teapot" } })).await, failed);
    stack.shutdown().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let stack = start().await;
    let body = "x".repeat(10 * 1024 * 1024 + 1);
    let answer = http().post(format!("{}/open/1", stack.api_url())).body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.text().await.expect("text"), r#"{"message":"Request Entity Too Large"}"#);
    stack.shutdown().await;
}

#[tokio::test]
async fn the_issuer_publishes_its_key() {
    let stack = start().await;
    let read =
        async |url: String| http().get(url).send().await.expect("an answer").json::<Value>().await.expect("JSON");
    let configuration = read(format!("{}/.well-known/openid-configuration", stack.api_url())).await;
    assert_eq!(configuration["issuer"], stack.api_url());
    let keys = read(configuration["jwks_uri"].as_str().expect("a URL").to_owned()).await;
    assert_eq!(keys["keys"][0]["kty"], "EC");
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert!(keys["keys"][0].get("d").is_none(), "the private part stays here");
    stack.shutdown().await;
}
