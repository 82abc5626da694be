use proptest::prelude::*;
use serde_json::json;

use super::*;

/// One planted text of each kind that is known by its looks, within a sentence. None of them opens anything. They are put together
/// here, so that no scanner of repositories takes them for real.
fn planted() -> Vec<(Kind, String)> {
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ";
    let digits = "0123456789abcdef0123456789abcdef";
    let jwt = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJhZGEifQ", "c2lnbmF0dXJlLXNpZ25hdHVyZQ"].join(".");
    let pem = |edge: &str| format!("-----{edge} RSA PRIVATE KEY-----");
    vec![
        (Kind::AwsAccessKey, format!("AKIA{}", "IOSFODNN7EXAMPLE")),
        (Kind::AwsSecretKey, format!("wJalrXUtnFEMI/K7MDENG/{}", "bPxRfiCYEXAMPLEKEY")),
        (Kind::Jwt, jwt),
        (Kind::Authorization, format!("Bearer {}", &letters[20..])),
        (Kind::PrivateKey, format!("{}\nMIIEow\nIBAAKC\n{}", pem("BEGIN"), pem("END"))),
        (Kind::OpenAiKey, format!("sk-proj-{}", &letters[..30])),
        (Kind::AnthropicKey, format!("sk-ant-api03-{}", &letters[..30])),
        (Kind::GitHubToken, format!("ghp_{}", &letters[..36])),
        (Kind::GitLabToken, format!("glpat-{}", &letters[..20])),
        (Kind::SlackToken, format!("xoxb-{}-{}", &digits[..12], &letters[..24])),
        (Kind::StripeKey, format!("sk_live_{}", &letters[..24])),
        (Kind::GoogleKey, format!("AIza{}", &letters[..35])),
        (Kind::SendGridKey, format!("SG.{}.{}", &letters[..22], &letters[..43])),
        (Kind::RegistryToken, format!("npm_{}", &letters[..36])),
        (Kind::UrlPassword, "postgres://app:hunt@er2@db.example.org/x".to_owned()),
        (Kind::Password, "password=hunter2-hunter2".to_owned()),
        (Kind::ApiKey, "\"api_key\": \"zzz-zzz-zzz\"".to_owned()),
        (Kind::Card, "4111 1111 1111 1111".to_owned()),
        (Kind::BankAccount, "DE89 3704 0044 0532 0130 00".to_owned()),
        (Kind::Email, "ada.lovelace@example.org".to_owned()),
        (Kind::Phone, "+44 20 7946 0958".to_owned()),
        (Kind::Phone, "(555) 010-4477".to_owned()),
        (Kind::NationalId, "078-05-1120".to_owned()),
        (Kind::IpAddress, "203.0.113.77".to_owned()),
        (Kind::IpAddress, "2001:db8:85a3::8a2e:370:7334".to_owned()),
    ]
}

#[test]
fn every_planted_text_goes_and_what_is_around_it_stays() {
    for (kind, text) in planted() {
        for around in [format!("see {text}, please"), format!("<{text}>"), text.clone(), format!("\"x\":\"{text}\"")] {
            let shown = Redaction::STRICT.text(&around).into_owned();
            assert!(shown.contains(&kind.mark()), "{kind:?}: {around} became {shown}");
            let secret = text.rsplit([' ', '=']).next().unwrap_or(&text);
            assert!(!shown.contains(secret), "{kind:?}: {shown}");
            assert_eq!(Redaction::STRICT.text(&shown), shown, "twice is once");
        }
        assert!(Redaction::STRICT.text(&format!("see {text}, please")).ends_with(", please"), "{kind:?}");
    }
}

#[test]
fn what_the_kit_itself_says_stays_as_it_is() {
    for text in [
        "01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
        "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "2026-01-09T23:06:40.123Z",
        "the lease was lost after 1500 ms in attempt 3 of 5 (refund, A-1001)",
        "1767999999999 and 1_000_000 and 0.0.0.0 and 127.0.0.1:4566 and ::1",
        "shared::run::advance at 10:11:12",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "basic information about the bearer of the letter",
        "cost_micro_usd=125 input_tokens=40 idempotency_key=01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3",
        "Your refund of 129900 cents for order A-1002 is on its way.",
        "windlass-runs in us-east-1, policy v2.1.0",
    ] {
        assert_eq!(Redaction::STRICT.text(text), text);
    }
}

