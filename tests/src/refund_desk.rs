//! The refund desk's real loop over stores in memory and the real clock, with any model.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use step::refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    handbook::{handbook, search},
    ledger::{Ledger, Order},
    ledger_in_memory::LedgerInMemory,
    policy::{policy, terms},
    tools::{Drills, tools},
};
use windlass::{
    agent::{Agent, model::Model, tool_set::tool_set},
    clock::{Clock as _, SystemClock},
    config::Environment,
    ids::{RunId, SystemRandom},
    journal::Journal as _,
    memory::{Answers, Queue, Records, Runs},
    prompts::Prompt,
    run::{
        accept::{Incoming, Terms, accept},
        advance::{Advanced, Engine},
        entry::{Entry, Event},
        limits::{JOURNAL_ENTRIES_MAX, Limits},
        outside::Outside,
        request::{RunRequest, Source},
        state::{Outcome, Phase, RunState},
    },
};

use crate::live::everything_on;

const TERMS: Terms = Terms {
    limits: Limits {
        steps_max: 64,
        tokens_max: 500_000,
        cost_max_micro_usd: 5_000_000,
        wall_time_max_seconds: 7 * 24 * 3600,
        entries_max: JOURNAL_ENTRIES_MAX,
    },
    key_kept_for: Duration::from_secs(24 * 3600),
    run_kept_for: Duration::from_secs(90 * 24 * 3600),
};

/// How long one invocation has.
const INVOCATION: Duration = Duration::from_secs(60);

/// A desk with two orders, `A-1001` and `A-1002`.
pub struct RefundDesk {
    /// Its records.
    pub ledger: Arc<LedgerInMemory>,
    runs: Arc<Runs>,
    queue: Arc<Queue>,
}

/// A run that came to rest.
pub struct Rested {
    /// The run.
    pub run: RunId,
    /// What the loop said last.
    pub advanced: Advanced,
    /// Its journal.
    pub entries: Vec<Entry>,
    /// What the journal makes of it.
    pub state: RunState,
}

impl Default for RefundDesk {
    fn default() -> Self {
        let clock = Arc::new(SystemClock);
        let ledger = Arc::new(LedgerInMemory::default());
        for order in ["A-1001", "A-1002"] {
            let order =
                Order { order: order.into(), customer: "customer-17".into(), total_cents: 4_200, refunded_cents: 0 };
            ledger.add_order(&"acme".parse().expect("a tenant"), order);
        }
        Self {
            ledger,
            runs: Arc::new(Runs::new(clock.clone(), &Records::new())),
            queue: Arc::new(Queue::new(clock, Duration::from_secs(360), 10)),
        }
    }
}

impl RefundDesk {
    /// The loop with this model.
    ///
    /// # Panics
    /// When a name is not one.
    pub fn engine(&self, model: Arc<dyn Model>) -> Engine {
        let ledger: Arc<dyn Ledger> = self.ledger.clone();
        let tools = tool_set(tools(&ledger, Drills::Absent).expect("the tools are sound")).expect("a tool set");
        let index = handbook(None).expect("the built-in handbook is sound");
        let search = search(&index, Arc::new(SystemClock)).expect("the tool is sound");
        let with_search = tool_set(tools.values().cloned().chain([search])).expect("a tool set");
        let terms = terms(Environment::Dev, Duration::from_secs(3 * 24 * 3600)).expect("the roles are named well");
        let policy = policy(None, Drills::Absent, with_search.values().map(|tool| tool.spec()), terms)
            .expect("the built-in policy fits the tools");
        Engine {
            journal: self.runs.clone(),
            leases: self.runs.clone(),
            wake_ups: self.queue.clone(),
            answers: Arc::new(Answers::new()),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            agent: Agent {
                model,
                tools,
                policy: Arc::new(policy),
                prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
            },
            live: everything_on(Arc::new(SystemClock)),
            release: "r1".parse().expect("a release"),
            strikes_max: 5,
            telemetry: None,
        }
    }

    /// Takes a refund on and advances it until it ends or rests.
    ///
    /// # Panics
    /// When the stores in memory fail.
    pub async fn run(&self, model: Arc<dyn Model>, payload: Value) -> Rested {
        let engine = self.engine(model);
        let outside = Outside {
            journal: engine.journal.as_ref(),
            wake_ups: engine.wake_ups.as_ref(),
            clock: engine.clock.as_ref(),
            random: engine.random.as_ref(),
            release: &engine.release,
            telemetry: None,
        };
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload,
            roles: Default::default(),
        };
        let client_key = format!("key-{}", windlass::ids::Random::bits(&SystemRandom));
        let incoming =
            Incoming { request, source: Source::Http, client_key, person: None, trace: None, admitted: None };
        let run = accept(&outside, &TERMS, incoming).await.expect("it is taken on").run();
        let advanced = engine.advance(run, SystemClock.now() + INVOCATION).await.expect("the stores answer");
        let entries = self.runs.load(run, 1).await.expect("the journal is there");
        let state = RunState::fold(&entries).expect("the journal is sound");
        Rested { run, advanced, entries, state }
    }
}

impl Rested {
    /// Its end.
    ///
    /// # Panics
    /// When it has none.
    pub fn outcome(&self) -> &Outcome {
        match &self.state.phase {
            Phase::Finished(outcome) => outcome,
            other => panic!("{:?}, in {other:?}", self.advanced),
        }
    }

    /// Every event, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().flat_map(|entry| &entry.events)
    }

    /// The models that answered, in order.
    pub fn models(&self) -> Vec<&str> {
        let models = self.events().filter_map(|event| match event {
            Event::Planned { model, .. } => Some(model.as_str()),
            _ => None,
        });
        models.collect()
    }
}
