use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;
use windlass_operator::scenario;
use windlass_tests::{
    local_kit::binaries,
    model_server::{Fault, Format, ModelServer},
};

/// How long one answer may take, in seconds; a slow one takes longer.
const PATIENCE_SECONDS: u64 = 2;

/// The demo as it is typed, with a model in this format that stumbles in every way.
async fn demo(format: Format) -> (ModelServer, Value) {
    // A good answer after each failure: several in a row would have the model left alone for longer than a demo lasts.
    let faults = [
        Fault::Status(500, vec![]),
        Fault::Uncounted,
        Fault::Cut,
        Fault::Uncounted,
        Fault::MalformedCall,
        Fault::Slow(Duration::from_secs(2 * PATIENCE_SECONDS)),
        Fault::Uncounted,
        Fault::Status(429, vec![("retry-after", "1")]),
    ];
    let server = ModelServer::start(format, &faults).await;
    let mut command = Command::new(binaries().await.join("windlass"));
    command.args(["demo", "--yes", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    command.env("MODEL", format!("{}:test", format.prefix())).env("MODEL_BASE_URL", &server.url);
    command.env("MODEL_TIMEOUT_SECONDS", PATIENCE_SECONDS.to_string());
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{format:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
    (server, serde_json::from_slice(&output.stdout).expect("it is JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_every_scenario_with_a_model_behind_http_that_stumbles() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/scenarios");
    let scenarios = scenario::load(folder.as_ref()).expect("scenarios");
    for format in [Format::OpenAi, Format::Anthropic] {
        let (server, shown) = demo(format).await;
        let shown = shown["scenarios"].as_array().expect("scenarios");
        assert_eq!(shown.len(), scenarios.len());
        for (shown, wanted) in shown.iter().zip(&scenarios) {
            assert_eq!(
                (&shown["title"], &shown["outcome"]),
                (&wanted.title.as_str().into(), &wanted.outcome.as_str().into())
            );
        }
        let asked = server.asked();
        assert!(asked.iter().all(|one| one.path == format.path()), "asked elsewhere than at {}", format.path());
        println!("{format:?}: {} scenarios in {} requests, five of them in vain", shown.len(), asked.len());
    }
}