#[test]
fn keys_say_what_goes_and_the_shape_stays() {
    let value = json!({
        "order": "A-1", "amount_cents": 1200, "password": "p", "card": { "number": 4_111_111_111_111_111_u64, "exp": "12/29" },
        "contacts": [{ "email": "a@example.org", "dateOfBirth": "1990-01-02" }], "has": { "token": true, "pin": null },
    });
    let shown = Redaction::STRICT.value(&value);
    let wanted = json!({
        "order": "A-1", "amount_cents": 1200, "password": "[redacted:password]",
        "card": { "number": "[redacted:card]", "exp": "[redacted:card]" },
        "contacts": [{ "email": "[redacted:email]", "dateOfBirth": "[redacted:birth-date]" }],
        "has": { "token": true, "pin": null },
    });
    assert_eq!(shown, wanted);
    assert_eq!(Redaction::STRICT.value(&shown), shown);
}

#[test]
fn what_is_cut_off_leaves_no_part_of_what_must_not_be_shown() {
    for (kind, text) in planted() {
        let whole = format!("see {text}, please");
        for chars_max in 0..whole.chars().count() {
            let shown = Redaction::STRICT.text(cut(&whole, chars_max)).into_owned();
            let marked = Redaction::STRICT.text(&whole).into_owned();
            assert!(marked.starts_with(&shown), "{kind:?} cut at {chars_max}: {shown}");
        }
        assert_eq!(cut(&whole, 10_000), whole);
    }
    assert_eq!(cut("äöü is no secret", 2), "äö");
}

