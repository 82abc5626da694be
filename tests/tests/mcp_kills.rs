//! Real step processes and an MCP server that only `MCP_SERVERS` names. The worker is killed before, in and after every call; the
//! server's own log shows every destructive call once and every idempotent call under one key.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use windlass_operator::stack::Options;
use windlass_tests::{
    local_kit::{Kit, binaries},
    mcp::{Did, Fault, McpServer},
    signals,
};

/// What all of it may take: a killed run is taken up again after a minute, and a destructive call in doubt waits for its deadline.
const WITHIN: Duration = Duration::from_secs(420);

/// How long a run may take to reach the call in which its worker is killed; all kills happen before the first run is rescued.
const KILLED_WITHIN: Duration = Duration::from_secs(20);

const TOOLS: [&str; 3] = ["look", "pay", "ship"];
const MOMENTS: [&str; 4] = ["before", "in", "after", "answered"];

/// Kills every step process: only one of them works, since runs are started one after the other.
fn kill(kit: &Kit) {
    for process in kit.stack.processes("step") {
        signals::send("KILL", process);
    }
}

fn fault(moment: &str, kit: &Arc<Kit>, kills: &Arc<AtomicUsize>) -> Fault {
    let (kit, kills) = (Arc::clone(kit), Arc::clone(kills));
    let kill = move || {
        kill(&kit);
        kills.fetch_add(1, Ordering::SeqCst);
    };
    match moment {
        "before" => Fault::Instead(Arc::new(kill)),
        "in" => Fault::Before(Arc::new(kill)),
        "after" => Fault::After(Arc::new(kill)),
        // About when the answer arrives: before its outcome is recorded, or after.
        _ => Fault::After(Arc::new(move || {
            let kill = kill.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                kill();
            });
        })),
    }
}

fn of(tool: &str, moment: &str, called: &str) -> String {
    format!("{tool}-{moment}-{called}")
}

/// A person who looks into the server's log whether a parcel was shipped, and says so.
async fn settle(kit: &Kit, server: &McpServer, waiting: &Value) -> usize {
    let mut settled = 0;
    for question in waiting["escalation"].as_array().into_iter().flatten() {
        let of = question["action"]["arguments"]["of"].as_str().unwrap_or_default();
        let decision = if server.shop.did_for(of).is_empty() { "not_happened" } else { "happened" };
        if kit.decide(question["id"].as_str().unwrap_or_default(), decision).await.status == 200 {
            settled += 1;
        }
    }
    settled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_worker_dies_a_destructive_call_happens_once_and_an_idempotent_one_has_one_key() {
    let server = McpServer::start().await;
    let mut options = Options::new(binaries().await);
    options.env.insert("MCP_SERVERS".to_owned(), server.configuration().to_string());
    let kit = Arc::new(Kit::start(&options).await);
    let kills = Arc::new(AtomicUsize::new(0));
    let mut open = Vec::new();
    for (tool, moment) in TOOLS.iter().flat_map(|tool| MOMENTS.iter().map(move |moment| (*tool, *moment))) {
        server.shop.break_next(&of(tool, moment, tool), fault(moment, &kit, &kills));
        let call = |called: &str| json!({ "tool": format!("drill/{called}"), "arguments": { "of": of(tool, moment, called) } });
        let calls: Vec<Value> = TOOLS.iter().map(|called| call(called)).collect();
        let answer = kit.submit(&format!("{tool}-{moment}"), "drill/calls", json!({ "calls": calls })).await;
        open.push(answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned());
        let reached = Instant::now() + KILLED_WITHIN;
        while kills.load(Ordering::SeqCst) < open.len() {
            assert!(Instant::now() < reached, "nobody was killed at {tool} {moment}");
            sleep(Duration::from_millis(10)).await;
        }
    }
    let (runs, began, mut doubts) = (open.len(), Instant::now(), 0);
    while !open.is_empty() {
        assert!(began.elapsed() < WITHIN, "{} runs are not over: {:?}", open.len(), open.first());
        kit.sweep().await;
        let mut still = Vec::new();
        for run in open {
            let shown = kit.run(&run).await.body;
            match shown["status"].as_str().unwrap_or_default() {
                "completed" => continue,
                "awaiting_approval" => doubts += settle(&kit, &server, &shown).await,
                "ready" | "waiting" => {}
                other => panic!("run {run} is {other}: {shown}"),
            }
            still.push(run);
        }
        open = still;
        sleep(Duration::from_millis(500)).await;
    }
    let mut repeated = 0;
    for (tool, moment) in TOOLS.iter().flat_map(|tool| MOMENTS.iter().map(move |moment| (*tool, *moment))) {
        let did = |called: &str| server.shop.did_for(&of(tool, moment, called));
        assert!(!did("look").is_empty(), "{tool} {moment}: nothing was looked up");
        let paid = did("pay");
        let keys: BTreeSet<&String> = paid.iter().map(|Did { key, .. }| key).collect();
        assert!(paid.iter().all(|did| did.key == did.header && !did.key.is_empty()), "{paid:?}");
        assert_eq!(keys.len(), 1, "{tool} {moment}: paid under {keys:?}");
        repeated += paid.len() - 1;
        assert_eq!(did("ship").len(), 1, "{tool} {moment}: shipped {} times", did("ship").len());
    }
    println!(
        "{runs} runs, {} workers killed before, in and after a call; {repeated} payments repeated, each under its one key; \
         {doubts} parcels in doubt settled by a person; every parcel shipped once; {:.0} s",
        kills.load(Ordering::SeqCst),
        began.elapsed().as_secs_f64()
    );
}
