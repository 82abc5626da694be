//! Dead runs and messages in the stores in memory, and a stand-in for the step function.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

use serde_json::json;

use crate::{
    clock::{Clock as _, Timestamp},
    dead_letter::{
        DeadLetter, ItemStatus, Plan, ReplayPlans as _,
        audit::Trail,
        keys::Keys,
        list::{RUNS_MAX, list},
        plan::{Selection, forecast, make},
        replay::{OutsideMemory, Pace, Replay, ReplayError, Report},
    },
    idempotency::{Key, PayloadHash},
    ids::{Actor, Release, RunId, TraceId},
    journal::{HeadStatus, Heads as _, Journal as _, NewRun},
    lease::{Claim, Leases as _, Leave},
    memory::{self, ManualClock, Queue, SeededRandom},
    queue::Message,
    run::{
        entry::{Accepted, Entry, Event, StopReason, Writer},
        limits::Limits,
        request::{RunRequest, Source},
    },
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// How long keys are remembered.
pub(super) const KEY_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) random: SeededRandom,
    pub(super) runs: memory::Runs,
    pub(super) queue: Queue,
    pub(super) plans: memory::Plans,
    pub(super) by: Actor,
    pub(super) release: Release,
    pub(super) tasks: crate::run::tasks::Tasks,
    /// How a woken run ends, by run; the others complete.
    pub(super) fates: Mutex<BTreeMap<RunId, HeadStatus>>,
    /// Every wake-up that the stand-in worked on.
    pub(super) worked: Mutex<Vec<RunId>>,
}

pub(super) fn dead(cause: &str) -> HeadStatus {
    HeadStatus::Dead { fingerprint: crate::dead_letter::cause::fingerprint(cause), cause: cause.to_owned() }
}

pub(super) fn quick() -> Pace {
    Pace { per_second: 50, ..Pace::default() }
}

impl World {
    pub(super) fn new() -> World {
        let clock = Arc::new(ManualClock::at(START));
        World {
            runs: memory::Runs::new(clock.clone(), &memory::Records::new()),
            queue: Queue::new(clock.clone(), Duration::from_secs(1), 1),
            plans: memory::Plans::new(clock.clone()),
            random: SeededRandom::new(2),
            by: "olga".parse().expect("an actor"),
            release: "operator".parse().expect("a release"),
            tasks: "refund".parse().expect("tasks"),
            fates: Mutex::default(),
            worked: Mutex::default(),
            clock,
        }
    }

