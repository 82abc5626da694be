use serde_json::json;

use super::*;
use crate::{
    approval::{Action, Subject},
    principal::Decisions,
};

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);

fn secret(text: &str) -> SecretString {
    text.into()
}

fn key(byte: u8) -> String {
    STANDARD.encode([byte; KEY_BYTES_MIN])
}

fn keys(current: &str, all: &[(&str, u8)]) -> ApprovalKeys {
    let all: BTreeMap<&str, String> = all.iter().map(|(id, byte)| (*id, key(*byte))).collect();
    ApprovalKeys::parse(&secret(&json!({"current": current, "keys": all}).to_string())).expect("they are keys")
}

fn request(id: &str, cents: u64) -> ApprovalRequest {
    let action =
        Action { tenant: tenant("acme"), tool: "refund".parse().expect("a tool"), arguments: json!({"cents": cents}) };
    ApprovalRequest {
        id: id.parse().expect("an approval id"),
        subject: Subject::Permission,
        digest: action.digest(),
        action,
        role: "finance".parse().expect("a role"),
        reason: "large".to_owned(),
        evidence: None,
        requested_at: NOW,
        expires_at: NOW + Duration::from_secs(600),
        remind_at: None,
        escalate_to: None,
    }
}

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

fn fin_of(tenant: &str) -> Principal {
    somebody("fin", tenant)
}

fn somebody(actor: &str, of: &str) -> Principal {
    let actor = actor.parse().expect("an actor");
    Principal { tenant: tenant(of), actor, person: None, roles: [].into(), decisions: Decisions::OfSubjects }
}

const ID: &str = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1";

#[test]
fn a_token_is_good_for_what_it_was_issued_for() {
    let (keys, request) = (keys("k1", &[("k1", 7)]), request(ID, 100));
    let token = keys.issue(&request, &fin_of("acme"), NOW);
    assert!(token.to_string().len() <= 100, "{token}");
    let read: Token = token.to_string().parse().expect("it was just written");
    assert_eq!(keys.verify(&read, &request, &fin_of("acme"), NOW), Ok(()));
}

#[test]
fn a_token_is_good_for_nothing_else() {
    let (keys, asked) = (keys("k1", &[("k1", 7)]), request(ID, 100));
    let token = keys.issue(&asked, &fin_of("acme"), NOW);
    let verify = |request: &ApprovalRequest, of: &str| keys.verify(&token, request, &fin_of(of), NOW);
    assert_eq!(verify(&request(ID, 101), "acme"), Err(TokenError::Altered), "another action");
    assert_eq!(
        verify(&request("01JHD7Z3ZK8V6N5Q4R3S2T1W0X-2-1", 100), "acme"),
        Err(TokenError::Altered),
        "another call"
    );
    assert_eq!(
        verify(&request("01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-2", 100), "acme"),
        Err(TokenError::Altered),
        "another round"
    );
    assert_eq!(
        verify(&request("01JHD7Z3ZK8V6N5Q4R3S2T1W0Y-1-1", 100), "acme"),
        Err(TokenError::Altered),
        "another run"
    );
    assert_eq!(verify(&asked, "other"), Err(TokenError::Altered), "another tenant");
    let another = keys.verify(&token, &asked, &somebody("fay", "acme"), NOW);
    assert_eq!(another, Err(TokenError::Altered), "another approver");
}

#[test]
fn no_altered_character_goes_unnoticed() {
    let (keys, request) = (keys("k1", &[("k1", 7), ("k2", 8)]), request(ID, 100));
    let text = keys.issue(&request, &fin_of("acme"), NOW).to_string();
    for place in 0..text.len() {
        for other in ["A", "b", "2", "9", "-", "."] {
            let mut altered = text.clone();
            altered.replace_range(place..=place, other);
            let good = altered.parse::<Token>().map(|token| keys.verify(&token, &request, &fin_of("acme"), NOW));
            assert!(altered == text || !matches!(good, Ok(Ok(()))), "{altered}");
        }
    }
}

