//! What a good model does at the refund desk, given what it was told.

use serde_json::{Value, json};

/// What the model was told, whatever format it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The request's payload.
    pub payload: Value,
    /// What came of each call so far: its result as JSON.
    pub results: Vec<Value>,
}

/// What it says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Call these tools.
    Call(Vec<(String, Value)>),
    /// The final answer.
    Answer(Value),
}

/// What it does next.
pub fn next(told: &Told) -> Said {
    if let Some(orders) = told.payload["orders"].as_array() {
        return look_up_all(orders, &told.results);
    }
    if let Some(question) = told.payload["question"].as_str() {
        return look_into_the_handbook(question, &told.payload["cite"], &told.results);
    }
    let order = &told.payload["order"];
    match told.results.as_slice() {
        [] => call("look_up_order", json!({ "order": order })),
        [found] if found["status"] != "succeeded" => {
            Said::Answer(json!({ "refunded_cents": 0, "because": found["why"], "customer_informed": false }))
        }
        [_] => call("refund", json!({ "order": order, "amount_cents": told.payload["amount_cents"] })),
        [_, refund] => {
            let text = match &refund["answer"]["amount_cents"] {
                Value::Null => "We could not refund your order.".to_owned(),
                cents => format!("Your refund of {cents} cents is on its way."),
            };
            call("write_to_customer", json!({ "order": order, "text": text }))
        }
        [_, refund, letter, ..] => Said::Answer(json!({
            "refunded_cents": refund["answer"]["amount_cents"].as_u64().unwrap_or(0),
            "refund": refund["answer"]["refund"],
            "customer_informed": letter["status"] == "succeeded",
        })),
    }
}

/// With what was found first; `cite` is cited as well, found or not.
fn look_into_the_handbook(question: &str, cite: &Value, results: &[Value]) -> Said {
    let Some(found) = results.first() else { return call("search_sources", json!({ "query": question })) };
    let best = &found["answer"]["evidence"][0];
    let citations = [&best["label"], cite].into_iter().filter(|label| label.is_string());
    Said::Answer(json!({ "answer": best["text"], "citations": citations.collect::<Vec<_>>() }))
}

/// All at once, in one plan.
fn look_up_all(orders: &[Value], results: &[Value]) -> Said {
    match results {
        [] => Said::Call(orders.iter().map(|order| ("look_up_order".to_owned(), json!({ "order": order }))).collect()),
        results => {
            let found = results.iter().filter(|result| result["status"] == "succeeded");
            let total: u64 = found.filter_map(|result| result["answer"]["total_cents"].as_u64()).sum();
            Said::Answer(json!({ "looked_up": results.len(), "total_cents": total }))
        }
    }
}

fn call(tool: &str, arguments: Value) -> Said {
    Said::Call(vec![(tool.to_owned(), arguments)])
}

/// The JSON between `<data …>` and `</data>`.
///
/// # Panics
/// When there is none.
pub fn data(text: &str) -> Value {
    let (_, rest) = text.split_once("<data").expect("a block of data");
    let (_, rest) = rest.split_once(">\n").expect("its beginning");
    let (json, _) = rest.split_once("\n</data>").expect("its end");
    serde_json::from_str(json).expect("data is JSON")
}
