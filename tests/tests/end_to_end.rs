//! The kit on the local stack, from its doors to its ends, with the function binaries that ship.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use windlass::{
    aws::{Jobs, clients::Clients},
    schedule::JobRecords as _,
};
use windlass_local::{FunctionStatus, Logs, Stack};
use windlass_operator::{
    aws_endpoint::{AwsEndpoint, Effects},
    local,
    stack::{
        APPROVAL_PUBLIC_SECRET, APPROVAL_SECRET, CONTROLS_TABLE, FUNCTIONS, Options, approval_keys, kit, public_keys,
    },
};
use windlass_tests::local_kit::{Kit, binaries, http};

const SOON: Duration = Duration::from_secs(20);

async fn options() -> Options {
    Options::new(binaries().await)
}

fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the event is there")).expect("the event is JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_http_queue_and_schedule_has_the_same_journal() {
    let kit = Kit::start(&options().await).await;
    for order in ["H", "Q", "S"] {
        kit.seed(order, 1).await;
    }
    let by_http = kit.submit("order-H-1", "refund", json!({ "order": "H-1", "amount_cents": 1_000 })).await;
    assert_eq!(by_http.status, 202, "{by_http:?}");
    kit.enqueue(&event("queue-start-run.json").to_string()).await;
    kit.stack.invoke("cleanup", event("schedule-start-run.json")).await.expect("the schedule is taken on");
    let mut journals: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for order in ["H-1", "Q-1", "S-1"] {
        let run = match order {
            "H-1" => by_http.body["run_id"].as_str().expect("a run id").to_owned(),
            _ => run_of(&kit, order).await,
        };
        kit.until(&run, &["completed"], SOON).await;
        assert_eq!(kit.aws.effects(order).await.expect("the ledger answers"), Effects { refunds: 1, letters: 1 });
        journals.insert(order.to_owned(), kit.events(&run).await);
    }
    assert_eq!(journals["H-1"], journals["Q-1"]);
    assert_eq!(journals["H-1"], journals["S-1"]);
    kit.stack.shutdown().await;
}

