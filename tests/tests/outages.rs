//! A model that is away, overloaded, silent or without credit, under many runs: nothing is lost, nothing is undone, and everything that was
//! sent is in the accounts. The loop, the breaker and the provider's dialect are the real ones; only the wire is simulated.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass::{
    budgets::{Account, Allowance, Budgets as _, Spend},
    clock::{Clock as _, Timestamp},
    config::{LastResort, Price},
    ids::{Random as _, RunId},
    memory::{ManualClock, SeededRandom},
    run::{
        advance::Engine,
        entry::{Event, StopReason},
        state::{Phase, RunState},
    },
    schedule::rescue::LOOK_AHEAD,
};
use windlass_operator::scenario::{Scenario, SeedOrder};
use windlass_providers::{
    dialect::{Dialect, openai::Limit},
    provider::Provider,
    routed::Routed,
    transport::{Exchange, Received, Transport, TransportError},
};
use windlass_tests::{
    model_server::{Format, reply_to},
    simulation::{
        drive::scenarios,
        executor::{Polled, Process, die, poll, run_to_end},
        faults::Faults,
        world::{Manner, SOUND, TIMEOUT, World, deadline},
    },
};

/// How long the model takes for an answer.
const LATENCY: Duration = Duration::from_secs(1);

/// How long it has for one.
const PATIENCE: Duration = Duration::from_secs(25);

/// The most tokens of one answer.
const OUTPUT_TOKENS_MAX: u32 = 1_250;

const PRICE: Price = Price { input_micro_usd: 3_000_000, output_micro_usd: 15_000_000 };

/// How many step functions are at work at once.
const WORKERS: usize = 10;

/// What the provider does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Answer,
    /// This status, with this `Retry-After` in seconds.
    Say(u16, u64),
    /// `400`, as an account without credit gets it.
    WantCredit,
    /// The answer comes when nobody waits any more.
    Dawdle,
    /// The connection breaks in the answer.
    BreakOff,
    /// Whoever asked is killed meanwhile.
    Kill,
}

/// What a provider does with a question, by the time since it began and a number below 100.
type Deeds = fn(Duration, u64) -> Deed;

/// A provider that does what it is told, and counts what it would bill.
struct Desk {
    clock: Arc<ManualClock>,
    random: SeededRandom,
    deed: Deeds,
    began: Timestamp,
    asked: AtomicU64,
    spent: Mutex<Spend>,
}

impl Desk {
    /// What it bills for a question: a token for every third byte, and as much text as it likes within the limit.
    fn bill(&self, body: &Value, output: u64) -> (u64, u64) {
        let input = (body.to_string().len() as u64).div_ceil(3);
        let micro_usd = PRICE.cost_micro_usd(input, output);
        let mut spent = self.spent.lock().expect("nobody panicked");
        *spent = spent.plus(Spend { micro_usd, tokens: input + output });
        (input, output)
    }
}

#[async_trait]
impl Transport for Desk {
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let body = &exchange.body;
        let now = self.clock.now();
        let received = |status, body: Value, wait| {
            Ok(Received { status, retry_after: Duration::from_secs(wait), body: body.to_string().into_bytes() })
        };
        let deed = (self.deed)(now.since(self.began), self.random.below(100));
        match deed {
            Deed::Answer => {
                self.clock.sleep_until(now + LATENCY).await;
                let (input, output) = self.bill(body, 200);
                let mut reply = reply_to(Format::OpenAi, body);
                reply["usage"] = json!({ "prompt_tokens": input, "completion_tokens": output });
                received(200, reply, 0)
            }
            Deed::Say(status, wait) => received(status, json!({ "error": { "message": "not now" } }), wait),
            Deed::WantCredit => {
                let error = json!({ "type": "invalid_request_error", "message": "credit balance too low" });
                received(400, json!({ "error": error }), 0)
            }
            Deed::Dawdle | Deed::BreakOff | Deed::Kill => {
                self.bill(body, u64::from(OUTPUT_TOKENS_MAX));
                match deed {
                    Deed::Dawdle => self.clock.sleep_until(now + 2 * PATIENCE).await,
                    Deed::BreakOff => self.clock.sleep_until(now + LATENCY).await,
                    _ => die().await,
                }
                Err(TransportError::Broken { message: "it broke off".to_owned() })
            }
        }
    }
}

