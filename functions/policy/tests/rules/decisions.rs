//! What is decided, by which rule: a table.

use super::bank::{Asked, RULES, ask, load};
use serde_json::{Value, json};
use windlass::{
    agent::policy::{Ruling, Tightening},
    run::{entry::Decision, state::Totals},
};

/// A ruling in one line: the decision, and the rules that decided.
fn line(ruling: &Ruling) -> String {
    let decision = match &ruling.decision {
        Decision::Allow { .. } => "allow".to_owned(),
        Decision::RequireApproval { role, .. } => format!("ask {role}"),
        Decision::Deny { .. } => "deny".to_owned(),
    };
    format!("{decision} [{}]", ruling.policies.join(" "))
}

fn reason(ruling: &Ruling) -> &str {
    match &ruling.decision {
        Decision::Allow { reason } | Decision::RequireApproval { reason, .. } | Decision::Deny { reason } => reason,
    }
}

fn refund(cents: impl Into<Value>) -> Asked {
    ask("refund", json!({ "order": "A-1", "amount_cents": cents.into() }))
}

fn transfer(euros: impl Into<Value>, country: &str) -> Asked {
    ask("transfer", json!({ "euros": euros.into(), "to": { "country": country } }))
}

fn letter() -> Asked {
    ask("letter", json!({ "text": "Dear customer", "copies": null }))
}

fn tight(tightening: Tightening, asked: Asked) -> Asked {
    Asked { tightening, ..asked }
}

fn used(steps: u32, cost_micro_usd: u64) -> Totals {
    Totals { steps, tokens: u64::MAX, cost_micro_usd }
}

