//! Metrics and alarms, with the official SDK as client.

#[path = "support/releases.rs"]
mod releases;
mod support;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_cloudwatch::{
    error::ProvideErrorMetadata,
    primitives::DateTime,
    types::{
        ComparisonOperator, Metric, MetricDataQuery, MetricDatum, MetricStat, ScanBy, StandardUnit, StateValue,
        Statistic, StatisticSet,
    },
};
use releases::{behind_live, cloudwatch, dimensions, lambda, publish, route, statistic};
use serde_json::json;
use support::{error_of, eventually, spec};
use windlass_local::{ManualClock, Stack, StackSpec};

/// When the clock of these tests stands: at the start of an hour.
const START: Duration = Duration::from_secs(1_800_000_000);

async fn start() -> (Stack, aws_sdk_cloudwatch::Client) {
    let stack = Stack::start(spec()).await.expect("the stack starts");
    let client = cloudwatch(&stack.aws_url());
    (stack, client)
}

async fn start_at(clock: &Arc<ManualClock>) -> (Stack, aws_sdk_cloudwatch::Client) {
    let spec = StackSpec { clock: clock.clone(), ..spec() };
    let stack = Stack::start(spec).await.expect("the stack starts");
    let client = cloudwatch(&stack.aws_url());
    (stack, client)
}

fn at(seconds: u64) -> DateTime {
    DateTime::from_secs((START.as_secs() + seconds) as i64)
}

fn stat(name: &str, statistic: &str, period: i32) -> MetricStat {
    let metric = Metric::builder().namespace("Kit").metric_name(name).build();
    MetricStat::builder().metric(metric).period(period).stat(statistic).build()
}

fn query(id: &str, stat: MetricStat) -> MetricDataQuery {
    MetricDataQuery::builder().id(id).metric_stat(stat).build()
}

#[tokio::test]
async fn what_a_function_writes_in_the_embedded_format_is_read_back() {
    let (stack, client) = start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let directive = json!({
        "Namespace": "Windlass", "Dimensions": [["Environment", "Release"], ["Environment", "Release", "Outcome"]],
        "Metrics": [{ "Name": "RunsEnded", "Unit": "Count" }, { "Name": "RunCost", "Unit": "None" }],
    });
    let line = json!({
        "_aws": { "Timestamp": now as u64, "CloudWatchMetrics": [directive] },
        "Environment": "dev", "Release": "r2", "Outcome": "completed", "RunsEnded": 1, "RunCost": 0.25,
    });
    for _ in 0..3 {
        stack.invoke("echo", json!({ "print": line })).await.expect("a result");
    }
    let release = [("Environment", "dev".to_owned()), ("Release", "r2".to_owned())];
    eventually("all lines are read", async || {
        (statistic(&client, ("Windlass", "RunsEnded", "Sum"), &release).await == Some(3.0)).then_some(())
    })
    .await;
    let outcome = [&release[..], &[("Outcome", "completed".to_owned())]].concat();
    assert_eq!(statistic(&client, ("Windlass", "RunCost", "Sum"), &outcome).await, Some(0.75));
    assert_eq!(statistic(&client, ("Windlass", "RunCost", "Maximum"), &release).await, Some(0.25));
    assert_eq!(statistic(&client, ("Windlass", "RunCost", "Sum"), &release[..1]).await, None);
    let listed = client.list_metrics().namespace("Windlass").metric_name("RunCost").send().await.expect("a list");
    assert_eq!(listed.metrics().len(), 2);
    stack.shutdown().await;
}

#[tokio::test]
async fn invocations_are_counted_by_function_alias_and_version() {
    let (stack, client) = start().await;
    let functions = lambda(&stack.aws_url());
    publish(&functions, "r2").await;
    route(&functions, "2", None).await;
    stack.invoke("echo", json!({})).await.expect("a result");
    error_of(stack.invoke("echo", json!({ "error": "no" })).await);
    stack.invoke("echo:1", json!({})).await.expect("a result");
    let sum = async |name: &str, named: &[(&str, String)]| statistic(&client, ("AWS/Lambda", name, "Sum"), named).await;
    let function = ("FunctionName", "echo".to_owned());
    let version_1 = [function.clone(), ("Resource", "echo:1".to_owned())];
    assert_eq!(sum("Invocations", &[]).await, Some(3.0));
    assert_eq!(sum("Invocations", std::slice::from_ref(&function)).await, Some(3.0));
    assert_eq!(sum("Invocations", &version_1).await, Some(1.0));
    assert_eq!(sum("Errors", &version_1).await, Some(0.0));
    assert_eq!(sum("Invocations", &behind_live("2")[..2]).await, Some(2.0));
    assert_eq!(sum("Invocations", &behind_live("2")).await, Some(2.0));
    assert_eq!(sum("Errors", &behind_live("2")).await, Some(1.0));
    assert_eq!(sum("Invocations", &behind_live("1")).await, None);
    stack.shutdown().await;
}