/// The run that works on an order, found where runs are kept.
async fn run_of(kit: &Kit, order: &str) -> String {
    for _ in 0..400 {
        let body = json!({
            "TableName": "windlass-runs",
            "FilterExpression": "sk = :first",
            "ExpressionAttributeValues": { ":first": { "S": "head" } },
        });
        let found = kit.aws.call("DynamoDB_20120810.Scan", &body).await.expect("the table answers");
        let wanted = format!("\"order\":\"{order}\"");
        let is_it = |item: &&Value| item["e"]["S"].as_str().is_some_and(|entry| entry.contains(&wanted));
        if let Some(item) = found["Items"].as_array().into_iter().flatten().find(is_it) {
            return item["pk"]["S"].as_str().expect("a key").to_owned();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no run works on {order}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_a_person_costs_nothing_meanwhile_and_goes_on_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let options = Options { data: Some(data.path().to_owned()), ..options().await };
    let kit = Kit::start(&options).await;
    let jobs = Jobs::new(Clients::at(&kit.address.aws).dynamodb(), CONTROLS_TABLE).list().await.expect("it answers");
    let swept: Vec<&str> = jobs.iter().filter(|job| job.last.is_some()).map(|job| job.job.as_str()).collect();
    assert_eq!(swept, ["rescue-runs"], "over tables that stay, the start sweeps");
    let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
    let run = kit.submit("wait-1", "refund", payload.clone()).await.body["run_id"].as_str().expect("an id").to_owned();
    kit.until(&run, &["awaiting_approval"], SOON).await;
    kit.stack.pause_schedules();
    let before = kit.stack.meter();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let since = kit.stack.meter().since(&before);
    let work: Vec<_> = since.requests.iter().filter(|(name, _)| *name != "SQS.ReceiveMessage.Empty").collect();
    assert!(work.is_empty(), "a parked run costs {work:?}");
    kit.stack.shutdown().await;

    // The queue forgets everything; the tables do not.
    let kit = Kit::start(&options).await;
    let again = kit.submit("wait-1", "refund", payload).await;
    assert_eq!(again.body["run_id"], run.as_str(), "the key is still known");
    let shown = kit.run(&run).await.body;
    let approval = shown["escalation"][0]["id"].as_str().expect("a question");
    let (path, approver) = (format!("/approvals/{approval}"), kit.address.tokens.approver.clone());
    let shown = kit.send("GET", &path, &approver, None, None).await.body;
    let decision = |word: &str| json!({ "decision": word, "token": shown["token"] });
    assert_eq!(kit.send("POST", &path, &approver, None, Some(&decision("approved"))).await.status, 200);
    let ended = kit.until(&run, &["completed"], SOON).await;
    assert_eq!(ended["response"]["refunded_cents"], 90_000);
    let late = kit.send("POST", &path, &approver, None, Some(&decision("denied"))).await;
    assert_eq!(late.status, 409, "it was decided once: {late:?}");
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_cancelled_while_it_waits_ends_without_an_effect() {
    let kit = Kit::start(&options().await).await;
    let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
    let run = kit.submit("cancel-1", "refund", payload).await.body["run_id"].as_str().expect("an id").to_owned();
    kit.until(&run, &["awaiting_approval"], SOON).await;
    let path = format!("/runs/{run}/cancel");
    let cancelled = kit
        .send("POST", &path, &kit.address.tokens.submitter, None, Some(&json!({ "reason": "the customer called" })))
        .await;
    assert!(cancelled.status < 300, "{cancelled:?}");
    let ended = kit.until(&run, &["cancelled"], SOON).await;
    assert_eq!(ended["outcome"]["reason"], "cancelled", "{ended}");
    let effects = kit.aws.effects("A-1002").await.expect("the ledger answers");
    assert_eq!(effects, Effects::default());
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_secret_no_function_polls_and_the_message_names_it_and_with_it_they_start() {
    let options = Options { approval_keys: None, ..options().await };
    let stack = Stack::start(kit(&options)).await.expect("the services start");
    let statuses = stack.warm().await;
    for function in FUNCTIONS {
        match &statuses[function] {
            FunctionStatus::InitFailed { exit, last_lines } => {
                let said = last_lines.join(" ");
                assert!(said.contains(&format!("`{APPROVAL_SECRET}`")), "{function}: {said}");
                assert!(said.contains("hint:"), "{function}: {said}");
                println!("{function}: {exit}: {said}");
            }
            other => panic!("{function} is {other:?}"),
        }
    }
    let keys = approval_keys(&windlass::ids::SystemRandom);
    let public = public_keys(&keys).expect("they are keys");
    let aws = AwsEndpoint::new(http(), &stack.aws_url());
    for (name, text, number) in [(APPROVAL_SECRET, keys, 1), (APPROVAL_PUBLIC_SECRET, public, 2)] {
        let token = format!("11111111-1111-1111-1111-11111111111{number}");
        let put = json!({ "Name": name, "SecretString": text, "ClientRequestToken": token });
        aws.call("secretsmanager.CreateSecret", &put).await.expect("the secret is created");
    }
    for (function, status) in stack.warm().await {
        assert!(matches!(status, FunctionStatus::Ready { polls } if polls > 0), "{function} is {status:?}");
    }
    println!("with the secret back, all four poll");
    stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misconfigured_function_names_every_problem_at_once() {
    let env = [("ENVIRONMENT", "prod"), ("STRIKES_MAX", "zero"), ("RELEASE", "")];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = Options { env, ..options().await };
    let error = local::start(&options, &http()).await.err().expect("it does not start").to_string();
    for named in ["ENVIRONMENT", "STRIKES_MAX", "RELEASE"] {
        assert!(error.contains(named), "{named} is not in {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_see_each_other() {
    let kit = Kit::start(&options().await).await;
    let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
    let run = kit.submit("tenant-1", "refund", payload).await.body["run_id"].as_str().expect("an id").to_owned();
    let shown = kit.until(&run, &["awaiting_approval"], SOON).await;
    let approval = shown["escalation"][0]["id"].as_str().expect("a question").to_owned();
    let all = ["submitter", "approver", "finance", "operator"];
    let foreign = local::token(kit.stack.issuer(), "other", "fin", &all);
    for (method, path) in [
        ("GET", format!("/runs/{run}")),
        ("GET", format!("/runs/{run}/journal")),
        ("POST", format!("/runs/{run}/cancel")),
        ("GET", format!("/approvals/{approval}")),
    ] {
        let answer = kit.send(method, &path, &foreign, None, None).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    let body = json!({ "decision": "approved", "token": "v1.k1.9999999999.AAAA" });
    let answer = kit.send("POST", &format!("/approvals/{approval}"), &foreign, None, Some(&body)).await;
    assert!(matches!(answer.status, 400 | 404), "{answer:?}");
    kit.stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_token_is_ever_logged() {
    let logs = tempfile::tempdir().expect("a folder");
    let env = [("LOG_LEVEL".to_owned(), "trace".to_owned())].into();
    let keys = approval_keys(&windlass::ids::SystemRandom);
    let folder = Logs::Directory(logs.path().to_owned());
    let kit = Kit::start(&Options { env, logs: folder, approval_keys: Some(keys.clone()), ..options().await }).await;
    let payload = json!({ "order": "A-1002", "amount_cents": 90_000 });
    let run = kit.submit("log-1", "refund", payload).await.body["run_id"].as_str().expect("an id").to_owned();
    let shown = kit.until(&run, &["awaiting_approval"], SOON).await;
    let path = format!("/approvals/{}", shown["escalation"][0]["id"].as_str().expect("a question"));
    let approver = kit.address.tokens.approver.clone();
    let token = kit.send("GET", &path, &approver, None, None).await.body["token"].as_str().expect("a token").to_owned();
    let decision = json!({ "decision": "approved", "token": token });
    assert_eq!(kit.send("POST", &path, &approver, None, Some(&decision)).await.status, 200);
    kit.until(&run, &["completed"], SOON).await;
    kit.stack.shutdown().await;
    let keys: Value = serde_json::from_str(&keys).expect("the keys are JSON");
    let planted = [keys["keys"]["k1"].as_str().expect("a key"), &token, &approver];
    let mut lines = 0;
    for function in FUNCTIONS {
        let log = std::fs::read_to_string(logs.path().join(format!("{function}.log"))).expect("it has logged");
        lines += log.lines().count();
        for secret in planted {
            assert!(!log.contains(secret), "{function} logged a secret");
        }
        assert!(log.contains("\"configuration\""), "{function} does not say which configuration it loaded");
    }
    println!("{lines} lines at level `trace`, none with a key or a token");
}
