//! Policies with a memory: earlier calls, planned calls, windows, roles.

use serde_json::{Value, json};
use windlass::{agent::policy::Policy as _, ids::ToolName, run::entry::Decision};
use windlass_policy::CedarPolicy;

use crate::bank::{Asked, ask, load};

fn permit_when(tool: &str, condition: &str) -> CedarPolicy {
    let rule =
        format!("@id(\"rule\") permit (principal, action == Action::\"{tool}\", resource) when {{ {condition} }};");
    load(&rule).unwrap_or_else(|errors| panic!("{errors}"))
}

fn is_allowed(policy: &CedarPolicy, asked: &Asked) -> bool {
    matches!(asked.of(policy).decision, Decision::Allow { .. })
}

fn refunds(amounts: &[i64]) -> Vec<(ToolName, Value)> {
    let refund = |cents: &i64| ("refund".parse().expect("a tool"), json!({ "order": "A-1", "amount_cents": cents }));
    amounts.iter().map(refund).collect()
}

fn refund(before: &[i64], planned: &[i64], cents: i64) -> Asked {
    let asked = ask("refund", json!({ "order": "A-1", "amount_cents": cents }));
    Asked { before: refunds(before), planned: refunds(planned), ..asked }
}

#[test]
fn a_rule_sees_how_many_calls_of_a_tool_the_run_made_and_what_they_add_up_to() {
    let limit = "context.run.refund.count < 3 && \
                 context.run.refund.sum.amount_cents + context.arguments.amount_cents <= 5000";
    let policy = permit_when("refund", limit);
    assert!(is_allowed(&policy, &refund(&[], &[], 5_000)));
    assert!(is_allowed(&policy, &refund(&[2_000, 1_000], &[9_000], 2_000)));
    assert!(!is_allowed(&policy, &refund(&[2_000, 1_001], &[], 2_000)));
    assert!(!is_allowed(&policy, &refund(&[1, 1, 1], &[], 1)));
    let other = Asked { before: vec![("close".parse().expect("a tool"), json!({}))], ..refund(&[], &[], 5_000) };
    assert!(is_allowed(&policy, &other), "calls of other tools are not counted");
}

#[test]
fn a_rule_sees_what_else_the_plan_holds() {
    let policy = permit_when(
        "refund",
        "context.plan.refund.sum.amount_cents + context.run.refund.sum.amount_cents + context.arguments.amount_cents <= 5000",
    );
    assert!(!is_allowed(&policy, &refund(&[], &[5_000, 5_000, 5_000], 5_000)));
    assert!(!is_allowed(&policy, &refund(&[5_000, 5_000, 5_000], &[], 5_000)));
    assert!(is_allowed(&policy, &refund(&[1_000], &[1_000], 3_000)));
}

#[test]
fn decimals_are_summed_to_their_last_digit_and_compared() {
    let policy = permit_when("transfer", "context.run.transfer.sum.euros.lessThanOrEqual(decimal(\"0.3\"))");
    let transfer =
        |euros: f64| ("transfer".parse().expect("a tool"), json!({ "euros": euros, "to": { "country": "de" } }));
    let asked = ask("transfer", json!({ "euros": 1, "to": { "country": "de" } }));
    assert!(is_allowed(&policy, &Asked { before: vec![transfer(0.1), transfer(0.2)], ..asked.clone() }));
    assert!(!is_allowed(&policy, &Asked { before: vec![transfer(0.1), transfer(0.2001)], ..asked }));
}

