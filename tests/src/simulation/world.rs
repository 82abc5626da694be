//! A small world: one table, one queue, one ledger, and processes that work on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use step::refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    handbook::{cited, handbook, search},
    ledger::{Ledger, Order},
    ledger_in_memory::LedgerInMemory,
    policy::{policy, terms},
    script::Script,
    tools::{Drills, tools},
};
use windlass::{
    agent::{
        Agent,
        model::{Answer, Model, ModelError, Question, Usage},
        policy::Policy,
        tool::{ErrorsMean, ToolSpec},
        tool_set::{ToolSet, tool_set},
    },
    approval::{
        ApprovalRequest,
        signature::{DecisionKeys, VerifiedDecisions},
        token::ApprovalKeys,
    },
    budgets::{Account, Allowance},
    clock::{CLOCK_SKEW_MAX, Clock, Timestamp},
    config::Environment,
    controls::Seen,
    ids::RunId,
    journal::{Head, HeadStatus, Heads as _, Journal as _},
    lease::Leases,
    memory::{
        Accounts, Answers, Controls, ManualClock, Plans, Prompts, Queue, Records, Runs, SecretValues, SeededRandom,
        Windows,
    },
    prompts::{Prompt, PromptCache},
    retrieval::SourceIndex,
    run::{
        accept::Terms,
        advance::{Engine, Live},
        entry::{Entry, Event},
        limits::{JOURNAL_ENTRIES_MAX, Limits},
    },
    secrets::SecretCache,
};
use windlass_operator::scenario::Scenario;
use windlass_policy::CedarPolicy;

use super::{
    executor::BEGINNING,
    faults::Faults,
    faulty::Faulty,
    flaws::{Ahead, Books, Flaw, Forgetful, Mislabelled, Store},
};

/// On which terms runs are taken on here.
pub const TERMS: Terms = Terms {
    limits: Limits {
        steps_max: 64,
        tokens_max: 500_000,
        cost_max_micro_usd: 5_000_000,
        wall_time_max_seconds: 7 * 24 * 3600,
        entries_max: JOURNAL_ENTRIES_MAX,
    },
    // Longer than any schedule lasts: a client that repeats its request later asks for another run.
    key_kept_for: Duration::from_secs(60 * 24 * 3600),
    run_kept_for: Duration::from_secs(90 * 24 * 3600),
};

/// What one actor may spend here in a day: bounded, so that budgets take part, and more than any schedule uses.
pub const ALLOWANCE: Allowance = Allowance { micro_usd: 0, tokens: 100_000_000 };

/// The step function's timeout in this world.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Visibility is six times that.
const VISIBILITY: Duration = Duration::from_secs(360);

/// The desk's handbook.
static HANDBOOK: LazyLock<Arc<dyn SourceIndex>> = LazyLock::new(|| handbook(None).expect("it can be read"));

/// The desk's policy: every world has the same.
static POLICY: LazyLock<Arc<CedarPolicy>> = LazyLock::new(|| {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
    let tools = all_tools(&ledger, Arc::new(ManualClock::at(BEGINNING)));
    let terms = terms(Environment::Dev, Duration::from_secs(3 * 24 * 3600)).expect("the roles are named well");
    Arc::new(
        policy(None, Drills::Available, tools.values().map(|tool| tool.spec()), terms)
            .expect("the built-in policy fits the tools"),
    )
});

