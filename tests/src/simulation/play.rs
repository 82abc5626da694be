//! Plays a schedule in a world of its own, heals the world, and demands that the run ends as it should.

use std::{
    any::Any,
    cell::Cell,
    collections::BTreeSet,
    ops::AddAssign,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, Once, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use windlass::{
    approval::{Subject, Verdict},
    budgets::{Account, Allowance, Budgets as _},
    clock::{Clock as _, Timestamp},
    controls::Controls as _,
    ids::RunId,
    queue::Message,
    run::{
        entry::{Event, StopReason, ToolOutcome},
        limits::JOURNAL_ENTRIES_MAX,
        state::{Call, CallStatus, Phase, RunState},
    },
};
use windlass_operator::scenario::Scenario;

use super::{
    drive::{check_end, drive},
    executor::{Polled, Process, poll, polls, run_to_end},
    faults::{Fault, Faults},
    faulty::show,
    flaws::Flaw,
    schedule::{Schedule, Step},
    world::{ALLOWANCE, Manner, Size, TIMEOUT, World, deadline, now},
};

/// What operators switch off in passing; each holds runs and changes no end.
const SWITCHES_OFF: [&[&str]; 5] =
    [&["tool.refund=off"], &["tool.write_to_customer=off"], &["model=off"], &["agent=off"], &["prompt=off"]];

/// What lifts all of it.
const SWITCHES_ON: &[&str] = &["tool.refund=on", "tool.write_to_customer=on", "model=on", "agent=on", "prompt=on"];

/// What an actor may spend in a day: mostly more than any schedule uses, at times less than a run takes.
const DAILY_TOKENS: [u64; 4] = [ALLOWANCE.tokens, ALLOWANCE.tokens, ALLOWANCE.tokens, 12_000];

/// The most entries of a run's journal: mostly as many as there are, at times few, so that runs come to the end of it.
const ENTRIES_MAX: [u32; 8] = [
    JOURNAL_ENTRIES_MAX,
    JOURNAL_ENTRIES_MAX,
    JOURNAL_ENTRIES_MAX,
    JOURNAL_ENTRIES_MAX,
    JOURNAL_ENTRIES_MAX,
    48,
    40,
    34,
];

/// Processes at once.
const PROCESSES_MAX: usize = 6;

/// Port calls that a process makes in a burst: as many as a person takes to answer.
const BURST_CALLS: usize = 12;

/// What happened, counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Schedules played.
    pub schedules: u64,
    /// Things that happened: steps of schedules, and polls of processes while the world heals.
    pub events: u64,
    /// Faults at port calls.
    pub faults: u64,
    /// Processes killed.
    pub killed: u64,
    /// Processes that stood still.
    pub frozen: u64,
    /// Rotations of keys.
    pub rotated: u64,
    /// Runs that died and were replayed.
    pub died: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs that were over before the world healed.
    pub over_early: u64,
    /// Runs with a question that nobody answered in time.
    pub expired: u64,
    /// Runs with a call whose attempts were used up.
    pub used_up: u64,
    /// Runs with a call in doubt.
    pub doubted: u64,
    /// Runs held by a switch.
    pub held: u64,
    /// Runs that reached a limit.
    pub limited: u64,
    /// Runs that came to the end of their journal.
    pub filled: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.faults += other.faults;
        self.killed += other.killed;
        self.frozen += other.frozen;
        self.rotated += other.rotated;
        self.died += other.died;
        self.cancelled += other.cancelled;
        self.over_early += other.over_early;
        self.expired += other.expired;
        self.used_up += other.used_up;
        self.doubted += other.doubted;
        self.held += other.held;
        self.limited += other.limited;
        self.filled += other.filled;
    }
}

struct Running {
    process: Process,
    deadline: Timestamp,
    frozen_until: Timestamp,
}

struct Player<'s> {
    world: World,
    scenario: &'s Scenario,
    running: Vec<Running>,
    answer: Rc<Cell<Option<RunId>>>,
    /// Since when refunds are switched off, and how many there were then.
    refund_off: Option<(Timestamp, usize)>,
    checked_calls: u64,
    tally: Tally,
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Plays a schedule; what went wrong, if anything did.
///
/// # Errors
/// The first violation, in words.
pub fn play(schedule: &Schedule, scenarios: &[Scenario], flaw: Option<Flaw>) -> Result<Tally, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info)
            }
        }));
    });
    QUIET.set(true);
    let played = catch_unwind(AssertUnwindSafe(|| Player::new(schedule.seed, scenarios, flaw).play(&schedule.steps)));
    QUIET.set(false);
    played.map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

