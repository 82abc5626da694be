//! People who use the kit while it breaks: a client that repeats its request, and those who answer what runs ask.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use windlass_operator::aws_endpoint::Effects;

use crate::caller::Caller;

/// How often a client repeats a request that nobody answered, and how long it waits in between: more than a minute in all.
const REPEATS_MAX: usize = 600;
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// Posts a refund until somebody answers, under the order as its key; the run.
///
/// # Panics
/// When it is refused, or nobody ever answers.
pub async fn submit(caller: &Caller, order: &str, amount_cents: u64) -> String {
    let body = json!({ "task": "refund", "payload": { "order": order, "amount_cents": amount_cents } });
    for _ in 0..REPEATS_MAX {
        let token = &caller.address.tokens.submitter;
        match caller.try_send("POST", "/runs", token, Some(order), Some(&body)).await {
            Some(answer) if answer.status < 300 => {
                return answer.body["run_id"].as_str().expect("a run id").to_owned();
            }
            Some(answer) if answer.status < 500 => panic!("{order}: {answer:?}"),
            _ => sleep(REPEAT_AFTER).await,
        }
    }
    panic!("{order} was never taken on")
}

/// How many questions were answered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Whether something may be done.
    pub permissions: usize,
    /// Whether something was done.
    pub doubts: usize,
}

/// Answers what a run, as the API shows it, asks: what may be done is approved; whether a letter was sent is looked up in the ledger.
pub async fn answer(caller: &Caller, shown: &Value) -> Answered {
    let mut answered = Answered::default();
    for question in shown["escalation"].as_array().into_iter().flatten() {
        let doubt = question["subject"] == "doubt";
        let order = question["action"]["arguments"]["order"].as_str().unwrap_or_default();
        let decision = match caller.aws.effects(order).await {
            _ if !doubt => "approved",
            Ok(Effects { letters: 0, .. }) => "not_happened",
            Ok(_) => "happened",
            Err(_) => continue,
        };
        let decided = caller.try_decide(question["id"].as_str().unwrap_or_default(), decision).await;
        if decided.is_some_and(|answer| answer.status == 200) {
            answered.doubts += usize::from(doubt);
            answered.permissions += usize::from(!doubt);
        }
    }
    answered
}
