use std::path::Path;

use serde_json::{Value, json};
use windlass::{
    clock::Timestamp,
    ids::RunId,
    memory::{ManualClock, SecretValues},
};

use super::*;
use crate::transport::auth::key_cache;

const PLANTED: &str = "planted-key-0a1b2c3d4e5f";

fn run(number: u8) -> RunId {
    format!("01JZZZZZZZZZZZZZZZZZZZZZZ{number}").parse().expect("a run id")
}

fn exchange(run: RunId, text: &str) -> Exchange {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": format!("{text} of {run}") }] });
    Exchange { run, model: "openai:m".into(), url: "http://127.0.0.1:1/v1".into(), headers: &[], body }
}

/// Answers with what it was asked.
struct Echo {
    status: u16,
}

#[async_trait]
impl Transport for Echo {
    async fn send(&self, exchange: &Exchange) -> Result<Received, TransportError> {
        let body = json!({ "you": exchange.body["messages"][0]["content"] }).to_string().into_bytes();
        Ok(Received { status: self.status, retry_after: Duration::ZERO, body })
    }
}

fn recorder(folder: &Path, status: u16) -> Recorder {
    let secrets = SecretValues::new();
    secrets.set("key", PLANTED);
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let key = key_cache(Arc::new(secrets), clock, "key");
    Recorder { inner: Arc::new(Echo { status }), folder: folder.to_owned(), key: Some(key) }
}

fn text(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path());
    files.map(|file| std::fs::read_to_string(file).expect("it is text")).collect()
}

#[tokio::test]
async fn what_was_recorded_in_one_run_is_replayed_in_another_with_its_own_id() {
    let folder = tempfile::tempdir().expect("a folder");
    recorder(folder.path(), 200).send(&exchange(run(1), "refund")).await.expect("it is sent");
    let replayer = Replayer { folder: folder.path().to_owned() };
    let received = replayer.send(&exchange(run(2), "refund")).await.expect("it is there");
    let body: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body, json!({ "you": format!("refund of {}", run(2)) }));
}

#[tokio::test]
async fn no_credential_reaches_a_cassette_wherever_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = format!("my key is {PLANTED}, the other sk-ant-api03-0123456789abcdef");
    recorder(folder.path(), 200).send(&exchange(run(1), &told)).await.expect("it is sent");
    let text = text(folder.path());
    assert!(!text.contains(PLANTED) && !text.contains("0123456789abcdef"), "{text}");
    assert_eq!(text.matches("[redacted]").count(), 4, "{text}");
}

#[tokio::test]
async fn a_miss_names_the_nearest_exchange_and_where_it_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(folder.path(), 200);
    recorder.send(&exchange(run(1), "refund 700")).await.expect("it is sent");
    recorder.send(&exchange(run(1), "something else")).await.expect("it is sent");
    let replayer = Replayer { folder: folder.path().to_owned() };
    let missing = replayer.send(&exchange(run(1), "refund 800")).await.expect_err("it is missing");
    let (near, _) = tape::request_of(&exchange(run(1), "refund 700"), None);
    let message = missing.to_string();
    assert!(message.contains(&format!("the nearest is `{near}`, which differs at `/messages/0/content`")), "{message}");
    assert!(message.contains("hint: record it anew"), "{message}");
    let empty = Replayer { folder: folder.path().join("nothing") };
    assert!(empty.send(&exchange(run(1), "x")).await.expect_err("it is empty").to_string().contains("it is empty"));
}

#[tokio::test]
async fn recording_again_refreshes_and_an_error_is_not_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let failed = recorder(folder.path(), 500).send(&exchange(run(1), "refund")).await.expect("it is sent");
    assert_eq!((failed.status, text(folder.path())), (500, String::new()));
    recorder(folder.path(), 200).send(&exchange(run(1), "refund")).await.expect("it is sent");
    let first = text(folder.path());
    let (key, _) = tape::request_of(&exchange(run(1), "refund"), None);
    std::fs::write(folder.path().join(format!("{key}.json")), first.replace("\"you\"", "\"old\"")).expect("written");
    recorder(folder.path(), 200).send(&exchange(run(2), "refund")).await.expect("it is sent");
    assert_eq!(text(folder.path()), first);
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, _) = tape::request_of(&exchange(run(1), "refund"), None);
    std::fs::write(folder.path().join(format!("{key}.json")), "{").expect("written");
    let replayer = Replayer { folder: folder.path().to_owned() };
    let error = replayer.send(&exchange(run(1), "refund")).await.expect_err("it is damaged");
    assert!(matches!(&error, TransportError::Recording { message } if message.contains(&key)), "{error}");
}