impl<'s> Player<'s> {
    fn new(seed: u64, scenarios: &'s [Scenario], flaw: Option<Flaw>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0057_0a9e);
        let scenario = &scenarios[rng.random_range(0..scenarios.len())];
        let (skewed, strikes_max) = (rng.random_range(0..4) != 0, rng.random_range(2..6));
        let tokens = DAILY_TOKENS[rng.random_range(0..DAILY_TOKENS.len())];
        let request = if rng.random_range(0..4) == 0 { Size::Large } else { Size::Small };
        let allowance = Allowance { micro_usd: 0, tokens };
        let entries_max = ENTRIES_MAX[rng.random_range(0..ENTRIES_MAX.len())];
        let manner = Manner { skewed, strikes_max, allowance, request, entries_max, flaw };
        Self {
            world: World::of(seed, Faults::scripted(), scenario, manner),
            scenario,
            running: Vec::new(),
            answer: Rc::default(),
            refund_off: None,
            checked_calls: 0,
            tally: Tally::default(),
        }
    }

    fn spawn(&mut self, process: Process) {
        if self.running.len() < PROCESSES_MAX {
            let now = self.world.clock.now();
            self.running.push(Running { process, deadline: now + TIMEOUT, frozen_until: now });
        }
    }

    fn spawn_for_run(&mut self, process: impl Fn(&World, RunId) -> Process) {
        if let Some(run) = self.answer.get() {
            let process = process(&self.world, run);
            self.spawn(process);
        }
    }

    fn happen(&mut self, step: Step) {
        match step {
            Step::Poll(who, fault) => self.poll(who, fault),
            Step::Burst(who) => {
                let (at, running) = (self.world.clock.now(), self.running.len());
                for _ in 0..BURST_CALLS {
                    self.poll(who, Fault::None);
                    self.check();
                    // It ended, or it waits: the burst is over.
                    if (self.world.clock.now(), self.running.len()) != (at, running) {
                        break;
                    }
                }
            }
            Step::Receive(limit) => {
                let received = self.world.queue.receive(usize::from(limit));
                if !received.is_empty() {
                    let worker = self.world.worker(received);
                    self.spawn(worker);
                }
            }
            Step::Duplicate(seconds) => {
                if let Some(run) = self.answer.get() {
                    let body = Message::WakeUp { run }.body();
                    self.world.queue.send_body(&body, Duration::from_secs(u64::from(seconds)));
                }
            }
            Step::Wait(millis) => self.world.clock.advance(Duration::from_millis(u64::from(millis))),
            Step::Sweep => self.spawn(self.world.cleaner()),
            Step::Post => self.spawn(self.world.client("key-1", self.scenario, Rc::clone(&self.answer))),
            Step::Answer => {
                let decision = self.scenario.decision;
                self.spawn_for_run(|world, run| world.approver(run, decision));
            }
            Step::Kill(who) => {
                if let Some(index) = self.index(who) {
                    self.running.swap_remove(index);
                    self.tally.killed += 1;
                }
            }
            Step::Freeze(who, millis) => {
                if let Some(index) = self.index(who) {
                    let until = self.world.clock.now() + Duration::from_millis(u64::from(millis));
                    self.running[index].frozen_until = until;
                    self.tally.frozen += 1;
                }
            }
            Step::LoseMessages => self.world.queue.lose_all(),
            Step::Cancel => self.spawn_for_run(World::canceller),
            Step::Replay => {
                if self.answer.get().is_some_and(|run| self.world.is_dead(run)) {
                    self.spawn_for_run(World::replayer);
                }
            }
            Step::Off(which) => self.spawn(self.world.operator(SWITCHES_OFF[usize::from(which) % SWITCHES_OFF.len()])),
            Step::On => self.spawn(self.world.operator(SWITCHES_ON)),
            Step::Rotate => {
                self.world.rotate();
                self.tally.rotated += 1;
            }
            Step::Throttle(calls) => self.world.faults.throttle(u64::from(calls)),
        }
        let late = self.world.clock.now();
        self.running.retain(|running| running.deadline > late);
    }

    fn index(&self, who: u8) -> Option<usize> {
        usize::from(who).checked_rem(self.running.len())
    }

    fn poll(&mut self, who: u8, fault: Fault) {
        let now = self.world.clock.now();
        let awake: Vec<usize> = (0..self.running.len()).filter(|i| self.running[*i].frozen_until <= now).collect();
        let Some(index) = usize::from(who).checked_rem(awake.len()).map(|place| awake[place]) else { return };
        self.world.faults.arm(fault);
        match poll(&mut self.running[index].process) {
            Polled::Ended => drop(self.running.swap_remove(index)),
            Polled::Died => {
                self.tally.killed += 1;
                self.running.swap_remove(index);
            }
            Polled::Ready => {}
            Polled::Waiting => {
                if let Some(moment) = self.world.clock.next_wake() {
                    self.world.clock.set(moment.max(now));
                }
            }
        }
        self.world.faults.arm(Fault::None);
    }

    /// After every event that called a port.
    fn check(&mut self) {
        let calls = self.world.faults.calls();
        if calls == std::mem::replace(&mut self.checked_calls, calls) {
            return;
        }
        self.check_switches();
        if let Some(run) = self.answer.get() {
            self.world.check_invariants(run);
            self.check_account(run);
        }
    }

