//! A small world: one table, one queue, one ledger, and processes that work on them.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use step::{
    handler::Handler,
    refund_desk::{
        INSTRUCTIONS, PROMPT_VERSION,
        handbook::{cited, handbook, search},
        ledger::{Ledger, Order},
        ledger_in_memory::LedgerInMemory,
        policy::{policy, terms},
        script::Script,
        tools::{Drills, tools},
    },
};
use windlass::{
    agent::{
        Agent,
        tool_set::{ToolSet, tool_set},
    },
    approval::{
        Subject, Verdict,
        decide::{Answer, decide},
        token::ApprovalKeys,
    },
    budgets::Allowance,
    clock::{Clock, Timestamp},
    config::Environment,
    controls::{
        Settings,
        change::{Hand, wake_held},
    },
    ids::{Release, RunId},
    journal::{Expected, Head, HeadStatus, Heads as _, Interjected, Journal as _, JournalError},
    lease::Leases,
    memory::{
        Accounts, Answers, Controls, ManualClock, Plans, Prompts, Queue, Received, Records, Runs, SecretValues,
        SeededRandom,
    },
    principal::Principal,
    prompts::{Prompt, PromptCache},
    retrieval::SourceIndex,
    run::{
        accept::{AcceptError, Incoming, Terms, accept},
        advance::{Engine, Live},
        cancel::cancel,
        entry::{Entry, Event},
        limits::Limits,
        outside::{History, Outside},
        request::{RunRequest, Source},
        state::RunState,
    },
    schedule::rescue::sweep,
    secrets::SecretCache,
};
use windlass_operator::scenario::{Scenario, ScenarioDecision};
use windlass_policy::CedarPolicy;

use super::{
    executor::{BEGINNING, Process},
    faults::Faults,
    faulty::Faulty,
};

/// On which terms runs are taken on here.
pub const TERMS: Terms = Terms {
    limits: Limits {
        steps_max: 64,
        tokens_max: 500_000,
        cost_max_micro_usd: 5_000_000,
        wall_time_max_seconds: 7 * 24 * 3600,
    },
    key_kept_for: Duration::from_secs(24 * 3600),
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
    Arc::new(policy(None, Drills::Available, &tools, terms).expect("the built-in policy fits the tools"))
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
    /// What actors have spent.
    pub accounts: Arc<Accounts>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    keys: Arc<SecretCache<ApprovalKeys>>,
}

impl World {
    /// A new world with the orders of `scenario`.
    pub fn new(seed: u64, faults: Faults, scenario: &Scenario) -> Self {
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
        let secrets = SecretValues::new();
        secrets.set(
            "keys",
            r#"{"current":"k1","keys":{"k1":"c2l4dGVlbiBieXRlcyBvciBtb3JlIHRoYW4gc2l4dGVlbiBieXRlcw=="}}"#,
        );
        let parse = |text: &_| ApprovalKeys::parse(text).map_err(|error| error.to_string());
        Self {
            keys: Arc::new(SecretCache::new(Arc::new(secrets), clock.clone(), "keys", parse)),
            random: Arc::new(SeededRandom::new(seed)),
            runs: Arc::new(Runs::new(clock.clone(), &Records::new())),
            queue: Arc::new(Queue::new(clock.clone(), VISIBILITY, 1_000)),
            ledger: Arc::new(ledger),
            answers: Arc::new(Answers::new()),
            controls: Arc::new(Controls::new(&Plans::new(clock.clone()))),
            accounts: Arc::new(Accounts::new()),
            faults: Arc::new(faults),
            clock,
        }
    }

    fn faulty<P: ?Sized>(&self, inner: Arc<P>) -> Faulty<P> {
        Faulty { faults: Arc::clone(&self.faults), inner }
    }

