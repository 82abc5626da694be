//! Seeded random schedules: processes interleaved at every port call, duplicated, reordered, delayed and lost messages, expired
//! leases, failing and dying ports, cancellations. Then the faults stop, and every run must end as it should.
//!
//! `SEED=17 cargo test -p windlass-tests --test random_schedules` replays one; `SEEDS=100000` takes more.

use std::{
    cell::Cell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use windlass::{
    approval::Verdict,
    budgets::{Account, Budgets as _},
    clock::{Clock as _, Timestamp},
    controls::Controls as _,
    ids::RunId,
    journal::Journal as _,
    queue::Message,
    run::{
        entry::{Event, StopReason, ToolOutcome},
        state::{CallStatus, Phase, RunState},
    },
};
use windlass_operator::scenario::Scenario;
use windlass_tests::simulation::{
    drive::{check_end, drive, scenarios},
    executor::{Polled, Process, poll, run_to_end},
    faults::Faults,
    faulty::show,
    world::{World, deadline, now},
};

/// Schedules in one run of the test, unless `SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

/// Things that happen before the world heals.
const EVENTS: u32 = 250;

/// What operators switch off in passing; each holds runs and changes no end.
const SWITCHES_OFF: [&[&str]; 6] = [
    &["tool.refund=off"],
    &["tool.refund=off"],
    &["tool.write_to_customer=off"],
    &["model=off"],
    &["agent=off"],
    &["prompt=off"],
];

/// What lifts all of it.
const SWITCHES_ON: &[&str] = &["tool.refund=on", "tool.write_to_customer=on", "model=on", "agent=on", "prompt=on"];

/// Processes at once.
const PROCESSES_MAX: usize = 6;

#[derive(Default, Clone, Copy)]
struct Tally {
    schedules: u64,
    faults: u64,
    killed: u64,
    cancelled: u64,
    expired: u64,
    used_up: u64,
    held: u64,
}

struct Running {
    process: Process,
    deadline: Timestamp,
}

struct Schedule<'s> {
    world: World,
    scenario: &'s Scenario,
    rng: StdRng,
    running: Vec<Running>,
    answer: Rc<Cell<Option<RunId>>>,
    may_cancel: bool,
    /// Since when refunds are switched off, and how many there were then.
    refund_off: Option<(Timestamp, usize)>,
    tally: Tally,
}

impl<'s> Schedule<'s> {
    fn new(seed: u64, scenarios: &'s [Scenario]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let scenario = &scenarios[rng.random_range(0..scenarios.len())];
        let faults = Faults::random(StdRng::seed_from_u64(seed ^ 0xfa17), rng.random_range(0..120));
        Self {
            world: World::new(seed, faults, scenario),
            scenario,
            running: Vec::new(),
            answer: Rc::default(),
            may_cancel: rng.random_range(0..4) == 0,
            rng,
            refund_off: None,
            tally: Tally::default(),
        }
    }

    fn spawn(&mut self, process: Process) {
        if self.running.len() < PROCESSES_MAX {
            let deadline = self.world.clock.now() + windlass_tests::simulation::world::TIMEOUT;
            self.running.push(Running { process, deadline });
        }
    }

