//! Secrets and personal data that must not show up anywhere. None of them opens anything or belongs to anybody; they are put
//! together here, so that no scanner of repositories takes them for real.

use serde_json::{Map, Value, json};

/// Each with the key that it is planted under.
pub fn planted() -> Vec<(&'static str, String)> {
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ";
    let jwt = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJhZGEifQ", "c2lnbmF0dXJlLXNpZ25hdHVyZQ"].join(".");
    let pem = |edge: &str| format!("-----{edge} RSA PRIVATE KEY-----");
    vec![
        ("a", format!("AKIA{}", "IOSFODNN7EXAMPLE")),
        ("b", format!("wJalrXUtnFEMI/K7MDENG/{}", "bPxRfiCYEXAMPLEKEY")),
        ("c", jwt),
        ("d", format!("Bearer {}", &letters[20..])),
        ("e", format!("{}\nMIIEowIBAAKC\n{}", pem("BEGIN"), pem("END"))),
        ("f", format!("sk-proj-{}", &letters[..30])),
        ("g", format!("sk-ant-api03-{}", &letters[..30])),
        ("h", format!("ghp_{}", &letters[..36])),
        ("i", format!("glpat-{}", &letters[..20])),
        ("j", format!("xoxb-123456789012-{}", &letters[..24])),
        ("k", format!("sk_live_{}", &letters[..24])),
        ("l", format!("AIza{}", &letters[..35])),
        ("m", "postgres://app:hunt-er-two@db.example.org/x".to_owned()),
        ("n", "4111 1111 1111 1111".to_owned()),
        ("o", "DE89 3704 0044 0532 0130 00".to_owned()),
        ("p", "grace.hopper@example.org".to_owned()),
        ("q", "+44 20 7946 0958".to_owned()),
        ("r", "078-05-1120".to_owned()),
        ("s", "203.0.113.77".to_owned()),
        ("t", "2001:db8:85a3::8a2e:370:7334".to_owned()),
        ("password", "correct-horse-battery".to_owned()),
        ("client_secret", "cs-open-sesame-please".to_owned()),
        ("session_id", "sess-open-sesame-please".to_owned()),
        ("cvv", "cvv-937".to_owned()),
        ("otp", "otp-551-204".to_owned()),
        ("dateOfBirth", "born-1906-12-09".to_owned()),
        ("passport_number", "X7654321".to_owned()),
        ("street", "221b Baker-Planted Street".to_owned()),
        ("lastName", "Planted-Surname".to_owned()),
        ("latitude", "51.523767-planted".to_owned()),
    ]
}

/// All that are known by their looks, in one sentence.
pub fn sentence() -> String {
    let all = planted();
    let by_looks: Vec<&str> = all.iter().filter(|(key, _)| key.len() == 1).map(|(_, value)| value.as_str()).collect();
    format!("see {} please", by_looks.join(" , "))
}

/// All of them as fields of an object, within a sentence, and as JSON within a text.
pub fn object() -> Map<String, Value> {
    let fields: Map<String, Value> = planted().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let text = format!("it said {}", json!(fields));
    let more = [("sentence", json!(sentence())), ("json", json!(json!(fields).to_string())), ("text", json!(text))];
    more.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(fields.clone()).collect()
}

/// The most part of a text that may be cut off, so that what is left still says it.
const TELLING: (usize, usize) = (2, 3);

/// Shorter ones are looked for whole.
const CUT_FROM_CHARS: usize = 12;

/// Which of them a text still says, written plainly or as JSON, or most of it.
pub fn found_in(text: &str) -> Vec<String> {
    let all = planted();
    let telling = all.iter().map(|(_, value)| value.trim_start_matches("Bearer ").to_owned());
    let telling = telling.chain(["hunt-er-two".to_owned(), "MIIEowIBAAKC".to_owned()]).map(most_of);
    telling.filter(|value| text.contains(value.as_str()) || text.contains(&value.replace('\n', "\\n"))).collect()
}

/// Of those, the ones that open something: what nobody is ever shown.
pub fn credentials_found_in(text: &str) -> Vec<String> {
    let personal =
        ["n", "o", "p", "q", "r", "s", "t", "dateOfBirth", "passport_number", "street", "lastName", "latitude"];
    let all = planted();
    let personal: Vec<String> =
        all.into_iter().filter(|(key, _)| personal.contains(key)).map(|(_, v)| most_of(v)).collect();
    found_in(text).into_iter().filter(|found| !personal.contains(found)).collect()
}

fn most_of(value: String) -> String {
    let chars = value.chars().count();
    if chars < CUT_FROM_CHARS { value } else { value.chars().take(chars * TELLING.0 / TELLING.1).collect() }
}
