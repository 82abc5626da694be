//! One idempotency table for this kit and for Powertools for AWS Lambda (Python), in both directions. Without PyPI the tests say so and
//! end.
//!
//! `cargo test -p windlass-tests --test conformance powertools -- --nocapture` prints the table of cases.

mod desk;
mod peer;

use std::io;

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use windlass::idempotency::powertools;
use windlass_tests::any_json::any_json;

use self::desk::{KEPT_FOR, LATER, PREFIX, Rows, both, in_words, other_amount, said, theirs, under};

/// How many values both sides derive a key from.
const VALUES: usize = 400;

#[tokio::test]
async fn powertools_gives_the_answers_that_windlass_recorded() {
    let Some((desk, mut peer)) = both().await else { return };
    let mut rows = Rows::of("windlass");
    let refund = json!({ "refund": "R-1", "to": "Zoë", "amount": 12.5, "lines": [1, null, true] });

    assert_eq!(desk.ours(&under("done"), refund.clone()).await, format!("done now: {refund}"));
    rows.check("completed", &theirs(&mut peer, &under("done")).await, &format!("done before: {refund}"));
    rows.check("completed, another payload", &theirs(&mut peer, &other_amount("done")).await, "mismatch");

    let (mut same, mut other) = (String::new(), String::new());
    let order = under("busy");
    let ours = desk.ours_with(&order, async || {
        same = theirs(&mut peer, &order).await;
        other = theirs(&mut peer, &other_amount("busy")).await;
        Ok(json!("ours"))
    });
    assert_eq!(in_words(ours.await), "done now: \"ours\"");
    rows.check("in progress", &same, "in progress");
    rows.check("in progress, another payload", &other, "mismatch");

    desk.behind(LATER);
    let mut taken = String::new();
    let order = under("late");
    let ours = desk.ours_with(&order, async || {
        taken = theirs(&mut peer, &order).await;
        Ok(json!("ours"))
    });
    let ours = in_words(ours.await);
    rows.check("in progress, out of time", &taken, "done now: \"theirs\"");
    rows.check("its late completion", &ours, "done too late: \"ours\"");
    rows.check("after that", &theirs(&mut peer, &under("late")).await, "done before: \"theirs\"");

    desk.behind(KEPT_FOR + LATER);
    assert_eq!(desk.ours(&under("old"), json!(1)).await, "done now: 1");
    rows.check("expired, another payload", &theirs(&mut peer, &other_amount("old")).await, "done now: \"theirs\"");

    desk.in_step();
    let failed = desk.ours_with(&under("failed"), async || Err(io::Error::other("no"))).await;
    assert_eq!(in_words(failed), "failed");
    rows.check("failed", &theirs(&mut peer, &under("failed")).await, "done now: \"theirs\"");

    for falsy in [json!(0), json!(""), json!([]), json!({}), json!(false)] {
        let order = under(&format!("falsy {falsy}"));
        desk.ours(&order, falsy.clone()).await;
        rows.check(&format!("completed with `{falsy}`"), &theirs(&mut peer, &order).await, "done before: null");
    }
    rows.print();
}

#[tokio::test]
async fn windlass_gives_the_answers_that_powertools_recorded() {
    let Some((desk, mut peer)) = both().await else { return };
    let mut rows = Rows::of("powertools");

    assert_eq!(theirs(&mut peer, &under("done")).await, "done now: \"theirs\"");
    rows.check("completed", &desk.ours(&under("done"), json!("ours")).await, "done before: \"theirs\"");
    rows.check("completed, another payload", &desk.ours(&other_amount("done"), json!("ours")).await, "mismatch");

    peer.call(&json!({ "order": under("nothing"), "answer": null })).await;
    rows.check("completed with `None`", &desk.ours(&under("nothing"), json!("ours")).await, "done before: null");
    let unchecked = desk.ours(&other_amount("nothing"), json!("ours")).await;
    rows.check("completed without validation, another payload", &unchecked, "done before: null");

    let request =
        |id: &str| json!({ "order": under(id), "answer": "theirs", "validate": true, "remaining_millis": 60_000 });
    peer.enter(request("busy")).await;
    rows.check("in progress", &desk.ours(&under("busy"), json!("ours")).await, "in progress");
    rows.check("in progress, another payload", &desk.ours(&other_amount("busy"), json!("ours")).await, "mismatch");
    assert_eq!(said(&peer.go_on().await), "done now: \"theirs\"");
    rows.check("after that", &desk.ours(&under("busy"), json!("ours")).await, "done before: \"theirs\"");

    peer.enter(json!({ "order": under("no context"), "answer": "theirs" })).await;
    desk.ahead(LATER);
    let outcome = desk.ours(&under("no context"), json!("ours")).await;
    rows.check("in progress without a Lambda context, later", &outcome, "in progress");
    peer.go_on().await;

    desk.in_step();
    peer.enter(request("late")).await;
    desk.ahead(LATER);
    rows.check("in progress, out of time", &desk.ours(&under("late"), json!("ours")).await, "done now: \"ours\"");
    peer.go_on().await;
    let after = desk.ours(&under("late"), json!("again")).await;
    rows.check("after its late completion, which asks nobody", &after, "done before: \"theirs\"");

    desk.in_step();
    peer.enter(json!({ "order": under("late failure"), "fail": true, "remaining_millis": 60_000 })).await;
    desk.ahead(LATER);
    desk.ours(&under("late failure"), json!("ours")).await;
    assert_eq!(said(&peer.go_on().await), "failed");
    let after = desk.ours(&under("late failure"), json!("again")).await;
    rows.check("after its late failure, which deletes any record", &after, "done now: \"again\"");

    desk.in_step();
    theirs(&mut peer, &under("old")).await;
    desk.ahead(KEPT_FOR + LATER);
    rows.check("expired, another payload", &desk.ours(&other_amount("old"), json!(1)).await, "done now: 1");

    desk.in_step();
    let failed = peer.call(&json!({ "order": under("failed"), "fail": true, "remaining_millis": 60_000 })).await;
    assert_eq!(said(&failed), "failed");
    rows.check("failed", &desk.ours(&under("failed"), json!("ours")).await, "done now: \"ours\"");
    rows.print();
}

#[tokio::test]
async fn both_derive_the_same_key_from_any_value() {
    let Some((_desk, mut peer)) = both().await else { return };
    let mut runner = TestRunner::deterministic();
    let mut value = || any_json().new_tree(&mut runner).expect("there is one").current();
    let values: Vec<Value> = std::iter::repeat_with(&mut value).take(VALUES).collect();
    let theirs = peer.keys(&values).await;
    let ours = values.iter().map(|value| powertools::key(PREFIX, value).ok().map(|key| key.as_str().to_owned()));
    let compared = ours.zip(&theirs).zip(&values);
    let differing: Vec<_> = compared.filter(|((ours, theirs), _)| ours != *theirs).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    println!("{VALUES} values, {} keys, all alike", theirs.iter().flatten().count());
}
