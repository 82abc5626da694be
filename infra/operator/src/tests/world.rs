//! A few runs and messages, and somebody who types.

use std::{sync::Arc, time::Duration};

use clap::Parser as _;
use serde_json::json;
use windlass::{
    agent::{
        model::{Pricing, Usage},
        tool::Effect,
    },
    aws::clients::UnknownCaller,
    clock::{Clock as _, Timestamp},
    controls::Controls,
    dead_letter::ReplayPlans,
    idempotency::Key,
    ids::{CallId, RunId, TraceId},
    journal::{HeadStatus, Heads as _, Journal as _, NewRun},
    lease::{Claim, Leases as _, Leave},
    memory::{self, ManualClock, Queue, SeededRandom},
    queue::Message,
    run::{
        entry::{Accepted, Decision, Entry, Event, Plan, PlannedCall, StopReason, ToolOutcome, Writer},
        limits::Limits,
        request::{RunRequest, Source},
    },
};

use crate::{
    api::Api,
    attributed::{Attributed, Caller},
    cli::Cli,
    command::{explain, on_api, on_ports},
    console::{Console, Paint},
    ports::Ports,
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) random: Arc<SeededRandom>,
    pub(super) runs: Arc<memory::Runs>,
    pub(super) queue: Arc<Queue>,
    pub(super) records: Arc<memory::Jobs>,
    pub(super) ports: Ports,
}

/// Whose credentials every command has here.
struct Olga;