/// Many runs, each a refund of its own order, and a provider.
struct Scene {
    world: World,
    engine: Engine,
    desk: Arc<Desk>,
    scenario: Scenario,
    runs: Vec<RunId>,
    /// Those that may not be over.
    open: Vec<RunId>,
    sweep_at: Timestamp,
    workers: Vec<(Process, Timestamp)>,
    killed: u32,
}

impl Scene {
    fn new(orders: usize, allowance: Allowance, deed: Deeds) -> Scene {
        let mut scenario = scenarios().remove(0);
        scenario.orders = (0..orders)
            .map(|n| SeedOrder { order: format!("B-{n}"), customer: "customer-1".to_owned(), total_cents: 4_200 })
            .collect();
        let world = World::of(7, Faults::none(), &scenario, Manner { allowance, ..SOUND });
        let clock = world.clock.clone();
        let desk = Arc::new(Desk {
            clock: clock.clone(),
            random: SeededRandom::new(11),
            deed,
            began: clock.now(),
            asked: AtomicU64::new(0),
            spent: Mutex::default(),
        });
        let provider = Provider {
            name: "openai:test".to_owned(),
            model: "test".to_owned(),
            dialect: Dialect::OpenAi(Limit::Tokens),
            url: "http://desk".to_owned(),
            transport: desk.clone(),
            timeout: PATIENCE,
            output_tokens_max: OUTPUT_TOKENS_MAX,
            price: Some(PRICE),
            renamed: Default::default(),
        };
        let mut engine = world.engine();
        engine.agent.model = Arc::new(Routed::new(vec![Arc::new(provider)], LastResort::Rest, clock.clone()));
        let sweep_at = clock.now() + LOOK_AHEAD;
        Scene {
            world,
            engine,
            desk,
            scenario,
            runs: Vec::new(),
            open: Vec::new(),
            sweep_at,
            workers: Vec::new(),
            killed: 0,
        }
    }

    /// Takes on a refund of the next order.
    fn submit(&mut self) {
        let number = self.runs.len();
        self.scenario.request.payload = json!({ "order": format!("B-{number}"), "amount_cents": 1_200 });
        let answer: Rc<Cell<Option<RunId>>> = Rc::default();
        let client = self.world.client(&format!("key-{number}"), &self.scenario, answer.clone());
        run_to_end(&self.world.clock, client, deadline(&self.world.clock));
        let run = answer.get().expect("the request is taken on");
        self.runs.push(run);
        self.open.push(run);
    }

    /// Lets everything work until `until`, or until every run is over.
    fn work_until(&mut self, until: Timestamp) {
        let clock = self.world.clock.clone();
        while clock.now() < until && !self.is_idle() {
            while self.workers.len() < WORKERS {
                let received = self.world.queue.receive(10);
                if received.is_empty() {
                    break;
                }
                let worker = self.world.worker_of(self.engine.clone(), received);
                self.workers.push((worker, clock.now() + TIMEOUT));
            }
            if self.poll_workers() {
                continue;
            }
            let visible = self.world.queue.next_visible().filter(|visible| *visible > clock.now());
            let deadlines = self.workers.iter().map(|(_, deadline)| *deadline).min();
            let wake = clock.next_wake().filter(|wake| *wake > clock.now());
            let next = [visible, deadlines, wake, Some(self.sweep_at), Some(until)].into_iter().flatten().min();
            clock.set(next.expect("the sweep is always next").max(clock.now()));
            while self.sweep_at <= clock.now() {
                run_to_end(&clock, self.world.cleaner(), deadline(&clock));
                self.sweep_at = self.sweep_at + LOOK_AHEAD;
            }
        }
    }

    /// Whether every run is over.
    fn is_idle(&mut self) -> bool {
        while self.open.pop_if(|run| self.world.is_over(*run)).is_some() {}
        self.open.is_empty()
    }

