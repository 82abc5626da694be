//! A policy that does not parse, or does not fit the tools, says where.

use super::bank::{RULES, load};

/// A first rule of four lines, so that the second one's lines are known.
const FIRST: &str = "@id(\"first\")\npermit (principal, action == Action::\"balance\", resource);\n\n// The next.\n";

fn said(second: &str) -> String {
    load(&format!("{FIRST}{second}")).err().expect("it is wrong").to_string()
}

#[test]
fn each_mistake_is_named_with_file_and_line() {
    for (second, line, says) in [
        ("@id(\"x\")\npermit (principal, action, resource)\nwhn { true };", 7, "whn"),
        ("@id(\"x\")\npermit (principal, action, resource)", 6, "unexpected end of input"),
        ("@id(\"x\")\npermit (principal, action, resource)\nwhen { 'a' == 1 };", 7, "invalid token"),
        ("@id(\"x\")\npermit (principal, action == Action::\"refnd\", resource);", 6, "Action::\"refnd\""),
        ("@id(\"x\")\npermit (principal is User, action, resource);", 6, "User"),
        (
            "@id(\"x\")\npermit (principal, action == Action::\"refund\", resource)\nwhen {\n  context.arguments.cents > 5\n};",
            8,
            "cents",
        ),
        (
            "@id(\"x\")\npermit (principal, action == Action::\"refund\", resource)\nwhen { context.arguments.amount_cents > \"5\" };",
            7,
            "Long",
        ),
        (
            "@id(\"x\")\nforbid (principal, action == Action::\"transfer\", resource)\nwhen { context.arguments.tags.contains(\"a\") };",
            7,
            "has",
        ),
        (
            "@id(\"x\")\npermit (principal, action == Action::\"transfer\", resource)\nwhen { context.arguments.note == 1 };",
            7,
            "note",
        ),
        ("@id(\"x\")\npermit (principal, action, resource)\nwhen { context.effect == Effect::\"raed\" };", 7, "raed"),
        ("permit (principal, action, resource);", 5, "without a name"),
        ("@id(\"first\")\npermit (principal, action, resource);", 5, "another rule `first`"),
        ("@id(\"a b\")\npermit (principal, action, resource);", 5, "`@id` is not a name"),
        ("@id(\"x\")\n@aproval(\"finance\")\npermit (principal, action, resource);", 5, "no annotation `@aproval`"),
        ("@id(\"x\")\n@approval\npermit (principal, action, resource);", 5, "`@approval`"),
        ("@id(\"x\")\n@approval(\"the boss\")\npermit (principal, action, resource);", 5, "a role"),
        ("@id(\"x\")\n@approval(\"boss\")\nforbid (principal, action, resource);", 5, "cannot be approved"),
        ("@id(\"x\")\n@reason(\"\")\npermit (principal, action, resource);", 5, "`@reason`"),
        ("@id(\"x\")\npermit (principal == ?principal, action, resource);", 5, "template"),
    ] {
        let said = said(second);
        assert!(said.starts_with(&format!("bank.cedar:{line}: ")), "{second}\n{said}");
        assert!(said.contains(says), "{second}\n{said}");
    }
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let said = said(
        "@id(\"x\")\npermit (principal, action == Action::\"refnd\", resource);\n@id(\"y\")\npermit (principal is User, action, resource);",
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn a_rule_that_can_never_hold_is_a_warning() {
    let policy = load("@id(\"never\")\npermit (principal, action, resource)\nwhen { 1 == 2 && context.steps > 1 };")
        .expect("it fits");
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.starts_with("bank.cedar:")), "{warnings:?}");
}

#[test]
fn the_rules_are_listed_as_they_stand() {
    let policy = load(RULES).expect("it fits");
    assert_eq!(policy.rules()[..4], ["reads", "small-refund", "huge-refund", "large-refund"]);
}