#[test]
fn a_token_expires_with_its_question_or_after_an_hour() {
    let keys = keys("k1", &[("k1", 7)]);
    let short = request(ID, 100);
    let long = ApprovalRequest { expires_at: NOW + Duration::from_secs(86_400), ..short.clone() };
    for (request, last) in [(short, 600), (long, TOKEN_VALID_FOR.as_secs())] {
        let token = keys.issue(&request, &fin_of("acme"), NOW);
        let at = NOW + Duration::from_secs(last);
        let before = at - Duration::from_millis(1);
        assert_eq!(keys.verify(&token, &request, &fin_of("acme"), before), Ok(()));
        assert_eq!(keys.verify(&token, &request, &fin_of("acme"), at), Err(TokenError::Expired { at }));
    }
}

#[test]
fn an_old_key_verifies_until_it_is_taken_out() {
    let request = request(ID, 100);
    let token = keys("k1", &[("k1", 7)]).issue(&request, &fin_of("acme"), NOW);
    let verify = |keys: ApprovalKeys| keys.verify(&token, &request, &fin_of("acme"), NOW);
    assert_eq!(verify(keys("k2", &[("k1", 7), ("k2", 8)])), Ok(()));
    assert_eq!(verify(keys("k2", &[("k2", 8)])), Err(TokenError::UnknownKey));
    assert_eq!(verify(keys("k1", &[("k1", 9)])), Err(TokenError::Altered), "the id was used again for another key");
}

#[test]
fn what_is_not_a_token_is_malformed() {
    let (keys, request) = (keys("k1", &[("k1", 7)]), request(ID, 100));
    let good = keys.issue(&request, &fin_of("acme"), NOW).to_string();
    let mac = good.rsplit('.').next().expect("its last part");
    for bad in [
        String::new(),
        "v1".to_owned(),
        good.replacen("v1", "v2", 1),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        good.trim_end_matches(mac).to_owned(),
        format!("v1.k1.01768000600.{mac}"),
        format!("v1.k1.+1768000600.{mac}"),
        format!("v1..1768000600.{mac}"),
        format!("v1.k#1.1768000600.{mac}"),
        format!("v1.{}.1768000600.{mac}", "k".repeat(33)),
        "x".repeat(1_000_000),
    ] {
        assert_eq!(bad.parse::<Token>().err(), Some(TokenError::Malformed), "{bad:.80}");
    }
}

#[test]
fn a_malformed_secret_is_described_and_never_quoted() {
    let hunter = STANDARD.encode("hunter2hunter2hunter2hunter2hunter2");
    for (text, says) in [
        ("hunter2".to_owned(), "line 1, column"),
        (format!(r#"{{"current":"{hunter}"}}"#), "not JSON of the form"),
        (format!(r#"{{"current":"k","keys":{{}},"{hunter}":1}}"#), "not JSON of the form"),
        (r#"{"current":"k","keys":{"k":["hunter2"]}}"#.to_owned(), "not JSON of the form"),
        (format!(r#"{{"current":"{hunter}","keys":{{"k":"{hunter}"}}}}"#), "`current` names none"),
        (r#"{"current":"k","keys":{"k":"hunter2!"}}"#.to_owned(), "key 1: it is not base64"),
        (r#"{"current":"k","keys":{"k":"aHVudGVyMg=="}}"#.to_owned(), "key 1: it has 7 bytes; at least 32"),
        (format!(r#"{{"current":"k","keys":{{"hunter2 ":"{hunter}"}}}}"#), "key 1: its id"),
        (format!(r#"{{"current":"k","keys":{{"k":"{hunter}","k2":""}}}}"#), "key 2: it has 0 bytes"),
    ] {
        let error = ApprovalKeys::parse(&secret(&text)).expect_err(&text).to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains("hunter2") && !error.contains(&hunter), "{error}");
    }
    let many: BTreeMap<String, String> = (0..=KEYS_MAX).map(|n| (format!("k{n}"), key(1))).collect();
    let many = secret(&json!({"current": "k0", "keys": many}).to_string());
    assert_eq!(ApprovalKeys::parse(&many).err(), Some(InvalidKeys::TooMany { count: KEYS_MAX + 1 }));
}

#[test]
fn neither_keys_nor_tokens_print_what_they_hold() {
    let keys = keys("k1", &[("k1", b'A')]);
    let token = keys.issue(&request(ID, 100), &fin_of("acme"), NOW);
    let mac = token.to_string().rsplit('.').next().expect("its last part").to_owned();
    let printed = format!("{keys:?} {token:?}");
    assert!(!printed.contains(&key(b'A')) && !printed.contains("AAAA") && !printed.contains(&mac), "{printed}");
    assert!(!printed.contains("65"), "{printed}");
}