    /// Whether one of the workers got on.
    fn poll_workers(&mut self) -> bool {
        let now = self.world.clock.now();
        let (mut got_on, mut killed) = (false, 0);
        self.workers.retain_mut(|(worker, deadline)| match poll(worker) {
            Polled::Ended => {
                got_on = true;
                false
            }
            Polled::Ready => {
                got_on = true;
                true
            }
            Polled::Died => {
                (got_on, killed) = (true, killed + 1);
                false
            }
            Polled::Waiting if now >= *deadline => {
                (got_on, killed) = (true, killed + 1);
                false
            }
            Polled::Waiting => true,
        });
        self.killed += killed;
        got_on
    }

    fn states(&self) -> Vec<RunState> {
        let fold = |run: &RunId| RunState::fold(&self.world.entries(*run)).expect("the journal is sound");
        self.runs.iter().map(fold).collect()
    }

    fn over(&self, word: &str) -> usize {
        let ended = |state: &RunState| match &state.phase {
            Phase::Finished(outcome) => Some(outcome.reason.word()),
            _ => None,
        };
        self.states().iter().filter(|state| ended(state) == Some(word)).count()
    }

    fn undone(&self) -> usize {
        let undone = |run: &&RunId| {
            let entries = self.world.entries(**run);
            entries.iter().flat_map(|entry| &entry.events).any(|event| matches!(event, Event::Compensated { .. }))
        };
        self.runs.iter().filter(undone).count()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Two hundred runs begin half a minute before ten minutes without the model, and have two hours.
fn outage(name: &str, deed: Deeds) {
    const RUNS: usize = 200;
    let mut scene = Scene::new(RUNS, Allowance::default(), deed);
    let began = scene.world.clock.now();
    for n in 0..RUNS {
        scene.submit();
        // Some are at work when it begins, with effects that must stand.
        scene.work_until(began + Duration::from_millis(250) * (n as u32 + 1));
    }
    scene.work_until(began + 120 * MINUTE);
    let (completed, undone) = (scene.over("completed"), scene.undone());
    let lost = scene.runs.iter().filter(|run| !scene.world.is_over(**run)).count();
    let (asked, took) = (scene.desk.asked.load(Ordering::Relaxed), scene.world.clock.now().since(began));
    println!(
        "{name}: {RUNS} runs, ten minutes away: undone {undone}, lost {lost}, completed {completed}; {asked} questions, {} of them \
         answered; over after {} s",
        4 * completed,
        took.as_secs()
    );
    assert_eq!((completed, undone, lost), (RUNS, 0, 0), "{name}");
    let refunds = scene.world.ledger.records().refunds.len();
    assert_eq!(refunds, RUNS, "{name}: each once");
    assert!(asked < (RUNS * 4 + RUNS * 30) as u64, "{name}: {asked} questions");
}

/// `deed` for ten minutes from the thirtieth second on.
fn away(at: Duration, deed: Deed) -> Deed {
    if (MINUTE / 2..10 * MINUTE + MINUTE / 2).contains(&at) { deed } else { Deed::Answer }
}

#[test]
fn a_provider_without_credit_for_ten_minutes_undoes_nothing_and_loses_nothing() {
    outage("no credit (400)", |at, _| away(at, Deed::WantCredit));
}

#[test]
fn a_revoked_key_and_a_model_that_is_gone_undo_nothing_and_lose_nothing() {
    outage("a revoked key (401)", |at, _| away(at, Deed::Say(401, 0)));
    outage("a model that is gone (404)", |at, _| away(at, Deed::Say(404, 0)));
}

#[test]
fn an_overload_for_ten_minutes_undoes_nothing_and_loses_nothing() {
    outage("429 with `Retry-After: 25`", |at, _| away(at, Deed::Say(429, 25)));
    outage("500", |at, _| away(at, Deed::Say(500, 0)));
}

#[test]
fn a_silent_provider_for_ten_minutes_undoes_nothing_and_loses_nothing() {
    outage("time-outs", |at, _| away(at, Deed::Dawdle));
}

#[test]
fn a_provider_that_stays_silent_ends_the_run_with_its_cause_and_all_of_it_is_counted() {
    let mut scene = Scene::new(1, Allowance::default(), |_, _| Deed::Dawdle);
    scene.submit();
    let began = scene.world.clock.now();
    scene.work_until(began + 24 * 60 * MINUTE);
    let state = scene.states().remove(0);
    let Phase::Finished(outcome) = &state.phase else { panic!("{:?}", state.phase) };
    let StopReason::LimitReached { limit, .. } = &outcome.reason else { panic!("{outcome:?}") };
    assert!(
        limit.starts_with("12 questions in a row without an answer") && limit.contains("no answer within"),
        "{limit}"
    );
    let spent = *scene.desk.spent.lock().expect("nobody panicked");
    let asked = scene.desk.asked.load(Ordering::Relaxed);
    println!("silent for ever: {asked} questions in {} s; {limit}", scene.world.clock.now().since(began).as_secs());
    assert_eq!((asked, state.totals.steps), (12, 12));
    assert!(state.totals.cost_micro_usd >= spent.micro_usd && state.totals.tokens >= spent.tokens);
}

#[test]
fn an_hour_of_time_outs_cuts_and_kills_costs_no_more_than_the_accounts_say() {
    for (name, allowance) in [
        ("with room", Allowance { micro_usd: 60_000_000, tokens: 0 }),
        ("with a budget that runs out", Allowance { micro_usd: 4_000_000, tokens: 0 }),
    ] {
        let mut scene = Scene::new(360, allowance, |_, dice| match dice {
            0..10 => Deed::Dawdle,
            10..20 => Deed::BreakOff,
            20..23 => Deed::Kill,
            23..28 => Deed::Say(429, 3),
            28..32 => Deed::Say(500, 0),
            _ => Deed::Answer,
        });
        let began = scene.world.clock.now();
        for n in 0..360 {
            scene.submit();
            scene.work_until(began + Duration::from_secs(10 * (n + 1)));
        }
        let actor = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
        let account = Account::at(began, &actor.0, &actor.1);
        let balance = futures::executor::block_on(scene.world.accounts.balance(&account)).expect("it is read");
        let says = balance.settled.plus(balance.reserved());
        let spent = *scene.desk.spent.lock().expect("nobody panicked");
        println!(
            "an hour {name}: spent at the server {} micro-USD, the account says {} (of {}); {} questions, {} workers killed, {} of 360 \
             runs completed",
            spent.micro_usd,
            says.micro_usd,
            allowance.micro_usd,
            scene.desk.asked.load(Ordering::Relaxed),
            scene.killed,
            scene.over("completed"),
        );
        assert!(scene.killed > 5, "{name}: {} killed", scene.killed);
        assert!(spent.micro_usd <= says.micro_usd && spent.tokens <= says.tokens, "{name}: {spent:?} {says:?}");
        assert!(says.micro_usd <= allowance.micro_usd, "{name}: {says:?} of {allowance}");
    }
}

#[test]
fn while_one_of_ten_questions_meets_a_429_nearly_as_much_is_done_as_without() {
    let done = |deed: Deeds| {
        const RUNS: usize = 1_600;
        let mut scene = Scene::new(RUNS, Allowance::default(), deed);
        (0..RUNS).for_each(|_| scene.submit());
        let began = scene.world.clock.now();
        scene.work_until(began + MINUTE);
        assert!(scene.runs.iter().any(|run| !scene.world.is_over(*run)), "there was not enough to do");
        scene.runs.iter().filter(|run| scene.world.is_over(**run)).count()
    };
    let calm = done(|_, _| Deed::Answer);
    let troubles: [(&str, usize, Deeds); 3] = [
        ("429", 80, |_, dice| if dice < 10 { Deed::Say(429, 0) } else { Deed::Answer }),
        ("429 with `Retry-After: 25`", 80, |_, dice| if dice < 10 { Deed::Say(429, 25) } else { Deed::Answer }),
        ("429 or, one of twenty, 500", 70, |_, dice| match dice {
            0..10 => Deed::Say(429, 25),
            10..15 => Deed::Say(500, 0),
            _ => Deed::Answer,
        }),
    ];
    for (name, percent_min, deed) in troubles {
        let troubled = done(deed);
        let percent = 100 * troubled / calm;
        println!(
            "{WORKERS} workers, a minute: {calm} runs completed without trouble, {troubled} ({percent} %) with {name}"
        );
        assert!(percent >= percent_min, "{name}: {percent} %");
    }
}
