//! The worst batch that is let in, in the memory that the template gives the step function.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use serde_json::{Value, json};
use step::handler::Handler;
use windlass::{
    agent::{
        model::{Answer, Model, ModelError, Proposal, ProposedCall, Question, Usage},
        tool::{CallContext, Effect, Tool, ToolError, ToolSpec},
    },
    clock::{Clock, SystemClock},
    ids::RunId,
    queue::Message,
    redaction::Redactions,
    run::{
        accept::{Incoming, accept},
        outside::Outside,
        request::{RunRequest, Source},
    },
    telemetry::{Narrator, Telemetry, Teller},
};
use windlass_providers::conversation::Conversation;
use windlass_tests::{
    any_agent::{AllowAll, spec},
    refund_desk::RefundDesk,
    simulation::world::TERMS,
};

/// Set in the process that works on the batch.
const WORKER: &str = "WINDLASS_WORST_BATCH";

/// Messages in it: the mapping's `BatchSize`.
const RUNS: usize = 10;

/// Calls of each run, each as large as a call and its answer can be: more than what is remembered of calls holds.
const CALLS: u32 = 8;

/// What of its memory the function may use at most, in hundredths.
const SHARE_MAX: u64 = 75;

/// What else is mapped into the worker: its code, which a test has much of, and stacks.
const MAPPED_BYTES: u64 = 1024 * 1024 * 1024;

#[test]
fn the_worst_batch_there_is_fits_into_the_functions_memory() {
    if std::env::var_os(WORKER).is_some() {
        return work();
    }
    let memory = memory_bytes();
    let exe = std::env::current_exe().expect("this is a process");
    let began = Instant::now();
    let output = Command::new("prlimit")
        .args([format!("--data={memory}"), format!("--as={}", memory + MAPPED_BYTES)])
        .arg(exe)
        .args(["--exact", "worst::the_worst_batch_there_is_fits_into_the_functions_memory", "--nocapture"])
        .env(WORKER, "1")
        .output()
        .expect("`prlimit` of util-linux is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "the worker did not survive: {:?}\n{said}\n{told}", output.status);
    let line = said.lines().find_map(|line| line.split_once("peak KiB: ")).expect("the worker says its peak").1;
    let peak = line.trim().parse::<u64>().expect("a number") * 1024;
    let mib = |bytes: u64| bytes / 1024 / 1024;
    println!(
        "{said}peak {} of {} MiB, {} % free, {:?}",
        mib(peak),
        mib(memory),
        100 - 100 * peak / memory,
        began.elapsed()
    );
    assert!(100 * peak <= SHARE_MAX * memory, "{} of {} MiB", mib(peak), mib(memory));
}

/// The `MemorySize` of the step function.
fn memory_bytes() -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/template.yaml");
    let template = std::fs::read_to_string(path).expect("the template is there");
    let (_, step) = template.split_once("\n  StepFunction:\n").expect("the function is there");
    let (step, _) = step.split_once("\n  ApprovalFunction:\n").expect("another one follows");
    let size = step.lines().find_map(|line| line.trim().strip_prefix("MemorySize: ")).expect("its memory");
    size.parse::<u64>().expect("a number") * 1024 * 1024
}

/// The densest value of about so many bytes that a request may have.
fn densest() -> Value {
    let of = |objects: usize| json!({ "d": vec![json!({ "a": 0 }); objects] });
    let is_let_in = |objects: &usize| request(of(*objects)).check().is_ok();
    let objects = (0..14).rev().fold(0, |objects, bit| {
        let more = objects | 1 << bit;
        if is_let_in(&more) { more } else { objects }
    });
    of(objects)
}

fn request(payload: Value) -> RunRequest {
    RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        task: "refund".parse().expect("a task"),
        payload,
        roles: BTreeSet::new(),
    }
}

/// Calls the tool with as much as can be said, then answers with it.
struct Dense(Value);

#[async_trait]
impl Model for Dense {
    fn name(&self) -> &str {
        "dense"
    }
    fn timeout(&self) -> Duration {
        Duration::from_secs(20)
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }
    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        // Every run of the batch is where this one is.
        tokio::task::yield_now().await;
        let asked = Conversation::of(&question, "dense");
        tokio::task::yield_now().await;
        drop(asked);
        let proposal = match question.steps < CALLS {
            true => Proposal::Call(vec![ProposedCall { tool: tool_name(), arguments: self.0.clone(), echo: None }]),
            false => Proposal::Respond(self.0.clone()),
        };
        Ok(Answer { proposal, usage: Usage::default(), model: "dense".to_owned(), lost: Default::default() })
    }
}

fn tool_name() -> windlass::ids::ToolName {
    "dense".parse().expect("a tool")
}

struct Echo {
    spec: ToolSpec,
    says: Value,
}

#[async_trait]
impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn check(&self, _: &Value) -> Result<(), String> {
        Ok(())
    }
    async fn call(&self, _: &CallContext, _: &Value) -> Result<Value, ToolError> {
        tokio::task::yield_now().await;
        Ok(self.says.clone())
    }
}

/// Lines that nobody reads.
struct Nowhere;

impl Telemetry for Nowhere {
    fn lines(&self, _: &[String]) {}
}

/// Works on the batch, and says how much memory it took.
fn work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dense = densest();
    let at_rest = peak_kib();
    runtime.block_on(async {
        let desk = RefundDesk::default();
        let mut engine = desk.engine(Arc::new(Dense(dense.clone())));
        let spec = spec(tool_name(), Effect::Idempotent);
        let tool: Arc<dyn Tool> = Arc::new(Echo { spec, says: dense.clone() });
        engine.agent.tools = [(tool_name(), tool)].into();
        engine.agent.policy = Arc::new(AllowAll);
        let narrator = Narrator { environment: "dev", redactions: Arc::new(Redactions::default()) };
        let release = "r1".parse().expect("a release");
        engine.telemetry = Some(Teller::telling(Arc::new(Nowhere), narrator, release));
        let mut event = SqsEvent::default();
        for n in 0..RUNS {
            let run = take_on(&engine, n, dense.clone()).await;
            let mut record = SqsMessage::default();
            record.message_id = Some(format!("m-{n}"));
            record.body = Some(Message::WakeUp { run }.body());
            event.records.push(record);
        }
        let queue = windlass::memory::Queue::new(Arc::new(SystemClock), Duration::from_secs(360), 10);
        let deadline = SystemClock.now() + Duration::from_secs(3_600);
        let handler = Handler {
            engine,
            deliveries: Arc::new(queue),
            terms: TERMS,
            tasks: windlass_tests::simulation::tasks(),
            wake_up_senders: BTreeSet::new(),
        };
        let response = handler.handle(event, deadline).await;
        assert_eq!(response.batch_item_failures.len(), 0, "every run came to its end");
    });
    println!("{} B of JSON, {at_rest} KiB at rest\npeak KiB: {}", dense.to_string().len(), peak_kib());
}

async fn take_on(engine: &windlass::run::advance::Engine, n: usize, payload: Value) -> RunId {
    let outside = Outside {
        journal: engine.journal.as_ref(),
        wake_ups: engine.wake_ups.as_ref(),
        clock: engine.clock.as_ref(),
        random: engine.random.as_ref(),
        release: &engine.release,
        telemetry: None,
    };
    let client_key = format!("key-{n}");
    let incoming = Incoming {
        request: request(payload),
        source: Source::Http,
        client_key,
        trace: None,
        admitted: None,
        person: None,
    };
    accept(&outside, &TERMS, incoming).await.expect("it is taken on").run()
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}
