use windlass::{
    config::{self, LastResort, ModelName, Price, Route},
    run::entry::StopReason,
};
use windlass_tests::{
    model_server::{Fault, Format, ModelServer},
    refund_desk::RefundDesk,
};

use crate::support::{model, only, refund, route};

#[tokio::test]
async fn the_second_model_answers_while_the_first_does_not_and_the_journal_says_which() {
    let first = ModelServer::start(Format::OpenAi, &[Fault::Status(500, vec![]), Fault::Cut]).await;
    let second = ModelServer::start(Format::Anthropic, &[]).await;
    let fallback = Some(route(&second, Format::Anthropic));
    let config = config::Model { fallback, ..only(route(&first, Format::OpenAi)) };
    let desk = RefundDesk::default();
    let rested = desk.run(model(&config), refund()).await;
    assert_eq!(rested.outcome().reason, StopReason::Completed);
    assert_eq!(rested.models(), ["anthropic:test", "anthropic:test", "openai:test", "openai:test"]);
    assert_eq!(desk.ledger.records().refunds.len(), 1);
}

#[tokio::test]
async fn a_deterministic_answer_stands_in_when_no_model_does() {
    let first = ModelServer::start(Format::OpenAi, &vec![Fault::Status(500, vec![]); 8]).await;
    let script = Route { model: ModelName::Script, base_url: None, secret: None, price: Some(Price::default()) };
    let config = config::Model { fallback: Some(script), ..only(route(&first, Format::OpenAi)) };
    let rested = RefundDesk::default().run(model(&config), refund()).await;
    assert_eq!(rested.outcome().reason, StopReason::Completed);
    assert_eq!(rested.models(), ["script"; 4]);
    assert_eq!(first.asked().len(), 4, "each step asks the first model once, then goes on");
}

#[tokio::test]
async fn a_person_takes_over_when_every_model_has_asked_to_be_left_alone() {
    let busy = || vec![Fault::Status(429, vec![("retry-after", "600")])];
    let first = ModelServer::start(Format::OpenAi, &busy()).await;
    let second = ModelServer::start(Format::Bedrock, &busy()).await;
    let config = config::Model {
        fallback: Some(route(&second, Format::Bedrock)),
        last_resort: LastResort::Person,
        ..only(route(&first, Format::OpenAi))
    };
    let desk = RefundDesk::default();
    let rested = desk.run(model(&config), refund()).await;
    assert_eq!(rested.outcome().response["handed_over_to"], "person", "{:?}", rested.outcome());
    assert_eq!(rested.models(), ["nobody"]);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
}
