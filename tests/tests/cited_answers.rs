//! Questions about the handbook, from the request to the recorded answer.

use std::{cell::Cell, rc::Rc};

use serde_json::{Value, json};
use windlass::run::state::{Phase, RunState};
use windlass_operator::scenario::{Scenario, ScenarioRequest};
use windlass_tests::simulation::{drive::drive, faults::Faults, world::World};

fn answered(payload: Value) -> Value {
    let scenario = Scenario {
        title: "a question".to_owned(),
        orders: Vec::new(),
        request: ScenarioRequest { task: "policy-question".to_owned(), payload },
        decision: None,
        outcome: "completed".to_owned(),
        refunds: 0,
        letters: 0,
    };
    let world = World::new(1, Faults::none(), &scenario);
    let run = drive(&world, &scenario, &Rc::new(Cell::new(None)));
    let state = RunState::fold(&world.entries(run)).expect("the journal is sound");
    let journal = json!(world.entries(run)).to_string();
    // `FIN-2` would be the third hit; `ada` is not in finance.
    assert!(!journal.contains("held for ten days"), "the model was shown what the reader may not see: {journal}");
    match state.phase {
        Phase::Finished(outcome) => outcome.response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_answered_with_a_source_that_holds() {
    let answer = answered(json!({ "question": "How long does a refund take?" }));
    assert_eq!(answer["citations"], json!(["HB-7"]), "{answer}");
    assert!(answer["answer"].as_str().is_some_and(|text| text.contains("five working days")), "{answer}");
}

#[test]
fn an_answer_that_cites_a_stale_forbidden_or_missing_source_becomes_a_list_of_sources() {
    for (cite, because) in [("HB-3", "out of date"), ("FIN-2", "may not see"), ("HB-99", "not among its sources")] {
        let answer = answered(json!({ "question": "How long does a refund take?", "cite": cite }));
        assert_eq!(answer["fallback"], "sources", "{answer}");
        assert!(answer["because"].as_str().is_some_and(|why| why.contains(because)), "{answer}");
        let labels: Vec<&str> =
            answer["sources"].as_array().into_iter().flatten().filter_map(|one| one["label"].as_str()).collect();
        assert_eq!(labels, ["HB-7", "HB-8"], "{answer}");
    }
}

#[test]
fn a_question_that_the_handbook_does_not_answer_is_not_answered() {
    let answer = answered(json!({ "question": "Which zeppelins fly over mountains tonight?" }));
    assert_eq!((answer["answer"].clone(), answer["fallback"].as_str()), (Value::Null, Some("sources")), "{answer}");
}