    fn happen(&mut self) {
        match self.rng.random_range(0..1_000) {
            0..700 if !self.running.is_empty() => self.poll_one(),
            0..760 => {
                let limit = self.rng.random_range(1..4);
                let received = self.world.queue.receive(limit);
                if !received.is_empty() {
                    let worker = self.world.worker(received);
                    self.spawn(worker);
                }
            }
            760..800 => self.duplicate_a_message(),
            800..840 => self.world.clock.advance(Duration::from_millis(self.rng.random_range(1..5_000))),
            840..860 => self.world.clock.advance(Duration::from_secs(self.rng.random_range(20..7_200))),
            860..890 => self.spawn(self.world.cleaner()),
            890..925 => self.spawn(self.world.client("key-1", self.scenario, Rc::clone(&self.answer))),
            925..960 => {
                if let Some(run) = self.answer.get() {
                    self.spawn(self.world.approver(run, self.scenario.decision));
                }
            }
            960..980 if !self.running.is_empty() => {
                let victim = self.rng.random_range(0..self.running.len());
                self.running.swap_remove(victim);
                self.tally.killed += 1;
            }
            980..985 => self.world.queue.lose_all(),
            985..990 if self.may_cancel => {
                if let Some(run) = self.answer.get() {
                    self.spawn(self.world.canceller(run));
                }
            }
            990..995 => {
                let off = SWITCHES_OFF[self.rng.random_range(0..SWITCHES_OFF.len())];
                self.spawn(self.world.operator(off));
            }
            995..1_000 => self.spawn(self.world.operator(SWITCHES_ON)),
            _ => {}
        }
        self.check_switches();
        let late = self.world.clock.now();
        self.running.retain(|running| running.deadline > late);
    }

    /// Once a tool is switched off and whoever had looked before is dead for certain, it has no effect any more.
    fn check_switches(&mut self) {
        let refund = "refund".parse().expect("a tool");
        let settings = now(self.world.controls.read()).expect("the store in memory does not fail").settings;
        let refunds = self.world.ledger.records().refunds.len();
        let time = self.world.clock.now();
        match (settings.tools_off.contains(&refund), self.refund_off) {
            (true, None) => self.refund_off = Some((time, refunds)),
            (true, Some((since, before))) => {
                let settled = since + windlass_tests::simulation::world::TIMEOUT < time;
                assert!(!settled || refunds == before, "a refund long after the tool was switched off");
                if !settled {
                    self.refund_off = Some((since, refunds));
                }
            }
            (false, _) => self.refund_off = None,
        }
    }

    fn poll_one(&mut self) {
        let index = self.rng.random_range(0..self.running.len());
        match poll(&mut self.running[index].process) {
            Polled::Ended => drop(self.running.swap_remove(index)),
            Polled::Died => {
                self.tally.killed += 1;
                self.running.swap_remove(index);
            }
            Polled::Ready => {}
            Polled::Waiting => {
                if let Some(moment) = self.world.clock.next_wake() {
                    self.world.clock.set(moment.max(self.world.clock.now()));
                }
            }
        }
    }

    fn duplicate_a_message(&self) {
        if let Some(run) = self.answer.get() {
            let delay = Duration::from_secs(u64::from(run.spread() as u8) % 20);
            self.world.queue.send_body(&Message::WakeUp { run }.body(), delay);
        }
    }

    fn run(mut self) -> Tally {
        for event in 0..EVENTS {
            self.happen();
            if let Some(run) = self.answer.get().filter(|_| event % 8 == 0) {
                self.world.check_invariants(run);
            }
        }
        self.world.faults.heal();
        let clock = Arc::clone(&self.world.clock);
        run_to_end(&clock, self.world.operator(SWITCHES_ON), deadline(&clock));
        self.tally.faults = self.world.faults.injected();
        // What is still running goes on for a while, slower than those who take over.
        let mut stragglers = std::mem::take(&mut self.running);
        stragglers.truncate(2);
        let run = drive(&self.world, self.scenario, &self.answer);
        for mut straggler in stragglers {
            if self.world.clock.now() < straggler.deadline {
                while poll(&mut straggler.process) == Polled::Ready {}
            }
        }
        self.world.check_invariants(run);
        self.check_account(run);
        self.check(run);
        self.tally.schedules = 1;
        self.tally
    }