#[test]
fn json_within_a_text_is_redacted_by_its_keys_too() {
    let whole = json!({ "text": r#"{"n":1,"person":{"lastName":"Hopper","street":["Main Street"]}}"# });
    let wanted = json!({
        "text": r#"{"n":1,"person":{"lastName":"[redacted:person-name]","street":["[redacted:postal-address]"]}}"#,
    });
    assert_eq!(Redaction::STRICT.value(&whole), wanted);
    assert_eq!(Redaction::STRICT.value(&wanted), wanted);
    let part =
        r#"it said {"lastName": "van Hopper", "town": "X"}, or \"street\":\"Main Street\", or lastName="Hopper""#;
    let wanted = r#"it said {"lastName": "[redacted:person-name]", "town": "X"}, or \"street\":\"[redacted:postal-address]\", or lastName="[redacted:person-name]""#;
    assert_eq!(Redaction::STRICT.text(part), wanted);
    assert_eq!(Redaction::STRICT.text(wanted), wanted);
    let innocent = json!({ "text": "[1, 2,  3]", "address": "street: unknown" });
    assert_eq!(Redaction::STRICT.value(&innocent)["text"], "[1, 2,  3]");
}

/// A journal of one call whose tool has a rule of its own: planned, asked for, and answered twice.
fn ruled() -> Vec<crate::run::entry::Entry> {
    let action = json!({ "tenant": "acme", "tool": "pay", "arguments": { "to": "blue", "cents": 1 } });
    let redaction = json!({ "arguments": ["/to"], "answer": ["/from/*"] });
    let call = json!({ "id": 1, "tool": "pay", "arguments": action["arguments"], "redaction": redaction });
    let usage = json!({ "input_tokens": 1, "output_tokens": 1, "cost_micro_usd": 1 });
    let value = json!({ "from": ["red"], "paid": 1 });
    let events = json!([
        { "event": "planned", "plan": { "kind": "call", "calls": [call] }, "usage": usage, "model": "m", "prompt_version": "1" },
        { "event": "approval_requested", "id": "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-1-1", "subject": "permission", "action": action,
          "digest": "d", "role": "finance", "reason": "r", "requested_at": "2026-01-09T23:06:40Z",
          "expires_at": "2026-01-10T23:06:40Z" },
        { "event": "tool_returned", "call": 1, "attempt": 1, "outcome": { "outcome": "succeeded", "value": value } },
        { "event": "answered_from_cache", "call": 1, "value": value, "given_at": "2026-01-09T23:06:40Z" },
    ]);
    let entry = |event: &serde_json::Value| json!({ "at": "2026-01-09T23:06:40Z", "writer": { "holder": 1 }, "release": "r1", "events": [event] });
    let events = events.as_array().expect("events").iter();
    events.map(|event| serde_json::from_value(entry(event)).expect("an entry")).collect()
}

#[test]
fn what_a_tools_own_rule_leaves_out_is_in_no_shown_journal_even_where_it_is_said_to_be_needed() {
    let needed = r#"{"tools":{"pay":{"arguments":["/to"],"answer":["/from/*"]}}}"#;
    for redactions in [Redactions::default(), Redactions::parse(needed).expect("it is one")] {
        let shown = redactions.entries(&ruled()).expect("each is an entry still");
        let text = serde_json::to_string(&shown).expect("it is JSON");
        assert!(!text.contains("blue") && !text.contains("red\""), "{text}");
        assert_eq!(text.matches(r#""to":"[redacted]","#).count() + text.matches(r#""to":"[redacted]"}"#).count(), 2);
        assert_eq!(text.matches(r#""from":["[redacted]"]"#).count(), 2, "{text}");
    }
}

#[test]
fn an_allowed_field_shows_personal_data_and_no_credential() {
    let key = planted()[0].1.clone();
    let value = json!({ "to": [{ "email": "a@example.org", "note": key }], "cc": "b@example.org" });
    let pointers = ["/to/*/email", "/to/*/note"].map(|text| text.parse().expect("a pointer"));
    let shown = Redaction::allowing(pointers).value(&value);
    let wanted = json!({
        "to": [{ "email": "a@example.org", "note": "[redacted:aws-access-key]" }], "cc": "[redacted:email]",
    });
    assert_eq!(shown, wanted);
    assert_eq!(Redaction::CREDENTIALS.value(&value)["cc"], "b@example.org");
    assert_eq!(Redaction::CREDENTIALS.value(&json!({ "password": "x" }))["password"], "[redacted:password]");
}

#[test]
fn there_are_more_than_twenty_kinds_and_their_words_differ() {
    let words: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(words.len(), Kind::ALL.len());
    assert!(words.len() >= 20);
}

#[test]
fn which_fields_are_needed_is_read_strictly() {
    assert!(Redactions::parse("{}").is_ok());
    assert!(Redactions::parse(r#"{"request":["/a"],"tools":{"refund":{"arguments":["/b/*"]}}}"#).is_ok());
    for bad in ["", "[]", r#"{"requests":[]}"#, r#"{"request":["a"]}"#, r#"{"tools":{"re#fund":{}}}"#] {
        assert!(Redactions::parse(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn redacting_twice_changes_nothing_more(text in any::<String>(), words in "[a-z:=@. \"0-9+\\[\\]-]{0,80}") {
        for text in [text, words] {
            let once = Redaction::STRICT.text(&text).into_owned();
            prop_assert_eq!(Redaction::STRICT.text(&once).into_owned(), once);
        }
    }

    #[test]
    fn redacting_what_is_planted_side_by_side_twice_changes_nothing_more(
        parts in prop::collection::vec((0_usize..25, "[ ,;:(<\"'/@.a1=+-]{0,2}"), 1..6),
    ) {
        let text: String = parts.iter().map(|(index, between)| planted()[*index].1.clone() + between).collect();
        let once = Redaction::STRICT.text(&text).into_owned();
        prop_assert_eq!(Redaction::STRICT.text(&once).into_owned(), once);
    }

    #[test]
    fn a_planted_text_goes_whatever_is_around_it(index in 0_usize..25, before in "[ ,;:(<\"']{0,3}", after in "[ ,;)>\"']{0,3}") {
        let (kind, text) = planted()[index].clone();
        let shown = Redaction::STRICT.text(&format!("x{before} {text}{after}")).into_owned();
        prop_assert!(shown.contains(&kind.mark()), "{} became {}", text, shown);
    }
}

/// A secret key whose last letter lets another one be glued to it.
fn secret_in_a_row() -> String {
    let secret = planted()[1].1.clone();
    secret[..secret.len() - 1].to_owned() + "/"
}

/// What makes rules look far: each was quadratic, or is what one would have been with.
fn hostile() -> Vec<(&'static str, String)> {
    let long = |part: &str| part.repeat(TEXT_BYTES / part.len());
    let halves = |first: &str, second: &str| {
        first.repeat(TEXT_BYTES / 2 / first.len()) + &second.repeat(TEXT_BYTES / 2 / second.len())
    };
    vec![
        ("words", long("a word ")),
        ("a:", long("a:")),
        ("A+", long("A+")),
        ("1-", long("1-")),
        ("a.", long("a.")),
        ("@", long("@")),
        ("a@", long("a@")),
        ("a@b.", long("a@b.")),
        ("brackets", long("([{<")),
        ("closing brackets", long("a)]}")),
        ("a long word", long("a")),
        ("a long word of digits", long("4")),
        ("mixed scripts", long("aяß漢1")),
        ("mixed words", long("я a漢-1:")),
        ("marks without an end", long("[redacted:")),
        ("marks", long("[redacted:email]")),
        ("percent", long("a%")),
        ("%40", long("a%40")),
        ("a.%40", halves("a.", "%40")),
        ("schemes without an end", halves("a.", "a")),
        ("schemes of one authority", halves("a.", "://") + &long(":x")),
        ("authorities", long("a://b:c ")),
        ("one authority", "a://b:".to_owned() + &long("c.")),
        ("a domain for many", "a.".repeat(120) + "@" + &long("b-")),
        ("tokens", long("eyJ-")),
        ("parts of tokens", long("eyJh.")),
        ("tokens of two parts", halves("eyJ-", "a-") + "." + &long("eyJ-")),
        ("bearers", long("bearer ")),
        ("bearers of words", long("bearer a-")),
        ("prefixes", long("sk-")),
        ("AKIA", long("AKIA-")),
        ("keys", long("pin:")),
        ("personal keys", long("dob:")),
        ("personal keys and digits", long("dob:1")),
        ("keys that nothing follows", long("a-a-pin\"\"\"\"")),
        ("keys of one value", "a-".repeat(15) + "pin" + &long("\"")),
        ("keys and blanks", long("pin ")),
        ("keys and lines", long("dob:\"\"\n\n")),
        ("keys in brackets", long("dob:[[[[")),
        ("quoted keys", long("\\\"dob\\\":\\\"")),
        ("cookies", long("cookie:x\n")),
        ("private keys", long("-----BEGIN A PRIVATE KEY-----")),
        ("labels", long("-----BEGIN ")),
        ("IBANs", long("AB12 ")),
        ("plus", long("+1 ")),
        ("numbers with blanks", long("1 ")),
        ("addresses", long("a@b.cc ")),
        ("numbers of cards", long("4111 1111 1111 1111 ")),
        ("IPv6", long("1:2:3:4:5:6:7:8:")),
        ("IPv4", long("1.2.3.")),
        ("octets", long("1:1.")),
        ("groups of an address that is none", long("g1:2:3:4:5:6:7:")),
        ("addresses in a row", long("1.2.3.4.")),
        ("short addresses in a row", long("1:2:3::")),
        ("colons", long(":")),
        ("pairs of colons", long("::0")),
        ("colons and dashes", long(":-")),
        ("names of keys", long("a=")),
        ("national numbers in a row", long("078-05-1120-")),
        ("telephone numbers in a row", long("555 010 4477 ")),
        ("telephone numbers with plus in a row", long("+44 20 7946 0958 ")),
        ("numbers that are glued to domains", long("a@b.cc.4111111111111111-")),
        ("secrets in a row", long(&secret_in_a_row())),
        ("words before secrets in a row", long("1:1.") + " " + &secret_in_a_row().repeat(20) + "4111111111111111"),
    ]
}

const TEXT_BYTES: usize = 64 * 1024;

#[test]
fn of_a_row_nothing_is_left_however_long_it_is() {
    for (one, between) in [
        ("4111 1111 1111 1111", " "),
        ("4111111111111111", "-"),
        ("078-05-1120", "-"),
        ("555 010 4477", " "),
        ("555-010-4477", " "),
        ("+44 20 7946 0958", " "),
        ("+44 20 7946 0958", "/"),
        ("203.0.113.77", "."),
        ("2001:db8:85a3::8a2e:370:7334", ":"),
        ("1:2:3:4:5:6:7:8", ":"),
        ("ada@example.org.4111111111111111", " "),
    ] {
        let row = vec![one; 100].join(between);
        let shown = Redaction::STRICT.text(&row).into_owned();
        let left = shown.replace(|c: char| !c.is_ascii_digit(), "");
        assert!(left.is_empty() && !shown.contains("example"), "{one}: {shown}");
        assert_eq!(Redaction::STRICT.text(&shown), shown);
    }
}

#[test]
fn what_follows_a_number_does_not_hide_it() {
    for (text, wanted) in [
        ("card 4111 1111 1111 1111 123", "card [redacted:card] 123"),
        ("078-05-1120-", "[redacted:national-id]-"),
        ("call 555 010 4477 22", "call [redacted:phone] 22"),
        ("to ada@example.org-1", "to [redacted:email]-1"),
        ("password=p@ss.word-1!", "password=[redacted:password]"),
        ("1.2.3.4:80", "[redacted:ip-address]:80"),
        ("beef:2001:db8:1:2:3:4:5:6://", "[redacted:ip-address]:6://"),
    ] {
        assert_eq!(Redaction::STRICT.text(text), wanted);
    }
}

#[test]
fn redaction_looks_at_each_byte_of_a_hostile_text_a_bounded_number_of_times() {
    for (name, text) in hostile() {
        let (looked_at, bytes) = (looked_at(&text), u64::try_from(text.len()).expect("it is short"));
        println!("{name}: {} a byte", looked_at / bytes);
        assert!(looked_at <= LOOKS_PER_BYTE_MAX * bytes, "{name}: {looked_at} of {bytes} bytes");
    }
}

#[test]
fn names_that_are_the_same_once_they_are_redacted_stay_apart_and_cost_no_more() {
    let fields = (0..500).map(|n| (format!("a{n}@example.org"), json!(n))).collect::<Map<String, Value>>();
    let shown = Redaction::STRICT.value(&Value::Object(fields));
    let names: Vec<&String> = shown.as_object().expect("an object").keys().collect();
    assert_eq!(names.len(), 500);
    assert!(names.iter().all(|name| name.len() <= "[redacted:email]'500".len()), "{names:?}");
    assert_eq!(Redaction::STRICT.value(&shown), shown);
}

#[test]
fn what_only_looks_like_a_mark_hides_nothing() {
    for text in ["[redacted: a@example.org]", "[redacted:x1 a@example.org]", "password=[redacted:hunter2"] {
        let shown = Redaction::STRICT.text(text).into_owned();
        assert!(!shown.contains("example.org") && !shown.contains("hunter2"), "{shown}");
    }
    let shown = Redaction::STRICT.value(&json!({ "password": "[redacted:hunter2]" }));
    assert_eq!(shown, json!({ "password": "[redacted:password]" }));
}

#[test]
fn a_text_within_too_many_texts_is_taken_out_whole() {
    let mut text = json!({ "street": "Main Street" }).to_string();
    for _ in 0..12 {
        text = json!([text]).to_string();
        assert!(!Redaction::STRICT.text(&text).contains("Main"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn redaction_is_linear_whatever_a_text_is_made_of(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "A", "1", "+", "-", ".", ":", "@", "%40", "://", "/", "_", "=", " ", "\n", "\"", "\\", "'", "[", "]", "{", "(",
                ",", "я", "漢", "eyJ", "bearer ", "basic ", "sk-", "AKIA", "pin", "dob", "ip", "cookie", "[redacted:",
                "[redacted:email]", "-----BEGIN ", " PRIVATE KEY-----", "AB12", "aaaaaaaaaaaaaaaaaaaaaaaa", "11111111",
            ]),
            1..6,
        ),
        others in prop::collection::vec(prop::sample::select(vec!["a", "1", "-", ".", ":", "@", "\"", " ", "\n"]), 0..3),
    ) {
        let (part, other) = (parts.concat(), others.concat());
        let text = part.repeat(8 * 1024 / part.len()) + &other.repeat(4 * 1024 / other.len().max(1)) + &part.repeat(64);
        let looked_at = looked_at(&text);
        prop_assert!(looked_at <= LOOKS_PER_BYTE_MAX * text.len() as u64, "{} of {}: {:?} {:?}", looked_at, text.len(), part, other);
    }
}
