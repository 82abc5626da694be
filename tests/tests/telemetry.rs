//! What the functions that ship say of the demo's scenarios: events, metrics, log lines, and the run rebuilt from them.

use std::{path::Path, time::Duration};

use clap::Parser as _;
use serde_json::{Value, json};
use windlass::telemetry::event::{Body, TelemetryEvent};
use windlass_local::Logs;
use windlass_operator::{
    cli::Cli,
    command,
    console::{Console, Paint},
    scenario::{self, Scenario, ScenarioDecision},
    stack::Options,
};
use windlass_tests::{
    local_kit::{Kit, binaries},
    planted,
};

const SOON: Duration = Duration::from_secs(30);

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Plays a scenario whose payload has everything planted in it; the run, and all that the API said of it.
async fn play(kit: &Kit, number: usize, scenario: &Scenario) -> (String, String) {
    for order in &scenario.orders {
        kit.aws.seed(order).await.expect("the order is put");
    }
    let mut payload = scenario.request.payload.clone();
    payload.as_object_mut().expect("an object").insert("planted".to_owned(), Value::Object(planted::object()));
    let started = kit.submit(&format!("told-{number}"), &scenario.request.task, payload).await;
    assert_eq!(started.status, 202, "{started:?}");
    let run = started.body["run_id"].as_str().expect("a run").to_owned();
    let mut said = started.body.to_string();
    let ended = ["completed", "cancelled", "failed", "awaiting_approval"];
    let mut shown = kit.until(&run, &ended, SOON).await;
    if shown["status"] == "awaiting_approval" {
        said += &shown.to_string();
        let approval = shown["escalation"][0]["id"].as_str().expect("a question").to_owned();
        let approved = matches!(scenario.decision, Some(ScenarioDecision::Approved));
        let word = if approved { "approved" } else { "denied" };
        said += &kit.decide(&approval, word).await.body.to_string();
        shown = kit.until(&run, &ended[..3], SOON).await;
    }
    assert_eq!(shown["status"], scenario.outcome.as_str());
    let path = format!("/runs/{run}/journal");
    let journal = kit.send("GET", &path, &kit.address.tokens.operator, None, None).await.body;
    (run, said + &shown.to_string() + &journal.to_string())
}

async fn types(words: &[String]) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let cli = Cli::try_parse_from(words).expect("it is understood");
    let release = windlass_operator::release();
    let mut console = Console::new(&mut out, &mut err, Paint::Plain);
    command::run(&cli, release, &mut console).await.expect("it works");
    String::from_utf8(out).expect("it is text")
}

/// A line's numbers, if it is in the embedded metric format.
fn metrics(line: &Value) -> Vec<(String, f64)> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().cloned().unwrap_or_default();
    let names = directives.iter().flat_map(|one| one["Metrics"].as_array().cloned().unwrap_or_default());
    names
        .map(|metric| {
            let name = metric["Name"].as_str().expect("a name").to_owned();
            let value = line[&name].as_f64().expect("a number");
            (name, value)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_is_told_by_the_schema_without_what_was_planted_and_can_be_rebuilt() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = Logs::Directory(folder.path().to_owned());
    let env = [("LOG_LEVEL".to_owned(), "trace".to_owned())].into();
    let kit = Kit::start(&Options { logs, env, ..Options::new(binaries().await) }).await;
    let (mut runs, mut said) = (Vec::new(), String::new());
    for (number, one) in scenario::load(&repository().join("events/scenarios")).expect("scenarios").iter().enumerate() {
        let (run, answers) = play(&kit, number, one).await;
        runs.push(run);
        said += &answers;
    }
    kit.stack.shutdown().await;
    assert_eq!(planted::found_in(&said), Vec::<String>::new(), "in an answer");
    let files: Vec<String> = ["intake", "step", "approval"]
        .map(|function| folder.path().join(format!("{function}.log")).display().to_string())
        .to_vec();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("it logged")).collect();
    assert_eq!(planted::found_in(&text), Vec::<String>::new(), "in a line");

    let schema = std::fs::read_to_string(repository().join("docs/events.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("it is JSON");
    let schema = jsonschema::validator_for(&schema).expect("it is a schema");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (mut events, mut numbers) = (0, std::collections::BTreeMap::<String, f64>::new());
    for line in &lines {
        if line.get("schema").is_some() {
            assert!(schema.is_valid(line), "{line}: {:?}", schema.iter_errors(line).map(|e| e.to_string()).next());
            events += 1;
        } else if line.get("_aws").is_some() {
            metrics(line).into_iter().for_each(|(name, value)| *numbers.entry(name).or_default() += value);
        } else if line["message"] == "the run is over" || line["message"] == "called" {
            for field in ["run", "trace", "tenant", "release"] {
                assert!(line[field].is_string(), "{field} is not in {line}");
            }
        }
    }
    println!("{events} events, {} lines, {numbers:?}", lines.len());
    assert_eq!(numbers["RunsEnded"], runs.len() as f64);
    assert_eq!(numbers["RunsAccepted"], runs.len() as f64);
    assert_eq!(numbers["ApprovalsWaitingChange"], 0.0, "nobody is waited for");
    assert!(numbers["ApprovalsRequested"] > 0.0 && numbers["ModelLatency"] >= 0.0 && numbers["ToolLatency"] > 0.0);

    let mut words = ["windlass", "runs", "trace", runs[1].as_str(), "--json", "--events"].map(str::to_owned).to_vec();
    words.extend(files);
    let rebuilt = types(&words).await;
    expect_test::expect![[r#""#]].assert_eq(&story(&rebuilt));
    assert_eq!(planted::found_in(&rebuilt), Vec::<String>::new());
}

/// Kind and status of each event.
fn story(told: &str) -> String {
    let lines = told.lines().filter_map(TelemetryEvent::parse).map(|event| {
        let seq = event.envelope.seq;
        match event.body {
            Body::Run(run) => format!("{seq} run {} {}", run.status, run.outcome.unwrap_or_default()),
            Body::Model(model) => format!("{seq} model {}", model.output_status),
            Body::Tool(tool) => format!("{seq} tool {} {} {}", tool.tool, tool.status, tool.arguments),
            Body::Policy(policy) => format!("{seq} policy {} {}", policy.tool, policy.decision),
            Body::Approval(approval) => format!("{seq} approval {} {}", approval.action.tool, approval.result),
            other => format!("{seq} {}", json!(other)["event"]),
        }
    });
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
