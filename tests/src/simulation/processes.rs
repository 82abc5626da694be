//! The processes of the world: clients, step functions, the sweep, people.

use std::{cell::Cell, rc::Rc, sync::Arc};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use step::{handler::Handler, refund_desk::ledger_in_memory::LedgerInMemory};
use windlass::{
    approval::{
        ApprovalRequest, Subject, Verdict,
        decide::{Answer, decide},
    },
    clock::{Clock, Timestamp},
    controls::{
        Controls as _, Settings,
        admit::Admitted,
        change::{Hand, wake_held},
    },
    ids::{Random as _, Release, RunId},
    journal::{Expected, Interjected, JournalError},
    memory::{Queue, Received, SeededRandom},
    principal::{Decisions, Principal},
    queue::Deliveries,
    run::{
        accept::{AcceptError, Incoming, accept},
        advance::Engine,
        cancel::cancel,
        entry::{Entry, Event},
        outside::{History, Outside},
        request::{RunRequest, Source},
    },
    schedule::rescue::Sweeper,
};
use windlass_operator::scenario::{Scenario, ScenarioDecision};

use super::{
    executor::{Process, yield_now},
    faulty::Faulty,
    flaws::Store,
    world::{Size, TIMEOUT, World},
};

impl World {
    /// A client that posts the scenario's request once; `answer` is the run it was told of.
    pub fn client(&self, key: &str, scenario: &Scenario, answer: Rc<Cell<Option<RunId>>>) -> Process {
        let outsider = self.outsider();
        let mut payload = scenario.request.payload.clone();
        if self.manner.request == Size::Large {
            // The same in every repetition, and not to be compressed into a head.
            let random = SeededRandom::new(1);
            payload["note"] = (0..64).map(|_| format!("{:032x}", random.bits())).collect::<String>().into();
        }
        let incoming = Incoming {
            request: RunRequest {
                tenant: "acme".parse().expect("a tenant"),
                actor: "ada".parse().expect("an actor"),
                task: scenario.request.task.parse().expect("a task"),
                payload,
                roles: Default::default(),
            },
            source: Source::Http,
            client_key: key.to_owned(),
            person: None,
            trace: None,
            admitted: None,
        };
        let controls = self.faulty(Arc::clone(&self.controls));
        let terms = self.terms();
        Box::pin(async move {
            let at = outsider.clock.now();
            let Ok(document) = controls.read().await else { return };
            let incoming = Incoming { admitted: Some(Admitted { controls: document.version, at }), ..incoming };
            match accept(&outsider.outside(), &terms, incoming).await {
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
        let heads = self.faulty(Arc::clone(&self.store));
        let (queue, clock, random) = (self.faulty(Arc::clone(&self.queue)), self.process_clock(), self.random.clone());
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

    fn outsider(&self) -> Outsider {
        Outsider {
            journal: self.faulty(Arc::clone(&self.store)),
            queue: self.faulty(Arc::clone(&self.queue)),
            clock: self.process_clock(),
            random: self.random.clone(),
            release: "r1".parse().expect("a release"),
        }
    }

    /// A step function's process that works on `received`.
    pub fn worker(&self, received: Vec<Received>) -> Process {
        self.worker_of(self.engine_by(self.process_clock()), received)
    }

    /// One with an engine of its own.
    pub fn worker_of(&self, engine: Engine, received: Vec<Received>) -> Process {
        let deliveries = Arc::new(self.faulty(Arc::clone(&self.queue)));
        self.worker_with(engine, deliveries, received)
    }

    /// One with a queue of its own, too.
    pub fn worker_with(&self, engine: Engine, deliveries: Arc<dyn Deliveries>, received: Vec<Received>) -> Process {
        let deadline = engine.clock.now() + TIMEOUT;
        self.worker_until(deadline, engine, deliveries, received)
    }

    /// One whose invocation ends at `deadline`.
    pub fn worker_until(
        &self,
        deadline: Timestamp,
        engine: Engine,
        deliveries: Arc<dyn Deliveries>,
        received: Vec<Received>,
    ) -> Process {
        let queue = Arc::clone(&self.queue);
        let handler = Handler {
            terms: self.terms(),
            tasks: super::tasks(),
            engine,
            deliveries,
            wake_up_senders: std::collections::BTreeSet::new(),
        };
        Box::pin(async move {
            let mut event = SqsEvent::default();
            event.records = received
                .iter()
                .map(|message| {
                    let mut record = SqsMessage::default();
                    record.message_id = Some(message.id.clone());
                    record.receipt_handle = Some(message.receipt.clone());
                    record.body = Some(message.body.clone());
                    let receives = message.receive_count.to_string();
                    record.attributes.insert("ApproximateReceiveCount".to_owned(), receives);
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
        let heads = self.faulty(Arc::clone(&self.store));
        let queue = self.faulty(Arc::clone(&self.queue));
        let (clock, random) = (self.process_clock(), self.random.clone());
        Box::pin(async move {
            let sweeper = Sweeper { heads: &heads, wake_ups: &queue, random: random.as_ref(), clock: clock.as_ref() };
            sweeper.sweep().await;
        })
    }

    /// A person who answers the first open question of a run: a permission as `decision` says, a doubt as it was.
    pub fn approver(&self, run: RunId, decision: Option<ScenarioDecision>) -> Process {
        let outsider = self.outsider();
        let ([shown_by, decided_by], ledger) = (self.keys.clone(), Arc::clone(&self.ledger));
        Box::pin(async move {
            let Ok(history) = History::load(&outsider.journal, run).await else { return };
            let Some(open) = history.state.open_approvals().next().cloned() else { return };
            let verdict = match (open.subject, decision) {
                (Subject::Permission, Some(ScenarioDecision::Approved)) => Verdict::Approved,
                (Subject::Permission, _) => Verdict::Denied,
                (Subject::Doubt, _) if happened(&open, &ledger) => Verdict::Happened,
                (Subject::Doubt, _) => Verdict::NotHappened,
            };
            let principal = Principal {
                tenant: open.action.tenant.clone(),
                actor: "fin".parse().expect("an actor"),
                person: None,
                roles: [open.role.clone()].into(),
                decisions: Decisions::OfSubjects,
            };
            let known = shown_by.get().await.expect("the keys are there");
            let token = known.issue(&open, &principal, outsider.clock.now());
            // They read it; meanwhile keys may be rotated.
            yield_now().await;
            let answer = Answer { approval: open.id, token, verdict, note: None, result: None };
            let _ = decide(&outsider.outside(), &decided_by, &principal, &answer).await;
        })
    }
}

/// Whether the ledger says that the call in question took effect.
fn happened(open: &ApprovalRequest, ledger: &LedgerInMemory) -> bool {
    let order = open.action.arguments["order"].as_str().unwrap_or_default();
    let records = ledger.records();
    match open.action.tool.as_str() {
        "refund" => records.refunds.values().flatten().any(|refund| refund.order == order),
        _ => records.letters.iter().any(|(_, written_for, _)| written_for == order),
    }
}

/// What somebody outside the loop works with.
struct Outsider {
    journal: Faulty<Store>,
    queue: Faulty<Queue>,
    clock: Arc<dyn Clock>,
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
            telemetry: None,
        }
    }
}
