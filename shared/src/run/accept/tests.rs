use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    clock::{Clock, Timestamp},
    journal::Heads as _,
    memory::{ManualClock, Queue, Records, Runs, SeededRandom},
    queue::Message,
    run::outside::History,
};

const DAY: Duration = Duration::from_secs(86_400);
const TERMS: Terms = Terms {
    limits: Limits { steps_max: 3, tokens_max: 4, cost_max_micro_usd: 5, wall_time_max_seconds: 600, entries_max: 700 },
    key_kept_for: DAY,
    run_kept_for: Duration::from_secs(90 * 86_400),
};

struct Desk {
    clock: Arc<ManualClock>,
    runs: Runs,
    queue: Queue,
    random: SeededRandom,
}

impl Desk {
    fn new() -> Desk {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
        let shared: Arc<dyn Clock> = clock.clone();
        let runs = Runs::new(shared.clone(), &Records::new());
        Desk { clock, runs, queue: Queue::new(shared, DAY, 3), random: SeededRandom::new(1) }
    }

    async fn accept(&self, actor: &str, key: &str, source: Source, payload: Value) -> Result<TakenOn, AcceptError> {
        let release = "r1".parse().expect("a release");
        let outside = Outside {
            journal: &self.runs,
            wake_ups: &self.queue,
            clock: self.clock.as_ref(),
            random: &self.random,
            release: &release,
            telemetry: None,
        };
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: actor.parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload,
            roles: Default::default(),
        };
        accept(
            &outside,
            &TERMS,
            Incoming { request, source, client_key: key.to_owned(), person: None, trace: None, admitted: None },
        )
        .await
    }
}

#[tokio::test]
async fn a_run_and_its_trace_exist_before_any_work_and_somebody_is_woken() {
    let desk = Desk::new();
    let taken_on = desk.accept("ada", "k", Source::Http, json!({"order": 1})).await.expect("it is taken on");
    let TakenOn::New { run, trace } = taken_on else { panic!("{taken_on:?}") };
    let History { entries, state } = History::load(&desk.runs, run).await.expect("it can be read");
    assert_eq!((entries.len(), state.trace, state.limits), (1, trace, TERMS.limits));
    let head = desk.runs.head(run).await.expect("the store answers").expect("there is a head");
    assert_eq!(head.expires, (desk.clock.now() + TERMS.run_kept_for).whole_second());
    let woken: Vec<String> = desk.queue.receive(10).into_iter().map(|message| message.body).collect();
    assert_eq!(woken, [Message::WakeUp { run }.body()]);
}

#[tokio::test]
async fn a_repetition_is_the_same_run_until_the_key_is_forgotten() {
    let desk = Desk::new();
    let again = || desk.accept("ada", "k", Source::Http, json!({"order": 1}));
    let first = again().await.expect("it is taken on").run();
    assert_eq!(again().await.expect("it is known"), TakenOn::Repeated { run: first });
    desk.clock.advance(DAY + Duration::from_secs(1));
    assert!(matches!(again().await.expect("it is forgotten"), TakenOn::New { run, .. } if run != first));
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_actor() {
    let desk = Desk::new();
    let mine = desk.accept("ada", "k", Source::Http, json!({"order": 1})).await.expect("it is taken on");
    let changed = desk.accept("ada", "k", Source::Http, json!({"order": 2})).await;
    assert!(matches!(changed, Err(AcceptError::Mismatch)));
    let theirs = desk.accept("bob", "k", Source::Http, json!({"order": 1})).await.expect("it is another key");
    assert!(matches!(theirs, TakenOn::New { run, .. } if run != mine.run()));
}

#[tokio::test]
async fn the_same_envelope_starts_a_run_however_it_came_in() {
    let desk = Desk::new();
    for (key, source) in [("h", Source::Http), ("q", Source::Queue), ("s", Source::Schedule)] {
        let run = desk.accept("ada", key, source, json!({"order": 1})).await.expect("it is taken on").run();
        let history = History::load(&desk.runs, run).await.expect("it can be read");
        let (_, event) = history.events().next().expect("there is one");
        assert!(matches!(event, Event::Accepted(accepted) if accepted.source == source));
    }
}

#[tokio::test]
async fn what_is_not_acceptable_writes_nothing() {
    let desk = Desk::new();
    for (key, payload) in [("", json!({})), (&"k".repeat(257), json!({})), ("k", json!([]))] {
        let error = desk.accept("ada", key, Source::Http, payload).await.expect_err("it is not acceptable");
        assert_eq!(error.retry(), Retry::Terminal);
    }
    assert!(desk.runs.all_heads().is_empty() && desk.queue.receive(1).is_empty());
}
