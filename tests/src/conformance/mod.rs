//! One suite over every implementation of the ports: what the memory does, AWS does.
//!
//! Each case is a sentence about a port. `tests/conformance.rs` runs all of them over memory and over the local stack.
//! Time is the test's: no case sleeps.

use std::{sync::Arc, time::Duration};

use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use windlass::{
    agent::answers::KeptAnswers,
    budgets::Budgets,
    clock::{Clock as _, Timestamp},
    controls::{Controls, admit::Admitted},
    dead_letter::ReplayPlans,
    door::{Requests, rate::Buckets},
    idempotency::{IdempotencyRecords, Key},
    ids::{RunId, TraceId},
    journal::{
        Acceptance, Appended, Expected, HEAD_BYTES_MAX, Head, HeadStatus, Heads, Interjected, Journal, Lease, NewRun,
        Searched,
    },
    lease::{Claim, LEASE_FOR, Leases, Leave, Left},
    memory::{ManualClock, SeededRandom},
    prompts::Prompts,
    run::{
        entry::{Accepted, Entry, Event, Writer},
        limits::Limits,
        request::{RunRequest, Source},
        stored::Stored,
    },
    schedule::{JobRecords, retention::Retention},
    windows::Windows,
};

pub mod accepting;
pub mod answering;
pub mod appending;
pub mod buckets;
pub mod budgets;
mod cases;
pub mod claiming;
pub mod controls;
pub mod finding;
pub mod idempotency;
pub mod interjecting;
pub mod jobs;
pub mod leaving;
pub mod listing;
pub mod plans;
pub mod queues;
pub mod repeating;
pub mod retaining;
pub mod secrets;
pub mod snapshots;
pub mod windows;

/// A case as data.
pub struct Case<P> {
    /// Its module and its sentence.
    pub name: &'static str,
    /// What it does; it panics when it does not hold.
    pub run: for<'a> fn(&'a P) -> LocalBoxFuture<'a, ()>,
}

/// When every case begins. Later than any real clock, so that no store's own time to live sweeps what a case has written.
pub const BEGINNING: Timestamp = Timestamp::from_millis(2_208_988_800_000);
/// How long runs are kept.
pub const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long keys are kept.
pub const KEY_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// Does what ports would not: puts entries somewhere, loses items.
#[async_trait::async_trait]
pub trait Planting: Send + Sync {
    /// Puts a stored entry in its place.
    async fn plant(&self, run: RunId, seq: u32, stored: Stored);

    /// Loses every copy of the number of the controls that are in force.
    async fn lose_number_of_controls(&self);
}

/// The stores under test.
pub struct Stores {
    /// What they and the case go by.
    pub clock: Arc<ManualClock>,
    /// Journals.
    pub journal: Arc<dyn Journal>,
    /// Leases.
    pub leases: Arc<dyn Leases>,
    /// Heads.
    pub heads: Arc<dyn Heads>,
    /// Where runs are looked through.
    pub search: Arc<dyn Searched>,
    /// Idempotency records, shared with the journal.
    pub records: Arc<dyn IdempotencyRecords>,
    /// Job records.
    pub jobs: Arc<dyn JobRecords>,
    /// Expired items.
    pub retention: Arc<dyn Retention>,
    /// Kept answers.
    pub answers: Arc<dyn KeptAnswers>,
    /// Replay plans.
    pub plans: Arc<dyn ReplayPlans>,
    /// The live controls, with the audit trail of `plans`.
    pub controls: Arc<dyn Controls>,
    /// Prompts.
    pub prompts: Arc<dyn Prompts>,
    /// Accounts.
    pub budgets: Arc<dyn Budgets>,
    /// Counters of windows.
    pub windows: Arc<dyn Windows>,
    /// Token buckets, as two processes have them.
    pub buckets: [Arc<dyn Buckets>; 2],
    /// What is recorded of requests, by the journal.
    pub requests: Arc<dyn Requests>,
    /// For damage.
    pub planting: Arc<dyn Planting>,
    /// For ids.
    pub random: SeededRandom,
}

impl Stores {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A run of `ada` at `acme` under the client's key `key`, not yet taken on.
    pub fn new_run(&self, key: &str) -> NewRun {
        self.new_run_of("acme", "ada", key)
    }