    /// Whatever died when: nothing that was used is missing from the account, and nobody was held for good.
    fn check_account(&mut self, run: RunId) {
        let entries = now(self.world.runs.load(run, 1)).expect("the store in memory does not fail");
        let state = RunState::fold(&entries).expect("the journal is sound");
        let days = entries.iter().map(|entry| Account::at(entry.at, &state.request.tenant, &state.request.actor));
        let counted: u64 = days
            .collect::<BTreeSet<_>>()
            .iter()
            .map(|account| now(self.world.accounts.balance(account)).expect("it does not fail"))
            .map(|balance| balance.settled.tokens + balance.reserved().tokens)
            .sum();
        assert!(state.totals.tokens <= counted, "{} tokens used, {counted} counted", state.totals.tokens);
        self.tally.held +=
            u64::from(entries.iter().flat_map(|entry| &entry.events).any(|event| matches!(event, Event::Held { .. })));
    }

    fn check(&mut self, run: RunId) {
        let entries = now(self.world.runs.load(run, 1)).expect("the store in memory does not fail");
        let state = RunState::fold(&entries).expect("the journal is sound");
        let events = || entries.iter().flat_map(|entry| &entry.events);
        if events().any(|event| matches!(event, Event::ApprovalDecided { verdict: Verdict::Expired, .. })) {
            self.tally.expired += 1;
            return;
        }
        let used_up = |event: &Event| match event {
            Event::ToolReturned { outcome, .. } => matches!(outcome, ToolOutcome::Unavailable { retry_at: None, .. }),
            _ => false,
        };
        if events().any(used_up) {
            self.tally.used_up += 1;
            return;
        }
        let Phase::Finished(outcome) = &state.phase else { panic!("unfinished\n{}", show(&entries)) };
        if outcome.reason == StopReason::Cancelled {
            self.tally.cancelled += 1;
            let accounted = |call: &windlass::run::state::Call| {
                call.status == CallStatus::Compensated
                    || outcome.standing.contains(&call.id)
                    || outcome.in_doubt.contains(&call.id)
            };
            let refund = state.calls.iter().find(|call| call.tool.as_str() == "refund");
            let stands = self.world.ledger.records().refunds.values().any(Option::is_some);
            assert!(!stands || refund.is_some_and(accounted), "a refund stands unlisted\n{}", show(&entries));
            assert!(
                !stands || refund.is_some_and(|call| call.status != CallStatus::Compensated),
                "a refund stands although it was undone\n{}",
                show(&entries)
            );
            return;
        }
        check_end(&self.world, run, self.scenario);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_random_schedule_converges_to_one_end_with_each_effect_once() {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FIRST_SEED").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS)),
    };
    let scenarios = scenarios();
    println!("seeds {first}..{}", first + count);
    let halves = [(first, count / 2), (first + count / 2, count - count / 2)];
    let tallies = std::thread::scope(|scope| {
        let workers = halves.map(|(first, count)| {
            let scenarios = &scenarios;
            scope.spawn(move || {
                (first..first + count).fold(Tally::default(), |sum, seed| {
                    let one = catch_unwind(AssertUnwindSafe(|| Schedule::new(seed, scenarios).run()));
                    let one = one.unwrap_or_else(|_| panic!("seed {seed} fails; `SEED={seed}` replays it"));
                    Tally {
                        schedules: sum.schedules + one.schedules,
                        faults: sum.faults + one.faults,
                        killed: sum.killed + one.killed,
                        cancelled: sum.cancelled + one.cancelled,
                        expired: sum.expired + one.expired,
                        used_up: sum.used_up + one.used_up,
                        held: sum.held + one.held,
                    }
                })
            })
        });
        workers.map(|worker| worker.join().expect("a schedule failed, see its seed above"))
    });
    let sum = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
    println!(
        "{} schedules converged: {} faults, {} processes killed, {} runs cancelled, {} approvals expired, {} retries used up, {} runs held by a switch",
        sum(|t| t.schedules),
        sum(|t| t.faults),
        sum(|t| t.killed),
        sum(|t| t.cancelled),
        sum(|t| t.expired),
        sum(|t| t.used_up),
        sum(|t| t.held)
    );
    assert_eq!(sum(|t| t.schedules), count);
}
