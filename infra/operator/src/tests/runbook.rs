//! The pages that somebody types from are true: what they name exists.

use std::collections::BTreeSet;

use clap::Parser as _;
use serde_json::Value;
use windlass::{
    controls::{Settings, setting::SETTINGS},
    telemetry::metrics::{BY_OUTCOME, METRICS},
};

use crate::{cli::Cli, functions::checkout, infra_check::Subject};

/// What a runbook says at least.
const FIELDS: [&str; 19] = [
    "service",
    "owner",
    "on-call",
    "runtime",
    "framework",
    "release",
    "model versions",
    "prompt versions",
    "tool registry",
    "policy version",
    "memory stores",
    "checkpoint stores",
    "trace dashboard",
    "eval dashboard",
    "known failure modes",
    "rollback command",
    "kill switch",
    "incident channel",
    "post-incident eval process",
];

/// What stands for something of the reader's own, and a value that does instead.
const PLACEHOLDERS: [(&str, &str); 9] = [
    ("RUN", "01JHD7Z3ZK8V6N5Q4R3S2T1W0X"),
    ("KEY", "run/01JHD7Z3ZK8V6N5Q4R3S2T1W0X"),
    ("PLAN", "01JHD7Z3ZK8V6N5Q4R3S2T1W0X"),
    ("NAME", "olga"),
    ("TENANT", "acme"),
    ("ACTOR", "ada"),
    ("TASK", "refund"),
    ("FINGERPRINT", "0a1b2c3d4e5f"),
    ("VERSION", "1"),
];

/// The pages that somebody types from.
const PAGES: [&str; 4] = ["runbook.md", "deploy.md", "controls.md", "restore.md"];

fn page(name: &str) -> String {
    std::fs::read_to_string(checkout().join("docs").join(name)).expect(name)
}

fn template() -> Value {
    Subject::read(&checkout()).expect("the template").template.value
}

/// The text in backticks, and the lines of blocks.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (index, part) in text.split("```").enumerate() {
        match index % 2 {
            0 => found.extend(part.split('`').skip(1).step_by(2)),
            _ => found.extend(part.lines().skip(1).map(|line| line.trim_start_matches("$ ").trim())),
        }
    }
    found
}

/// Words as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let parts = line.split(['"', '\'']).enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    let known = |word: String| {
        let value = PLACEHOLDERS.iter().find(|(name, _)| *name == word).map(|(_, value)| (*value).to_owned());
        value.unwrap_or(word)
    };
    words.map(known).collect()
}

#[test]
fn every_field_of_a_runbook_is_there_and_filled() {
    let text = page("runbook.md");
    for field in FIELDS {
        let row =
            text.lines().find(|line| line.starts_with(&format!("| {field} |"))).unwrap_or_else(|| panic!("no {field}"));
        assert!(row.split('|').nth(2).is_some_and(|said| said.trim().len() > 5), "{row}");
    }
    for link in ["framework selection", "production readiness", "eval suite", "deployment dashboard"] {
        assert!(text.contains(link), "{link}");
    }
}

#[test]
fn every_command_of_the_pages_can_be_typed() {
    let mut typed = 0;
    for name in PAGES {
        let text = page(name);
        for line in code(&text) {
            let line = line.split(" # ").next().unwrap_or(line).replace("cargo run -- ", "windlass ");
            let line = line.replace("\"$(git rev-parse --short=16 HEAD)\"", "0a1b2c3d4e5f");
            if line.starts_with("windlass ") && !line.contains('…') {
                Cli::try_parse_from(words(&line)).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
                typed += 1;
            }
        }
    }
    assert!(typed >= 20, "{typed}");
}