    fn new_run_of(&self, tenant: &str, actor: &str, key: &str) -> NewRun {
        let (tenant, actor) = (tenant.parse().expect("a tenant"), actor.parse().expect("an actor"));
        let key = Key::of("runs", &tenant, &actor, key).expect("a key");
        let request = RunRequest {
            tenant,
            actor,
            task: "refund".parse().expect("a task"),
            payload: json!({"order": "A-1"}),
            roles: Default::default(),
        };
        let payload_hash = request.hash();
        let trace = TraceId::generate(&self.random);
        let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
        NewRun {
            run: RunId::generate(self.clock.as_ref(), &self.random),
            key,
            payload_hash,
            key_expires: self.now() + KEY_KEPT_FOR,
            expires: self.now() + KEPT_FOR,
            entry: self.entry(Writer::Outside("intake".to_owned()), Event::Accepted(Box::new(accepted))),
            admitted: Some(Admitted { controls: 7, at: self.now() }),
        }
    }

    /// [`Stores::new_run`] with a first entry that its head does not carry.
    pub fn large_run(&self, key: &str) -> NewRun {
        let mut new = self.new_run(key);
        if let [Event::Accepted(accepted)] = new.entry.events.as_mut_slice() {
            accepted.request.payload = noise(4 * HEAD_BYTES_MAX).into();
            new.payload_hash = accepted.request.hash();
        }
        new
    }

    /// A run that is taken on.
    async fn run(&self, key: &str) -> RunId {
        self.take_on(self.new_run(key)).await
    }

    async fn take_on(&self, new: NewRun) -> RunId {
        let accepted = self.journal.accept(&new).await.expect("the store answers");
        assert_eq!(accepted, Acceptance::Created { run: new.run });
        new.run
    }

    fn entry(&self, writer: Writer, event: Event) -> Entry {
        Entry { at: self.now(), writer, release: "r1".parse().expect("a release"), events: vec![event] }
    }

    /// An entry of the holder with this epoch that says `said`.
    fn said(&self, epoch: u64, said: impl Into<Value>) -> Entry {
        self.entry(Writer::Holder(epoch), Event::Responded { response: said.into() })
    }

    /// A cancellation from outside under a one-time mark.
    fn cancelled(&self, mark: &str) -> Entry {
        let cancelled = Event::Cancelled { by: "ada".parse().expect("an actor"), reason: None };
        self.entry(Writer::Outside(mark.to_owned()), cancelled)
    }

    async fn append(&self, run: RunId, seq: u32, entry: &Entry) -> Appended {
        self.journal.append(run, seq, entry, BEGINNING + KEPT_FOR).await.expect("the store answers")
    }

    async fn load(&self, run: RunId) -> Vec<Entry> {
        self.journal.load(run, 1).await.expect("it can be read")
    }

    async fn interject(&self, run: RunId, seq: u32, entry: &Entry, expected: Expected) -> Interjected {
        self.journal.interject(run, seq, entry, expected).await.expect("the store answers")
    }

    async fn head(&self, run: RunId) -> Head {
        self.heads.head(run).await.expect("the store answers").expect("there is a head")
    }

    async fn claim(&self, run: RunId, holder: &str) -> Claim {
        self.leases.claim(run, holder, self.now(), self.now() + LEASE_FOR).await.expect("the store answers")
    }

    async fn won(&self, run: RunId, holder: &str) -> Lease {
        match self.claim(run, holder).await {
            Claim::Won(_, lease) => lease,
            other => panic!("not won: {other:?}"),
        }
    }

    async fn leave(&self, run: RunId, lease: &Lease, leave: &Leave) -> Left {
        self.leases.leave(run, lease, leave).await.expect("the store answers")
    }

    /// A leave in which nothing was interjected.
    fn leaving(&self, status: HeadStatus, wait: Duration) -> Leave {
        let then = (!status.is_over()).then_some(self.now() + wait);
        Leave { status, ready_from: then, due: then, now: self.now(), interjections: 0, strikes: 0 }
    }

    /// Claims a run and leaves it so, for an hour unless it is over.
    async fn left(&self, run: RunId, status: HeadStatus) {
        let lease = self.won(run, "passer-by").await;
        let leave = self.leaving(status, 3600 * SECOND);
        assert_eq!(self.leave(run, &lease, &leave).await, Left::Done);
    }
}

/// A status that is dead.
fn dead() -> HeadStatus {
    HeadStatus::Dead { fingerprint: "f-1".to_owned(), cause: "the model answered 500".to_owned() }
}

/// A status that is finished.
fn finished() -> HeadStatus {
    HeadStatus::Finished { outcome: "completed".to_owned() }
}

/// A text that does not compress below three quarters.
fn noise(chars: usize) -> String {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(48 + (state >> 33) as u8 % 64)
    };
    (0..chars).map(|_| next()).collect()
}
