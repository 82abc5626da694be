//! What a run of 1,000 steps costs that is claimed 90 times, beside one that is claimed once: as the store reports it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use step::refund_desk::{
    INSTRUCTIONS, PROMPT_VERSION,
    handbook::{handbook, search},
    ledger::Ledger,
    ledger_in_memory::LedgerInMemory,
    policy::{policy, terms},
    script::Script,
    tools::{Drills, tools},
};
use windlass::{
    agent::{
        Agent,
        model::{Answer, Model, ModelError, Question, Usage},
        tool_set::tool_set,
    },
    aws::{Runs, clients::Clients},
    clock::{Clock, Timestamp},
    config::Environment,
    ids::{RunId, SystemRandom},
    journal::Heads as _,
    memory::{Answers, ManualClock, Queue},
    prompts::Prompt,
    run::{
        accept::{Incoming, Terms, accept},
        advance::{Advanced, Engine},
        limits::Limits,
        outside::Outside,
        request::{RunRequest, Source},
        snapshot::{recall, recall_and_save},
        state::RunState,
    },
};
use windlass_local::Stack;
use windlass_operator::{
    cost::Cost,
    stack::{DESK_TABLE, Options, kit},
};
use windlass_tests::live::everything_on;

/// Steps of each run.
const STEPS: u32 = 1_000;

/// What a run that is claimed 90 times may cost beside one that is claimed once.
const RATIO_MAX: f64 = 3.0;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Steps that fit into an invocation of [`INVOCATION`].
const STEPS_PER_CLAIM: u32 = 11;
const STEP: Duration = Duration::from_secs(5);
const INVOCATION: Duration = Duration::from_secs(5 * STEPS_PER_CLAIM as u64 + 7);

/// The script, as slow as a model.
struct Slow(Script, Arc<ManualClock>);

#[async_trait]
impl Model for Slow {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn timeout(&self) -> Duration {
        self.0.timeout()
    }
    fn worst_case(&self, question: &Question<'_>) -> Usage {
        self.0.worst_case(question)
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        self.1.advance(STEP);
        self.0.answer(question).await
    }
}

struct Scene {
    stack: Stack,
    clock: Arc<ManualClock>,
    runs: Arc<Runs>,
    engine: Engine,
}

impl Scene {
    async fn start() -> Scene {
        let mut spec = kit(&Options::new(std::path::PathBuf::new()));
        spec.functions.clear();
        spec.mappings.clear();
        spec.routes.clear();
        spec.schedules.clear();
        let stack = Stack::start(spec).await.expect("the tables start");
        // Later than any real clock: the store deletes what has expired by its own.
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(2_208_988_800_000)));
        let dynamodb = Clients::at(&stack.aws_url()).dynamodb();
        let runs = Arc::new(Runs::new(dynamodb, "windlass-runs", "windlass-idempotency", clock.clone()));
        let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
        let search = search(&handbook(None).expect("it can be read"), clock.clone()).expect("the tool is sound");
        let tools = tools(&ledger, Drills::Available).expect("they are sound").into_iter().chain([search]);
        let tools = tool_set(tools).expect("they go together");
        let terms = terms(Environment::Dev, 3 * DAY).expect("the roles are named well");
        let policy = policy(None, Drills::Available, tools.values().map(|tool| tool.spec()), terms)
            .expect("the built-in policy fits the tools");
        let engine = Engine {
            journal: runs.clone(),
            leases: runs.clone(),
            wake_ups: Arc::new(Queue::new(clock.clone(), DAY, 1)),
            clock: clock.clone(),
            answers: Arc::new(Answers::new()),
            random: Arc::new(SystemRandom),
            agent: Agent {
                model: Arc::new(Slow(Script, clock.clone())),
                tools,
                policy: Arc::new(policy),
                prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
            },
            live: everything_on(clock.clone()),
            release: "r1".parse().expect("a release"),
            strikes_max: 5,
            telemetry: None,
        };
        Scene { stack, clock, runs, engine }
    }

    async fn take_on(&self, key: &str) -> RunId {
        let outside = Outside {
            journal: self.engine.journal.as_ref(),
            wake_ups: self.engine.wake_ups.as_ref(),
            clock: self.engine.clock.as_ref(),
            random: self.engine.random.as_ref(),
            release: &self.engine.release,
            telemetry: None,
        };
        let limits = Limits { steps_max: 10_000, tokens_max: 1_000_000_000, ..Limits::default() };
        let request = RunRequest {
            roles: Default::default(),
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "drill/steps".parse().expect("a task"),
            payload: json!({ "steps": STEPS, "bytes": 1_024 }),
        };
        let incoming = Incoming {
            request,
            source: Source::Http,
            client_key: key.to_owned(),
            person: None,
            trace: None,
            admitted: None,
        };
        let terms = Terms { limits, key_kept_for: DAY, run_kept_for: 90 * DAY };
        accept(&outside, &terms, incoming).await.expect("it is taken on").run()
    }

    /// Works on a run in invocations of this length; how many it took.
    async fn work(&self, run: RunId, invocation: Duration) -> u32 {
        for claims in 1.. {
            match self.engine.advance(run, self.clock.now() + invocation).await.expect("the store answers") {
                Advanced::Finished { outcome } => {
                    assert_eq!(outcome, "completed");
                    return claims;
                }
                Advanced::HandedOver => {}
                other => panic!("neither over nor handed over: {other:?}"),
            }
        }
        unreachable!("a run ends")
    }
}

#[tokio::test]
async fn a_run_of_a_thousand_steps_with_ninety_claims_costs_at_most_three_times_what_it_costs_with_one() {
    let scene = Scene::start().await;
    let mut costs = Vec::new();
    for (key, invocation) in [("once", 30 * DAY / 10), ("often", INVOCATION)] {
        let before = scene.stack.meter();
        let run = scene.take_on(key).await;
        let claims = scene.work(run, invocation).await;
        let cost = Cost::of(&scene.stack.meter().since(&before), DESK_TABLE);
        println!(
            "{STEPS} steps in {claims} claims: {:.0} write units, {:.0} read units: {:.6} USD",
            cost.write_units,
            cost.read_units,
            cost.usd()
        );
        costs.push((run, claims, cost.usd()));
    }
    let [(once, 1, one), (often, claims, many)] = costs[..] else { panic!("another number of claims: {costs:?}") };
    assert!((85..=110).contains(&claims), "{claims} claims");
    println!("ratio {:.2}", many / one);
    assert!(many / one <= RATIO_MAX, "{:.2} times", many / one);
    polls(&scene, once, "nobody has saved a snapshot").await;
    polls(&scene, often, "claims have saved snapshots").await;
    let whole = scene.runs.as_ref();
    let entries = windlass::journal::Journal::load(whole, often, 1).await.expect("it can be read");
    let folded = RunState::fold(&entries).expect("it folds");
    assert_eq!(recall(whole, often).await, Ok(folded), "snapshots change nothing");
    scene.stack.shutdown().await;
}

/// What it costs to look at a run again and again.
async fn polls(scene: &Scene, run: RunId, what: &str) {
    let expires = scene.runs.head(run).await.expect("the store answers").expect("there is a head").expires;
    let mut units = Vec::new();
    for _ in 0..2 {
        let before = scene.stack.meter();
        recall_and_save(scene.runs.as_ref(), run, expires).await.expect("it can be read");
        units.push(Cost::of(&scene.stack.meter().since(&before), DESK_TABLE).read_units);
    }
    println!("a look, {what}: {:.1} read units the first time, {:.1} the second", units[0], units[1]);
    assert!(units[1] <= 40.0, "{units:?}");
}
