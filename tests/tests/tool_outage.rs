//! The ledger is away for an hour under 200 runs, after taking some calls without answering them: nothing is lost, undone or done twice,
//! nobody is asked, and every run completes afterwards. By a clock that is driven.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use step::refund_desk::{
    ledger::{Ledger, Order, Refund},
    ledger_in_memory::LedgerInMemory,
    tools::{Drills, tools},
};
use windlass::{
    agent::{tool::ToolError, tool_set::tool_set},
    clock::{Clock as _, Timestamp},
    ids::{RunId, Tenant},
    memory::ManualClock,
    run::{
        entry::Event,
        state::{Phase, RunState},
    },
    schedule::Job,
};
use windlass_tests::simulation::{
    drive::scenarios,
    executor::run_to_end,
    faults::Faults,
    world::{World, deadline},
};

const RUNS: u32 = 200;

/// Between two requests: the first come before the outage, the last in the middle of it.
const BETWEEN: Duration = Duration::from_secs(10);

const AWAY_FROM: Duration = Duration::from_secs(60);
const AWAY_FOR: Duration = Duration::from_secs(3600);

/// How long after the server is back the last run may end: rests are at most five minutes by then, or an eighth of the outage.
const CATCH_UP_MAX: Duration = Duration::from_secs(30 * 60);

/// A ledger that cannot be reached for a while. As that begins, every third refund is made and not answered.
struct Away {
    ledger: Arc<LedgerInMemory>,
    clock: Arc<ManualClock>,
    from: Timestamp,
    calls: AtomicU64,
    unanswered: AtomicU64,
}

impl Away {
    fn is_away(&self) -> bool {
        let now = self.clock.now();
        self.from <= now && now < self.from + AWAY_FOR
    }