    /// Once a tool is switched off and whoever had looked before is dead for certain, it has no effect any more.
    fn check_switches(&mut self) {
        let refund = "refund".parse().expect("a tool");
        let settings = now(self.world.controls.read()).expect("the store in memory does not fail").settings.clone();
        let refunds = self.world.ledger.records().refunds.len();
        let time = self.world.clock.now();
        match (settings.tools_off.contains(&refund), self.refund_off) {
            (true, None) => self.refund_off = Some((time, refunds)),
            (true, Some((since, before))) => {
                let settled = since + TIMEOUT < time;
                assert!(!settled || refunds == before, "a refund long after the tool was switched off");
                if !settled {
                    self.refund_off = Some((since, refunds));
                }
            }
            (false, _) => self.refund_off = None,
        }
    }

    fn play(mut self, steps: &[Step]) -> Tally {
        for step in steps {
            self.happen(*step);
            self.check();
        }
        self.tally.over_early += u64::from(self.answer.get().is_some_and(|run| self.world.is_over(run)));
        self.world.faults.heal();
        polls();
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
        self.check_its_end(run);
        self.tally.schedules = 1;
        self.tally.events = steps.len() as u64 + polls();
        self.tally
    }

    /// Whatever died when: nothing that was used is missing from the account, and no more than is allowed was spent.
    fn check_account(&self, run: RunId) {
        let entries = self.world.entries(run);
        let state = RunState::fold(&entries).expect("the journal is sound");
        let days = entries.iter().map(|entry| Account::at(entry.at, &state.request.tenant, &state.request.actor));
        let (billed, asked_on) = {
            let billed = self.world.billed.lock().unwrap_or_else(PoisonError::into_inner);
            (billed.tokens, billed.accounts.clone())
        };
        let balances = days.chain(asked_on).collect::<BTreeSet<_>>().into_iter().map(|account| {
            let balance = now(self.world.accounts.balance(&account)).expect("it does not fail");
            balance.settled.tokens + balance.reserved.tokens
        });
        let balances: Vec<u64> = balances.collect();
        let allowed = self.world.manner.allowance.tokens;
        assert!(balances.iter().all(|day| *day <= allowed), "a budget is exceeded: {balances:?}, {allowed} allowed");
        let counted: u64 = balances.iter().sum();
        // A run's own totals may be more: they count a claim that died before it had reserved anything.
        assert!(billed <= counted, "{billed} tokens billed, {counted} counted");
    }

    fn check_its_end(&mut self, run: RunId) {
        let entries = self.world.entries(run);
        let state = RunState::fold(&entries).expect("the journal is sound");
        let seen = |sought: fn(&Event) -> bool| entries.iter().flat_map(|entry| &entry.events).any(sought);
        let expired = seen(|event| matches!(event, Event::ApprovalDecided { verdict: Verdict::Expired, .. }));
        let used_up = seen(|event| match event {
            Event::ToolReturned { outcome, .. } => matches!(outcome, ToolOutcome::Unavailable { retry_at: None, .. }),
            _ => false,
        });
        let doubted = seen(|event| match event {
            Event::ApprovalRequested(request) => request.subject == Subject::Doubt,
            _ => false,
        });
        self.tally.held += u64::from(seen(|event| matches!(event, Event::Held { .. })));
        self.tally.died += u64::from(seen(|event| matches!(event, Event::Replayed { .. })));
        self.tally.expired += u64::from(expired);
        self.tally.used_up += u64::from(used_up);
        self.tally.doubted += u64::from(doubted);
        let Phase::Finished(outcome) = &state.phase else { panic!("unfinished\n{}", show(&entries)) };
        self.tally.filled += u64::from(match &outcome.reason {
            StopReason::LimitReached { limit, .. } => limit.starts_with("journal of"),
            _ => false,
        });
        if outcome.reason != StopReason::Completed {
            let accounted = |call: &Call| {
                call.status == CallStatus::Compensated
                    || outcome.standing.contains(&call.id)
                    || outcome.in_doubt.contains(&call.id)
            };
            let records = self.world.ledger.records();
            let stands = [
                ("refund", records.refunds.values().any(Option::is_some)),
                ("write_to_customer", !records.letters.is_empty()),
            ];
            for (tool, _) in stands.into_iter().filter(|(_, stands)| *stands) {
                let call = state.calls.iter().find(|call| call.tool.as_str() == tool);
                assert!(call.is_some_and(accounted), "`{tool}` stands unlisted\n{}", show(&entries));
            }
        }
        self.tally.limited += u64::from(matches!(outcome.reason, StopReason::LimitReached { .. }));
        if outcome.reason == StopReason::Cancelled {
            self.tally.cancelled += 1;
        } else if !expired && !used_up && !matches!(outcome.reason, StopReason::LimitReached { .. }) {
            check_end(&self.world, run, self.scenario);
        }
    }
}
