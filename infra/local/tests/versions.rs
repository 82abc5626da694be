//! Versions and weighted aliases, with the official SDKs as clients.

#[path = "support/releases.rs"]
mod releases;
mod support;

use std::{sync::Arc, time::Duration};

use aws_sdk_lambda::{
    error::ProvideErrorMetadata,
    primitives::Blob,
    types::{InvocationType, LogType},
};
use releases::{cloudwatch, counted, invoke, lambda, package, payload, publish, route, who};
use serde_json::json;
use support::{depth, echo, eventually, http, mapping, queue, spec, sqs};
use windlass_local::{
    Authorization, Dice as _, FunctionSpec, MappingSpec, PAYLOAD_BYTES_MAX, ScheduleSpec, SeededDice, Stack, StackSpec,
};

/// The seed of the dice in these tests.
const SEED: u64 = 20;

/// How many of the first throws meet a share: what a stack with the same seed must do.
fn of_throws(throws: usize, share: f64) -> usize {
    let dice = SeededDice::new(SEED);
    (0..throws).filter(|_| dice.roll() < share).count()
}

async fn seeded(spec: StackSpec) -> (Stack, aws_sdk_lambda::Client) {
    let stack = Stack::start(StackSpec { dice: Arc::new(SeededDice::new(SEED)), ..spec }).await;
    let stack = stack.expect("the stack starts");
    let client = lambda(&stack.aws_url());
    (stack, client)
}

async fn one_function(function: FunctionSpec) -> (Stack, aws_sdk_lambda::Client) {
    seeded(StackSpec { functions: vec![function], ..spec() }).await
}