/// The tools of the sample agent, drills included.
fn all_tools(ledger: &Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> ToolSet {
    let own = tools(ledger, Drills::Available).expect("the tools are sound");
    let search = search(&HANDBOOK, clock).expect("the tool is sound");
    tool_set(own.into_iter().chain([search])).expect("the tools go together")
}

/// Everything there is.
pub struct World {
    /// The time.
    pub clock: Arc<ManualClock>,
    /// Ids and jitter.
    pub random: Arc<SeededRandom>,
    /// The runs table.
    pub runs: Arc<Runs>,
    /// The step queue.
    pub queue: Arc<Queue>,
    /// The desk's records.
    pub ledger: Arc<LedgerInMemory>,
    /// Answers of tools that stay good.
    pub answers: Arc<Answers>,
    /// What may happen now.
    pub controls: Arc<Controls>,
    /// What step functions have read of that: one sandbox after the other has the same memory.
    seen_controls: Arc<Seen>,
    /// What actors have spent.
    pub accounts: Arc<Accounts>,
    /// What the model's provider has billed.
    pub billed: Arc<Mutex<Billed>>,
    /// What windows have counted.
    pub windows: Arc<Windows>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// The table as processes see it.
    pub(super) store: Arc<Store>,
    /// The keys as the functions know them that show and that decide approvals.
    pub(super) keys: [Arc<SecretCache<ApprovalKeys>>; 2],
    /// What was in the journal when it was last looked at.
    pub(super) seen: Mutex<Vec<Entry>>,
    books: Arc<Books>,
    secrets: Arc<SecretValues>,
    rotations: AtomicU64,
    /// The public halves of every key so far.
    public: Mutex<BTreeMap<String, String>>,
    /// How it is.
    pub manner: Manner,
    clocks: AtomicU64,
}

/// How a world is, apart from what happens in it.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether clocks differ, by as much as is allowed for.
    pub skewed: bool,
    /// Claims in vain after which a run is dead.
    pub strikes_max: u32,
    /// What one actor may spend in a day.
    pub allowance: Allowance,
    /// How large the client's request is.
    pub request: Size,
    /// The most entries of a run's journal.
    pub entries_max: u32,
    /// A guarantee that is broken.
    pub flaw: Option<Flaw>,
}

/// How large a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Its run's first entry is kept with the head.
    Small,
    /// Its run's first entry is an item of its own.
    Large,
}

/// A world as it should be.
pub const SOUND: Manner = Manner {
    skewed: false,
    strikes_max: 5,
    allowance: ALLOWANCE,
    request: Size::Small,
    entries_max: JOURNAL_ENTRIES_MAX,
    flaw: None,
};

/// What a provider has billed.
#[derive(Debug, Default)]
pub struct Billed {
    /// Tokens.
    pub tokens: u64,
    /// The accounts that may have paid: of the day on which a question was asked, and of the one before, since time passes between a
    /// reservation and its question.
    pub accounts: BTreeSet<Account>,
}

/// The script as a provider sells it: what it answers is billed, whether or not the answer arrives.
struct Billing {
    billed: Arc<Mutex<Billed>>,
}

#[async_trait]
impl Model for Billing {
    fn name(&self) -> &str {
        Script.name()
    }

    fn timeout(&self) -> Duration {
        Script.timeout()
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        Script.worst_case(question)
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let answer = Script.answer(question).await?;
        let mut billed = self.billed.lock().unwrap_or_else(PoisonError::into_inner);
        billed.tokens += answer.usage.input_tokens + answer.usage.output_tokens;
        for day in [question.now, question.now - Duration::from_secs(24 * 3600)] {
            billed.accounts.insert(Account::at(day, &question.request.tenant, &question.request.actor));
        }
        Ok(answer)
    }
}

impl World {
    /// A new world with the orders of `scenario`.
    pub fn new(seed: u64, faults: Faults, scenario: &Scenario) -> Self {
        Self::of(seed, faults, scenario, SOUND)
    }

