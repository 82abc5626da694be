//! Batches of queue messages at the step function, and events of the scheduler.

use std::{cell::RefCell, rc::Rc};

use aws_lambda_events::event::sqs::SqsEvent;
use cleanup::event::Firing;
use serde_json::{Value, json};
use step::handler::Handler;
use windlass::{clock::Clock as _, queue::Message, run::state::RunState};

use super::{super::Said, file, text};
use crate::simulation::{
    drive::scenarios,
    executor::run_to_end,
    faults::Faults,
    world::{TERMS, TIMEOUT, World, deadline},
};

fn start(task: &str, payload: &Value) -> Value {
    let request = json!({ "tenant": "acme", "actor": "ada", "task": task, "payload": payload });
    json!({ "type": "start", "idempotency_key": "k", "source": "queue", "request": request })
}

pub fn seeds() -> Vec<Vec<u8>> {
    let record = |(n, body): (usize, &Value)| {
        json!({
            "messageId": format!("m-{n}"),
            "receiptHandle": format!("h-{n}"),
            "body": body.to_string(),
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        })
    };
    let bodies: Vec<Value> =
        scenarios().iter().map(|scenario| start(&scenario.request.task, &scenario.request.payload)).collect();
    let each = bodies.iter().map(|body| json!({ "Records": [record((1, body))] }).to_string().into_bytes());
    let all = json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() }).to_string().into_bytes();
    each.chain([all, file("events/sqs-batch.json")]).collect()
}

/// One batch in a fresh world.
pub fn batch(input: &[u8]) -> Said {
    let event: SqsEvent = match serde_json::from_slice(input) {
        Ok(event) => event,
        Err(error) => return Said::refused(error),
    };
    let world = World::new(1, Faults::none(), &scenarios_once(|scenarios| scenarios[0].clone()));
    let records = event.records.clone();
    let handler = Handler {
        deliveries: world.queue.clone(),
        terms: TERMS,
        tasks: crate::simulation::tasks(),
        engine: world.engine(),
        wake_up_senders: std::collections::BTreeSet::new(),
    };
    let until = world.clock.now() + TIMEOUT;
    let answer = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&answer);
    let process = Box::pin(async move { *slot.borrow_mut() = Some(handler.handle(event, until).await) });
    run_to_end(&world.clock, process, deadline(&world.clock));
    let mut words: Vec<String> = Vec::new();
    let heads = world.runs.all_heads();
    // The world's other invariants are about its only run.
    if let [only] = heads.as_slice() {
        world.check_invariants(only.run);
    }
    for head in heads {
        let state = RunState::fold(&world.entries(head.run)).expect("it folds");
        words.push(format!("{} {}", head.status.word(), state.calls.len().min(9)));
    }
    let Some(answer) = answer.take() else { return Said::Taken("killed".to_owned()) };
    for record in &records {
        let ours = Message::parse(record.body.as_deref().unwrap_or_default()).is_ok();
        let id = record.message_id.clone().unwrap_or_default();
        let back = answer.batch_item_failures.iter().any(|failure| failure.item_identifier == id);
        assert!(ours || back, "a message that is not ours was acknowledged");
    }
    words.sort();
    words.dedup();
    if words.is_empty() { Said::refused("nothing was taken on") } else { Said::Taken(words.join(", ")) }
}

thread_local! {
    static SCENARIOS: Vec<windlass_operator::scenario::Scenario> = scenarios();
}

fn scenarios_once<T>(with: impl FnOnce(&[windlass_operator::scenario::Scenario]) -> T) -> T {
    SCENARIOS.with(|scenarios| with(scenarios))
}

pub fn message_seeds() -> Vec<Vec<u8>> {
    vec![file("events/queue-start-run.json"), br#"{"type":"wake_up","run":"01JHD7Z3ZK8V6N5Q4R3S2T1W0X"}"#.to_vec()]
}

/// What is read is written back as it was.
pub fn message(input: &[u8]) -> Said {
    let read = Message::parse(&text(input));
    if let Ok(message) = &read {
        let again = Message::parse(&message.body());
        assert_eq!(again.as_ref().ok(), Some(message), "a message changes when it is sent on: {again:?}");
    }
    Said::of(&read)
}

pub fn firing_seeds() -> Vec<Vec<u8>> {
    vec![file("events/schedule-rescue-runs.json"), file("events/schedule-start-run.json")]
}

/// What starts a run is a message that can be sent.
pub fn firing(input: &[u8]) -> Said {
    let Ok(event) = serde_json::from_slice::<Value>(input) else { return Said::refused("no JSON") };
    let read = Firing::read(event);
    if let Ok(Firing { task: cleanup::event::Task::StartRun { message, .. }, .. }) = &read {
        let sent = Message::parse(&message.body());
        assert_eq!(sent.as_ref().ok(), Some(message.as_ref()), "the queue would refuse it: {sent:?}");
    }
    Said::of(&read)
}
