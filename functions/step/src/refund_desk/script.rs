//! The model of the sample agent: a script that decides from what the calls so far brought. It needs no key and no network.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass::{
    agent::model::{Answer, Lost, Model, ModelError, Proposal, ProposedCall, Question, Usage},
    ids::ToolName,
    retrieval::{SEARCH_SOURCES, shown_in},
    run::state::{Call, CallStatus},
};

use super::{handbook::POLICY_QUESTION, tools::Drills};

/// How long the script may take: it only computes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest number of steps that the `drill/steps` task takes.
const DRILL_STEPS_MAX: u64 = 10_000;

/// The tasks that the script knows.
pub const TASKS: [&str; 7] =
    ["refund", "refund/checked", "refund/parts", POLICY_QUESTION, "drill/steps", "drill/calls", "drill/crash"];

/// The tasks that a release takes on where drills are `drills`.
pub fn tasks(drills: Drills) -> impl Iterator<Item = &'static str> {
    TASKS.into_iter().filter(move |task| drills == Drills::Available || !task.starts_with("drill/"))
}

/// A script for [`TASKS`].
#[derive(Debug, Default)]
pub struct Script;

#[async_trait]
impl Model for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        usage(question)
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let payload = &question.request.payload;
        let proposal = match question.request.task.as_str() {
            "refund" => refund(payload, question.calls)?,
            "refund/checked" => checked(payload, question.calls)?,
            "refund/parts" => parts(payload, question.calls)?,
            POLICY_QUESTION => policy_question(payload, question.calls)?,
            "drill/steps" => steps(payload, question.calls)?,
            "drill/calls" => named(payload, question.calls)?,
            "drill/crash" => crash(payload, question.calls)?,
            task => return Err(ModelError::Refused { message: format!("no agent for the task `{task}`") }),
        };
        Ok(Answer { proposal, usage: usage(&question), model: self.name().to_owned(), lost: Lost::default() })
    }
}

/// Look up the order, refund it, write to the customer, answer.
fn refund(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let order = payload["order"].as_str().ok_or_else(|| refused("the payload has no `order`"))?;
    let amount_cents = payload["amount_cents"].as_u64().ok_or_else(|| refused("the payload has no `amount_cents`"))?;
    match calls {
        [] => propose("look_up_order", json!({ "order": order })),
        [Call { status: CallStatus::Failed { message }, .. }] => {
            Ok(Proposal::Respond(json!({ "refunded_cents": 0, "because": message })))
        }
        [_] => propose("refund", json!({ "order": order, "amount_cents": amount_cents })),
        [_, refund] => propose("write_to_customer", json!({ "order": order, "text": letter(order, refund) })),
        [_, refund, letter, ..] => Ok(Proposal::Respond(answer(refund, letter))),
    }
}

/// Look up the order, the customer's other orders, and refund, all in one plan; then write to the customer, answer.
fn checked(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let order = payload["order"].as_str().ok_or_else(|| refused("the payload has no `order`"))?;
    let amount_cents = payload["amount_cents"].as_u64().ok_or_else(|| refused("the payload has no `amount_cents`"))?;
    let others = payload["others"].as_array().map_or(&[][..], Vec::as_slice);
    let made = calls.iter().position(|call| call.tool.as_str() == "refund");
    match made.map(|refund| (&calls[refund], calls.get(refund + 1))) {
        None => {
            let orders = std::iter::once(&payload["order"]).chain(others);
            let look_ups = orders.map(|order| proposed("look_up_order", json!({ "order": order })));
            let refund = proposed("refund", json!({ "order": order, "amount_cents": amount_cents }));
            Ok(Proposal::Call(look_ups.chain([refund]).collect::<Result<_, _>>()?))
        }
        Some((refund, None)) => propose("write_to_customer", json!({ "order": order, "text": letter(order, refund) })),
        Some((refund, Some(letter))) => Ok(Proposal::Respond(answer(refund, letter))),
    }
}

/// Refund the parts that the payload names, all in one plan; then write to the customer, answer.
fn parts(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let order = payload["order"].as_str().ok_or_else(|| refused("the payload has no `order`"))?;
    let parts = payload["parts"].as_array().filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(|| refused("the payload has no `parts`"))?;
    let (refunds, after) = calls.split_at(calls.len().min(parts.len()));
    let paid = |call: &&Call| matches!(call.status, CallStatus::Succeeded { .. });
    match (refunds.len(), after) {
        (0, _) => {
            let refund = |cents: &Value| proposed("refund", json!({ "order": order, "amount_cents": cents }));
            Ok(Proposal::Call(parts.iter().map(refund).collect::<Result<_, _>>()?))
        }
        (_, []) => {
            let text = format!("{} of {} parts were paid back.", refunds.iter().filter(paid).count(), parts.len());
            propose("write_to_customer", json!({ "order": order, "text": text }))
        }
        _ => Ok(Proposal::Respond(json!({ "parts_refunded": refunds.iter().filter(paid).count() }))),
    }
}

