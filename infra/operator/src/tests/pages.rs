//! The pages that say how something is written are true: their blocks are read, and the code reads and writes them so.

use clap::Parser as _;
use cleanup::event::{Firing, Task};
use serde_json::Value;
use windlass::{queue::Message, schedule::Job};

use super::world::words;
use crate::{
    cli::Cli,
    command::run,
    console::{Console, Paint},
    functions::checkout,
    release,
};

/// What the scheduler puts the time in place of.
const TIME: &str = "<aws.scheduler.scheduled-time>";

fn page(name: &str) -> String {
    std::fs::read_to_string(checkout().join("docs").join(name)).expect(name)
}

/// The blocks of a page that begin so, without their marks.
fn blocks<'a>(page: &'a str, mark: &str) -> Vec<&'a str> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.filter_map(|part| part.strip_prefix(mark)?.strip_prefix('\n')).collect()
}

fn block<'a>(page: &'a str, mark: &str) -> &'a str {
    let [one] = blocks(page, mark)[..] else { panic!("one block `{mark}`") };
    one
}

#[test]
fn messages_of_the_page_are_read_and_written_so() {
    let page = page("formats.md");
    for (mark, example) in [("json wake_up", None), ("json start", Some("queue-start-run.json"))] {
        let text = block(&page, mark);
        let message = Message::parse(text).unwrap_or_else(|error| panic!("{mark}: {error}"));
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(&message.body()).expect("JSON"), value, "{mark} is written so");
        assert_eq!(mark, format!("json {}", value["type"].as_str().expect("a type")));
        if let Some(file) = example {
            let file = std::fs::read_to_string(checkout().join("events").join(file)).expect("an example");
            assert_eq!(serde_json::from_str::<Value>(&file).expect("JSON"), value);
        }
        let more = text.replacen('{', r#"{ "more": 1,"#, 1);
        assert!(Message::parse(&more).is_err(), "unknown fields are refused");
    }
}

#[test]
fn schedules_of_the_page_are_read_and_every_job_is_named() {
    let page = page("formats.md");
    let read = |mark: &str| {
        let text = block(&page, mark).replace(TIME, "2026-01-05T08:00:00Z");
        Firing::read(serde_json::from_str(&text).expect("JSON")).unwrap_or_else(|error| panic!("{mark}: {error}")).task
    };
    assert!(matches!(read("json job"), Task::Job(_)));
    let Task::StartRun { schedule, message } = read("json start-run") else { panic!("it starts a run") };
    let Message::Start { idempotency_key, .. } = *message else { panic!("a start") };
    assert_eq!(
        (schedule.as_str(), idempotency_key.as_str()),
        ("monday-refunds", "monday-refunds/2026-01-05T08:00:00.000Z")
    );
    for job in Job::ALL {
        assert!(page.contains(&format!("`{}`", job.name())), "{}", job.name());
    }
}

#[test]
fn rules_of_the_policy_page_are_taken_on_and_its_context_is_the_one_of_its_table() {
    let page = page("policy.md");
    let context: Value = serde_json::from_str(block(&page, "json")).expect("JSON");
    for name in context.as_object().expect("a context").keys() {
        assert!(page.contains(&format!("context.{name}")) || page.contains(&format!("`.{name}`")), "{name}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let tool = |name: &str| {
        format!(r#"{{"tools":[{{"name":"{name}","inputSchema":{{"type":"object","properties":{{}}}}}}]}}"#)
    };
    let (shop, own) = (write("shop.json", &tool("pay")), write("own.json", &tool("close")));
    let rules = blocks(&page, "cedar");
    assert!(rules.len() >= 2, "{}", rules.len());
    for (number, rules) in rules.iter().enumerate() {
        let file = write(&format!("{number}.cedar"), rules);
        let line = format!("policy check {file} --tools shop={shop} --tools {own}");
        let cli = Cli::try_parse_from(words(&line)).expect("it is understood");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err, Paint::Plain);
        let checked = futures::executor::block_on(run(&cli, release(), &mut console));
        if let Err(failure) = checked {
            panic!("{rules}\n{failure}");
        }
    }
}