    /// The engine on faulty ports.
    pub fn engine(&self) -> Engine {
        let ledger: Arc<dyn Ledger> = Arc::new(self.faulty(Arc::clone(&self.ledger)));
        let journal = Arc::new(self.faulty(Arc::clone(&self.runs)));
        let tools = all_tools(&ledger, self.clock.clone());
        let script = Arc::new(self.faulty(Arc::new(Script)));
        Engine {
            journal: journal.clone(),
            leases: journal as Arc<dyn Leases>,
            wake_ups: Arc::new(self.faulty(Arc::clone(&self.queue))),
            answers: Arc::new(self.faulty(Arc::clone(&self.answers))),
            clock: self.clock.clone(),
            random: self.random.clone(),
            agent: Agent {
                model: Arc::new(cited(script, &HANDBOOK).expect("the task is named well")),
                tools,
                policy: POLICY.clone(),
                prompt: Prompt::built_in(PROMPT_VERSION, INSTRUCTIONS),
            },
            live: Live {
                controls: Arc::new(self.faulty(Arc::clone(&self.controls))),
                prompts: PromptCache::new(Arc::new(Prompts::new())),
                budgets: Arc::new(self.faulty(Arc::clone(&self.accounts))),
                allowance: ALLOWANCE,
            },
            release: "r1".parse().expect("a release"),
            strikes_max: 5,
        }
    }

    /// A client that posts the scenario's request once; `answer` is the run it was told of.
    pub fn client(&self, key: &str, scenario: &Scenario, answer: Rc<Cell<Option<RunId>>>) -> Process {
        let outsider = self.outsider();
        let incoming = Incoming {
            request: RunRequest {
                tenant: "acme".parse().expect("a tenant"),
                actor: "ada".parse().expect("an actor"),
                task: scenario.request.task.parse().expect("a task"),
                payload: scenario.request.payload.clone(),
            },
            source: Source::Http,
            client_key: key.to_owned(),
            trace: None,
        };
        Box::pin(async move {
            match accept(&outsider.outside(), &TERMS, incoming).await {
                Ok(taken_on) => answer.set(Some(taken_on.run())),
                Err(AcceptError::Journal(JournalError::Unavailable { .. })) => {}
                Err(other) => panic!("the client was told: {other}"),
            }
        })
    }

    /// Somebody who ends the run.
    pub fn canceller(&self, run: RunId) -> Process {
        let outsider = self.outsider();
        Box::pin(async move {
            let by = "ops".parse().expect("an actor");
            let _ = cancel(&outsider.outside(), run, &by, Some("a drill")).await;
        })
    }

    /// An operator who replays a dead run.
    pub fn replayer(&self, run: RunId) -> Process {
        let outsider = self.outsider();
        Box::pin(async move {
            let Ok(history) = History::load(&outsider.journal, run).await else { return };
            let outside = outsider.outside();
            let entry = Entry {
                at: outsider.clock.now(),
                writer: outside.writer(),
                release: outsider.release.clone(),
                events: vec![Event::Replayed { by: "ops".parse().expect("an actor"), plan: "plan-1".to_owned() }],
            };
            let seq = history.state.seq + 1;
            if let Ok(Interjected::Written) = outside.journal.interject(run, seq, &entry, Expected::Dead).await {
                outside.wake(run, &history.state.request.tenant).await;
            }
        })
    }