#[test]
fn what_is_below_zero_makes_no_room_and_what_cannot_be_added_counts_as_much_as_can_be() {
    let policy = permit_when("refund", "context.run.refund.sum.amount_cents <= 5000");
    assert!(!is_allowed(&policy, &refund(&[9_000, -9_000], &[], 1)));
    assert!(is_allowed(&policy, &refund(&[5_000, -9_000], &[], 1)));
    let strange = Asked {
        before: vec![("refund".parse().expect("a tool"), json!({ "order": "A-1", "amount_cents": "all" }))],
        ..refund(&[], &[], 1)
    };
    assert!(!is_allowed(&policy, &strange));
    assert!(!is_allowed(&policy, &refund(&[i64::MAX, i64::MAX], &[], 1)));
    let adding = permit_when("refund", "context.run.refund.sum.amount_cents + context.arguments.amount_cents > 0");
    assert!(!is_allowed(&adding, &refund(&[i64::MAX], &[], 1)), "a sum that does not fit is denied");
}

#[test]
fn a_window_is_declared_beside_the_rule_that_looks_at_it() {
    let policy = load(
        "@id(\"rule\") @windows(\"refunded = sum(refund, /amount_cents) per /order per day; \
         refunds = count(refund) per actor per hour\")
         permit (principal, action == Action::\"refund\", resource)
         when { context.windows.refunded + context.arguments.amount_cents <= 5000 && context.windows.refunds < 10 };",
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(policy.windows().len(), 2);
    let with = |refunded: u128, refunds: u128| {
        let totals = [("refunded", refunded), ("refunds", refunds)];
        let windows = totals.map(|(name, total)| (name.parse().expect("a name"), total)).into();
        Asked { windows, ..refund(&[], &[], 1_000) }
    };
    assert!(is_allowed(&policy, &with(4_000, 9)));
    assert!(!is_allowed(&policy, &with(4_001, 9)));
    assert!(!is_allowed(&policy, &with(4_000, 10)));
    assert!(!is_allowed(&policy, &with(u128::MAX, 0)));
    assert!(!is_allowed(&policy, &refund(&[], &[], 1)), "a window that is not known does not count as empty");
}

#[test]
fn a_window_that_does_not_fit_the_tools_is_not_taken_on() {
    for (windows, wrong) in [
        ("a = count(refnd) per actor per day", "no such tool"),
        ("a = count(balance) per actor per day", "only reads"),
        ("a = sum(refund, /order) per actor per day", "no whole number"),
        ("a = sum(refund, /cents) per actor per day", "no whole number"),
        ("a = sum(transfer, /euros) per actor per day", "no whole number"),
        ("a = count(refund) per /customer per day", "neither a string nor a whole number"),
        ("a = count(refund) per actor per day; a = count(refund) per tenant per day", "has the name of"),
        ("a = count(refund) per actor per week", "declares no window"),
    ] {
        let text = format!("@id(\"rule\") @windows(\"{windows}\") permit (principal, action, resource);");
        let errors = load(&text).err().unwrap_or_else(|| panic!("`{windows}` was taken on")).to_string();
        assert!(errors.contains(wrong), "{errors}");
        assert!(errors.starts_with("bank.cedar:1: "), "{errors}");
    }
    let elsewhere = "@id(\"rule\") @windows(\"a = count(refund) per actor per day\")
                     permit (principal, action == Action::\"close\", resource) when { context.windows.a < 1 };";
    assert!(load(elsewhere).is_err(), "a window is seen where its tool is judged");
}

#[test]
fn a_rule_sees_the_roles_of_who_asked_for_the_run() {
    let policy = permit_when("close", "principal.roles.contains(\"manager\")");
    let with = |roles: &[&str]| {
        let roles = roles.iter().map(|role| role.parse().expect("a role")).collect();
        Asked { roles, ..ask("close", json!({ "account": "1" })) }
    };
    assert!(is_allowed(&policy, &with(&["teller", "manager"])));
    assert!(!is_allowed(&policy, &with(&["manager/assistant"])));
    assert!(!is_allowed(&policy, &with(&[])));
    assert!(is_allowed(&policy, &with(&["manager"])), "what is remembered of an actor is remembered with its roles");
}

#[test]
fn a_rule_may_name_what_it_remembers_in_another_way() {
    let policy = permit_when("close", "context.run[\"re\\u{66}und\"].count == 0");
    let close = ask("close", json!({ "account": "1" }));
    assert!(is_allowed(&policy, &close));
    assert!(!is_allowed(&policy, &Asked { before: refunds(&[1]), ..close }));
}

#[test]
fn a_whole_number_is_whole_however_it_is_written() {
    let policy = permit_when("refund", "context.arguments.amount_cents == 1200");
    let arguments: Value = serde_json::from_str(r#"{"order":"A-1001","amount_cents":1200.0}"#).expect("JSON");
    assert!(is_allowed(&policy, &ask("refund", arguments)));
    assert!(!is_allowed(&policy, &ask("refund", json!({ "order": "A-1001", "amount_cents": 1200.5 }))));
}

#[test]
fn a_choice_beside_or_around_properties_keeps_them() {
    use windlass_policy::arguments::{Field, Shape};
    let field = |required| Field { shape: Some(Shape::Text), required };
    let text = json!({ "type": "string" });
    let properties = json!({ "id": text, "email": text });
    let choice = json!([{ "required": ["id"] }, { "required": ["email"] }]);
    let both =
        |required| Shape::Record([("email".to_owned(), field(required)), ("id".to_owned(), field(required))].into());
    for schema in [
        json!({ "type": "object", "properties": properties, "anyOf": choice }),
        json!({ "type": "object", "properties": properties, "oneOf": choice }),
        json!({ "type": "object", "anyOf": [{ "properties": { "id": text } }, { "properties": { "email": text } }] }),
        json!({ "type": "object", "$defs": { "all": { "properties": properties } }, "allOf": [{ "$ref": "#/$defs/all" }] }),
        json!({ "type": "object", "$defs": { "id": text }, "properties": { "id": { "$ref": "#/$defs/id" }, "email": text } }),
    ] {
        assert_eq!(Shape::of_arguments(&schema), both(false), "{schema}");
        assert!(both(false).express(&json!({ "id": "7" })).is_ok());
    }
    let always = json!({ "type": "object", "allOf": [{ "properties": properties, "required": ["id", "email"] }] });
    assert_eq!(Shape::of_arguments(&always), both(true));
    let differs = json!({ "type": "object", "oneOf": [
        { "properties": { "id": { "type": "string" } } }, { "properties": { "id": { "type": "integer" } } },
    ] });
    let untyped = Shape::Record([("id".to_owned(), Field { shape: None, required: false })].into());
    assert_eq!(
        Shape::of_arguments(&differs),
        untyped,
        "what branches describe differently is an argument without a type"
    );
    let endless = json!({ "type": "object", "$ref": "#", "properties": { "a": { "$ref": "#/properties/a" } } });
    assert_eq!(Shape::of_arguments(&endless), Shape::Record(Default::default()), "a reference to itself leads nowhere");
}

#[test]
fn a_number_that_is_not_remembered_any_more_counts_as_much_as_can_be() {
    use cedar_policy::RestrictedExpression;
    use windlass::{agent::history::OtherCall, run::state::Detail};
    use windlass_policy::arguments::Shape;
    let schema = json!({ "type": "object", "properties": { "cents": { "type": "integer" } } });
    let (sums, tool) = (Shape::of_arguments(&schema).sums(), "refund".parse().expect("a tool"));
    let sum = |arguments: &Value, detail| {
        let call = OtherCall { tool: &tool, arguments, detail };
        format!("{:?}", Shape::express_sums(&sums, &[&call]).expect("sums"))
    };
    let record = |cents: i64| {
        let parts = [("cents".to_owned(), RestrictedExpression::new_long(cents))];
        format!("{:?}", RestrictedExpression::new_record(parts).expect("a record"))
    };
    let left_out = json!({ "left_out": "1 fields" });
    assert_eq!(sum(&left_out, Detail::Short), record(i64::MAX));
    assert_eq!(sum(&left_out, Detail::Whole), record(0));
    assert_eq!(sum(&json!({ "cents": 5, "left_out": "1 fields" }), Detail::Short), record(5));
    assert_eq!(sum(&json!({}), Detail::Short), record(0));
}
