//! Two versions of the step function behind the alias `live`, with the function binaries that ship.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use windlass::clock::{Clock as _, SystemClock};
use windlass_operator::stack::{LIVE, Options};
use windlass_tests::local_kit::{Kit, binaries, http};

const SOON: Duration = Duration::from_secs(20);

/// A request to Lambda's API.
async fn lambda(kit: &Kit, method: &str, path: &str, body: Option<&Value>) -> Value {
    let url = format!("{}/2015-03-31/functions/step{path}", kit.address.aws);
    let mut request = http().request(method.parse().expect("a method"), url);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.expect("an answer");
    let (status, body) = (answer.status(), answer.text().await.expect("text"));
    assert!(status.is_success(), "{method} {path}: {status} {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The runs that a release has ended, as CloudWatch counts them.
async fn ended(kit: &Kit, release: &str) -> f64 {
    let dimensions = json!([{ "Name": "Release", "Value": release }]);
    let metric = json!({ "Namespace": "Windlass/windlass", "MetricName": "RunsEnded", "Dimensions": dimensions });
    let stat = json!({ "Metric": metric, "Period": 60, "Stat": "Sum" });
    let now = SystemClock.now().as_seconds();
    let body = json!({
        "MetricDataQueries": [{ "Id": "ended", "MetricStat": stat }], "StartTime": now - 600, "EndTime": now + 60,
    });
    let got = kit.aws.call("GraniteServiceVersion20100801.GetMetricData", &body).await.expect("an answer");
    let values = got["MetricDataResults"][0]["Values"].as_array().expect("values");
    values.iter().filter_map(Value::as_f64).sum()
}

async fn refund(kit: &Kit, order: &str) {
    let payload = json!({ "order": order, "amount_cents": 700 });
    let answer = kit.submit(order, "refund", payload).await;
    let run = answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    kit.until(run, &["completed"], SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_moved_behind_live_and_each_one_answers_for_its_own_runs() {
    let kit = Kit::start(&Options::new(binaries().await)).await;
    let orders = kit.seed("V", 5).await;
    for order in &orders[..3] {
        refund(&kit, order).await;
    }
    let mut variables = lambda(&kit, "GET", "/configuration", None).await["Environment"]["Variables"].clone();
    assert_eq!(variables["RELEASE"], "local");
    variables["RELEASE"] = json!("next");
    let environment = json!({ "Environment": { "Variables": variables } });
    lambda(&kit, "PUT", "/configuration", Some(&environment)).await;
    let published = lambda(&kit, "POST", "/versions", Some(&json!({}))).await;
    assert_eq!(published["Version"], "2");
    lambda(&kit, "PUT", "/aliases/candidate", Some(&json!({ "FunctionVersion": "2" }))).await;
    let alias = lambda(&kit, "GET", &format!("/aliases/{LIVE}"), None).await;
    assert_eq!(alias["FunctionVersion"], "1", "publishing moves no traffic");
    let moved = json!({ "FunctionVersion": "2", "RevisionId": alias["RevisionId"] });
    lambda(&kit, "PUT", &format!("/aliases/{LIVE}"), Some(&moved)).await;
    for order in &orders[3..] {
        refund(&kit, order).await;
    }
    let until = Instant::now() + SOON;
    loop {
        let counted = (ended(&kit, "local").await, ended(&kit, "next").await);
        if counted == (3.0, 2.0) {
            break;
        }
        assert!(Instant::now() < until, "{counted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kit.stack.shutdown().await;
}