    /// An operator who types `settings` at the controls and wakes what is held.
    pub fn operator(&self, settings: &'static [&'static str]) -> Process {
        let controls = self.faulty(Arc::clone(&self.controls));
        let heads = self.faulty(Arc::clone(&self.runs));
        let (queue, clock, random) = (self.faulty(Arc::clone(&self.queue)), self.clock.clone(), self.random.clone());
        Box::pin(async move {
            let by = "ops".parse().expect("an actor");
            let (clock, random) = (clock.as_ref(), random.as_ref());
            let hand = Hand { controls: &controls, clock, random, by: &by, why: "a drill" };
            let edit = |settings_now: Settings| settings.iter().try_fold(settings_now, |now, one| now.set(one));
            if hand.change(None, edit).await.is_ok_and(|made| made.may_lift()) {
                let _ = wake_held(&heads, &queue).await;
            }
        })
    }

    /// Whether a run is dead, by its head.
    pub fn is_dead(&self, run: RunId) -> bool {
        self.head(run).is_some_and(|head| matches!(head.status, HeadStatus::Dead { .. }))
    }

    fn outsider(&self) -> Outsider {
        Outsider {
            journal: self.faulty(Arc::clone(&self.runs)),
            queue: self.faulty(Arc::clone(&self.queue)),
            clock: self.clock.clone(),
            random: self.random.clone(),
            release: "r1".parse().expect("a release"),
        }
    }

    /// A step function's process that works on `received`.
    pub fn worker(&self, received: Vec<Received>) -> Process {
        let engine = self.engine();
        let deadline = self.clock.now() + TIMEOUT;
        let queue = Arc::clone(&self.queue);
        let handler = Handler { terms: TERMS, engine };
        Box::pin(async move {
            let mut event = SqsEvent::default();
            event.records = received
                .iter()
                .map(|message| {
                    let mut record = SqsMessage::default();
                    record.message_id = Some(message.id.clone());
                    record.receipt_handle = Some(message.receipt.clone());
                    record.body = Some(message.body.clone());
                    record
                })
                .collect();
            let response = handler.handle(event, deadline).await;
            let failed = |id: &str| response.batch_item_failures.iter().any(|item| item.item_identifier == id);
            for message in received.iter().filter(|message| !failed(&message.id)) {
                queue.acknowledge(&message.receipt);
            }
        })
    }

    /// The sweep that wakes due runs.
    pub fn cleaner(&self) -> Process {
        let heads = self.faulty(Arc::clone(&self.runs));
        let queue = self.faulty(Arc::clone(&self.queue));
        let clock = self.clock.clone();
        Box::pin(async move {
            sweep(&heads, &queue, clock.now()).await;
        })
    }

    /// A person who answers the first open question of a run: a permission as `decision` says, a doubt as it was.
    pub fn approver(&self, run: RunId, decision: Option<ScenarioDecision>) -> Process {
        let outsider = self.outsider();
        let (keys, ledger) = (Arc::clone(&self.keys), Arc::clone(&self.ledger));
        Box::pin(async move {
            let Ok(history) = History::load(&outsider.journal, run).await else { return };
            let Some(open) = history.state.open_approvals().next().cloned() else { return };
            let verdict = match (open.subject, decision) {
                (Subject::Permission, Some(ScenarioDecision::Approved)) => Verdict::Approved,
                (Subject::Permission, _) => Verdict::Denied,
                (Subject::Doubt, _) => {
                    let order = open.action.arguments["order"].as_str().unwrap_or_default();
                    let sent = ledger.records().letters.iter().any(|(_, written_for, _)| written_for == order);
                    if sent { Verdict::Happened } else { Verdict::NotHappened }
                }
            };
            let known = keys.get().await.expect("the keys are there");
            let token = known.issue(&open, &open.action.tenant, outsider.clock.now());
            let principal = Principal {
                tenant: open.action.tenant.clone(),
                actor: "fin".parse().expect("an actor"),
                roles: [open.role.clone()].into(),
            };
            let answer = Answer { approval: open.id, token, verdict, note: None };
            let _ = decide(&outsider.outside(), &keys, &principal, &answer).await;
        })
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

    /// What must hold at every moment, whatever went wrong.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self, run: RunId) {
        let entries = self.entries(run);
        let state = match RunState::fold(&entries) {
            Ok(state) => state,
            Err(error) => panic!("{error}\n{}", super::faulty::show(&entries)),
        };
        let head = self.head(run).expect("a run has a head");
        assert!(head.status.is_over() || head.due.is_some(), "an unfinished run without a due time");
        let refunds = self.ledger.records().refunds;
        assert!(refunds.len() <= 1, "one refund under {} keys", refunds.len());
        let letters = self.ledger.records().letters.len();
        let attempts = state
            .calls
            .iter()
            .filter(|call| call.tool.as_str() == "write_to_customer")
            .map(|call| call.attempts as usize)
            .sum::<usize>();
        assert!(letters <= 1 && letters <= attempts, "{letters} letters in {attempts} attempts");
        super::order::check(&entries);
    }
}

/// What somebody outside the loop works with.
struct Outsider {
    journal: Faulty<Runs>,
    queue: Faulty<Queue>,
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    release: Release,
}

impl Outsider {
    fn outside(&self) -> Outside<'_> {
        Outside {
            journal: &self.journal,
            wake_ups: &self.queue,
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
            release: &self.release,
        }
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