    /// A new world of another manner.
    pub fn of(seed: u64, faults: Faults, scenario: &Scenario, manner: Manner) -> Self {
        let clock = Arc::new(ManualClock::at(BEGINNING));
        let ledger = LedgerInMemory::default();
        for order in &scenario.orders {
            ledger.add_order(
                &"acme".parse().expect("a tenant"),
                Order {
                    order: order.order.clone(),
                    customer: order.customer.clone(),
                    total_cents: order.total_cents,
                    refunded_cents: 0,
                },
            );
        }
        let ledger = Arc::new(ledger);
        let runs = Arc::new(Runs::new(clock.clone(), &Records::new()));
        let secrets = Arc::new(SecretValues::new());
        let parse = |text: &_| ApprovalKeys::parse(text).map_err(|error| error.to_string());
        let keys = || Arc::new(SecretCache::new(secrets.clone(), clock.clone(), "keys", parse));
        let world = Self {
            keys: [keys(), keys()],
            random: Arc::new(SeededRandom::new(seed)),
            store: Arc::new(Store { runs: runs.clone(), flaw: manner.flaw, recorded: Mutex::default() }),
            books: Arc::new(Books { ledger: ledger.clone(), flaw: manner.flaw, calls: AtomicU64::new(0) }),
            runs,
            queue: Arc::new(Queue::new(clock.clone(), VISIBILITY, 1_000)),
            ledger,
            answers: Arc::new(Answers::new()),
            controls: Arc::new(Controls::new(&Plans::new(clock.clone()))),
            seen_controls: Arc::default(),
            accounts: Arc::new(Accounts::new()),
            billed: Arc::default(),
            windows: Arc::new(Windows::new()),
            faults: Arc::new(faults),
            seen: Mutex::default(),
            secrets,
            rotations: AtomicU64::new(0),
            public: Mutex::default(),
            manner,
            clocks: AtomicU64::new(seed),
            clock,
        };
        world.rotate();
        world
    }

