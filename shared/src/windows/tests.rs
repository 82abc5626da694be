use serde_json::json;

use super::*;

fn window(text: &str) -> Window {
    text.parse().expect("a window")
}

fn request(tenant: &str, actor: &str) -> RunRequest {
    RunRequest {
        tenant: tenant.parse().expect("a tenant"),
        actor: actor.parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload: json!({}),
        roles: Default::default(),
    }
}

#[test]
fn a_window_is_written_in_one_way_and_reads_back() {
    for text in [
        "refunded = sum(refund, /amount_cents) per /order per day",
        "letters = count(write_to_customer) per actor per hour",
        "paid = sum(shop/pay, /payment/cents) per tenant per day",
    ] {
        assert_eq!(window(text).to_string(), text);
    }
    assert_eq!(window(" a=count( b )  per actor  per hour ").to_string(), "a = count(b) per actor per hour");
}

#[test]
fn what_declares_no_window_is_told_how_one_is_written() {
    for text in [
        "",
        "refunded",
        "refunded = sum(refund) per actor per day",
        "refunded = count(refund, /amount_cents) per actor per day",
        "refunded = sum(refund, amount_cents) per actor per day",
        "refunded = count(refund) per customer per day",
        "refunded = count(refund) per actor per week",
        "refunded = count(refund) per actor",
        "1st = count(refund) per actor per day",
        "re-funded = count(refund) per actor per day",
        "refunded = count(re fund) per actor per day",
    ] {
        assert!(text.parse::<Window>().is_err(), "`{text}` was read");
    }
}

#[test]
fn tenants_keys_spans_and_declarations_have_counters_of_their_own() {
    let now: Timestamp = "2026-11-21T23:59:59.999Z".parse().expect("a time");
    let by_order = window("refunded = sum(refund, /amount_cents) per /order per day");
    let of = |window: &Window, who: &RunRequest, order: &str, at| {
        window.counted(who, &json!({ "order": order, "amount_cents": 5 }), at).counter
    };
    let ada = request("acme", "ada");
    let counter = of(&by_order, &ada, "A-1", now);
    assert_eq!(counter, of(&by_order, &request("acme", "bob"), "A-1", now));
    assert_eq!(counter.until.to_string(), "2026-11-22T00:00:00.000Z");
    assert_ne!(counter, of(&by_order, &ada, "A-2", now));
    assert_ne!(counter, of(&by_order, &request("globex", "ada"), "A-1", now));
    assert_ne!(counter, of(&by_order, &ada, "A-1", counter.until));
    let by_actor = window("refunded = sum(refund, /amount_cents) per actor per day");
    assert_ne!(of(&by_actor, &ada, "A-1", now), of(&by_actor, &request("acme", "bob"), "A-1", now));
    assert!(!counter.of.contains("A-1"), "a value is not kept in clear");
}

#[test]
fn an_amount_is_never_below_zero_and_never_overflows() {
    let window = window("refunded = sum(refund, /cents) per actor per day");
    let amount = |arguments: Value| window.amount(&arguments);
    assert_eq!(amount(json!({ "cents": 5 })), 5);
    assert_eq!(amount(json!({ "cents": -5_000 })), 0);
    assert_eq!((amount(json!({})), amount(json!({ "cents": null }))), (0, 0));
    assert_eq!(amount(json!({ "cents": u64::MAX })), AMOUNT_MAX);
    assert_eq!((amount(json!({ "cents": 1.5 })), amount(json!({ "cents": "5" }))), (AMOUNT_MAX, AMOUNT_MAX));
}