#[tokio::test]
async fn values_are_put_and_got_by_period() {
    let clock = Arc::new(ManualClock::at(START + Duration::from_secs(300)));
    let (stack, client) = start_at(&clock).await;
    let datum = |name: &str, seconds: u64| MetricDatum::builder().metric_name(name).timestamp(at(seconds));
    let set = StatisticSet::builder().sample_count(2.0).sum(10.0).minimum(1.0).maximum(9.0).build();
    let data = [
        datum("Took", 0).values(1.0).values(2.0).values(10.0).counts(1.0).counts(8.0).counts(1.0).build(),
        datum("Took", 61).value(7.0).unit(StandardUnit::Milliseconds).build(),
        datum("Took", 62).statistic_values(set).build(),
    ];
    let put = client.put_metric_data().namespace("Kit").set_metric_data(Some(data.into())).send().await;
    put.expect("the values are taken");
    let queries = ["SampleCount", "Sum", "Maximum", "p50", "p90"].map(|name| {
        let id = name.to_ascii_lowercase();
        query(&id, stat("Took", name, 60))
    });
    let get = client.get_metric_data().set_metric_data_queries(Some(queries.into()));
    let got = get.start_time(at(0)).end_time(at(120)).scan_by(ScanBy::TimestampAscending).send().await;
    let got = got.expect("an answer");
    let values = |id: &str| {
        let result = got.metric_data_results().iter().find(|result| result.id() == Some(id)).expect("a result");
        assert_eq!(result.timestamps(), [at(0), at(60)]);
        assert_eq!(result.label(), Some("Took"));
        result.values().to_vec()
    };
    assert_eq!(values("samplecount"), [10.0, 3.0]);
    assert_eq!(values("sum"), [27.0, 17.0]);
    assert_eq!(values("maximum"), [10.0, 9.0]);
    assert_eq!(values("p50"), [2.0, 5.0]);
    assert_eq!(values("p90"), [2.0, 7.0]);

    let newest = client.get_metric_data().metric_data_queries(query("newest", stat("Took", "Sum", 60)));
    let newest = newest.start_time(at(0)).end_time(at(120)).send().await.expect("an answer");
    assert_eq!(newest.metric_data_results()[0].values(), [17.0, 27.0]);
    let millis = client.get_metric_data().metric_data_queries(query(
        "unit",
        MetricStat::builder()
            .metric(Metric::builder().namespace("Kit").metric_name("Took").build())
            .period(60)
            .stat("Sum")
            .unit(StandardUnit::Milliseconds)
            .build(),
    ));
    let millis = millis.start_time(at(0)).end_time(at(120)).send().await.expect("an answer");
    assert_eq!(millis.metric_data_results()[0].values(), [7.0]);
    stack.shutdown().await;
}

#[tokio::test]
async fn a_long_request_comes_compressed() {
    let (stack, client) = start().await;
    // The SDK compresses bodies from 10 KiB.
    let data = (0..900).map(|value| MetricDatum::builder().metric_name("Many").value(f64::from(value)).build());
    let put = client.put_metric_data().namespace("Kit").set_metric_data(Some(data.collect())).send().await;
    put.expect("the values are taken");
    assert_eq!(statistic(&client, ("Kit", "Many", "SampleCount"), &[]).await, Some(900.0));
    assert_eq!(statistic(&client, ("Kit", "Many", "Maximum"), &[]).await, Some(899.0));
    stack.shutdown().await;
}