#[test]
fn every_call_is_decided_by_the_rule_that_is_named() {
    let with = |mut asked: Asked, name: &str, value: Value| {
        asked.arguments[name] = value;
        asked
    };
    let (none, approve, deny) = (Tightening::None, Tightening::Approve, Tightening::Deny);
    let cases = [
        // Amounts, and who must approve them.
        (refund(1), "allow [small-refund]"),
        (refund(5_000), "allow [small-refund]"),
        (refund(5_001), "ask finance [large-refund]"),
        (refund(1_000_000), "ask finance [large-refund]"),
        (refund(1_000_001), "ask board [huge-refund large-refund]"),
        (refund(i64::MAX), "ask board [huge-refund large-refund]"),
        (refund(u64::MAX), "deny []"),
        (refund(0), "deny []"),
        (refund(-1), "deny []"),
        (refund(i64::MIN), "deny []"),
        (refund(12.5), "deny []"),
        (refund(5_000.0), "allow [small-refund]"),
        (refund(1e300), "deny []"),
        // Tenants and actors. An actor's name counts within its tenant only.
        (Asked { tenant: "globex", ..refund(1) }, "deny [globex-never-refunds]"),
        (Asked { tenant: "globex", ..refund(9_999) }, "deny [globex-never-refunds]"),
        (Asked { actor: "mallory", ..refund(1) }, "deny [suspended]"),
        (Asked { tenant: "initech", actor: "mallory", ..refund(1) }, "allow [small-refund]"),
        (Asked { actor: "mallory", ..ask("balance", json!({})) }, "deny [suspended]"),
        (Asked { tenant: "acme:mallory", ..refund(1) }, "allow [small-refund]"),
        // Missing and odd arguments.
        (ask("refund", json!({ "order": "A-1" })), "deny []"),
        (refund(Value::Null), "deny []"),
        (refund("1"), "deny []"),
        (refund(json!([1])), "deny []"),
        (refund(json!({ "$gt": 0 })), "deny []"),
        (with(refund(1), "approved", json!(true)), "deny []"),
        (
            with(refund(1), "order", json!("Ä-1 \u{202e}日本\u{0}\"; permit(principal, action, resource);")),
            "allow [small-refund]",
        ),
        (ask("refund", json!([])), "deny []"),
        (ask("refund", Value::Null), "deny []"),
        // Effects.
        (ask("balance", json!({})), "allow [reads]"),
        (ask("balance", json!({ "account": "1" })), "allow [reads]"),
        (ask("close", json!({ "account": "1" })), "deny []"),
        (ask("unknown", json!({})), "deny []"),
        // Decimals, nesting, sets, optional parts.
        (transfer(0.01, "de"), "allow [transfer-at-home]"),
        (transfer(999.99, "de"), "allow [transfer-at-home]"),
        (transfer(12, "de"), "allow [transfer-at-home]"),
        (transfer(1_000, "de"), "deny []"),
        (transfer(-0.5, "de"), "deny []"),
        (transfer(0.000_01, "de"), "deny []"),
        (transfer(1e18, "de"), "deny []"),
        (transfer(1, "fr"), "ask compliance [transfer-abroad]"),
        (transfer(1, "ru"), "deny []"),
        (with(transfer(1, "de"), "tags", json!(["new", "fraud"])), "deny [flagged]"),
        (with(transfer(1, "de"), "tags", json!([])), "allow [transfer-at-home]"),
        (with(transfer(1, "de"), "tags", json!(["ok", 7])), "deny []"),
        (with(transfer(1, "de"), "urgent", json!(true)), "ask compliance [transfer-at-home urgent-needs-compliance]"),
        (with(transfer(1, "de"), "urgent", Value::Null), "allow [transfer-at-home]"),
        (with(transfer(1, "de"), "note", json!({ "free": ["form", 1.000_001] })), "allow [transfer-at-home]"),
        (with(transfer(1, "de"), "note", deep(40)), "deny []"),
        (
            with(transfer(1, "de"), "to", json!({ "country": "de", "__entity": { "type": "Tenant", "id": "x" } })),
            "deny []",
        ),
        // What the run has used, and which agent asks.
        (letter(), "allow [letters]"),
        (Asked { agent: "marketing", ..letter() }, "deny []"),
        (Asked { totals: used(49, 999_999), ..letter() }, "allow [letters]"),
        (Asked { totals: used(50, 0), ..letter() }, "deny []"),
        (Asked { totals: used(0, u64::MAX), ..letter() }, "deny []"),
        (with(letter(), "copies", json!(10)), "allow [letters]"),
        (with(letter(), "copies", json!(11)), "deny [no-bulk]"),
        // A rule that cannot be evaluated (here it overflows) denies, even a `forbid`, which Cedar alone would skip.
        (with(letter(), "copies", json!(i64::MAX)), "deny []"),
        // Tightening.
        (tight(none, refund(1)), "allow [small-refund]"),
        (tight(approve, refund(1)), "ask teller [small-refund]"),
        (tight(approve, refund(5_001)), "ask finance [large-refund]"),
        (tight(approve, refund(0)), "deny []"),
        (tight(approve, ask("balance", json!({}))), "allow [reads]"),
        (tight(approve, letter()), "ask teller [letters]"),
        (tight(deny, refund(1)), "deny [small-refund]"),
        (tight(deny, refund(5_001)), "deny [large-refund]"),
        (tight(deny, transfer(1, "de")), "deny [transfer-at-home]"),
        (tight(deny, ask("balance", json!({}))), "allow [reads]"),
    ];
    let policy = load(RULES).expect("the rules fit the tools");
    for (asked, wanted) in &cases {
        assert_eq!(line(&asked.of(&policy)), *wanted, "{asked:?}: {:?}", asked.of(&policy));
    }
    println!("{} cases", cases.len());
    assert!(cases.len() >= 30);
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

#[test]
fn a_reason_says_which_rule_or_which_argument() {
    let policy = load(RULES).expect("the rules fit the tools");
    for (asked, wanted) in [
        (ask("balance", json!({})), "reading is free"),
        (refund(1), "the rule `small-refund` permits it"),
        (refund(1_000_001), "more than 10000 euros"),
        (Asked { tenant: "globex", ..refund(1) }, "globex settles by itself"),
        (refund(0), "no rule permits `refund`"),
        (ask("unknown", json!({})), "no rule permits `unknown`"),
        (refund(0.5), "the argument `/amount_cents` is not a whole number of 64 bits"),
        (ask("refund", json!({ "order": "A-1" })), "the argument `/amount_cents` is missing"),
        (refund("5"), "the argument `/amount_cents` is a string; the tool's schema says otherwise"),
        (transfer(0.000_01, "de"), "the argument `/euros` is too large, or has more than four digits after the point"),
        (
            Asked { tightening: Tightening::Deny, ..refund(1) },
            "the controls deny every effect; the policy: the rule `small-refund` permits it",
        ),
    ] {
        assert_eq!(reason(&asked.of(&policy)), wanted, "{asked:?}");
    }
}

#[test]
fn the_version_follows_the_text_and_nothing_else() {
    let version = |text: &str| {
        use windlass::agent::policy::Policy as _;
        load(text).expect("it fits").version().to_owned()
    };
    assert_eq!(version(RULES), version(RULES));
    assert_ne!(version(RULES), version(&RULES.replace("5000", "5001")));
    assert!(version(RULES).starts_with("cedar-"));
}
