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
    agent::{
        Agent,
        model::{Answer, Model, ModelError, Proposal, Question, Usage},
    },
    audit::AuditRecord,
    clock::{CLOCK_SKEW_MAX, Clock, Timestamp},
    controls::{Changed, Controls, ControlsError, Document, Initialised},
    ids::RunId,
    lease::LEASE_FOR,
    memory::{ManualClock, Received},
    queue::{Deliveries, Delivery, Message, QueueError},
    run::{
        advance::Engine,
        request::{RunRequest, Source},
    },
};
use windlass_tests::simulation::{
    drive::scenarios,
    executor::{Polled, Process, poll, run_to_end},
    faults::Faults,
    world::{TIMEOUT, World, deadline},
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
    let runs = (0..BATCH).map(|n| take_on(&world, n)).collect();
    let received = world.queue.receive(BATCH);
    assert_eq!(received.len(), BATCH);
    (world, runs, received)
}

fn take_on(world: &World, n: usize) -> RunId {
    let answer: Rc<Cell<Option<RunId>>> = Rc::default();
    let client = world.client(&format!("key-{n}"), &scenarios().remove(0), answer.clone());
    run_to_end(&world.clock, client, deadline(&world.clock));
    answer.get().expect("the request is taken on")
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
    let counting = Arc::new(Counting { inner: world.queue.clone(), deleted: Mutex::default() });
    received.truncate(1);
    let until = world.clock.now() + Duration::from_secs(60);
    let worker = world.worker_with(engine, counting.clone(), received);
    assert_eq!(run_to_end(&world.clock, worker, until), Polled::Ended);
    assert_eq!(*counting.deleted.lock().expect("nothing panics"), 0);
}

/// Polls a process until it waits for `at`, as time passes.
fn settle_until(world: &World, process: &mut Process, at: Timestamp) -> Polled {
    loop {
        match settle(process) {
            Polled::Waiting => {}
            other => return other,
        }
        let Some(wake) = world.clock.next_wake().filter(|wake| *wake <= at) else { return Polled::Waiting };
        world.clock.set(wake.max(world.clock.now()));
    }
}

#[test]
fn the_places_of_runs_that_are_done_are_taken_by_others_while_the_slowest_goes_on() {
    let scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    let runs: Vec<RunId> = (0..3 * BATCH).map(|n| take_on(&world, n)).collect();
    let received = world.queue.receive(BATCH);
    let mut engine = world.engine();
    let clock = world.clock.clone();
    engine.agent.model = Arc::new(Slow { clock, run: runs[3], answered: Arc::default() });
    let mut worker = world.worker_of(engine, received);
    assert_eq!(settle_until(&world, &mut worker, world.clock.now() + Duration::from_secs(2)), Polled::Waiting);
    let over = runs.iter().filter(|run| world.is_over(**run)).count();
    assert_eq!(over, 3 * BATCH - 1, "all but the slow one are over after two seconds, with one worker");
    assert_eq!(settle_until(&world, &mut worker, deadline(&world.clock)), Polled::Ended);
    assert!(world.is_over(runs[3]));
    assert_eq!(redelivered(&world), [], "every message is gone");
}

#[test]
fn a_batch_that_is_not_full_and_a_worker_that_has_little_time_left_take_on_nothing() {
    for (size, left) in [(BATCH - 1, TIMEOUT), (BATCH, SLOW + Duration::from_secs(11))] {
        let scenario = scenarios().remove(0);
        let world = World::new(1, Faults::none(), &scenario);
        let runs: Vec<RunId> = (0..3 * BATCH).map(|n| take_on(&world, n)).collect();
        let received = world.queue.receive(size);
        // The worker's deadline is a timeout after its start by its engine's clock, and this batch has been under way for a while.
        let engine = world.engine();
        let deadline = world.clock.now() + left;
        let clock = world.clock.clone();
        let model = Arc::new(Slow { clock, run: runs[3], answered: Arc::default() });
        let engine = Engine { agent: Agent { model, ..engine.agent.clone() }, ..engine };
        let mut worker = world.worker_until(deadline, engine, world.queue.clone(), received);
        settle_until(&world, &mut worker, world.clock.now() + Duration::from_secs(2));
        let over = runs.iter().filter(|run| world.is_over(**run)).count();
        assert_eq!(over, size - 1, "of {size} with {left:?}");
    }
}

#[test]
fn the_messages_of_a_worker_that_dies_come_back_with_its_leases() {
    let (world, runs, received) = ten();
    let mut engine = world.engine();
    let clock = world.clock.clone();
    engine.agent.model = Arc::new(Slow { clock, run: runs[3], answered: Arc::default() });
    let mut worker = world.worker_of(engine, received);
    let died_at = world.clock.now() + Duration::from_secs(25);
    settle_until(&world, &mut worker, died_at);
    world.clock.set(died_at);
    drop(worker);
    let back = world.queue.next_visible().expect("the slow run's message is there").since(died_at);
    let most = LEASE_FOR + CLOCK_SKEW_MAX;
    assert!(most - Duration::from_secs(10) <= back && back <= most, "{back:?}");
}

#[test]
fn messages_that_have_come_back_from_a_dead_worker_come_back_apart_the_next_time() {
    let (world, _, received) = ten();
    drop(received);
    world.clock.advance(Duration::from_secs(360));
    let received = world.queue.receive(BATCH);
    assert!(received.iter().all(|received| received.receive_count == 2), "{received:?}");
    let mut engine = world.engine();
    engine.agent.model = Arc::new(Stuck);
    let mut worker = world.worker_of(engine, received);
    settle_until(&world, &mut worker, world.clock.now() + Duration::from_secs(1));
    drop(worker);
    let mut moments = BTreeSet::new();
    while let Some(visible) = world.queue.next_visible().filter(|_| moments.len() < BATCH) {
        world.clock.set(visible);
        moments.insert(visible);
        world.queue.receive(BATCH);
    }
    assert!(moments.len() > 3, "{moments:?}");
}

/// A model that never answers.
struct Stuck;

#[async_trait]
impl Model for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }
    fn timeout(&self) -> Duration {
        SLOW
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }
    async fn answer(&self, _: Question<'_>) -> Result<Answer, ModelError> {
        futures::future::pending().await
    }
}

/// Counts what is deleted early.
struct Counting {
    inner: Arc<dyn Deliveries>,
    deleted: Mutex<u32>,
}

#[async_trait]
impl Deliveries for Counting {
    async fn receive(&self, limit: usize, span: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.inner.receive(limit, span).await
    }
    async fn hide(&self, receipts: &[(&str, Duration)]) -> Result<(), QueueError> {
        self.inner.hide(receipts).await
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