#[tokio::test]
async fn an_alarm_on_the_errors_of_a_version_follows_it_with_the_clock() {
    let clock = Arc::new(ManualClock::at(START));
    let (stack, client) = start_at(&clock).await;
    let functions = lambda(&stack.aws_url());
    publish(&functions, "r2").await;
    route(&functions, "2", None).await;
    let put = || {
        client
            .put_metric_alarm()
            .alarm_name("echo-errors")
            .namespace("AWS/Lambda")
            .metric_name("Errors")
            .set_dimensions(Some(dimensions(&behind_live("2"))))
            .statistic(Statistic::Sum)
            .period(60)
            .evaluation_periods(1)
            .threshold(2.0)
            .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
            .treat_missing_data("notBreaching")
            .alarm_actions("arn:aws:sns:us-east-1:000000000000:people")
    };
    put().send().await.expect("the alarm is put");
    let described = async || {
        let described = client.describe_alarms().alarm_names("echo-errors").send().await.expect("an answer");
        described.metric_alarms()[0].clone()
    };
    let state = async || described().await.state_value().cloned();
    assert_eq!(state().await, Some(StateValue::Ok));
    for _ in 0..2 {
        error_of(stack.invoke("echo", json!({ "error": "no" })).await);
    }
    assert_eq!(state().await, Some(StateValue::Ok), "the period is not over");
    clock.advance(Duration::from_secs(60));
    let alarm = described().await;
    assert_eq!(alarm.state_value(), Some(&StateValue::Alarm));
    assert_eq!(alarm.state_reason(), Some("1 of the last 1 datapoints breach the threshold of 2: 2"));
    assert_eq!(alarm.state_transitioned_timestamp(), Some(&at(60)));
    assert_eq!(alarm.alarm_actions(), ["arn:aws:sns:us-east-1:000000000000:people"]);
    assert_eq!(alarm.dimensions(), dimensions(&behind_live("2")));
    assert_eq!(alarm.alarm_arn(), Some("arn:aws:cloudwatch:us-east-1:000000000000:alarm:echo-errors"));
    let in_alarm = client.describe_alarms().state_value(StateValue::Alarm).alarm_name_prefix("echo-");
    assert_eq!(in_alarm.send().await.expect("an answer").metric_alarms().len(), 1);
    clock.advance(Duration::from_secs(300));
    assert_eq!(state().await, Some(StateValue::Ok));

    let set = client.set_alarm_state().alarm_name("echo-errors").state_value(StateValue::Alarm).state_reason("drill");
    set.send().await.expect("the state is set");
    assert_eq!(described().await.state_reason(), Some("drill"));
    clock.advance(Duration::from_secs(60));
    assert_eq!(state().await, Some(StateValue::Ok));
    client.delete_alarms().alarm_names("echo-errors").send().await.expect("it is deleted");
    assert!(client.describe_alarms().send().await.expect("an answer").metric_alarms().is_empty());
    stack.shutdown().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let (stack, client) = start().await;
    let of_aws = client.put_metric_data().namespace("AWS/Lambda");
    let datum = MetricDatum::builder().metric_name("Errors").value(1.0);
    let of_aws =
        of_aws.metric_data(datum.clone().build()).send().await.expect_err("it is refused").into_service_error();
    assert!(of_aws.is_invalid_parameter_value_exception(), "{of_aws:?}");
    let old = datum.timestamp(DateTime::from_secs(1)).build();
    let old = client.put_metric_data().namespace("Kit").metric_data(old).send().await.expect_err("it is refused");
    assert!(old.into_service_error().is_invalid_parameter_value_exception());
    let missing = client.set_alarm_state().alarm_name("nothing").state_value(StateValue::Ok).state_reason("r");
    let missing = missing.send().await.expect_err("it is refused").into_service_error();
    assert!(missing.is_resource_not_found(), "{missing:?}");
    let missing = client.delete_alarms().alarm_names("nothing").send().await.expect_err("it is refused");
    assert!(missing.into_service_error().is_resource_not_found());

    let get = |queries: Vec<MetricDataQuery>| {
        let get = client.get_metric_data().set_metric_data_queries(Some(queries));
        get.start_time(at(0)).end_time(at(60)).send()
    };
    let expression = MetricDataQuery::builder().id("e").expression("ANOMALY_DETECTION_BAND(m1)").build();
    for (what, queries, code) in [
        ("an expression", vec![expression], "ValidationError"),
        ("a period", vec![query("m", stat("Took", "Sum", 7))], "InvalidParameterValue"),
        ("a statistic", vec![query("m", stat("Took", "tm90", 60))], "InvalidParameterValue"),
        ("an id", vec![query("M", stat("Took", "Sum", 60))], "InvalidParameterValue"),
        (
            "an id twice",
            vec![query("m", stat("a", "Sum", 60)), query("m", stat("b", "Sum", 60))],
            "InvalidParameterValue",
        ),
    ] {
        let refused = get(queries).await.expect_err(what);
        assert_eq!(refused.code(), Some(code), "{what}");
    }
    let unknown = client.list_dashboards().send().await.expect_err("it is refused");
    assert_eq!(unknown.code(), Some("UnknownOperationException"));
    stack.shutdown().await;
}
