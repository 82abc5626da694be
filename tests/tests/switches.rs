//! Live controls under load: real step processes work on many runs while a switch is thrown. What is measured is the time from the
//! acknowledged change to the last side effect, by the clock of the server that takes the effects; what is asserted is that no
//! run has more than the one effect that had already looked at the controls, and that every run goes on once the switch is lifted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;
use windlass::{
    aws::{LiveControls, Runs, StepQueue, clients::Clients},
    clock::{Clock, SystemClock},
    controls::change::{Hand, wake_held},
    ids::{Actor, SystemRandom},
    journal::{DUE_SHARDS, Heads as _, Listing},
};
use windlass_operator::stack::{self, Options};
use windlass_tests::{
    local_kit::{Kit, binaries},
    mcp::{Did, McpServer},
    model_server::{Format, ModelServer},
};

/// Runs under way when a switch is thrown.
const RUNS: usize = 24;

/// Payments of each, one after the other: each is planned, judged, intended, made and recorded.
const PAYMENTS: usize = 60;

/// Payments between two switches.
const BETWEEN: usize = 60;

/// What anything here may take on a busy machine before it counts as stuck. Nothing is asserted about speed.
const WITHIN: Duration = Duration::from_secs(120);

/// Everybody who may throw switches here.
struct Switchboard {
    controls: LiveControls,
    runs: Runs,
    queue: StepQueue,
    clock: Arc<dyn Clock>,
    by: Actor,
}

impl Switchboard {
    fn of(kit: &Kit) -> Switchboard {
        let clients = Clients::at(&kit.address.aws);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Switchboard {
            controls: LiveControls::new(clients.dynamodb(), "windlass-controls"),
            runs: Runs::new(clients.dynamodb(), "windlass-runs", "windlass-idempotency", Arc::clone(&clock)),
            queue: StepQueue::new(clients.sqs(), &kit.stack.queue_url(stack::STEP_QUEUE)),
            clock,
            by: "olga".parse().expect("an actor"),
        }
    }

    /// Changes one setting; when the change was acknowledged.
    async fn set(&self, setting: &str) -> Instant {
        let (controls, clock, random) = (&self.controls, self.clock.as_ref(), &SystemRandom);
        let hand = Hand { controls, clock, random, by: &self.by, why: "a drill" };
        hand.change(None, |now| now.set(setting)).await.expect("the controls change");
        Instant::now()
    }

    /// Lifts a switch and wakes what it held, as `windlass controls set` does.
    async fn lift(&self, setting: &str) -> usize {
        self.set(setting).await;
        wake_held(&self.runs, &self.queue).await.expect("held runs are woken")
    }

    /// Whether a run is over.
    async fn is_over(&self, run: &str) -> bool {
        let head = self.runs.head(run.parse().expect("a run id")).await.expect("the head is read");
        head.expect("the run is there").status.is_over()
    }

    /// Whether every run is held or over; how many are held.
    async fn all_rest(&self, runs: &BTreeSet<String>) -> Option<usize> {
        let held = self.held().await;
        for run in runs.difference(&held) {
            if !self.is_over(run).await {
                return None;
            }
        }
        Some(held.len())
    }

    async fn held(&self) -> BTreeSet<String> {
        let mut held = BTreeSet::new();
        for shard in 0..DUE_SHARDS {
            let listed = self.runs.list(&Listing::Held { shard }, RUNS).await.expect("held runs are listed");
            held.extend(listed.into_iter().map(|head| head.run.to_string()));
        }
        held
    }
}

async fn kit(server: &McpServer) -> Kit {
    let mut options = Options::new(binaries().await);
    options.env.insert("MCP_SERVERS".to_owned(), server.configuration().to_string());
    Kit::start(&options).await
}

/// Starts a run that pays so often, under its own name; its id.
async fn start(kit: &Kit, name: &str, payments: usize) -> String {
    let call = |n: usize| json!({ "tool": "drill/pay", "arguments": { "of": format!("{name}/{n}") } });
    let calls: Vec<Value> = (0..payments).map(call).collect();
    let answer = kit.submit(name, "drill/calls", json!({ "calls": calls })).await;
    answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Polls until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < WITHIN, "{what} after {WITHIN:?}");
        sleep(Duration::from_millis(25)).await;
    }
}

