//! The attack table: what is sent, what it is answered with, and that nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scene::Scene;

/// One request that must not come in.
struct Row {
    /// What it tries.
    what: &'static str,
    /// Whose token it bears.
    who: &'static str,
    /// The request line, without the version.
    line: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Body,
    /// The status, and what refuses: a problem's type, `gateway`, or `wire`.
    wants: (u16, &'static str),
}

enum Body {
    None,
    /// As JSON, with its content type.
    Json(&'static str),
    /// As it stands.
    Bytes(&'static [u8]),
    /// JSON with so many bytes of text in the payload.
    Large(usize),
    /// JSON with a payload of so many arrays in each other.
    Deep(usize),
}

use Body::{Bytes, Deep, Json, Large, None as No};

const JSON: &[(&str, &str)] = &[("content-type", "application/json"), ("idempotency-key", "attack")];
const SHOW: &str = "GET /runs/{run}";
const START: &str = "POST /runs";
const DECIDE: &str = "POST /approvals/{approval}";
const EVE: &str = "eve, who is everything elsewhere";
const GOOD_RUN: Body = Json(r#"{"task":"refund","payload":{"order":"A-1001","amount_cents":100}}"#);
const YES: Body = Json(r#"{"decision":"approved","token":"{token}"}"#);

const fn row(
    what: &'static str,
    who: &'static str,
    line: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Body,
    wants: (u16, &'static str),
) -> Row {
    Row { what, who, line, headers, body, wants }
}

/// Tokens that do not count, on a route that would show them somebody's run.
const TOKENS: &[(&str, &str)] = &[
    ("nobody", "gateway"),
    ("empty", "gateway"),
    ("not a JWT", "gateway"),
    ("wrong issuer", "gateway"),
    ("wrong audience", "gateway"),
    ("audience in the client's id only", "gateway"),
    ("no audience", "gateway"),
    ("expired", "gateway"),
    ("no expiry", "gateway"),
    ("expiry as text", "gateway"),
    ("not yet valid", "gateway"),
    ("issued later", "gateway"),
    ("another key", "gateway"),
    ("alg none", "gateway"),
    ("alg NoNe with a signature", "gateway"),
    ("alg HS256, keyed with the public key", "gateway"),
    ("alg HS256, keyed with the key set", "gateway"),
    ("a key of its own in the header", "gateway"),
    ("a key id that is a path", "gateway"),
    ("altered claims", "gateway"),
    ("cut signature", "gateway"),
    ("no signature", "gateway"),
    ("no tenant", "unauthenticated"),
    ("a tenant that is a list", "unauthenticated"),
    ("a tenant with a key separator", "unauthenticated"),
    ("no subject", "unauthenticated"),
    ("a subject with a line break", "unauthenticated"),
];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Who may what.
    row("a colleague's run", "bob, a colleague", SHOW, &[], No, (404, "not-found")),
    row("a colleague's journal", "bob, a colleague", "GET /runs/{run}/journal", &[], No, (404, "not-found")),
    row("ending a colleague's run", "bob, a colleague", "POST /runs/{run}/cancel", &[], No, (404, "not-found")),
    row("ending a run as an approver", "fin", "POST /runs/{run}/cancel", &[], No, (403, "forbidden")),
    row("deciding about one's own request", "ada", DECIDE, JSON, YES, (403, "forbidden")),
    row("deciding without the role", "clerk, who approves other things", DECIDE, JSON, YES, (403, "forbidden")),
    row("deciding as an operator", "ops", DECIDE, JSON, YES, (403, "forbidden")),
    row("deciding as a colleague", "bob, a colleague", DECIDE, JSON, YES, (403, "forbidden")),
    row("somebody else's approval token", "fay, who approves for finance too", DECIDE, JSON, YES, (403, "token-refused")),
    row("a cursor that is none", "fin", "GET /approvals?after=x", &[], No, (400, "malformed-request")),
    row("a cursor twice", "fin", "GET /approvals?after=1-01JHD7Z3ZK8V6N5Q4R3S2T1W0X&after=1-01JHD7Z3ZK8V6N5Q4R3S2T1W0X", &[], No, (400, "malformed-request")),
    row("a page of everything", "fin", "GET /approvals?limit=10000", &[], No, (400, "malformed-request")),
    // Roles that are none.
    row("roles that are an object", "roles that are an object", SHOW, &[], No, (403, "forbidden")),
    row("roles that break out of their list", "roles that break out of their list", SHOW, &[], No, (404, "not-found")),
    row("a group whose name ends in the role", "a group `not finance`", DECIDE, JSON, YES, (403, "forbidden")),
    row("a group whose name begins with the role", "a group `finance readers`", DECIDE, JSON, YES, (403, "forbidden")),
    row("a list that is text", "roles `finance, audit`", DECIDE, JSON, YES, (403, "forbidden")),
    row("a list in brackets that is text", "roles `[finance]`", DECIDE, JSON, YES, (403, "forbidden")),
    // Another tenant's ids.
    row("another tenant's run", EVE, SHOW, &[], No, (404, "not-found")),
    row("another tenant's journal", EVE, "GET /runs/{run}/journal", &[], No, (404, "not-found")),
    row("ending another tenant's run", EVE, "POST /runs/{run}/cancel", &[], No, (404, "not-found")),
    row("another tenant's approval", EVE, "GET /approvals/{approval}", &[], No, (404, "not-found")),
    row("deciding for another tenant, with its token", EVE, DECIDE, JSON, YES, (404, "not-found")),
    row("the same name at another tenant", "ada of another tenant", SHOW, &[], No, (404, "not-found")),
    row("a tenant in the body", EVE, START, JSON, Json(r#"{"task":"refund","payload":{},"tenant":"acme"}"#), (400, "malformed-request")),
    row("an actor in the body", EVE, START, JSON, Json(r#"{"task":"refund","payload":{},"actor":"ada"}"#), (400, "malformed-request")),
    row("a tenant in the query", EVE, "GET /runs/{run}?tenant=acme&actor=ada", &[], No, (404, "not-found")),
    row("a run of nobody", "ops", "GET /runs/01JHD7Z3ZK8V6N5Q4R3S2T1W0X", &[], No, (404, "not-found")),
    // Claims from outside.
    row("a tenant in a header", EVE, SHOW, &[("x-tenant", "acme"), ("tenant", "acme"), ("x-actor", "ada")], No, (404, "not-found")),
    row("claims in a header", EVE, SHOW, &[("x-amzn-oidc-data", "{good}"), ("x-amzn-oidc-identity", "ada")], No, (404, "not-found")),
    row("an authorizer's context in a header", EVE, SHOW, &[("x-amzn-request-context", r#"{"authorizer":{"jwt":{"claims":{"tenant":"acme"}}}}"#)], No, (404, "not-found")),
    row("a Lambda client context", "nobody", SHOW, &[("lambda-runtime-client-context", "{}"), ("x-apigateway-event", r#"{"requestContext":{}}"#)], No, (401, "gateway")),
    row("addresses of the inside", "nobody", SHOW, &[("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1"), ("forwarded", "for=127.0.0.1"), ("via", "1.1 inside")], No, (401, "gateway")),
    row("another path by a header", "nobody", "GET /health?x", &[("x-original-url", "/runs/{run}"), ("x-rewrite-url", "/runs/{run}")], No, (200, "wire")),
    row("a token in the query", "nobody", "GET /runs/{run}?access_token={good}&authorization={good}", &[], No, (401, "gateway")),
    row("a token in a cookie", "nobody", SHOW, &[("cookie", "authorization={good}")], No, (401, "gateway")),
    row("a token behind another scheme", "nobody", SHOW, &[("authorization", "Basic {good}")], No, (401, "gateway")),
    row("a token twice", "nobody", SHOW, &[("authorization", "{good}"), ("authorization", "{good}")], No, (401, "gateway")),
    row("a bad token before a good one", "nobody", SHOW, &[("authorization", "Bearer x"), ("authorization", "{good}")], No, (401, "gateway")),
    row("two tokens in one header", "nobody", SHOW, &[("authorization", "Bearer x, {good}")], No, (401, "gateway")),
    row("two keys", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")], GOOD_RUN, (400, "invalid-idempotency-key")),
    row("two quoted keys", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "\"a\""), ("idempotency-key", "\"b\"")], GOOD_RUN, (400, "invalid-idempotency-key")),
    row("no key", "ada", START, &[("content-type", "application/json")], GOOD_RUN, (400, "invalid-idempotency-key")),
    row("a key that is not ASCII", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "schlüssel")], GOOD_RUN, (400, "invalid-idempotency-key")),
    row("a key with a tab", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "a\tb")], GOOD_RUN, (400, "invalid-idempotency-key")),
    row("the victim's key for something else", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "victim")], GOOD_RUN, (422, "idempotency-key-reused")),
    // Bodies.
    row("a body of 64 KB and a bit", "ada", START, JSON, Large(66_000), (413, "too-large")),
    row("a body of a megabyte", "ada", START, JSON, Large(1_000_000), (413, "too-large")),
    row("a body of more than the gateway takes", "ada", START, JSON, Large(10_500_000), (413, "gateway")),
    row("nesting beyond what is taken", "ada", START, JSON, Deep(60), (400, "malformed-request")),
    row("nesting beyond what is read", "ada", START, JSON, Deep(30_000), (400, "malformed-request")),
    row("no body", "ada", START, JSON, No, (400, "malformed-request")),
    row("a form", "ada", START, &[("content-type", "application/x-www-form-urlencoded"), ("idempotency-key", "k")], Bytes(b"task=refund"), (415, "unsupported-media-type")),
    row("JSON under two types", "ada", START, &[("content-type", "application/json"), ("content-type", "text/plain"), ("idempotency-key", "k")], GOOD_RUN, (415, "unsupported-media-type")),
    row("a compressed body", "ada", START, &[("content-type", "application/json"), ("content-encoding", "gzip"), ("idempotency-key", "k")], Bytes(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]), (400, "malformed-request")),
    row("bytes that are not UTF-8", "ada", START, JSON, Bytes(b"{\"task\":\"refund\",\"payload\":{\"a\":\"\xff\xfe\"}}"), (400, "malformed-request")),
    row("overlong UTF-8", "ada", START, JSON, Bytes(b"{\"task\":\"refund\",\"payload\":{\"a\":\"\xc0\xaf\"}}"), (400, "malformed-request")),
    row("half a surrogate pair", "ada", START, JSON, Json(r#"{"task":"refund","payload":{"a":"\ud800"}}"#), (400, "malformed-request")),
    row("UTF-16", "ada", START, JSON, Bytes(b"\xff\xfe{\0}\0"), (400, "malformed-request")),
    row("a byte order mark", "ada", START, JSON, Bytes(b"\xef\xbb\xbf{\"task\":\"refund\",\"payload\":{}}"), (400, "malformed-request")),
    row("a NUL byte", "ada", START, JSON, Bytes(b"{\"task\":\"refund\",\"payload\":{\"a\":\"\0\"}}"), (400, "malformed-request")),
    row("a NUL in a name", "ada", START, JSON, Json(r#"{"task":"re\u0000fund","payload":{}}"#), (400, "malformed-request")),
    row("a name with a key separator", "ada", START, JSON, Json(r#"{"task":"refund#x","payload":{}}"#), (400, "malformed-request")),
    row("a field twice", "ada", START, JSON, Json(r#"{"task":"refund","task":"other","payload":{}}"#), (400, "malformed-request")),
    row("a prototype", "ada", START, JSON, Json(r#"{"task":"refund","payload":{},"__proto__":{"role":"operator"}}"#), (400, "malformed-request")),
    row("a number without end", "ada", START, JSON, Json(r#"{"task":"refund","payload":{"amount_cents":1e999}}"#), (400, "malformed-request")),
    row("two documents", "ada", START, JSON, Json(r#"{"task":"refund","payload":{}}{"task":"refund","payload":{}}"#), (400, "malformed-request")),
    row("a payload that is no object", "ada", START, JSON, Json(r#"{"task":"refund","payload":[1]}"#), (400, "malformed-request")),
    row("a decision without a token", "fin", DECIDE, JSON, Json(r#"{"decision":"approved"}"#), (400, "malformed-request")),
    row("a decision with an altered token", "fin", DECIDE, JSON, Json(r#"{"decision":"approved","token":"{token}x"}"#), (400, "malformed-request")),
    row("a decision that names who decides", "fin", DECIDE, JSON, Json(r#"{"decision":"approved","token":"{token}","by":"ops"}"#), (400, "malformed-request")),
    // Paths and methods.
    row("a NUL in the path", "ops", "GET /runs/%00", &[], No, (400, "invalid-id")),
    row("a NUL behind an id", "ops", "GET /runs/{run}%00", &[], No, (400, "invalid-id")),
    row("bytes in the path that are not UTF-8", "ops", "GET /runs/%FF%FE", &[], No, (400, "invalid-id")),
    row("overlong dots", "ops", "GET /runs/%C0%AE%C0%AE%C0%AF", &[], No, (400, "invalid-id")),
    row("dots", "ops", "GET /runs/..%2f..%2fhealth", &[], No, (400, "invalid-id")),
    row("bare dots", "nobody", "GET /health/../runs/{run}", &[], No, (404, "gateway")),
    row("an id in another case", "ops", "GET /runs/01jhd7z3zk8v6n5q4r3s2t1w0x", &[], No, (400, "invalid-id")),
    row("an encoded id", "ops", "GET /runs/%30%31JHD7Z3ZK8V6N5Q4R3S2T1W0X", &[], No, (400, "invalid-id")),
    row("a double encoded slash", "ops", "GET /runs/{run}%252fjournal", &[], No, (400, "invalid-id")),
    row("a parameter of the path", "nobody", "GET /runs/{run};x=1", &[], No, (401, "gateway")),
    row("two slashes", "nobody", "GET //runs/{run}", &[], No, (401, "gateway")),
    row("another case", "nobody", "GET /RUNS/{run}", &[], No, (404, "gateway")),
    row("a key in the place of an approval", "fin", "GET /approvals/{run}", &[], No, (400, "invalid-id")),
    row("an approval of another round", "fin", "GET /approvals/{approval}0", &[], No, (404, "not-found")),
    row("a page before the first", "ops", "GET /runs/{run}/journal?from=0", &[], No, (400, "malformed-request")),
    row("a page that is no number", "ops", "GET /runs/{run}/journal?from=1&from=2", &[], No, (400, "malformed-request")),
    row("another method by a header", "ops", SHOW, &[("x-http-method-override", "DELETE")], No, (200, "wire")),
    row("a decision by GET", "fin", "GET /approvals/{approval}?decision=approved&token={token}&_method=POST", &[], No, (200, "wire")),
    row("a method that no route has", "ops", "DELETE /runs/{run}", &[], No, (404, "gateway")),
    row("a method in small letters", "ada", "post /runs", JSON, GOOD_RUN, (404, "gateway")),
    row("tracing", "ops", "TRACE /runs/{run}", &[], No, (404, "gateway")),
    row("the list that there is not", "ops", "GET /runs", &[], No, (404, "gateway")),
    row("a full address", "nobody", "GET http://127.0.0.1:1/runs/{run}", &[], No, (401, "gateway")),
    // The wire. Of a length and chunks only the chunks count, and what follows them is no second request.
    row("two lengths", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "k"), ("content-length", "5"), ("content-length", "6")], Bytes(b"{}{}{}"), (400, "wire")),
    row("a length and chunks", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "k"), ("content-length", "4"), ("transfer-encoding", "chunked")], Bytes(b"0\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n"), (400, "malformed-request")),
    row("chunks by another name", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "k"), ("transfer-encoding", "xchunked")], Bytes(b"0\r\n\r\n"), (400, "wire")),
    row("chunks twice", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "k"), ("transfer-encoding", "chunked, chunked")], Bytes(b"0\r\n\r\n"), (400, "malformed-request")),
    row("chunks of a bad size", "ada", START, &[("content-type", "application/json"), ("idempotency-key", "k"), ("transfer-encoding", "chunked")], Bytes(b"zz\r\n{}\r\n0\r\n\r\n"), (400, "gateway")),
    row("a length that is negative", "ada", START, &[("content-length", "-1")], No, (400, "wire")),
    row("a length with a plus", "ada", START, &[("content-length", "+2")], Bytes(b"{}"), (400, "wire")),
    row("a header with a blank before its colon", "ops", SHOW, &[("x-a ", "1")], No, (400, "wire")),
    row("a folded header", "ops", SHOW, &[("x-a", "1\r\n authorization: x")], No, (400, "wire")),
    row("a NUL in a header", "ops", SHOW, &[("x-a", "1\0")], No, (400, "wire")),
    row("a blank in the request line", "ops", "GET /runs/{run} x", &[], No, (400, "wire")),
    row("a line break in the path", "nobody", "GET /health%0d%0ax:%20y", &[], No, (404, "gateway")),
];

fn bytes(body: &Body, scene: &Scene) -> Vec<u8> {
    match body {
        No => Vec::new(),
        Json(text) => scene.fill(text).into_bytes(),
        Bytes(bytes) => bytes.to_vec(),
        Large(size) => format!(r#"{{"task":"refund","payload":{{"note":"{}"}}}}"#, "x".repeat(*size)).into_bytes(),
        Deep(depth) => format!(r#"{{"task":"refund","payload":{{"a":{}{}}}}}"#, "[".repeat(*depth), "]".repeat(*depth))
            .into_bytes(),
    }
}

/// The keys of what is not as it was.
fn changed(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_the_attack_table_comes_in_and_nothing_is_written() {
    let scene = Scene::start().await;
    let tokens = TOKENS.iter().map(|(who, by)| row(who, who, SHOW, &[], No, (401, by)));
    let tokens: Vec<Row> = tokens.collect();
    let (mut wrong, mut looks) = (Vec::new(), 0);
    let stored = scene.stored().await;
    for (number, row) in tokens.iter().chain(ROWS).enumerate() {
        let before = scene.written();
        let request = scene.request(row.who, row.line, row.headers, &bytes(&row.body, &scene));
        let answer = scene.send(&request).await;
        let (is, after) = ((answer.status, answer.refused_by()), scene.written());
        let (tokens, others) = (after.tokens - before.tokens, after.others - before.others);
        // A look, or a start, of somebody who is known takes a token. Whoever is not, and what the front refuses, takes none.
        let tokens_max = u64::from(!matches!(is, (401, _) | (_, "gateway")) && is != (400, "wire"));
        let changed = changed(&stored, &scene.stored().await);
        let as_wanted = is == row.wants && tokens <= tokens_max && others == 0 && changed.is_empty();
        looks += tokens;
        let (status, by) = is;
        println!("{:>3} {:<48} {:<40} {status} {by}, {tokens} tokens", number + 1, row.what, row.who);
        if !as_wanted {
            let written = format!("{tokens} tokens, {others} other writes, of {changed:?}");
            wrong.push(format!("{}: {is:?} instead of {:?}, {written}: {}", row.what, row.wants, answer.body));
        }
    }
    assert!(looks > 0, "the limits are on");
    let shown = scene.kit.run(&scene.names["run"]).await.body;
    println!("{} rows", tokens.len() + ROWS.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(shown["status"], "awaiting_approval", "the victim is as it was: {shown}");
    scene.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_another_tenant_or_actor_leads_to_a_run_of_ones_own() {
    let scene = Scene::start().await;
    let body = br#"{"task":"refund","payload":{"order":"A-1002","amount_cents":90000}}"#;
    let headers = [("content-type", "application/json"), ("idempotency-key", "victim")];
    for who in [EVE, "ada of another tenant", "bob, a colleague"] {
        let answer = scene.send(&scene.request(who, START, &headers, body)).await;
        assert_eq!(answer.status, 202, "{who}: {}", answer.body);
        assert_ne!(answer.body["run_id"].as_str(), Some(scene.names["run"].as_str()), "{who}");
    }
    let again = scene.send(&scene.request("ada", START, &headers, body)).await;
    assert_eq!(again.body["run_id"].as_str(), Some(scene.names["run"].as_str()));
    scene.shutdown().await;
}
