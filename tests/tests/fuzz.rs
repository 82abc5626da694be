//! Hostile input to every boundary that parses: nothing panics, nothing is taken for what it is not.

use proptest::prelude::*;
use serde_json::Value;
use windlass::{
    approval::token::Token,
    clock::Timestamp,
    config::Config,
    ids::{ApprovalId, RunId, TraceId},
    queue::Message,
    run::{
        request::RunRequest,
        stored::{Body, Stored},
    },
};

/// JSON of any shape, a few levels deep.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("(type|run|request|tenant|payload|event|events|.{0,6})", inner, 0..6)
                .prop_map(|fields| Value::from_iter(fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_read_or_refused(text in prop_oneof![".{0,200}", json().prop_map(|value| value.to_string())]) {
        if let Ok(message) = Message::parse(&text) {
            prop_assert_eq!(Message::parse(&message.body()).expect("it was just written"), message);
        }
    }

    #[test]
    fn a_stored_entry_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), value in json(), version in 0_u32..3) {
        for body in [
            Body::Deflated(bytes.clone()),
            Body::Json(String::from_utf8_lossy(&bytes).into_owned()),
            Body::Json(value.to_string()),
        ] {
            if let Ok(entry) = (Stored { version, body }).decode() {
                let again = Stored::encode(&entry).expect("it fits").decode().expect("it was just written");
                prop_assert_eq!(again, entry);
            }
        }
    }

    #[test]
    fn an_id_is_read_only_in_the_form_it_is_written_in(text in ".{0,64}") {
        if let Ok(id) = text.parse::<RunId>() { prop_assert_eq!(id.to_string(), &*text); }
        if let Ok(id) = text.parse::<ApprovalId>() { prop_assert_eq!(id.to_string(), &*text); }
        if let Ok(id) = text.parse::<TraceId>() { prop_assert_eq!(id.to_string(), &*text); }
        let _ = TraceId::from_traceparent(&text);
        let _ = text.parse::<Token>();
        let _ = text.parse::<Timestamp>();
    }

    #[test]
    fn a_request_is_checked_whatever_its_payload(payload in json()) {
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: payload.clone(),
        };
        prop_assert!(payload.is_object() || request.check().is_err());
    }

    #[test]
    fn a_configuration_is_read_or_every_problem_is_named(values in prop::collection::vec(".{0,12}", 40)) {
        let lookup = |name: &str| values.get(name.len() % 40).filter(|value| !value.starts_with('-')).cloned();
        if let Err(errors) = Config::parse(lookup) {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
