use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use windlass::{
    run::entry::{Decision, Entry, Event, Plan, ToolOutcome},
    telemetry::event::{Authorization, Body, TelemetryEvent},
};
use windlass_operator::scenario::{self, Scenario, ScenarioDecision};
use windlass_tests::local_kit::Kit;

use crate::support::{files, lines, parsed, repository, stored, talkative, types};

const SOON: Duration = Duration::from_secs(30);

/// Plays a scenario to its end, as the demo does.
async fn play(kit: &Kit, number: usize, scenario: &Scenario) -> String {
    let started = kit.submit(&format!("told-{number}"), &scenario.request.task, scenario.request.payload.clone()).await;
    let run = started.body["run_id"].as_str().unwrap_or_else(|| panic!("{started:?}")).to_owned();
    let over = ["completed", "cancelled", "failed"];
    let asks = [&over[..], &["awaiting_approval"]].concat();
    let mut shown = kit.until(&run, &asks, SOON).await;
    if shown["status"] == "awaiting_approval" {
        let approval = shown["escalation"][0]["id"].as_str().expect("a question").to_owned();
        let approved = matches!(scenario.decision, Some(ScenarioDecision::Approved));
        kit.decide(&approval, if approved { "approved" } else { "denied" }).await;
        shown = kit.until(&run, &over, SOON).await;
    }
    assert_eq!(shown["status"], scenario.outcome.as_str(), "{}", scenario.title);
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_is_told_by_the_schema_and_its_run_rebuilt_as_the_journal_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let kit = Kit::start(&talkative(folder.path()).await).await;
    let scenarios = scenario::load(&repository().join("events/scenarios")).expect("scenarios");
    let mut runs = Vec::new();
    for (number, one) in scenarios.iter().enumerate() {
        runs.push(play(&kit, number, one).await);
    }
    let told = lines(folder.path());
    let (events, numbers) = counted(&told);
    println!("{} runs: {events:?}, {numbers:?}", runs.len());
    assert_eq!((numbers["RunsEnded"], numbers["RunsAccepted"]), (runs.len() as f64, runs.len() as f64));
    assert_eq!(numbers["ApprovalsWaitingChange"], 0.0, "nobody is waited for");
    assert!(numbers["ApprovalsRequested"] > 0.0 && numbers["ModelLatency"] >= 0.0 && numbers["ToolLatency"] > 0.0);
    for kind in ["run", "model", "tool", "policy", "approval"] {
        assert!(events[kind] > 0, "no event of kind `{kind}`");
    }
    let files: Vec<String> = files(folder.path()).iter().map(|file| file.display().to_string()).collect();
    for (run, scenario) in runs.iter().zip(&scenarios) {
        let journal = journalled(&stored(&kit, run).await);
        let words = ["runs", "trace", run, "--json", "--events"].into_iter().chain(files.iter().map(String::as_str));
        let from_lines = types(&kit, &words.collect::<Vec<_>>()).await;
        assert_eq!(rebuilt(&from_lines), journal, "{}, from lines", scenario.title);
        let from_journal = types(&kit, &["runs", "trace", run, "--json"]).await;
        assert_eq!(rebuilt(&from_journal), journal, "{}, from its journal", scenario.title);
    }
    let refund = scenarios.iter().position(|one| one.decision.is_some()).expect("one waits for a person");
    let words = ["runs", "trace", &runs[refund], "--json", "--events"];
    let words: Vec<&str> = words.into_iter().chain(files.iter().map(String::as_str)).collect();
    let story = rebuilt(&types(&kit, &words).await).join("\n").replace(&runs[refund], "RUN");
    let policy = story.split_whitespace().find(|word| word.starts_with("cedar-")).expect("a policy").to_owned();
    expect_test::expect![[r#"
        1 accepted
        2 model call 8
        2 policy POLICY on call 1: allow by look-up
        2 call 1 look_up_order {"order":"A-1002"} attempted by POLICY
        3 call 1 look_up_order {"order":"A-1002"} succeeded by POLICY
        3 model call 8
        3 policy POLICY on call 2: require_approval by large-refund
        3 approval RUN-2-1 requested by nobody
        4 approval RUN-2-1 approved by fin
        5 call 2 refund {"order":"A-1002","amount_cents":129900} attempted by RUN-2-1
        6 call 2 refund {"order":"A-1002","amount_cents":129900} succeeded by RUN-2-1
        6 model call 8
        6 policy POLICY on call 3: allow by write
        6 call 3 write_to_customer {"order":"A-1002","text":"Your refund of 129900 cents for order A-1002 is on its way."} attempted by POLICY
        7 call 3 write_to_customer {"order":"A-1002","text":"Your refund of 129900 cents for order A-1002 is on its way."} succeeded by POLICY
        8 model answer 8
        8 responded
        8 ended completed after 4 steps, 144 tokens"#]].assert_eq(&story.replace(&policy, "POLICY"));
    kit.stack.shutdown().await;
}

/// How many events of each kind there are, each by the schema, and the sums of the metrics.
fn counted(told: &str) -> (BTreeMap<String, usize>, BTreeMap<String, f64>) {
    let schema = std::fs::read_to_string(repository().join("docs/events.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("it is JSON");
    let schema = jsonschema::validator_for(&schema).expect("it is a schema");
    let (mut events, mut numbers) = (BTreeMap::new(), BTreeMap::<String, f64>::new());
    for line in parsed(told) {
        if line.get("schema").is_some() {
            assert!(schema.is_valid(&line), "{line}: {:?}", schema.iter_errors(&line).next().map(|e| e.to_string()));
            *events.entry(line["event"].as_str().expect("a kind").to_owned()).or_default() += 1;
        } else if line.get("_aws").is_some() {
            metrics(&line).into_iter().for_each(|(name, value)| *numbers.entry(name).or_default() += value);
        } else if line["message"] == "the run is over" || line["message"] == "called" {
            for field in ["run", "trace", "tenant", "release"] {
                assert!(line[field].is_string(), "{field} is not in {line}");
            }
        }
    }
    (events, numbers)
}

/// A line's numbers by release alone, which its first directive has all of, in the embedded metric format; of a list, their sum.
fn metrics(line: &Value) -> Vec<(String, f64)> {
    let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().cloned().unwrap_or_default().into_iter();
    let name = |metric: Value| metric["Name"].as_str().expect("a name").to_owned();
    let number = |value: &Value| value.as_f64().expect("a number");
    let sum = |values: &Value| values.as_array().map_or_else(|| number(values), |all| all.iter().map(number).sum());
    names.map(name).map(|name| (name.clone(), sum(&line[&name]))).collect()
}

/// Steps, decisions, approvals and effects as the events have them.
fn rebuilt(told: &str) -> Vec<String> {
    let lines = told.lines().filter_map(TelemetryEvent::parse).map(|event| {
        let seq = event.envelope.seq;
        match event.body {
            Body::Run(run) if run.status == "ended" => {
                let totals = run.totals.expect("an end has totals");
                let (steps, tokens) = (totals.steps, totals.tokens);
                format!("{seq} ended {} after {steps} steps, {tokens} tokens", run.outcome.unwrap_or_default())
            }
            Body::Run(run) => format!("{seq} {}", run.status),
            Body::Model(model) => format!("{seq} model {} {}", model.output_status, model.output_tokens),
            Body::Tool(tool) => {
                let by = match tool.authorization {
                    Authorization::None => "nobody".to_owned(),
                    Authorization::Policy { version } => version,
                    Authorization::Approval { id } => id.to_string(),
                };
                let (call, name, arguments) = (tool.call, tool.tool, tool.arguments);
                format!("{seq} call {call} {name} {arguments} {} by {by}", tool.status)
            }
            Body::Policy(policy) => {
                let (call, rules, version) = (policy.call, policy.reason_code, policy.policy_version);
                format!("{seq} policy {version} on call {call}: {} by {rules}", policy.decision)
            }
            Body::Approval(approval) => {
                let by = approval.decided_by.unwrap_or_else(|| "nobody".to_owned());
                format!("{seq} approval {} {} by {by}", approval.approval_id, approval.result)
            }
            other => format!("{seq} {}", json!(other)["event"]),
        }
    });
    lines.collect()
}

/// The same, from the journal as it is stored.
fn journalled(entries: &[Entry]) -> Vec<String> {
    let mut calls = BTreeMap::new();
    let mut by = BTreeMap::new();
    let (mut steps, mut tokens, mut lines) = (0, 0, Vec::new());
    for (seq, event) in (1..).zip(entries).flat_map(|(seq, entry)| entry.events.iter().map(move |event| (seq, event))) {
        let said = match event {
            Event::Accepted(_) => "accepted".to_owned(),
            Event::Planned { plan, usage, .. } => {
                steps += 1;
                tokens += usage.input_tokens + usage.output_tokens;
                let word = match plan {
                    Plan::Call { calls: planned } => {
                        calls.extend(planned.iter().map(|one| (one.id, format!("{} {}", one.tool, one.arguments))));
                        "call"
                    }
                    Plan::Wait { .. } => "wait",
                    Plan::Answer { .. } => "answer",
                    Plan::Malformed { .. } => "malformed",
                };
                format!("model {word} {}", usage.output_tokens)
            }
            Event::PolicyDecided { call, decision, policy_version, policies } => {
                let word = match decision {
                    Decision::Allow { .. } => {
                        by.insert(*call, policy_version.clone());
                        "allow"
                    }
                    Decision::RequireApproval { .. } => "require_approval",
                    Decision::Deny { .. } => "deny",
                };
                let rules = if policies.is_empty() { "none".to_owned() } else { policies.join(",") };
                format!("policy {policy_version} on call {call}: {word} by {rules}")
            }
            Event::ApprovalRequested(request) => format!("approval {} requested by nobody", request.id),
            Event::ApprovalDecided { approval, verdict, by: who, .. } => {
                by.insert(approval.call, approval.to_string());
                let verdict = format!("{verdict:?}").to_lowercase();
                format!("approval {approval} {verdict} by {}", who.as_ref().expect("a person"))
            }
            Event::ToolAttempted { call, .. } => format!("call {call} {} attempted by {}", calls[call], by[call]),
            Event::ToolReturned { call, outcome, .. } => {
                let word = match outcome {
                    ToolOutcome::Succeeded { .. } => "succeeded",
                    ToolOutcome::Refused { .. } => "refused",
                    other => panic!("{other:?} in a scenario"),
                };
                format!("call {call} {} {word} by {}", calls[call], by[call])
            }
            Event::Responded { .. } => "responded".to_owned(),
            Event::Stopped { reason, .. } => format!("ended {} after {steps} steps, {tokens} tokens", reason.word()),
            other => panic!("{other:?} in a scenario"),
        };
        lines.push(format!("{seq} {said}"));
    }
    lines
}
