//! Whatever the arguments: nothing panics, and nothing is allowed that no rule permits.

use std::sync::LazyLock;

use super::bank::{RULES, ask, load, tools};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use windlass::{json::normalised, run::entry::Decision};
use windlass_policy::CedarPolicy;

static POLICY: LazyLock<CedarPolicy> = LazyLock::new(|| load(RULES).expect("the rules fit the tools"));

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-20_000_i64..2_000_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1_000.0..2_000.0).prop_map(|number: f64| Value::from((number * 100.0).round() / 100.0)),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("de"), Just("fr"), Just("fraud")].prop_map(Value::from),
    ];
    leaf.prop_recursive(40, 120, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|parts| Value::Object(parts.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = ["order", "amount_cents", "euros", "to", "country", "tags", "urgent", "note", "text", "copies"];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        prop::sample::select(vec!["__entity", "__extn", "__expr", "~/", ""]).prop_map(str::to_owned),
        ".{0,6}",
    ]
}

/// What the bank's rules permit, said once more without Cedar.
fn is_permitted(tool: &str, arguments: &Value) -> bool {
    match tool {
        "balance" => true,
        "refund" => arguments["amount_cents"].as_i64().is_some_and(|cents| cents > 0),
        "transfer" => {
            let euros = arguments["euros"].as_f64().unwrap_or(-1.0);
            let tags = arguments["tags"].as_array().cloned().unwrap_or_default();
            let at_home = arguments["to"]["country"] == "de" && euros > 0.0 && euros <= 999.99;
            let by_approval = arguments["to"]["country"] == "fr" || arguments["urgent"] == true;
            (at_home || by_approval) && !tags.contains(&json!("fraud"))
        }
        "letter" => arguments["text"].is_string() && arguments["copies"].as_i64().unwrap_or(0) <= 10,
        _ => false,
    }
}

fn check(tool: &str, arguments: Value) {
    let ruling = ask(tool, arguments.clone()).of(&POLICY);
    match ruling.decision {
        Decision::Deny { reason } => assert!(!reason.is_empty()),
        Decision::Allow { .. } | Decision::RequireApproval { .. } => {
            assert!(!ruling.policies.is_empty(), "{tool} {arguments} is permitted by no rule");
            // 1200.0 is 1200.
            assert!(
                is_permitted(tool, &normalised(arguments.clone())),
                "{tool} {arguments} is permitted by {:?}",
                ruling.policies
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_arguments_get_past_the_rules(tool in 0..5_usize, arguments in anything()) {
        check(tools()[tool].name.as_str(), arguments);
    }

    #[test]
    fn no_refund_gets_past_the_rules(cents in number(), order in anything()) {
        check("refund", json!({ "order": order, "amount_cents": cents.clone() }));
        check("refund", json!({ "order": "A-1", "amount_cents": cents }));
    }

    #[test]
    fn no_transfer_gets_past_the_rules(euros in number(), to in anything(), tags in anything(), urgent in anything()) {
        check("transfer", json!({ "euros": euros, "to": to, "tags": tags, "urgent": urgent }));
        check("transfer", json!({ "euros": euros, "to": { "country": "de" }, "tags": tags }));
        check("transfer", json!({ "euros": euros, "to": { "country": "de" } }));
    }
}

#[test]
fn arguments_nested_as_deep_as_json_can_be_read_are_denied_without_a_panic() {
    let text = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let nested: Value = serde_json::from_str(&text).expect("it is JSON");
    for tool in ["balance", "refund", "transfer", "letter"] {
        check(tool, nested.clone());
        check(tool, json!({ "note": nested, "to": { "country": "de" }, "euros": 1, "text": nested, "order": nested }));
    }
}