fn letter(order: &str, refund: &Call) -> String {
    match &refund.status {
        CallStatus::Succeeded { value } => {
            format!("Your refund of {} cents for order {order} is on its way.", value["amount_cents"])
        }
        _ => format!("We could not refund order {order}."),
    }
}

fn answer(refund: &Call, letter: &Call) -> Value {
    let wrote = matches!(letter.status, CallStatus::Succeeded { .. });
    match &refund.status {
        CallStatus::Succeeded { value } => {
            json!({ "refunded_cents": value["amount_cents"], "refund": value["refund"], "customer_informed": wrote })
        }
        CallStatus::Failed { message } => {
            json!({ "refunded_cents": 0, "because": message, "customer_informed": wrote })
        }
        _ => json!({ "refunded_cents": 0, "customer_informed": wrote }),
    }
}

/// Search the handbook, then answer with the best passage. `cite` names a source that is cited whether it was found or not, as a model
/// may do that remembers an older handbook.
fn policy_question(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let question = payload["question"].as_str().ok_or_else(|| refused("the payload has no `question`"))?;
    match calls {
        [] => propose(SEARCH_SOURCES, json!({ "query": question })),
        [Call { status: CallStatus::Failed { message }, .. }, ..] => {
            Ok(Proposal::Respond(json!({ "answer": null, "because": message })))
        }
        calls => {
            let found = shown_in(calls);
            let best = found.first().map(|shown| (shown.text.as_str(), shown.label.as_str()));
            let (text, label) = best.unwrap_or_default();
            let citations: Vec<&str> = [Some(label), payload["cite"].as_str()].into_iter().flatten().collect();
            Ok(Proposal::Respond(json!({ "answer": text, "citations": citations })))
        }
    }
}

/// `steps` calls that do nothing, each for `pause_ms` milliseconds, and answer with `bytes` bytes each.
fn steps(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let steps = payload["steps"].as_u64().unwrap_or(8).min(DRILL_STEPS_MAX);
    let bytes = payload["bytes"].as_u64().unwrap_or(1_024);
    if calls.len() as u64 >= steps {
        return Ok(Proposal::Respond(json!({ "steps": calls.len() })));
    }
    match payload["pause_ms"].as_u64() {
        None => propose("drill_step", json!({ "bytes": bytes })),
        Some(pause_ms) => propose("drill_step", json!({ "bytes": bytes, "pause_ms": pause_ms })),
    }
}

/// The calls that the payload names, one after the other, whatever comes of them.
fn named(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    let named = payload["calls"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(call) = named.get(calls.len()) else {
        let came: Vec<Value> = calls.iter().map(came_of).collect();
        return Ok(Proposal::Respond(json!({ "calls": came })));
    };
    propose(call["tool"].as_str().unwrap_or_default(), call["arguments"].clone())
}

fn came_of(call: &Call) -> Value {
    match &call.status {
        CallStatus::Succeeded { value } => json!({ "succeeded": value }),
        CallStatus::Failed { message } => json!({ "failed": message }),
        _ => json!({}),
    }
}

/// A call that kills its worker while the drill is armed.
fn crash(payload: &Value, calls: &[Call]) -> Result<Proposal, ModelError> {
    match calls {
        [] => propose("drill_crash", json!({ "drill": payload["drill"].as_str().unwrap_or("crash") })),
        _ => Ok(Proposal::Respond(json!({ "survived": true }))),
    }
}

fn propose(tool: &str, arguments: Value) -> Result<Proposal, ModelError> {
    Ok(Proposal::Call(vec![proposed(tool, arguments)?]))
}

fn proposed(tool: &str, arguments: Value) -> Result<ProposedCall, ModelError> {
    let tool: ToolName = tool.parse().map_err(|error| refused(&format!("{error}")))?;
    Ok(ProposedCall { tool, arguments, echo: None })
}

fn refused(message: &str) -> ModelError {
    ModelError::Refused { message: message.to_owned() }
}

/// A script costs nothing; what it reads and writes is counted in words, so that limits can be tried out.
fn usage(question: &Question<'_>) -> Usage {
    let words = 16 + 8 * question.calls.len() as u64;
    Usage { input_tokens: words, output_tokens: 8, cost_micro_usd: 0, ..Default::default() }
}
