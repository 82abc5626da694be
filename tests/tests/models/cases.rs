//! Answers of real providers and servers that were once taken wrongly, one test for each kind.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::run::{
    entry::{Event, Plan, StopReason},
    state::Phase,
};
use windlass_tests::{
    model_server::{Fault, Format, ModelServer},
    refund_desk::{RefundDesk, Rested},
};

use crate::support::{model, only, refund, route};

/// A refund whose model gives these answers first, in place of the right ones; `None` is the right one.
async fn refunded(format: Format, first: &[Option<Value>]) -> (RefundDesk, ModelServer, Rested) {
    let said = |answer: &Option<Value>| match answer {
        Some(body) => Fault::Body(200, body.clone()),
        None => Fault::Slow(Duration::ZERO),
    };
    let server = ModelServer::start(format, &first.iter().map(said).collect::<Vec<_>>()).await;
    let desk = RefundDesk::default();
    let rested = desk.run(model(&only(route(&server, format))), refund()).await;
    (desk, server, rested)
}

fn openai(message: Value, finish_reason: Value) -> Value {
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 10, "completion_tokens": 10 } })
}

fn text(content: &str, finish_reason: Value) -> Value {
    openai(json!({ "role": "assistant", "content": content }), finish_reason)
}

fn look_up(id: &str, order: &str) -> Value {
    let arguments = json!({ "order": order }).to_string();
    json!({ "id": id, "type": "function", "function": { "name": "look_up_order", "arguments": arguments } })
}

fn calls(calls: &[Value]) -> Value {
    openai(json!({ "role": "assistant", "content": null, "tool_calls": calls }), json!("tool_calls"))
}

fn is_completed_after(asked: usize, (desk, server, rested): &(RefundDesk, ModelServer, Rested), what: &str) {
    assert_eq!(rested.outcome().reason, StopReason::Completed, "{what}");
    assert_eq!(rested.outcome().response["refunded_cents"], 1_200, "{what}");
    assert_eq!((server.asked().len(), desk.ledger.records().refunds.len()), (asked, 1), "{what}");
}

fn planned(rested: &Rested) -> usize {
    let plans = rested.events().map(|event| match event {
        Event::Planned { plan: Plan::Call { calls }, .. } => calls.len(),
        _ => 0,
    });
    plans.sum()
}

#[tokio::test]
async fn a_stop_reason_that_announces_a_call_without_one_is_asked_about_again() {
    let say = "Let me refund that.";
    let bodies = [
        (Format::OpenAi, openai(json!({ "content": say, "tool_calls": [] }), json!("tool_calls"))),
        (Format::Anthropic, json!({ "content": [{ "type": "text", "text": say }], "stop_reason": "tool_use" })),
        (
            Format::Bedrock,
            json!({ "output": { "message": { "content": [{ "text": say }] } }, "stopReason": "tool_use" }),
        ),
    ];
    for (format, body) in bodies {
        is_completed_after(5, &refunded(format, &[Some(body)]).await, format.prefix());
    }
}

#[tokio::test]
async fn a_call_that_is_written_as_text_is_no_response() {
    for written in [
        r#"<tool_call>{"name":"refund","arguments":{"order":"A-1001","amount_cents":600}}</tool_call>"#,
        r#"{"name":"refund","arguments":{"order":"A-1001","amount_cents":600}}"#,
    ] {
        is_completed_after(5, &refunded(Format::OpenAi, &[Some(text(written, json!("stop")))]).await, written);
    }
}

#[tokio::test]
async fn one_call_given_twice_under_one_id_is_made_once_and_different_calls_under_one_id_are_both_made() {
    let twice = calls(&[look_up("call_a", "A-1001"), look_up("call_a", "A-1001")]);
    let scene = refunded(Format::OpenAi, &[Some(twice)]).await;
    is_completed_after(4, &scene, "twice");
    assert_eq!(planned(&scene.2), 3);
    let two = calls(&[look_up("call_a", "A-1001"), look_up("call_a", "A-1002")]);
    let scene = refunded(Format::OpenAi, &[Some(two)]).await;
    assert_eq!(scene.2.state.calls.iter().filter(|call| call.step == 1).count(), 2);
}

#[tokio::test]
async fn an_error_with_status_200_lets_the_run_rest_and_what_it_did_stands() {
    for body in [
        json!({ "choices": [] }),
        json!({ "choices": null }),
        json!({ "error": { "message": "overloaded", "code": 429 } }),
    ] {
        let mut first = vec![None, None];
        first.extend(vec![Some(body.clone()); 70]);
        let (desk, server, rested) = refunded(Format::OpenAi, &first).await;
        assert!(matches!(rested.state.phase, Phase::Waiting { .. }), "{body}: {:?}", rested.state.phase);
        assert!(server.asked().len() <= 8, "{body}: {}", server.asked().len());
        assert_eq!((desk.ledger.records().refunds.len(), rested.state.abandoned), (1, None), "{body}");
    }
}

