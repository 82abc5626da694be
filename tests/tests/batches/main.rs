//! Batches of the step function: a message waits for no other one's run.

use std::{
    cell::Cell,
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use windlass::{
    agent::model::{Answer, Model, ModelError, Proposal, Question, Usage},
    audit::AuditRecord,
    clock::Clock,
    controls::{Changed, Controls, ControlsError, Document, Initialised},
    ids::RunId,
    memory::{ManualClock, Received},
    queue::{Message, QueueError, Share, Sleeper, WakeUps},
    run::request::{RunRequest, Source},
};
use windlass_tests::simulation::{
    drive::scenarios,
    executor::{Polled, Process, poll, run_to_end},
    faults::Faults,
    world::{World, deadline},
};

mod worst;

/// Ten messages are the mapping's `BatchSize`.
const BATCH: usize = 10;

/// How long the slow run's model thinks.
const SLOW: Duration = Duration::from_secs(40);

/// A model that answers at once, but for one run.
struct Slow {
    clock: Arc<ManualClock>,
    run: RunId,
    answered: Arc<Mutex<BTreeSet<RunId>>>,
}

#[async_trait]
impl Model for Slow {
    fn name(&self) -> &str {
        "slow"
    }
    fn timeout(&self) -> Duration {
        SLOW + Duration::from_secs(5)
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        if question.run == self.run {
            self.clock.sleep_until(self.clock.now() + SLOW).await;
        }
        self.answered.lock().expect("nothing panics").insert(question.run);
        Ok(Answer {
            proposal: Proposal::Respond(json!({})),
            usage: Usage::default(),
            model: "slow".to_owned(),
            lost: Default::default(),
        })
    }
}

/// A world with ten runs, each with a message.
fn ten() -> (World, Vec<RunId>, Vec<Received>) {
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    let runs = (0..BATCH).map(|n| {
        let answer: Rc<Cell<Option<RunId>>> = Rc::default();
        run_to_end(&world.clock, world.client(&format!("key-{n}"), &scenario, answer.clone()), deadline(&world.clock));
        answer.get().expect("the request is taken on")
    });
    let runs = runs.collect();
    let received = world.queue.receive(BATCH);
    assert_eq!(received.len(), BATCH);
    (world, runs, received)
}

/// Polls a process for as long as it needs no time.
fn settle(process: &mut Process) -> Polled {
    loop {
        match poll(process) {
            Polled::Ready => {}
            other => return other,
        }
    }
}

/// What comes back once every message can be seen again.
fn redelivered(world: &World) -> Vec<RunId> {
    world.clock.advance(Duration::from_secs(3_600));
    let bodies = world.queue.receive(100).into_iter().map(|received| received.body);
    let runs = bodies.map(|body| match Message::parse(&body) {
        Ok(Message::WakeUp { run }) => run,
        other => panic!("{other:?}"),
    });
    runs.collect()
}

#[test]
fn the_messages_of_quick_runs_are_gone_when_their_runs_are_done_and_do_not_come_back_when_the_worker_dies_after_that() {
    let (world, runs, received) = ten();
    let answered: Arc<Mutex<BTreeSet<RunId>>> = Arc::default();
    let mut engine = world.engine();
    let (clock, slow) = (world.clock.clone(), runs[3]);
    engine.agent.model = Arc::new(Slow { clock, run: slow, answered: answered.clone() });
    let mut worker = world.worker_of(engine, received);
    assert_eq!(settle(&mut worker), Polled::Waiting, "the slow run is under way");
    assert_eq!(answered.lock().expect("nothing panics").len(), BATCH - 1);
    assert!(runs.iter().filter(|run| **run != slow).all(|run| world.is_over(*run)), "nine runs are over");
    drop(worker);
    assert_eq!(redelivered(&world), [slow], "nine messages are gone");
}

#[test]
fn the_last_message_of_a_batch_is_left_to_the_mapping_which_costs_no_request() {
    let (world, runs, mut received) = ten();
    let mut engine = world.engine();
    let (clock, answered) = (world.clock.clone(), Arc::default());
    engine.agent.model = Arc::new(Slow { clock, run: runs[0], answered });
    let counting = Arc::new(Counting { inner: engine.wake_ups.clone(), deleted: Mutex::default() });
    engine.wake_ups = counting.clone();
    received.truncate(1);
    let until = world.clock.now() + Duration::from_secs(60);
    assert_eq!(run_to_end(&world.clock, world.worker_of(engine, received), until), Polled::Ended);
    assert_eq!(*counting.deleted.lock().expect("nothing panics"), 0);
}

/// Counts what is deleted early.
struct Counting {
    inner: Arc<dyn WakeUps>,
    deleted: Mutex<u32>,
}

#[async_trait]
impl WakeUps for Counting {
    async fn send(&self, message: &Message, share: &Share, delay: Duration) -> Result<(), QueueError> {
        self.inner.send(message, share, delay).await
    }
    async fn send_batch(&self, sleepers: &[Sleeper]) -> Result<Vec<RunId>, QueueError> {
        self.inner.send_batch(sleepers).await
    }
    async fn postpone(&self, receipt: &str, span: Duration) -> Result<(), QueueError> {
        self.inner.postpone(receipt, span).await
    }
    async fn acknowledge(&self, receipt: &str) -> Result<(), QueueError> {
        *self.deleted.lock().expect("nothing panics") += 1;
        self.inner.acknowledge(receipt).await
    }
}

/// Controls that take their time for the first who asks.
struct Slack {
    inner: Arc<dyn Controls>,
    clock: Arc<ManualClock>,
    asked: Mutex<u32>,
}

#[async_trait]
impl Controls for Slack {
    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError> {
        self.inner.init(audit).await
    }
    async fn read(&self) -> Result<Arc<Document>, ControlsError> {
        let first = {
            let mut asked = self.asked.lock().expect("nothing panics");
            *asked += 1;
            *asked == 1
        };
        if first {
            self.clock.sleep_until(self.clock.now() + SLOW).await;
        }
        self.inner.read().await
    }
    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        self.inner.change(document, audit).await
    }
    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError> {
        self.inner.history(limit).await
    }
    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError> {
        self.inner.version(version).await
    }
}

#[test]
fn no_run_waits_for_the_admission_of_another_ones_request() {
    let (world, runs, mut received) = ten();
    let request = RunRequest {
        roles: Default::default(),
        tenant: "acme".parse().expect("a tenant"),
        actor: "bob".parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload: json!({ "order": "A-1" }),
    };
    let start = Message::Start { idempotency_key: "k".to_owned(), source: Source::Queue, request };
    world.queue.send_body(&start.body(), Duration::ZERO);
    let asked = world.queue.receive(1);
    received.splice(..1, asked);
    let mut engine = world.engine();
    let (clock, answered) = (world.clock.clone(), Arc::<Mutex<BTreeSet<RunId>>>::default());
    let inner = engine.live.controls.clone();
    engine.live.controls = Arc::new(Slack { inner, clock: clock.clone(), asked: Mutex::default() });
    engine.agent.model = Arc::new(Slow { clock, run: "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run"), answered });
    let mut worker = world.worker_of(engine, received);
    assert_eq!(settle(&mut worker), Polled::Waiting, "the request is not admitted yet");
    assert_eq!(runs.iter().filter(|run| world.is_over(**run)).count(), BATCH - 1);
}
