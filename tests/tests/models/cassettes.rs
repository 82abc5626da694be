use std::path::{Path, PathBuf};

use serde_json::json;
use windlass::{
    config::{self, Cassette},
    run::entry::StopReason,
};
use windlass_providers::assembly::assemble;
use windlass_tests::{
    model_server::{Fault, Format, ModelServer, Said},
    planted,
    refund_desk::{RefundDesk, Rested},
};

use crate::support::{only, ports, refund, route};

/// Set it to record `events/cassettes/refund-desk` anew.
const RECORD: &str = "WINDLASS_RECORD_CASSETTES";

/// Nobody listens there. What OpenAI is asked depends a little on where it is.
const NOWHERE: &str = "http://127.0.0.1:1";

const PLANTED: &str = "planted-key-0a1b2c3d4e5f";

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/cassettes/refund-desk")
}

async fn run(config: &config::Model, payload: serde_json::Value) -> (RefundDesk, Rested) {
    let desk = RefundDesk::default();
    let model = assemble(config, &ports(PLANTED).1).expect("nothing is missing").model;
    let rested = desk.run(model, payload).await;
    (desk, rested)
}

async fn record(folder: &Path, format: Format) {
    let server = ModelServer::start(format, &[]).await;
    let cassette = Some(Cassette::Record(folder.to_owned()));
    let (_, rested) = run(&config::Model { cassette, ..only(route(&server, format)) }, refund()).await;
    assert_eq!(rested.outcome().reason, StopReason::Completed);
}

/// A model that is nowhere, from a recording.
fn replayed(folder: &Path, format: Format) -> config::Model {
    let model = format!("{}:test", format.prefix()).parse().expect("a model's name");
    let first = config::Route {
        model,
        base_url: Some(NOWHERE.to_owned()),
        secret: None,
        price: Some(config::Price::default()),
    };
    config::Model { cassette: Some(Cassette::Replay(folder.to_owned())), ..only(first) }
}

#[tokio::test]
async fn what_is_recorded_is_replayed_without_a_key_or_a_network_and_holds_no_key() {
    for format in Format::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        record(folder.path(), format).await;
        let (desk, rested) = run(&replayed(folder.path(), format), refund()).await;
        assert_eq!(rested.outcome().response["refunded_cents"], 1_200, "{:?}", rested.outcome());
        assert_eq!(desk.ledger.records().refunds.len(), 1);
        let files: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).expect("the folder").map(|file| file.expect("a file").path()).collect();
        assert_eq!(files.len(), 4);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("it is text");
            assert!(!text.contains(PLANTED), "{text}");
            assert!(!text.to_lowercase().contains("authorization") && !text.contains("x-api-key"), "{text}");
            assert!(!text.contains(&rested.run.to_string()), "{text}");
        }
    }
}

#[tokio::test]
async fn no_planted_credential_reaches_a_cassette_and_it_can_be_replayed_all_the_same() {
    for format in Format::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let says = json!({ "refunded_cents": 0, "planted": planted::object() });
        let server = ModelServer::start(format, &[Fault::Uncounted, Fault::Says(Said::Answer(says))]).await;
        let cassette = Some(Cassette::Record(folder.path().to_owned()));
        let mut payload = refund();
        payload["planted"] = planted::object().into();
        run(&config::Model { cassette, ..only(route(&server, format)) }, payload.clone()).await;
        let files = std::fs::read_dir(folder.path()).expect("the folder").map(|file| file.expect("a file").path());
        let text: String = files.map(|file| std::fs::read_to_string(file).expect("it is text")).collect();
        assert_eq!(planted::credentials_found_in(&text), Vec::<String>::new());
        let (_, rested) = run(&replayed(folder.path(), format), payload).await;
        assert_eq!(rested.outcome().reason, StopReason::Completed, "{:?}", rested.outcome());
        assert_eq!(rested.outcome().response["planted"]["password"], "[redacted:password]");
    }
}

#[tokio::test]
async fn the_committed_cassettes_drive_the_desk_and_are_recorded_anew_on_demand() {
    for format in Format::ALL {
        if std::env::var_os(RECORD).is_some() {
            record(&committed(), format).await;
        }
        let (desk, rested) = run(&replayed(&committed(), format), refund()).await;
        assert_eq!(rested.outcome().reason, StopReason::Completed, "hint: set `{RECORD}=1` to record them anew");
        assert_eq!(desk.ledger.records().letters.len(), 1);
    }
}

#[tokio::test]
async fn what_was_not_recorded_ends_the_run_and_names_the_nearest() {
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), Format::OpenAi).await;
    let payload = json!({ "order": "A-1001", "amount_cents": 700 });
    let (desk, rested) = run(&replayed(folder.path(), Format::OpenAi), payload).await;
    let StopReason::Failed { message } = &rested.outcome().reason else { panic!("{:?}", rested.outcome()) };
    assert!(message.contains("the nearest is `") && message.contains("differs at `/messages/1/content`"), "{message}");
    assert_eq!(desk.ledger.records().refunds.len(), 0);
}