/// How many payments of each run came after a moment, and how long after it the last of them.
fn late(did: &[Did], acknowledged: Instant) -> (BTreeMap<String, usize>, Duration) {
    let (mut late, mut last) = (BTreeMap::<String, usize>::new(), Duration::ZERO);
    for did in did.iter().filter(|did| did.at > acknowledged) {
        let run = did.of.split('/').next().unwrap_or_default();
        *late.entry(run.to_owned()).or_default() += 1;
        last = last.max(did.at.duration_since(acknowledged));
    }
    (late, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_thrown_under_load_stops_every_effect_and_lifting_it_lets_every_run_go_on() {
    let server = McpServer::start().await;
    let kit = kit(&server).await;
    let switchboard = Switchboard::of(&kit);
    let mut runs = BTreeSet::new();
    for number in 0..RUNS {
        runs.insert(start(&kit, &format!("load-{number}"), PAYMENTS).await);
    }
    let paid = || server.shop.did().len();
    for (name, off, on) in [
        ("the tool", "tool.drill/pay=off", "tool.drill/pay=on"),
        ("the agent", "agent=off", "agent=on"),
        ("the model", "model=off", "model=on"),
        ("the prompt", "prompt=off", "prompt=on"),
    ] {
        let before = paid();
        until(&format!("no load under {name}"), async || paid() >= before + BETWEEN).await;
        let acknowledged = switchboard.set(off).await;
        let mut held = 0;
        until(&format!("runs go on without {name}"), async || {
            let rest = switchboard.all_rest(&runs).await;
            held = rest.unwrap_or_default();
            rest.is_some()
        })
        .await;
        let (late, last) = late(&server.shop.did(), acknowledged);
        let effects: usize = late.values().sum();
        assert!(late.values().all(|effects| *effects <= 1), "{name}: after the change was acknowledged {late:?}");
        let woken = switchboard.lift(on).await;
        println!(
            "{name} off: last effect {} ms after the change was acknowledged ({effects} effects had looked before it); \
             {woken} runs held, then woken",
            last.as_millis()
        );
        assert!(woken == held && held > 0, "{woken} of {held} were woken");
    }
    for run in &runs {
        let ended = kit.until(run, &["completed"], WITHIN).await;
        assert_eq!(ended["response"]["calls"].as_array().map(Vec::len), Some(PAYMENTS), "{ended}");
    }
    let keys: BTreeSet<String> = server.shop.did().into_iter().map(|did| did.key).collect();
    assert_eq!(keys.len(), RUNS * PAYMENTS, "a payment is missing or was made under two keys");
    println!("{RUNS} runs ended with {} payments, each under its one key", keys.len());
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tightened_policy_and_a_replaced_agent_stop_every_effect_of_runs_under_way() {
    const FEW: usize = 6;
    let server = McpServer::start().await;
    let kit = kit(&server).await;
    let switchboard = Switchboard::of(&kit);
    for (name, off, on, ends_as) in [
        ("deny", "policy=deny", "policy=none", "denied by policy"),
        ("approve", "policy=approve", "policy=none", "succeeded"),
        ("fallback", "agent=fallback", "agent=on", "unavailable"),
        ("person", "agent=person:finance", "agent=on", "unavailable"),
    ] {
        let mut runs = Vec::new();
        let before = server.shop.did().len();
        for number in 0..FEW {
            runs.push(start(&kit, &format!("{name}-{number}"), 20).await);
        }
        until("no load", async || server.shop.did().len() >= before + FEW).await;
        let acknowledged = switchboard.set(off).await;
        let wanted: &[&str] = match name {
            "approve" | "person" => &["awaiting_approval"],
            _ => &["completed"],
        };
        for run in &runs {
            kit.until(run, wanted, WITHIN).await;
        }
        let (late, last) = late(&server.shop.did(), acknowledged);
        assert!(late.values().all(|effects| *effects <= 1), "{name}: after the change was acknowledged {late:?}");
        println!(
            "{off}: last effect {} ms after the change was acknowledged ({} had looked before it)",
            last.as_millis(),
            late.len()
        );
        switchboard.lift(on).await;
        for run in &runs {
            for question in kit.run(run).await.body["escalation"].as_array().into_iter().flatten() {
                let decided = kit.decide(question["id"].as_str().unwrap_or_default(), "approved").await;
                assert_eq!(decided.status, 200, "{decided:?}");
            }
            let ended = kit.until(run, &["completed"], WITHIN).await;
            assert!(ended["response"].to_string().contains(ends_as), "{name}: {}", ended["response"]);
        }
    }
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_runs_are_taken_on_while_new_ones_are_off_and_the_refusal_says_when_to_ask_again() {
    let server = McpServer::start().await;
    let kit = kit(&server).await;
    let switchboard = Switchboard::of(&kit);
    let before = start(&kit, "before", 1).await;
    let acknowledged = switchboard.set("new-runs=off").await;
    let refused = kit.submit("while", "drill/calls", json!({ "calls": [] })).await;
    println!("new-runs=off: {} {} in {} ms", refused.status, refused.body, acknowledged.elapsed().as_millis());
    assert_eq!((refused.status, &refused.body["type"]), (503, &json!("urn:windlass:problem:new-runs-paused")));
    assert_eq!(refused.headers.get("retry-after").and_then(|after| after.to_str().ok()), Some("60"));
    assert_eq!(start(&kit, "before", 1).await, before, "what was taken on before is answered with its run");
    switchboard.lift("new-runs=on").await;
    assert_eq!(kit.submit("while", "drill/calls", json!({ "calls": [] })).await.status, 202);
    kit.stack.shutdown().await;
}

/// Runs the `windlass` command and reads what it prints as JSON.
async fn windlass(kit: &Kit, arguments: &[&str]) -> Value {
    let output = std::process::Command::new(binaries().await.join("windlass"))
        .args(arguments)
        .args(["--json", "--endpoint-url", &kit.address.aws])
        .env("USER", "olga")
        .output()
        .expect("the command runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "windlass {arguments:?}: {} {err}{out}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("windlass {arguments:?}: {error}: {out}"))
}

fn versions(entries: &[windlass::run::entry::Entry]) -> BTreeSet<String> {
    let events = entries.iter().flat_map(|entry| &entry.events);
    let planned = events.filter_map(|event| match event {
        windlass::run::entry::Event::Planned { prompt_version, .. } => Some(prompt_version.clone()),
        _ => None,
    });
    planned.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_in_use_is_what_the_model_is_asked_with_a_run_says_which_and_a_route_to_no_model_holds_it() {
    let model = ModelServer::start(Format::OpenAi, &[]).await;
    let options = Options::new(binaries().await).with_environment(|variable| match variable {
        "MODEL" => Some("openai:test".to_owned()),
        "MODEL_BASE_URL" => Some(model.url.clone()),
        _ => None,
    });
    let kit = Kit::start(&options).await;
    kit.seed("P", 3).await;
    let refund = async |order: &str| {
        let answer = kit.submit(order, "refund", json!({ "order": order, "amount_cents": 100 })).await;
        answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    let told = |text: &str| model.asked().iter().filter(|asked| asked.body.to_string().contains(text)).count();

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "You work at a desk. Be brief, and kind.").expect("it is written");
    let file = file.display().to_string();
    windlass(&kit, &["prompts", "save", "refund", &file, "--note", "kinder"]).await;
    let first = refund("P-1").await;
    kit.until(&first, &["completed"], WITHIN).await;
    assert_eq!(told("Be brief, and kind."), 0, "a saved prompt is not yet in use");

    windlass(&kit, &["prompts", "use", "refund", "1", "--why", "a drill"]).await;
    let second = refund("P-2").await;
    kit.until(&second, &["completed"], WITHIN).await;
    assert_eq!(told("Be brief, and kind."), 4, "every question of the run has it");
    let (before, now) = (versions(&kit.entries(&first).await), versions(&kit.entries(&second).await));
    println!("prompt versions recorded: {before:?} before, {now:?} after `windlass prompts use`");
    assert_eq!(before, BTreeSet::from(["refund-desk-1".to_owned()]));
    assert!(now.len() == 1 && now.iter().all(|version| version.starts_with("v1@")), "{now:?}");

    windlass(&kit, &["controls", "set", "route.refund.model=openai:other", "--why", "a drill"]).await;
    let third = refund("P-3").await;
    let held = kit.until(&third, &["held"], WITHIN).await;
    println!("held: {}", held["held"]);
    assert!(held["held"].as_str().is_some_and(|why| why.contains("cannot ask the model `openai:other`")), "{held}");
    let lifted = windlass(&kit, &["controls", "set", "route.refund.model=none", "--why", "a drill"]).await;
    assert_eq!(lifted["runs_woken"], 1, "{lifted}");
    kit.until(&third, &["completed"], WITHIN).await;
    kit.stack.shutdown().await;
}