#[async_trait::async_trait]
impl Caller for Olga {
    async fn principal(&self) -> Result<String, UnknownCaller> {
        Ok("arn:aws:iam::111122223333:user/olga".to_owned())
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Caller for Nobody {
    async fn principal(&self) -> Result<String, UnknownCaller> {
        Err(UnknownCaller { message: "STS does not answer".to_owned() })
    }
}

impl World {
    pub(super) fn new() -> World {
        let clock = Arc::new(ManualClock::at(START));
        let random = Arc::new(SeededRandom::new(5));
        let runs = Arc::new(memory::Runs::new(clock.clone(), &memory::Records::new()));
        let queue = Arc::new(Queue::new(clock.clone(), Duration::from_secs(1), 1));
        let records = Arc::new(memory::Jobs::new());
        let plans = Arc::new(memory::Plans::new(clock.clone()));
        let ports = Ports {
            controls: Arc::new(Attributed::<dyn Controls> {
                inner: Arc::new(memory::Controls::new(&plans)),
                caller: Arc::new(Olga),
            }),
            prompts: Arc::new(memory::Prompts::new()),
            journal: runs.clone(),
            heads: runs.clone(),
            search: runs.clone(),
            requests: runs.clone(),
            key_kept_for: Duration::from_secs(24 * 3600),
            tasks: crate::stack::tasks(),
            wake_ups: queue.clone(),
            dead_messages: queue.clone(),
            plans: Arc::new(Attributed::<dyn ReplayPlans> { inner: plans, caller: Arc::new(Olga) }),
            records: records.clone(),
            retention: runs.clone(),
            clock: clock.clone(),
            random: random.clone(),
            release: "operator".parse().expect("a release"),
        };
        World { clock, random, runs, queue, records, ports }
    }

    /// From now on it is not known whose credentials commands have.
    pub(super) fn caller_is_unknown(&mut self) {
        let (inner, caller) = (self.ports.controls.clone(), Arc::new(Nobody));
        self.ports.controls = Arc::new(Attributed::<dyn Controls> { inner, caller });
    }

    fn entry(&self, writer: Writer, events: Vec<Event>) -> Entry {
        Entry { at: self.clock.now(), writer, release: "r1".parse().expect("a release"), events }
    }

    /// A run that `ada` of `acme` asked for, a second after the last.
    pub(super) async fn accepted(&self) -> RunId {
        self.clock.advance(Duration::from_secs(1));
        let run = RunId::generate(&*self.clock, &*self.random);
        let request = RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload: json!({ "order": "A-1" }),
            roles: Default::default(),
        };
        let key = Key::of("runs", &request.tenant, &request.actor, &run.to_string()).expect("a key");
        let trace = TraceId::generate(&*self.random);
        let hash = request.hash();
        let accepted = Accepted::new(request, Source::Http, trace, Limits::default());
        let expires = self.clock.now() + Duration::from_secs(30 * 24 * 3600);
        let events = vec![Event::Accepted(Box::new(accepted))];
        let new = NewRun {
            run,
            key,
            payload_hash: hash,
            key_expires: expires,
            expires,
            entry: self.entry(Writer::Outside("intake".to_owned()), events),
            admitted: None,
        };
        self.runs.accept(&new).await.expect("memory accepts");
        run
    }

    /// Works on a run as the step function would: appends `events` and leaves it as `status`.
    pub(super) async fn work(&self, run: RunId, events: Vec<Event>, status: HeadStatus) {
        let now = self.clock.now();
        let Ok(Claim::Won(head, lease)) = self.runs.claim(run, "h", now, now + Duration::from_secs(30)).await else {
            return;
        };
        if !events.is_empty() {
            let seq = self.runs.load(run, 1).await.expect("memory").len() as u32 + 1;
            let entry = self.entry(Writer::Holder(lease.epoch), events);
            self.runs.append(run, seq, &entry, head.expires).await.expect("memory");
        }
        let (ready_from, due) = match status.is_over() {
            true => (None, None),
            false => (Some(now), Some(now + Duration::from_secs(3600))),
        };
        let leave = Leave { status, ready_from, due, now, strikes: 0, interjections: head.interjections };
        self.runs.leave(run, &lease, &leave).await.expect("memory");
    }

    pub(super) async fn completed(&self) -> RunId {
        let run = self.accepted().await;
        self.clock.advance(Duration::from_millis(250));
        let usage = Usage { input_tokens: 900, output_tokens: 100, cost_micro_usd: 4_200, ..Default::default() };
        let planned =
            |plan| Event::Planned { plan, usage, model: "script".to_owned(), prompt_version: "p1".to_owned() };
        let call = CallId(1);
        let tool = "refund_order".parse().expect("a tool");
        let calls = vec![PlannedCall {
            id: call,
            tool,
            arguments: json!({ "order": "A-1", "cents": 1_200 }),
            redaction: Default::default(),
            echo: None,
        }];
        let decision = Decision::Allow { reason: "small".to_owned() };
        let answer = json!({ "text": "refunded" });
        let events = vec![
            planned(Plan::Call { calls }),
            Event::PolicyDecided { call, decision, policy_version: "1".to_owned(), policies: Vec::new() },
            Event::ToolAttempted {
                call,
                attempt: 1,
                effect: Effect::Idempotent,
                compensable: false,
                deadline: self.clock.now() + Duration::from_secs(20),
            },
            Event::ToolReturned {
                call,
                attempt: 1,
                outcome: ToolOutcome::Succeeded { value: json!({ "ok": true }) },
                suspected: Vec::new(),
            },
            planned(Plan::Answer { response: answer.clone() }),
            Event::Responded { response: answer },
            stopped(StopReason::Completed),
        ];
        self.work(run, events, HeadStatus::Finished { outcome: "completed".to_owned() }).await;
        run
    }

    pub(super) async fn dead(&self, cause: &str) -> RunId {
        let run = self.accepted().await;
        self.die(run, cause).await;
        run
    }

    /// A run whose model, which has no price, does not answer.
    pub(super) async fn rests(&self, run: RunId, reason: &str) {
        let usage = Usage { input_tokens: 900, output_tokens: 100, pricing: Pricing::Unknown, ..Default::default() };
        let (model, until) = ("openai:x".to_owned(), self.clock.now() + Duration::from_secs(60));
        let events = vec![
            Event::Unanswered { questions: 1, usage, model, reason: "a time-out".to_owned() },
            Event::Waited { until, reason: reason.to_owned(), failures: 2 },
        ];
        self.work(run, events, HeadStatus::Waiting).await;
    }

    /// A run that fails after a call whose effect stands.
    pub(super) async fn fails(&self, run: RunId, message: &str) {
        let (call, usage) = (CallId(1), Usage::default());
        let (tool, arguments) = ("refund_order".parse().expect("a tool"), json!({ "order": "A-1" }));
        let calls = vec![PlannedCall { id: call, tool, arguments, redaction: Default::default(), echo: None }];
        let (model, deadline) = ("script".to_owned(), self.clock.now() + Duration::from_secs(20));
        let reason = StopReason::Failed { message: message.to_owned() };
        let decision = Decision::Allow { reason: "small".to_owned() };
        let value = json!({ "ok": true });
        let events = vec![
            Event::Planned { plan: Plan::Call { calls }, usage, model, prompt_version: "p1".to_owned() },
            Event::PolicyDecided { call, decision, policy_version: "1".to_owned(), policies: Vec::new() },
            Event::ToolAttempted { call, attempt: 1, effect: Effect::Idempotent, compensable: false, deadline },
            Event::ToolReturned { call, attempt: 1, outcome: ToolOutcome::Succeeded { value }, suspected: Vec::new() },
            Event::Abandoned { reason: reason.clone() },
            Event::Stopped { reason, standing: vec![call], in_doubt: Vec::new() },
        ];
        self.work(run, events, HeadStatus::Finished { outcome: "failed".to_owned() }).await;
    }

    pub(super) async fn die(&self, run: RunId, cause: &str) {
        let (cause, fingerprint) = (cause.to_owned(), windlass::dead_letter::cause::fingerprint(cause));
        let reason = StopReason::Dead { cause: cause.clone(), fingerprint: fingerprint.clone() };
        self.work(run, vec![stopped(reason)], HeadStatus::Dead { fingerprint, cause }).await;
    }

    pub(super) fn dead_message(&self, body: &str) {
        self.clock.advance(Duration::from_secs(1));
        self.queue.send_body(body, Duration::ZERO);
        self.queue.receive(10);
        self.clock.advance(Duration::from_secs(1));
        self.queue.receive(10);
    }

    pub(super) async fn status(&self, run: RunId) -> HeadStatus {
        self.runs.head(run).await.expect("memory").expect("it is there").status
    }

    /// What a command says: its data, its messages, its exit code.
    pub(super) async fn types(&self, command: &str) -> String {
        self.types_while(command, async |world, run| {
            world.work(run, vec![], HeadStatus::Finished { outcome: "completed".to_owned() }).await;
        })
        .await
    }

    /// The same, while `step` is done with every run that is woken and time moves on when nothing else happens.
    pub(super) async fn types_while(&self, command: &str, step: impl AsyncFn(&World, RunId)) -> String {
        let cli = Cli::try_parse_from(words(command)).expect("it can be parsed");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err, Paint::Plain);
        let result = {
            let mut command = Box::pin(on_ports(&cli.command, &self.ports, cli.options.json, &mut console));
            loop {
                if let std::task::Poll::Ready(result) = futures::poll!(&mut command) {
                    break result;
                }
                for received in self.queue.receive(10) {
                    if let Ok(Message::WakeUp { run }) = Message::parse(&received.body) {
                        step(self, run).await;
                    }
                    self.queue.acknowledge(&received.receipt);
                }
                if let Some(next) = self.clock.next_wake() {
                    self.clock.set(next);
                }
            }
        };
        let code = result.err().map_or(0, |failure| explain(&failure, &mut console));
        said(&out, &err, code)
    }
}

fn stopped(reason: StopReason) -> Event {
    Event::Stopped { reason, standing: Vec::new(), in_doubt: Vec::new() }
}

/// What a command on the HTTP API says.
pub(super) async fn types_to(api: &dyn Api, command: &str) -> String {
    let cli = Cli::try_parse_from(words(command)).expect("it can be parsed");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err, Paint::Plain);
    let result = on_api(&cli.command, api, cli.options.json, &mut console).await;
    let code = result.err().map_or(0, |failure| explain(&failure, &mut console));
    said(&out, &err, code)
}

/// The words of a command line; single quotes keep some together.
pub(super) fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    std::iter::once("windlass".to_owned()).chain(words).collect()
}

fn said(out: &[u8], err: &[u8], code: u8) -> String {
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    let mut said = out.into_owned();
    for line in err.lines() {
        said.push_str(&format!("! {line}\n"));
    }
    if code != 0 {
        said.push_str(&format!("exit {code}\n"));
    }
    said
}
