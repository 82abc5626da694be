use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_number_is_held_as_it_was_written_or_not_at_all() {
    let held = |text: &str| read::<Value>(text).map(|value| canonical(&value)).map_err(|error| error.to_string());
    for (written, canonical) in [
        ("9007199254740993", "9007199254740993"),
        ("-9007199254740993", "-9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1200.0", "1200"),
        ("1.2e3", "1200"),
        ("1E2", "100"),
        ("9007199254740993.0", "9007199254740993"),
        ("9007199254740993e0", "9007199254740993"),
        ("12.50", "12.5"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e99", "0"),
        ("1e300", "1e+300"),
        ("[0.1,{\"a\":-1.0}]", "[0.1,{\"a\":-1}]"),
        (r#""9007199254740993.0 \" 1.0""#, r#""9007199254740993.0 \" 1.0""#),
    ] {
        assert_eq!(held(written).as_deref(), Ok(canonical), "{written}");
    }
    for beyond in [
        "18446744073709551617",
        "123456789012345678901",
        "3.14159265358979323846",
        "1e400",
        "1e-400",
        "0.1234567890123456789",
    ] {
        let told = held(&format!("{{\"a\":{beyond}}}")).expect_err("it is beyond");
        assert!(told.starts_with(&format!("the number `{beyond}` at byte 5 ")), "{told}");
        let kept: Value = read_as_text(&format!("{{\"a\":{beyond}}}")).expect("JSON");
        assert_eq!(kept, json!({ "a": beyond }));
    }
    for wrong in ["01", "1.", "-", "1e", "+1", ".5", "1-2", "{\"a\":\"", "\"\\", ""] {
        assert!(matches!(read::<Value>(wrong), Err(ReadError::Json(_))), "{wrong}");
    }
}

#[test]
fn values_that_are_equal_have_one_text_and_others_have_others() {
    let text = |text: &str| canonical(&serde_json::from_str(text).expect("JSON"));
    assert_eq!(text(r#"{"b":[true,null],"a":1.0}"#), r#"{"a":1,"b":[true,null]}"#);
    assert_eq!(text(r#"{"a":1,"b":[true,null]}"#), text(r#"{"b":[true,null],"a":1}"#));
    assert_ne!(text("9007199254740992"), text("9007199254740993"));
    assert_ne!(digest(&json!(9_007_199_254_740_992_u64)), digest(&json!(9_007_199_254_740_993_u64)));
    assert_ne!(text("1"), text("\"1\""));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_canonically_is_read_as_the_same(value in any_value()) {
        let once = canonical(&value);
        let back: Value = read(&once).expect("it was written by us");
        prop_assert_eq!(canonical(&back), once.clone());
        prop_assert_eq!(back, normalised(value));
    }

    #[test]
    fn every_integer_of_64_bits_is_held(whole in any::<u64>(), negative in any::<i64>()) {
        prop_assert_eq!(read::<u64>(&whole.to_string()).ok(), Some(whole));
        prop_assert_eq!(read::<Value>(&format!("{negative}.0")).ok(), Some(Value::from(negative)));
    }

    #[test]
    fn no_text_makes_it_panic_and_other_text_stays_as_it_is(text in "[-+0-9.eE\"\\\\{}\\[\\],: a-cé]{0,64}") {
        let kept = numbers_as_text(&text);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), serde_json::from_str::<Value>(&kept).is_ok() && serde_json::from_str::<Value>(&text).is_ok());
    }
}