#[test]
fn every_switch_that_the_pages_name_exists_and_every_switch_is_explained() {
    let mut thrown = 0;
    for name in PAGES {
        let text = page(name);
        for line in code(&text).into_iter().filter(|line| line.starts_with("windlass controls set ")) {
            for setting in words(line).iter().skip(3).take_while(|word| !word.starts_with("--")) {
                Settings::default().set(setting).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
                thrown += 1;
            }
        }
    }
    assert!(thrown >= 6, "{thrown}");
    let explained = page("controls.md");
    for (setting, _) in SETTINGS {
        assert!(explained.contains(&format!("`{setting}`")), "controls.md does not explain `{setting}`");
    }
}

#[test]
fn every_alarm_is_in_the_runbook_and_every_alarm_of_the_runbook_goes_off() {
    let text = page("runbook.md");
    let section = text.split("\n## ").find(|section| section.starts_with("By alarm")).expect("a section");
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let template = template();
    let resources = template["Resources"].as_object().expect("resources").values();
    let names = resources
        .filter(|one| one["Type"] == "AWS::CloudWatch::Alarm")
        .filter_map(|one| one["Properties"]["AlarmName"]["Fn::Sub"].as_str()?.strip_prefix("${AWS::StackName}-"));
    assert_eq!(listed, names.collect());
}

/// What is paid for by the month is what the template and the code make.
#[test]
fn alarms_and_metrics_are_counted_as_they_are() {
    let text = page("deploy.md");
    let template = template();
    let of_type = |kind: &'static str| {
        let resources = template["Resources"].as_object().expect("resources").values();
        resources.filter(move |one| one["Type"] == kind).map(|one| &one["Properties"])
    };
    let watched = of_type("AWS::CloudWatch::Alarm").map(|alarm| match alarm["Metrics"].as_array() {
        Some(queries) => queries.iter().filter(|query| query.get("MetricStat").is_some()).count(),
        None => 1,
    });
    let (alarms, watched) = (watched.clone().count(), watched.sum::<usize>());
    let read: BTreeSet<&str> = of_type("AWS::Logs::MetricFilter")
        .filter_map(|filter| filter["MetricTransformations"][0]["MetricName"].as_str())
        .collect();
    let (told, by_outcome) = (METRICS.len(), BY_OUTCOME.len());
    for said in [
        format!("| {alarms} alarms over {watched} metrics |"),
        format!("| {} metrics read from logs |", read.len()),
        format!("| {told} metrics of runs for each release that has traffic, {by_outcome} of them once more"),
    ] {
        assert!(text.contains(&said), "deploy.md does not say: {said}");
    }
}

#[test]
fn outputs_parameters_variables_and_files_that_the_pages_name_exist() {
    let template = template();
    let (outputs, parameters) = (&template["Outputs"], &template["Parameters"]);
    let variables: BTreeSet<&str> = windlass::config::VARIABLES.iter().map(|variable| variable.name).collect();
    for name in PAGES {
        let text = page(name);
        for call in text.split("$(output ").skip(1) {
            let wanted = call.split(')').next().unwrap_or_default();
            for function in ["Step", "Cleanup", "Approval", "Intake"] {
                let wanted = wanted.replace("${function}", function);
                assert!(outputs.get(&wanted).is_some(), "{name}: no output {wanted}");
            }
        }
        for said in text.split("the output `").skip(1) {
            let wanted = said.split('`').next().unwrap_or_default();
            assert!(outputs.get(wanted).is_some(), "{name}: no output {wanted}");
        }
        for said in text.split("the parameter `").skip(1) {
            let wanted = said.split('`').next().unwrap_or_default();
            assert!(parameters.get(wanted).is_some(), "{name}: no parameter {wanted}");
        }
        for said in text.split("the variable `").skip(1) {
            let wanted = said.split('`').next().unwrap_or_default();
            assert!(variables.contains(wanted), "{name}: no variable {wanted}");
        }
        let folders = ["functions/", "shared/", "infra/", "docs/", "events/"];
        for path in code(&text).into_iter().filter(|one| folders.iter().any(|folder| one.starts_with(folder))) {
            assert!(checkout().join(path).exists(), "{name}: no {path}");
        }
    }
}