    /// Rotates the approval keys: a new one signs, the last one still verifies.
    pub fn rotate(&self) {
        let number = self.rotations.fetch_add(1, Ordering::SeqCst);
        let key = |number: u64| {
            let letter = char::from(b'a' + (number % 26) as u8);
            format!(r#""k{number}":"{letter}2l4dGVlbiBieXRlcyBvciBtb3JlIHRoYW4gc2l4dGVlbiBieXRlcw==""#)
        };
        let keys = [key(number), key(number.saturating_sub(1))];
        let kept = if number == 0 { 1 } else { 2 };
        let secret = format!(r#"{{"current":"k{number}","keys":{{{}}}}}"#, keys[..kept].join(","));
        let public = ApprovalKeys::parse(&secret.as_str().into()).expect("they are keys").public();
        let public: BTreeMap<String, String> = serde_json::from_str(&public).expect("a map");
        // Public halves stay for as long as there are runs whose decisions they verify.
        let mut all = self.public.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(public);
        self.secrets.set("public", &serde_json::json!(*all).to_string());
        self.secrets.set("keys", &secret);
    }

    /// `decided` as the approval function signs it now, about this question.
    ///
    /// # Panics
    /// Never: the keys are there.
    pub fn sign(&self, decided: Event, asked: &ApprovalRequest) -> Event {
        let keys = now(self.keys[1].get()).expect("the keys are there");
        keys.sign(decided, &asked.digest, &asked.action.tenant, self.clock.now())
    }

    /// On which terms runs are taken on in this world.
    pub fn terms(&self) -> Terms {
        Terms { limits: Limits { entries_max: self.manner.entries_max, ..TERMS.limits }, ..TERMS }
    }

    /// The clock of a process that starts now.
    pub(super) fn process_clock(&self) -> Arc<dyn Clock> {
        let number = self.clocks.fetch_add(1, Ordering::SeqCst);
        let skew_millis = CLOCK_SKEW_MAX.as_millis() as u64;
        let by = match self.manner.flaw {
            Some(Flaw::ClocksFarApart) => 100 * skew_millis * (number % 2),
            _ if self.manner.skewed => number.wrapping_mul(7_919) % (skew_millis + 1),
            _ => return self.clock.clone(),
        };
        Arc::new(Ahead { clock: self.clock.clone(), by: Duration::from_millis(by) })
    }

    fn tools(&self, clock: Arc<dyn Clock>) -> ToolSet {
        let ledger: Arc<dyn Ledger> = Arc::new(self.faulty(Arc::clone(&self.books)));
        let mut all = all_tools(&ledger, clock);
        if self.manner.flaw != Some(Flaw::AnsweredErrorIsNotDone) {
            // Here a letter may be sent and answered with an error.
            let letter = "write_to_customer".parse().expect("a tool");
            let label = |spec| ToolSpec { errors_mean: ErrorsMean::Unknown, ..spec };
            all.entry(letter).and_modify(|tool| *tool = Arc::new(Mislabelled::labelled(tool.clone(), label)));
        }
        if self.manner.flaw == Some(Flaw::IrreversibleRepeated) {
            let letter = "write_to_customer".parse().expect("a tool");
            all.entry(letter).and_modify(|tool| *tool = Arc::new(Mislabelled::new(tool.clone())));
        }
        all
    }

    fn policy(&self) -> Arc<dyn Policy> {
        match self.manner.flaw {
            Some(Flaw::JudgedBeforeSiblings) => Arc::new(Forgetful { inner: POLICY.clone() }),
            _ => POLICY.clone(),
        }
    }

    pub(super) fn faulty<P: ?Sized>(&self, inner: Arc<P>) -> Faulty<P> {
        Faulty { faults: Arc::clone(&self.faults), inner }
    }

    /// The engine on faulty ports.
    pub fn engine(&self) -> Engine {
        self.engine_by(self.clock.clone())
    }

    /// The engine on faulty ports, by a clock of its own.
    pub(super) fn engine_by(&self, clock: Arc<dyn Clock>) -> Engine {
        let journal = Arc::new(self.faulty(Arc::clone(&self.store)));
        let tools = self.tools(clock.clone());
        let script = Arc::new(self.faulty(Arc::new(Billing { billed: Arc::clone(&self.billed) })));
        let parse = |text: &_| DecisionKeys::parse(text).map_err(|error| error.to_string());
        let public = Arc::new(SecretCache::new(self.secrets.clone(), self.clock.clone(), "public", parse));
        Engine {
            journal: Arc::new(VerifiedDecisions::new(journal.clone(), public, clock.clone())),
            leases: journal as Arc<dyn Leases>,
            wake_ups: Arc::new(self.faulty(Arc::clone(&self.queue))),
            answers: Arc::new(self.faulty(Arc::clone(&self.answers))),
            clock,
            random: self.random.clone(),
            agent: Agent {
                model: Arc::new(cited(script, &HANDBOOK).expect("the task is named well")),
                tools,
                policy: self.policy(),
                prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
            },
            live: Live {
                controls: Arc::new(self.faulty(Arc::clone(&self.controls))),
                seen: Arc::clone(&self.seen_controls),
                prompts: PromptCache::new(Arc::new(Prompts::new())),
                budgets: Arc::new(self.faulty(Arc::clone(&self.accounts))),
                allowance: self.manner.allowance,
                windows: Arc::new(self.faulty(Arc::clone(&self.windows))),
            },
            release: "r1".parse().expect("a release"),
            strikes_max: self.manner.strikes_max,
            telemetry: None,
        }
    }

    /// Whether a run is dead, by its head.
    pub fn is_dead(&self, run: RunId) -> bool {
        self.head(run).is_some_and(|head| matches!(head.status, HeadStatus::Dead { .. }))
    }

    /// The journal of a run, as the store has it.
    pub fn entries(&self, run: RunId) -> Vec<Entry> {
        now(self.runs.load(run, 1)).expect("the store in memory does not fail")
    }

    /// The head of a run, as the store has it.
    pub fn head(&self, run: RunId) -> Option<Head> {
        now(self.runs.head(run)).expect("the store in memory does not fail")
    }

    /// Whether a run is over, by its head.
    pub fn is_over(&self, run: RunId) -> bool {
        self.head(run).is_some_and(|head| head.status.is_over())
    }

    /// Whether a run waits for a person.
    pub fn waits_for_a_person(&self, run: RunId) -> bool {
        self.head(run).is_some_and(|head| head.status == HeadStatus::AwaitingApproval)
    }
}

/// The result of a future that never waits.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

/// When a process started now is killed.
pub fn deadline(clock: &ManualClock) -> Timestamp {
    clock.now() + TIMEOUT
}