    /// A run, a second later than the last.
    pub(super) async fn run(&self) -> RunId {
        self.clock.advance(Duration::from_secs(1));
        let run = RunId::generate(&*self.clock, &self.random);
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({}),
            roles: Default::default(),
        };
        let key = Key::of("runs", &request.tenant, &request.actor, &run.to_string()).expect("a key");
        let trace = TraceId::generate(&self.random);
        let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
        let expires = self.clock.now() + Duration::from_secs(30 * 24 * 3600);
        let new = NewRun {
            run,
            key,
            payload_hash: PayloadHash::of(&run.to_string().into()),
            key_expires: expires,
            expires,
            entry: self.entry(Event::Accepted(Box::new(accepted))),
            admitted: None,
        };
        self.runs.accept(&new).await.expect("memory accepts");
        run
    }

    pub(super) async fn dead_run(&self, cause: &str) -> RunId {
        let run = self.run().await;
        self.end(run, dead(cause)).await;
        run
    }

    fn entry(&self, event: Event) -> Entry {
        let writer = Writer::Outside("test".to_owned());
        Entry { at: self.clock.now(), writer, release: self.release.clone(), events: vec![event] }
    }

    /// Claims a run, records its end and leaves it, as the step function does; nothing when it is over.
    async fn end(&self, run: RunId, status: HeadStatus) {
        let now = self.clock.now();
        let Ok(Claim::Won(head, lease)) = self.runs.claim(run, "h", now, now + Duration::from_secs(30)).await else {
            return;
        };
        let (ready_from, due) = match &status {
            HeadStatus::Dead { cause, fingerprint } => {
                let reason = StopReason::Dead { cause: cause.clone(), fingerprint: fingerprint.clone() };
                let stopped = Event::Stopped { reason, standing: Vec::new(), in_doubt: Vec::new() };
                let seq = self.runs.load(run, 1).await.expect("memory").len() as u32 + 1;
                self.runs.append(run, seq, &self.entry(stopped), head.expires).await.expect("memory");
                (None, None)
            }
            status if status.is_over() => (None, None),
            _ => (Some(now), Some(now + Duration::from_secs(3600))),
        };
        let leave = Leave { status, ready_from, due, now, interjections: head.interjections, strikes: 0 };
        self.runs.leave(run, &lease, &leave).await.expect("memory");
    }

    /// A message that nobody acknowledged, on the dead-letter queue.
    pub(super) fn dead_message(&self, body: &str) {
        self.clock.advance(Duration::from_secs(1));
        self.queue.send_body(body, Duration::ZERO);
        self.queue.receive(10);
        self.clock.advance(Duration::from_secs(1));
        self.queue.receive(10);
    }

    pub(super) async fn letters(&self) -> Vec<DeadLetter> {
        list(&self.queue, &self.runs, self.keys(), RUNS_MAX).await.expect("memory").letters
    }

    pub(super) async fn plan(&self, selection: Selection) -> Plan {
        let forecasts = forecast(&self.letters().await, &selection).expect("the keys are known");
        make(self.trail(), &forecasts, "mended").await.expect("there is something to replay")
    }

    pub(super) fn keys(&self) -> Keys<'_> {
        Keys { requests: &self.runs, kept_for: KEY_KEPT_FOR, tasks: &self.tasks, clock: &*self.clock }
    }

    pub(super) fn trail(&self) -> Trail<'_> {
        Trail { plans: &self.plans, clock: &*self.clock, random: &self.random, by: &self.by }
    }

    pub(super) fn replay<'a>(&'a self, observe: &'a (dyn Fn(&str, &ItemStatus) + Sync)) -> Replay<'a> {
        Replay {
            trail: self.trail(),
            messages: &self.queue,
            wake_ups: &self.queue,
            journal: &self.runs,
            heads: &self.runs,
            keys: self.keys(),
            outside_memory: OutsideMemory::Leave,
            release: &self.release,
            observe,
        }
    }

    pub(super) async fn replayed(&self, plan: &str, pace: Pace) -> Result<Report, ReplayError> {
        let replay = self.replay(&|_, _| {});
        self.while_working(replay.replay(plan, pace)).await
    }

    /// Drives `future` to its end: the stand-in works on what is on the step queue, and when nothing happens time moves on.
    pub(super) async fn while_working<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            if let std::task::Poll::Ready(value) = futures::poll!(&mut future) {
                return value;
            }
            for received in self.queue.receive(10) {
                if let Ok(Message::WakeUp { run }) = Message::parse(&received.body) {
                    let fate = self.fates.lock().expect("no panic").get(&run).cloned();
                    self.worked.lock().expect("no panic").push(run);
                    self.end(run, fate.unwrap_or(HeadStatus::Finished { outcome: "completed".to_owned() })).await;
                }
                self.queue.acknowledge(&received.receipt);
            }
            if let Some(next) = self.clock.next_wake() {
                self.clock.set(next);
            }
        }
    }

    /// The same, but each run takes so long until it ends.
    pub(super) async fn while_working_slowly<T>(&self, takes: Duration, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut under_way = std::collections::VecDeque::new();
        loop {
            if let std::task::Poll::Ready(value) = futures::poll!(&mut future) {
                return value;
            }
            for received in self.queue.receive(10) {
                if let Ok(Message::WakeUp { run }) = Message::parse(&received.body) {
                    under_way.push_back((self.clock.now() + takes, run));
                }
                self.queue.acknowledge(&received.receipt);
            }
            while let Some((_, run)) = under_way.pop_front_if(|(ends, _)| *ends <= self.clock.now()) {
                let fate = self.fates.lock().expect("no panic").get(&run).cloned();
                self.end(run, fate.unwrap_or(HeadStatus::Finished { outcome: "completed".to_owned() })).await;
            }
            if let Some(next) = self.clock.next_wake() {
                self.clock.set(next);
            }
        }
    }

    /// Ends once the stand-in has had a turn.
    pub(super) async fn working_once(&self) {
        self.clock.sleep_until(self.clock.now() + Duration::from_millis(1)).await;
    }

    pub(super) async fn replays_in_journal(&self, run: RunId) -> usize {
        let entries = self.runs.load(run, 1).await.expect("memory");
        entries.iter().flat_map(|entry| &entry.events).filter(|event| matches!(event, Event::Replayed { .. })).count()
    }

    pub(super) async fn status(&self, run: RunId) -> HeadStatus {
        self.runs.head(run).await.expect("memory").expect("it is there").status
    }

    pub(super) async fn audit(&self) -> Vec<String> {
        let trail = self.plans.audit_trail(1_000).await.expect("memory");
        trail.into_iter().rev().map(|record| record.action).collect()
    }
}
