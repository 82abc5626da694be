//! The command as it is typed: what it is told, and how it ends when it is told to stop.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use windlass_operator::local::Address;
use windlass_tests::{
    caller::{Caller, http},
    local_kit::binaries,
    signals,
};

/// How long anything may take that a test waits for: the command has cargo look whether the functions are built.
const LIMIT: Duration = Duration::from_secs(60);

/// The command, typed in a folder.
async fn typed(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Child {
    let mut command = Command::new(binaries().await.join("windlass"));
    command.args(arguments).current_dir(folder).envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("the command starts")
}

async fn text(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).await.expect("text");
    text
}

async fn ended(child: &mut Child) -> ExitStatus {
    timeout(LIMIT, child.wait()).await.expect("it ends").expect("a status")
}

/// Its output up to a text.
async fn until(out: &mut ChildStdout, wanted: &str) -> String {
    let mut said = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&said).contains(wanted) {
            said.push(out.read_u8().await.expect("more output"));
        }
    };
    assert!(timeout(LIMIT, read).await.is_ok(), "no `{wanted}`");
    String::from_utf8(said).expect("text")
}

/// A stack that runs, as `windlass local --json` says.
async fn started(child: &mut Child) -> Caller {
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    timeout(LIMIT, out.read_line(&mut line)).await.expect("it starts").expect("a line");
    let address: Address = serde_json::from_str(&line).expect("where it is");
    Caller::new(address, http())
}

#[tokio::test]
async fn variables_that_are_wrong_stop_the_start_with_all_that_is_wrong_and_none_of_them_is_ignored_in_silence() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "STEPS_MAX=many\nMODLE_PROVIDER=openai\n").expect("a file");
    for command in ["local", "demo"] {
        let mut child = typed(folder.path(), &[command], &[("LOG_LEVEL", "loud")]).await;
        assert_eq!(ended(&mut child).await.code(), Some(1));
        let said = text(child.stderr.take().expect("messages")).await;
        assert!(said.contains("read 2 variables from .env\n"), "{said}");
        assert!(said.contains("warning: nothing reads `MODLE_PROVIDER`; the nearest name is `MODEL"), "{said}");
        assert!(said.contains("`STEPS_MAX` is `many`, which is not a whole number"), "{said}");
        assert!(said.contains("`LOG_LEVEL` is `loud`"), "{said}");
    }
}

#[tokio::test]
async fn a_local_stack_that_is_told_to_stop_finishes_what_it_has_and_keeps_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "SERVICE_NAME=mine\nACTOR_RATE_LIMIT=off\n").expect("a file");
    let start = ["local", "--json", "--data", "data"];
    let mut child = typed(folder.path(), &start, &[]).await;
    let kit = started(&mut child).await;
    let file = folder.path().join(".windlass/local.json");
    assert!(file.exists());
    let mut runs = Vec::new();
    for (number, order) in kit.seed("S", 10).await.iter().enumerate() {
        let answer = kit.submit(&format!("k-{number}"), "refund", json!({ "order": order, "amount_cents": 100 })).await;
        runs.push(answer.body["run_id"].as_str().expect("a run").to_owned());
    }
    assert!(signals::send("TERM", child.id().expect("it runs")));
    assert_eq!(ended(&mut child).await.code(), Some(0), "it ends as it should");
    let said = text(child.stderr.take().expect("messages")).await;
    assert!(said.contains("read 2 variables from .env") && said.contains("stopping: "), "{said}");
    assert!(!said.contains("still at work"), "{said}");
    assert!(!file.exists(), "nobody looks for it any more");

    let mut child = typed(folder.path(), &start, &[]).await;
    let kit = started(&mut child).await;
    for run in &runs {
        let shown = kit.until(run, &["completed"], LIMIT).await;
        assert_eq!(shown["usage"]["steps"], 4, "{shown}");
    }
    assert!(signals::send("INT", child.id().expect("it runs")));
    assert_eq!(ended(&mut child).await.code(), Some(0));
}

#[tokio::test]
async fn a_demo_asks_again_after_what_is_no_answer_and_ends_at_its_question_when_it_is_told_to() {
    use tokio::io::AsyncWriteExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = typed(folder.path(), &["demo"], &[]).await;
    let mut out = child.stdout.take().expect("its output");
    let mut typing = child.stdin.take().expect("its input");
    until(&mut out, "as finance? [y/N] ").await;
    typing.write_all(b"perhaps\n").await.expect("it reads");
    until(&mut out, "neither `y` nor `n`: permit it? [y/N] ").await;
    assert!(signals::send("TERM", child.id().expect("it runs")));
    assert_eq!(ended(&mut child).await.code(), Some(128 + 15));
    let said = text(child.stderr.take().expect("messages")).await;
    assert!(said.ends_with("error: told to stop\n"), "{said}");
}