#[tokio::test]
async fn what_a_provider_gives_with_a_call_is_sent_back_with_it() {
    let signed = json!({ "google": { "thought_signature": "c2ln" } });
    let mut call = look_up("c1", "A-1001");
    call["extra_content"] = signed.clone();
    let message = json!({ "role": "assistant", "reasoning_content": "hm", "content": null, "tool_calls": [call] });
    let scene = refunded(Format::OpenAi, &[Some(openai(message, json!("tool_calls")))]).await;
    is_completed_after(4, &scene, "extras");
    for asked in &scene.1.asked()[1..] {
        let told = &asked.body["messages"][2];
        assert_eq!(
            (&told["tool_calls"][0]["extra_content"], &told["reasoning_content"]),
            (&signed, &json!("hm")),
            "{told}"
        );
        let id = told["tool_calls"][0]["id"].as_str().expect("an id");
        assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    }
}

#[tokio::test]
async fn a_server_that_knows_the_limit_by_its_other_name_is_asked_by_that_from_then_on() {
    let error = json!({ "error": { "message": "use max_completion_tokens", "param": "max_tokens" } });
    let server = ModelServer::start(Format::OpenAi, &[Fault::Body(400, error)]).await;
    let desk = RefundDesk::default();
    let rested = desk.run(model(&only(route(&server, Format::OpenAi))), refund()).await;
    is_completed_after(5, &(desk, server, rested), "the limit's name");
}

#[tokio::test]
async fn the_models_own_bad_call_that_comes_as_400_is_asked_about_again() {
    let error = json!({ "error": { "message": "could not make a call", "code": "tool_use_failed" } });
    let faults = [Fault::Slow(Duration::ZERO), Fault::Slow(Duration::ZERO), Fault::Body(400, error)];
    let server = ModelServer::start(Format::OpenAi, &faults).await;
    let desk = RefundDesk::default();
    let rested = desk.run(model(&only(route(&server, Format::OpenAi))), refund()).await;
    is_completed_after(5, &(desk, server, rested), "tool_use_failed");
}

#[tokio::test]
async fn thoughts_and_prose_around_the_answer_are_not_the_answer() {
    for said in
        ["<think>customer is angry</think>\n{\"refunded\":true}", "Here it is:\n```json\n{\"refunded\":true}\n```"]
    {
        let (_, server, rested) = refunded(Format::OpenAi, &[Some(text(said, json!("stop")))]).await;
        assert_eq!(rested.outcome().response, json!({ "refunded": true }), "{said}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_whole_answer_counts_whatever_its_stop_reason_and_an_empty_refusal_is_none() {
    let content = "{\"done\":true}";
    for body in [
        text(content, json!("")),
        text(content, json!(null)),
        text(content, json!("eos")),
        openai(json!({ "content": content, "refusal": "" }), json!("stop")),
    ] {
        let (_, server, rested) = refunded(Format::OpenAi, &[Some(body.clone())]).await;
        assert_eq!(rested.outcome().reason, StopReason::Completed, "{body}");
        assert_eq!((server.asked().len(), &rested.outcome().response), (1, &json!({ "done": true })), "{body}");
    }
}

#[tokio::test]
async fn a_wait_of_a_fraction_of_seconds_is_waited_for_and_not_in_the_invocation() {
    let began = std::time::Instant::now();
    let server = ModelServer::start(Format::OpenAi, &[Fault::Status(429, vec![("retry-after", "20.5")])]).await;
    let rested = RefundDesk::default().run(model(&only(route(&server, Format::OpenAi))), refund()).await;
    let Phase::Waiting { until } = rested.state.phase else { panic!("{:?}", rested.state.phase) };
    let waits = until.since(rested.entries[0].at);
    assert!(waits >= Duration::from_millis(20_500) && waits < Duration::from_secs(60), "{waits:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it waited in the invocation: {:?}", began.elapsed());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_asked_for_again_a_few_times_and_then_with_rests() {
    let useless = vec![Some(json!({ "result": "hello" })); 70];
    let (desk, server, rested) = refunded(Format::OpenAi, &useless).await;
    assert!(matches!(rested.state.phase, Phase::Waiting { .. }), "{:?}", rested.state.phase);
    assert!((3..=4).contains(&server.asked().len()), "{}", server.asked().len());
    assert_eq!(desk.ledger.records().refunds.len(), 0);
}