#[tokio::test]
async fn a_thousand_requests_at_ninety_to_ten_meet_two_versions_and_metrics_tell_them_apart() {
    let routes = vec![support::route("POST", "/who", Authorization::None)];
    let (stack, client) = seeded(StackSpec { routes, ..spec() }).await;
    assert_eq!(publish(&client, "r2").await, "2");
    route(&client, "1", Some(("2", 0.1))).await;

    let (http, url) = (http(), format!("{}/who", stack.api_url()));
    let mut answered = [0usize; 2];
    for _ in 0..1_000 {
        let answer = http.post(&url).json(&who()).send().await.expect("an answer");
        let (version, release): (String, Option<String>) = answer.json().await.expect("two variables");
        match (version.as_str(), release.as_deref()) {
            ("1", None) => answered[0] += 1,
            ("2", Some("r2")) => answered[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    let second = of_throws(1_000, 0.1);
    println!("of 1,000 requests version 1 answered {}, version 2 answered {}", answered[0], answered[1]);
    assert_eq!(answered, [1_000 - second, second]);

    let metrics = cloudwatch(&stack.aws_url());
    for (version, answered) in ["1", "2"].into_iter().zip(answered) {
        let invocations = counted(&metrics, "Invocations", version).await;
        let errors = counted(&metrics, "Errors", version).await;
        let p95 = ("AWS/Lambda", "Duration", "p95");
        let p95 = releases::statistic(&metrics, p95, &releases::behind_live(version)).await;
        println!("CloudWatch, version {version}: {invocations:?} invocations, {errors:?} errors, p95 {p95:?} ms");
        assert_eq!(invocations, Some(answered as f64));
        assert_eq!(errors, Some(0.0));
        assert!(p95.is_some_and(|millis| millis > 0.0));
    }
    stack.shutdown().await;
}

#[tokio::test]
async fn an_alias_is_moved_only_by_who_has_seen_its_latest_revision() {
    let (stack, client) = one_function(echo("echo")).await;
    let seen = client.get_alias().function_name("echo").name("live").send().await.expect("the alias");
    publish(&client, "r2").await;
    let latest = route(&client, "2", None).await;
    let stale = client.update_alias().function_name("echo").name("live").function_version("1");
    let stale = stale.set_revision_id(seen.revision_id().map(str::to_owned)).send().await.expect_err("it is refused");
    let stale = stale.into_service_error();
    assert!(stale.is_precondition_failed_exception(), "{stale:?}");
    println!("{}: {}", stale.code().unwrap_or_default(), stale.message().unwrap_or_default());
    let text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
                retrieve the latest Revision Id";
    assert_eq!(stale.message(), Some(text));
    let alias = client.get_alias().function_name("echo").name("live").send().await.expect("the alias");
    assert_eq!((alias.function_version(), alias.revision_id()), (Some("2"), Some(latest.as_str())));
    let fresh = client.update_alias().function_name("echo").name("live").function_version("1").revision_id(latest);
    assert_eq!(fresh.send().await.expect("it moves").function_version(), Some("1"));
    stack.shutdown().await;
}

#[tokio::test]
async fn a_version_finishes_what_it_has_when_its_alias_moves_away() {
    let (stack, client) = one_function(echo("echo")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("mark");
    publish(&client, "r2").await;
    let event = json!({ "mark": mark, "sleepMs": 1_000, "env": ["AWS_LAMBDA_FUNCTION_VERSION"] });
    let (slow, ()) = tokio::join!(stack.invoke("echo", event), async {
        eventually("version 1 works", async || mark.exists().then_some(())).await;
        route(&client, "2", None).await;
        let fast = json!({ "env": ["AWS_LAMBDA_FUNCTION_VERSION"] });
        assert_eq!(stack.invoke("echo", fast).await.expect("a result"), json!(["2"]));
        assert_eq!(stack.processes("echo:1").len(), 1, "version 1 still works");
    });
    assert_eq!(slow.expect("a result"), json!(["1"]));
    stack.shutdown().await;
}

#[tokio::test]
async fn no_request_fails_while_the_alias_moves_to_and_fro() {
    let routes = vec![support::route("POST", "/who", Authorization::None)];
    let (stack, client) = seeded(StackSpec { routes, ..spec() }).await;
    publish(&client, "r2").await;
    let (http, url) = (http(), format!("{}/who", stack.api_url()));
    let requests = async || {
        let mut seen = [false; 2];
        for _ in 0..200 {
            let answer = http.post(&url).json(&who()).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let (version, _): (String, Option<String>) = answer.json().await.expect("two variables");
            seen[usize::from(version == "2")] = true;
        }
        seen
    };
    let moves = async {
        for turn in 0..40 {
            let (version, other) = if turn % 2 == 0 { ("2", "1") } else { ("1", "2") };
            route(&client, version, (turn % 3 == 0).then_some((other, 0.5))).await;
        }
    };
    let (one, two, ()) = tokio::join!(requests(), requests(), moves);
    assert_eq!([one[0] || two[0], one[1] || two[1]], [true, true], "both versions answered");
    stack.shutdown().await;
}

#[tokio::test]
async fn what_latest_was_finishes_what_it_has_and_ends_when_the_code_changes() {
    let (stack, client) = one_function(echo("echo")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("mark");
    let event = json!({ "mark": mark, "sleepMs": 300, "env": ["RELEASE"] });
    let (slow, pid) = tokio::join!(stack.invoke("echo:$LATEST", event), async {
        eventually("the old code works", async || mark.exists().then_some(())).await;
        let pid = stack.processes("echo:$LATEST")[0];
        client
            .update_function_code()
            .function_name("echo")
            .zip_file(Blob::new(package("new")))
            .send()
            .await
            .expect("new");
        pid
    });
    assert_eq!(slow.expect("a result"), json!([null]));
    eventually("its process ends", async || (!support::is_alive(pid)).then_some(())).await;
    assert_eq!(payload(&invoke(&client, "echo", json!({ "env": ["RELEASE"] })).await), json!(["new"]));
    stack.shutdown().await;
}

#[tokio::test]
async fn a_published_version_keeps_its_code_and_environment() {
    let (stack, client) = one_function(echo("echo")).await;
    let upload = client.update_function_code().function_name("echo").zip_file(Blob::new(package("zipped")));
    let uploaded = upload.publish(true).send().await.expect("the code changes");
    assert_eq!((uploaded.version(), uploaded.code_size()), (Some("2"), package("zipped").len() as i64));
    publish(&client, "ignored by the package").await;
    client
        .update_function_code()
        .function_name("echo")
        .zip_file(Blob::new(package("next")))
        .send()
        .await
        .expect("more");
    for (qualifier, expected) in [
        ("1", json!(["1", null])),
        ("2", json!(["2", "zipped"])),
        ("3", json!(["3", "zipped"])),
        ("$LATEST", json!(["$LATEST", "next"])),
        ("live", json!(["1", null])),
    ] {
        let invoked = client.invoke().function_name("echo").qualifier(qualifier);
        let invoked = invoked.payload(Blob::new(who().to_string())).send().await.expect("a result");
        assert_eq!(payload(&invoked), expected, "{qualifier}");
        assert_eq!(invoked.executed_version(), expected[0].as_str());
    }
    let again = client.publish_version().function_name("echo").send().await.expect("a version");
    assert_eq!(again.version(), Some("4"));
    let same = client.publish_version().function_name("echo").send().await.expect("the same version");
    assert_eq!(same.version(), Some("4"), "nothing has changed");
    let pages = client.list_versions_by_function().function_name("echo").max_items(2).into_paginator().items();
    let versions: Vec<_> = pages.send().collect::<Result<_, _>>().await.expect("all pages");
    let numbers: Vec<&str> = versions.iter().filter_map(|version| version.version()).collect();
    assert_eq!(numbers, ["$LATEST", "1", "2", "3", "4"]);
    assert_ne!(versions[1].code_sha256(), versions[2].code_sha256());
    assert_eq!(versions[2].code_sha256(), versions[3].code_sha256());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_binary_is_uploaded_and_runs_in_a_folder_of_its_own() {
    let (stack, client) = one_function(echo("echo")).await;
    let upload = client.update_function_code().function_name("echo").zip_file(Blob::new(releases::binary_package()));
    upload.send().await.expect("the code changes");
    let names = json!({ "env": ["LAMBDA_TASK_ROOT", "_HANDLER"] });
    let told = payload(&invoke(&client, "echo", names).await);
    let root = std::path::PathBuf::from(told[0].as_str().expect("a folder"));
    assert!(root.join("bootstrap").is_file() && told[1] == "bootstrap", "{told}");
    stack.shutdown().await;
    assert!(!root.exists(), "what was unpacked goes with the stack");
}

#[tokio::test]
async fn the_queue_meets_versions_by_weight() {
    let single = MappingSpec { batch_size_max: 1, concurrency_max: 3, ..mapping("jobs") };
    let spec = StackSpec { queues: vec![queue("jobs", 30)], mappings: vec![single], ..spec() };
    let (stack, client) = seeded(spec).await;
    publish(&client, "r2").await;
    route(&client, "1", Some(("2", 0.3))).await;
    let (queue, url) = (sqs(&stack.aws_url()), stack.queue_url("jobs"));
    for _ in 0..100 {
        queue.send_message().queue_url(&url).message_body("work").send().await.expect("a message");
    }
    eventually("all are worked", async || (depth(&queue, &url).await == (0, 0)).then_some(())).await;
    let metrics = cloudwatch(&stack.aws_url());
    let second = of_throws(100, 0.3);
    assert_eq!(counted(&metrics, "Invocations", "1").await, Some((100 - second) as f64));
    assert_eq!(counted(&metrics, "Invocations", "2").await, Some(second as f64));
    stack.shutdown().await;
}

#[tokio::test]
async fn schedules_meet_versions_by_weight() {
    let every = Duration::from_secs(3600);
    let schedule = ScheduleSpec { name: "tick".into(), every, function: "echo".into(), input: who() };
    let (stack, client) = seeded(StackSpec { schedules: vec![schedule], ..spec() }).await;
    publish(&client, "r2").await;
    route(&client, "1", Some(("2", 0.5))).await;
    let dice = SeededDice::new(SEED);
    for _ in 0..40 {
        let expected = if dice.roll() < 0.5 { json!(["2", "r2"]) } else { json!(["1", null]) };
        assert_eq!(stack.run_schedule("tick").await.expect("a schedule").expect("a result"), expected);
    }
    stack.shutdown().await;
}

#[tokio::test]
async fn processes_that_have_been_idle_for_long_end() {
    let (stack, client) = seeded(StackSpec { idle_limit: Duration::from_millis(100), ..spec() }).await;
    publish(&client, "r2").await;
    route(&client, "2", None).await;
    for function in ["echo:1", "echo:2", "echo:$LATEST"] {
        stack.invoke(function, json!({})).await.expect("a result");
    }
    eventually("no process is left", async || stack.processes("echo").is_empty().then_some(())).await;
    stack.invoke("echo", json!({})).await.expect("another process");
    stack.shutdown().await;
}

#[tokio::test]
async fn an_invocation_says_what_ran_how_it_failed_and_what_it_wrote() {
    let (stack, client) = one_function(FunctionSpec { timeout: Duration::from_secs(1), ..echo("echo") }).await;
    let good = invoke(&client, "arn:aws:lambda:us-east-1:000000000000:function:echo:live", json!("hello")).await;
    assert_eq!((good.status_code(), good.executed_version(), good.function_error()), (200, Some("1"), None));
    assert_eq!(payload(&good), json!("hello"));
    let context = payload(&invoke(&client, "echo", json!({ "context": true })).await);
    assert_eq!(context["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo");
    for (event, kind, message) in [
        (json!({ "error": "no such thing" }), None, "no such thing"),
        (json!({ "exit": 7 }), Some("Runtime.ExitError"), "Error: Runtime exited with error: exit status: 7"),
        (json!({ "sleepMs": 9_000 }), Some("Sandbox.Timedout"), "Error: Task timed out after 1.00 seconds"),
    ] {
        let failed = invoke(&client, "echo:live", event).await;
        assert_eq!((failed.status_code(), failed.function_error()), (200, Some("Unhandled")));
        let said = payload(&failed);
        assert!(said["errorMessage"].as_str().is_some_and(|said| said.ends_with(message)), "{said}");
        assert!(kind.is_none_or(|kind| said["errorType"] == kind), "{said}");
    }
    eventually("its output is in the log", async || {
        let tail = client.invoke().function_name("echo").log_type(LogType::Tail);
        let tail = tail.payload(Blob::new(r#"{"print":"a line"}"#)).send().await.expect("a result");
        let log = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, tail.log_result()?).expect("base64");
        let log = String::from_utf8(log).expect("text");
        assert!(log.starts_with("START RequestId: ") && log.contains("REPORT RequestId: "), "{log}");
        log.contains("\"a line\"\n").then_some(())
    })
    .await;
    stack.shutdown().await;
}

#[tokio::test]
async fn an_asynchronous_invocation_is_taken_on_and_repeated_when_it_fails() {
    let (stack, client) = one_function(echo("echo")).await;
    let event = |body: &str| client.invoke().function_name("echo:live").payload(Blob::new(body.to_owned()));
    let taken = event(r#"{"error":"again"}"#).invocation_type(InvocationType::Event).send().await.expect("it is taken");
    assert_eq!(taken.status_code(), 202);
    let metrics = cloudwatch(&stack.aws_url());
    eventually("it is tried three times", async || (counted(&metrics, "Errors", "1").await == Some(3.0)).then_some(()))
        .await;
    let dry = event("{}").invocation_type(InvocationType::DryRun).send().await.expect("it could be invoked");
    assert_eq!(dry.status_code(), 204);
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let refused = event(&large).invocation_type(InvocationType::Event).send().await.expect_err("it is too large");
    assert!(refused.into_service_error().is_request_too_large_exception());
    stack.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_invoked_is_refused_and_throttles_are_counted() {
    let (stack, client) = one_function(FunctionSpec { concurrency_max: 1, ..echo("echo") }).await;
    let event = |body: &str| client.invoke().function_name("echo:live").payload(Blob::new(body.to_owned()));
    let broken = event("{").send().await.expect_err("it is refused").into_service_error();
    assert!(broken.is_invalid_request_content_exception(), "{broken:?}");
    let large = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX));
    let large = event(&large).send().await.expect_err("it is refused").into_service_error();
    assert!(large.is_request_too_large_exception(), "{large:?}");
    assert_eq!(large.message(), Some("Request must be smaller than 6291456 bytes for the InvokeFunction operation"));
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("mark");
    let (first, second) = tokio::join!(stack.invoke("echo", json!({ "mark": mark, "sleepMs": 2_000 })), async {
        eventually("the only process works", async || mark.exists().then_some(())).await;
        event("{}").send().await.expect_err("there is no other").into_service_error()
    });
    first.expect("a result");
    assert!(second.is_too_many_requests_exception(), "{second:?}");
    let metrics = cloudwatch(&stack.aws_url());
    assert_eq!(counted(&metrics, "Throttles", "1").await, Some(1.0));
    assert_eq!(counted(&metrics, "Invocations", "1").await, Some(1.0));
    stack.shutdown().await;
}