    fn reach(&self) -> Result<(), ToolError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.is_away() {
            true => Err(ToolError::Unavailable { message: "no connection".to_owned(), retry_after: Duration::ZERO }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for Away {
    async fn order(&self, tenant: &Tenant, order: &str) -> Result<Option<Order>, ToolError> {
        // Orders can be read elsewhere for the first minutes.
        if self.from + Duration::from_secs(600) < self.clock.now() {
            self.reach()?;
        }
        self.ledger.order(tenant, order).await
    }
    async fn refund(&self, tenant: &Tenant, order: &str, cents: u64, key: &str) -> Result<Refund, ToolError> {
        let first = !self.ledger.records().refunds.contains_key(key);
        if self.is_away() && first && self.calls.load(Ordering::SeqCst).is_multiple_of(3) {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            self.ledger.refund(tenant, order, cents, key).await?;
            return Err(ToolError::Unknown { message: "the connection broke".to_owned() });
        }
        self.reach()?;
        self.ledger.refund(tenant, order, cents, key).await
    }
    async fn reverse(&self, tenant: &Tenant, order: &str, key: &str) -> Result<(), ToolError> {
        self.reach()?;
        self.ledger.reverse(tenant, order, key).await
    }
    async fn send_letter(&self, tenant: &Tenant, order: &str, text: &str) -> Result<String, ToolError> {
        self.reach()?;
        self.ledger.send_letter(tenant, order, text).await
    }
    async fn is_armed(&self, drill: &str) -> Result<bool, ToolError> {
        self.ledger.is_armed(drill).await
    }
}

#[test]
fn a_tool_server_that_is_away_for_an_hour_costs_no_run_anything_but_time() {
    let mut scenario = scenarios().remove(0);
    let world = World::new(1, Faults::none(), &scenario);
    let clock = &world.clock;
    let from = clock.now() + AWAY_FROM;
    let ledger = Arc::new(Away {
        ledger: Arc::clone(&world.ledger),
        clock: world.clock.clone(),
        from,
        calls: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
    });
    let mut engine = world.engine();
    let port: Arc<dyn Ledger> = ledger.clone();
    engine.agent.tools =
        tool_set(tools(&port, Drills::Absent).expect("the tools are sound")).expect("they go together");

    let tenant: Tenant = "acme".parse().expect("a tenant");
    let mut order = world.ledger.records().orders.into_values().next().expect("an order");
    let mut runs: Vec<RunId> = Vec::new();
    let began = clock.now();
    let mut sweep_at = began + Job::RescueRuns.every();
    let give_up_at = from + AWAY_FOR + CATCH_UP_MAX;
    while runs.len() < RUNS as usize || runs.iter().any(|run| !world.is_over(*run)) {
        assert!(clock.now() < give_up_at, "not over {CATCH_UP_MAX:?} after the server is back");
        let post_at = began + BETWEEN * runs.len() as u32;
        let post_at = (runs.len() < RUNS as usize).then_some(post_at);
        let message_at = world.queue.next_visible();
        let next = [post_at, message_at, Some(sweep_at)].into_iter().flatten().min().unwrap_or(sweep_at);
        clock.set(next.max(clock.now()));
        if post_at == Some(next) {
            order.order = format!("B-{}", runs.len());
            world.ledger.add_order(&tenant, order.clone());
            scenario.request.payload["order"] = order.order.clone().into();
            let told: Rc<Cell<Option<RunId>>> = Rc::default();
            let key = format!("key-{}", runs.len());
            run_to_end(clock, world.client(&key, &scenario, told.clone()), deadline(clock));
            runs.push(told.get().expect("it was taken on"));
        } else if message_at == Some(next) {
            let worker = world.worker_of(engine.clone(), world.queue.receive(10));
            run_to_end(clock, worker, deadline(clock));
        } else {
            run_to_end(clock, world.cleaner(), deadline(clock));
            sweep_at = sweep_at + Job::RescueRuns.every();
        }
    }

    let (mut asked, mut undone, mut entries, mut attempts, mut late) = (0, 0, Vec::new(), Vec::new(), Vec::new());
    for run in &runs {
        let journal = world.entries(*run);
        let state = RunState::fold(&journal).expect("the journal is sound");
        let Phase::Finished(outcome) = &state.phase else { panic!("{run} is not over") };
        assert_eq!(outcome.reason.word(), "completed", "{run}: {:?}", outcome.reason);
        let events = || journal.iter().flat_map(|entry| &entry.events);
        asked += events().filter(|event| matches!(event, Event::ApprovalRequested(_))).count();
        undone += events().filter(|event| matches!(event, Event::CompensationAttempted { .. })).count();
        entries.push(journal.len());
        attempts.extend(state.calls.iter().map(|call| call.attempts));
        late.push(outcome.at.since(from + AWAY_FOR).as_secs());
    }
    let records = world.ledger.records();
    let refunds = records.refunds.values().flatten().count();
    entries.sort_unstable();
    attempts.sort_unstable();
    late.sort_unstable();
    let (p50, p95) = (late[late.len() / 2], late[late.len() * 95 / 100]);
    println!(
        "{RUNS} runs, the ledger away for {AWAY_FOR:?}, {} refunds made and not answered: completed {}, refunds {refunds}, letters {}, \
         lost 0, undone {undone}, people asked {asked}; attempts of a call at most {}, entries of a run p50 {} max {}; \
         ended after the server was back p50 {p50} s, p95 {p95} s, max {} s",
        ledger.unanswered.load(Ordering::SeqCst),
        runs.len(),
        records.letters.len(),
        attempts[attempts.len() - 1],
        entries[entries.len() / 2],
        entries[entries.len() - 1],
        late[late.len() - 1],
    );
    assert!(ledger.unanswered.load(Ordering::SeqCst) > 20, "nothing went unanswered");
    assert_eq!((refunds, records.letters.len()), (RUNS as usize, RUNS as usize));
    assert_eq!((undone, asked), (0, 0));
    assert!(attempts.last().is_some_and(|most| *most < 40), "{attempts:?}");
}
