//! Functions as Lambda runs them.

mod support;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use support::{echo, error_of, eventually, is_alive, signal, spec};
use windlass_local::{FunctionSpec, FunctionStatus, InvokeError, Logs, ScheduleSpec, Stack, StackSpec};

async fn start(function: FunctionSpec) -> Stack {
    Stack::start(StackSpec { functions: vec![function], ..spec() }).await.expect("the stack starts")
}

#[tokio::test]
async fn a_function_gets_its_event_and_its_context() {
    let stack = start(echo("echo")).await;
    assert_eq!(stack.status("echo"), FunctionStatus::Starting);
    assert_eq!(stack.invoke("echo", json!({ "a": [1, "é"] })).await.expect("a result"), json!({ "a": [1, "é"] }));
    let context = stack.invoke("echo", json!({ "context": true })).await.expect("a result");
    assert_eq!(context["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo:live");
    assert_eq!(context["requestId"].as_str().map(str::len), Some(36));
    assert!(context["trace"].as_str().is_some_and(|trace| trace.starts_with("Root=1-")));
    assert_eq!(stack.processes("echo"), [u32::try_from(context["pid"].as_u64().expect("a pid")).expect("a pid")]);
    let error = error_of(stack.invoke("nobody", json!({})).await);
    assert!(matches!(error, InvokeError::UnknownFunction { .. }), "{error}");
    stack.shutdown().await;
}

#[tokio::test]
async fn the_environment_is_what_lambda_sets_and_nothing_else() {
    let env = BTreeMap::from([("QUEUE".to_owned(), "${QUEUE_URL:jobs}".to_owned())]);
    let spec = StackSpec {
        queues: vec![support::queue("jobs", 30)],
        functions: vec![FunctionSpec { env, ..echo("echo") }],
        ..spec()
    };
    let stack = Stack::start(spec).await.expect("the stack starts");
    let names =
        ["AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "AWS_ENDPOINT_URL", "TZ", "QUEUE", "HOME", "CARGO_MANIFEST_DIR"];
    let values = stack.invoke("echo", json!({ "env": names })).await.expect("a result");
    assert_eq!(values, json!(["echo", "us-east-1", stack.aws_url(), ":UTC", stack.queue_url("jobs"), null, null]));
    stack.shutdown().await;
}

#[tokio::test]
async fn an_error_of_the_handler_is_reported_and_the_process_lives_on() {
    let stack = start(echo("echo")).await;
    match error_of(stack.invoke("echo", json!({ "error": "no such thing" })).await) {
        InvokeError::Function { message, .. } => assert_eq!(message, "no such thing"),
        other => panic!("{other}"),
    }
    let before = stack.processes("echo");
    stack.invoke("echo", json!({})).await.expect("a result");
    assert_eq!(stack.processes("echo"), before);
    stack.shutdown().await;
}

#[tokio::test]
async fn a_crash_is_reported_with_its_exit_and_last_words() {
    let stack = start(echo("echo")).await;
    match error_of(stack.invoke("echo", json!({ "exit": 7 })).await) {
        InvokeError::Exited { exit, last_lines } => {
            assert_eq!(exit, "exit status: 7");
            assert_eq!(last_lines.last().map(String::as_str), Some("leaving with 7"));
        }
        other => panic!("{other}"),
    }
    assert_eq!(stack.invoke("echo", json!("still here")).await.expect("a result"), "still here");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_process_that_takes_too_long_is_killed() {
    let stack = start(FunctionSpec { timeout: Duration::from_millis(300), ..echo("echo") }).await;
    stack.warm().await;
    let pid = stack.processes("echo")[0];
    let error = error_of(stack.invoke("echo", json!({ "sleepMs": 60_000 })).await);
    assert_eq!(error.to_string(), "Task timed out after 0.30 seconds");
    eventually("the process is gone", async || (!is_alive(pid)).then_some(())).await;
    stack.invoke("echo", json!({})).await.expect("another process");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_frozen_process_is_killed_at_its_deadline() {
    let stack = start(FunctionSpec { timeout: Duration::from_millis(300), ..echo("echo") }).await;
    stack.warm().await;
    let pid = stack.processes("echo")[0];
    signal("STOP", pid);
    let error = error_of(stack.invoke("echo", json!({})).await);
    assert!(matches!(error, InvokeError::TimedOut { .. }), "{error}");
    eventually("the process is gone", async || (!is_alive(pid)).then_some(())).await;
    stack.shutdown().await;
}

#[tokio::test]
async fn a_killed_process_fails_its_invocation_and_an_idle_one_none() {
    let stack = start(echo("echo")).await;
    stack.warm().await;
    let pid = stack.processes("echo")[0];
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("mark");
    let (result, ()) = tokio::join!(stack.invoke("echo", json!({ "mark": mark, "sleepMs": 60_000 })), async {
        eventually("the process works", async || mark.exists().then_some(())).await;
        signal("KILL", pid);
    });
    match error_of(result) {
        InvokeError::Exited { exit, .. } => assert_eq!(exit, "signal: 9 (SIGKILL)"),
        other => panic!("{other}"),
    }
    for _ in 0..30 {
        stack.warm().await;
        for pid in stack.processes("echo") {
            signal("KILL", pid);
        }
        // The process may not even have noticed yet that it is dead.
        assert_eq!(stack.invoke("echo", json!("alive")).await.expect("another process"), "alive");
    }
    stack.shutdown().await;
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why_and_does_not_spin() {
    let env = BTreeMap::from([("ECHO_INIT_EXIT".to_owned(), "`TABLE` is not set".to_owned())]);
    let broken = FunctionSpec { env, ..echo("broken") };
    let missing = FunctionSpec { program: "/nowhere/at/all".into(), ..echo("missing") };
    let stack =
        Stack::start(StackSpec { functions: vec![broken, missing, echo("echo")], ..spec() }).await.expect("starts");
    let statuses = stack.warm().await;
    assert_eq!(
        statuses["broken"],
        FunctionStatus::InitFailed {
            exit: "exit status: 3".into(),
            last_lines: vec!["starting".into(), "`TABLE` is not set".into()],
        }
    );
    assert!(
        matches!(&statuses["missing"], FunctionStatus::InitFailed { exit, .. } if exit.contains("/nowhere/at/all"))
    );
    assert_eq!(statuses["echo"], FunctionStatus::Ready { polls: 1 });

    let started = std::time::Instant::now();
    let mut failures = 0;
    while failures < 5 {
        let error = error_of(stack.invoke("broken", json!({})).await);
        assert!(matches!(error, InvokeError::InitFailed { .. }), "{error}");
        assert!(error.to_string().ends_with("`TABLE` is not set"), "{error}");
        failures += 1;
    }
    assert!(started.elapsed() >= Duration::from_millis(300), "starts are backed off");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_function_grows_to_its_concurrency_and_then_throttles() {
    let stack = start(FunctionSpec { concurrency_max: 2, ..echo("echo") }).await;
    let slow = || stack.invoke("echo", json!({ "sleepMs": 3_000 }));
    let (first, second, third) = tokio::join!(slow(), slow(), async {
        eventually("both processes are there", async || (stack.processes("echo").len() == 2).then_some(())).await;
        stack.invoke("echo", json!({})).await
    });
    first.expect("a result");
    second.expect("a result");
    let error = error_of(third);
    assert!(matches!(error, InvokeError::TooManyRequests { .. }), "{error}");
    for _ in 0..50 {
        stack.invoke("echo", json!({})).await.expect("one at a time is never throttled");
    }
    assert_eq!(stack.processes("echo").len(), 2);
    stack.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_every_process() {
    let stack = start(echo("echo")).await;
    let _ =
        tokio::join!(stack.invoke("echo", json!({ "sleepMs": 200 })), stack.invoke("echo", json!({ "sleepMs": 200 })));
    let pids = stack.processes("echo");
    assert_eq!(pids.len(), 2);
    stack.shutdown().await;
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[tokio::test]
async fn output_goes_to_a_file_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = Logs::Directory(directory.path().join("logs"));
    let stack = Stack::start(StackSpec { logs, ..spec() }).await.expect("the stack starts");
    error_of(stack.invoke("echo", json!({ "exit": 4 })).await);
    let log = std::fs::read_to_string(directory.path().join("logs/echo.log")).expect("a log");
    assert_eq!(log, "leaving with 4\n");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_schedule_fires_until_it_is_paused() {
    let schedule = ScheduleSpec {
        name: "tick".into(),
        every: Duration::from_millis(20),
        function: "echo".into(),
        input: json!({ "at": "<aws.scheduler.scheduled-time>", "id": "<aws.scheduler.execution-id>" }),
    };
    let stack = Stack::start(StackSpec { schedules: vec![schedule], ..spec() }).await.expect("the stack starts");
    let polls = || match stack.status("echo") {
        FunctionStatus::Ready { polls } => polls,
        _ => 0,
    };
    eventually("three firings", async || (polls() > 3).then_some(())).await;
    stack.pause_schedules();
    let event = stack.run_schedule("tick").await.expect("a schedule").expect("a result");
    assert!(
        event["at"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == "2026-01-01T00:00:00Z".len()),
        "{event}"
    );
    assert_eq!(event["id"].as_str().map(str::len), Some(36));
    assert!(stack.run_schedule("other").await.is_none());
    stack.resume_schedules();
    let before = polls();
    eventually("more firings", async || (polls() > before + 2).then_some(())).await;
    stack.shutdown().await;
}

#[tokio::test]
async fn a_program_that_was_built_anew_is_live_once_it_is_whole_and_the_old_process_finishes_what_it_has() {
    let folder = tempfile::tempdir().expect("a directory");
    let program = folder.path().join("echo");
    let build = |name: &str, content: &[u8]| {
        let new = folder.path().join(name);
        std::fs::write(&new, content).expect("a program");
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("it may be run");
        std::fs::rename(&new, &program).expect("it takes the place");
    };
    let whole = std::fs::read(support::echo_program()).expect("the example");
    build("first", &whole);
    let stack = start(FunctionSpec { program: program.clone(), ..echo("echo") }).await;
    let pid = async || stack.invoke("echo", json!({ "context": true })).await.expect("a result")["pid"].clone();
    let before = pid().await;
    assert_eq!([stack.renew_rebuilt(), stack.renew_rebuilt()], [Vec::<String>::new(), Vec::new()]);
    assert_eq!(pid().await, before);

    let (slow, ()) = tokio::join!(stack.invoke("echo", json!({ "sleepMs": 1_000, "response": "done" })), async {
        build("half", b"");
        assert_eq!([stack.renew_rebuilt(), stack.renew_rebuilt()], [Vec::<String>::new(), Vec::new()], "not whole");
        build("second", &[&whole[..], b"\0"].concat());
        assert_eq!(
            [stack.renew_rebuilt(), stack.renew_rebuilt()],
            [vec![], vec!["echo".to_owned()]],
            "looked at twice"
        );
        assert_ne!(pid().await, before, "new processes run it");
    });
    assert_eq!(slow.expect("it was finished"), json!("done"));
    let old = u32::try_from(before.as_u64().expect("a pid")).expect("a pid");
    eventually("the old process ends", async || (!is_alive(old)).then_some(())).await;
    // An invocation that found none idle may have started a second one.
    let after: Vec<Value> = stack.processes("echo").into_iter().map(Value::from).collect();
    assert_eq!(stack.renew_rebuilt(), Vec::<String>::new());
    let again = pid().await;
    assert!(after.contains(&again), "it stays: {again} of {after:?}");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_stack_that_is_drained_lets_functions_finish_and_begins_nothing() {
    let stack = start(echo("echo")).await;
    let (slow, drained) = tokio::join!(stack.invoke("echo", json!({ "sleepMs": 300, "response": 1 })), async {
        eventually("it is at work", async || (!stack.processes("echo").is_empty()).then_some(())).await;
        stack.drain(Duration::from_secs(10)).await
    });
    assert_eq!((slow.expect("it was finished"), drained), (json!(1), true));
    eventually("nobody listens", async || support::http().get(stack.api_url()).send().await.is_err().then_some(()))
        .await;
    let folder = tempfile::tempdir().expect("a directory");
    let mark = folder.path().join("begun");
    let (_, drained) = tokio::join!(stack.invoke("echo", json!({ "mark": mark, "sleepMs": 500 })), async {
        eventually("it is at work", async || mark.exists().then_some(())).await;
        stack.drain(Duration::from_millis(50)).await
    });
    assert!(!drained, "not within the limit");
    stack.shutdown().await;
}
