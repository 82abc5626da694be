//! Alarms and dashboards: on metrics that exist, with the dimensions that they have, fed by log lines that the code writes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::View;
use crate::infra_check::{
    finding::Findings,
    stack::{FUNCTION, items, resource_name},
};

/// A namespace, its metrics, and the sets of dimensions under which they are published.
type Published = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);

/// What AWS publishes
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/aws-services-cloudwatch-metrics.html>).
const OF_AWS: &[Published] = &[
    (
        "AWS/Lambda",
        &["Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions"],
        &[&["FunctionName"], &["FunctionName", "Resource"], &["ExecutedVersion", "FunctionName", "Resource"]],
    ),
    (
        "AWS/SQS",
        &[
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfMessagesDeleted",
            "NumberOfMessagesReceived",
            "NumberOfMessagesSent",
        ],
        &[&["QueueName"]],
    ),
    ("AWS/ApiGateway", &["4xx", "5xx", "Count", "IntegrationLatency", "Latency"], &[&["ApiId"], &["ApiId", "Stage"]]),
    (
        "AWS/DynamoDB",
        &["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"],
        &[&["TableName"], &["GlobalSecondaryIndexName", "TableName"]],
    ),
    (
        "AWS/Scheduler",
        &["InvocationAttemptCount", "InvocationDroppedCount", "TargetErrorCount", "TargetErrorThrottledCount"],
        &[&["ScheduleGroup"]],
    ),
];

/// Which type of resource a dimension names, and how it is referred to.
const NAMED_BY: &[(&str, &str, &str)] = &[
    ("FunctionName", FUNCTION, ""),
    ("QueueName", "AWS::SQS::Queue", ".QueueName"),
    ("ApiId", "AWS::ApiGatewayV2::Api", ""),
    ("TableName", "AWS::DynamoDB::Table", ""),
    ("ScheduleGroup", "AWS::Scheduler::ScheduleGroup", ""),
];

/// What somebody is told of: the metrics that an alarm must watch.
const WATCHED: &[(&str, &str)] = &[
    ("RunsFailed", "runs that fail"),
    ("RunsDead", "runs that are given up"),
    ("RunsUnreadable", "runs that cannot be read"),
    ("ApproximateAgeOfOldestMessage", "wake-ups that wait"),
    ("ApproximateNumberOfMessagesVisible", "dead letters"),
    ("RescueRunsDone", "a missed rescue"),
    ("EnforceRetentionDone", "a missed retention"),
    ("ApprovalsExpiring", "approvals about to expire"),
    ("CostMicroUsd", "cost"),
    ("SweepBehindSeconds", "a sweep that is late"),
    ("RetentionBehindSeconds", "a retention that is late"),
    ("HeldSeconds", "runs that are held for long"),
    ("RunsHeld", "many runs that are held"),
    ("RunsWithoutEnd", "runs that do not end"),
    ("ModelUnanswered", "questions without an answer"),
    ("ApprovalsExpired", "approvals that expire"),
    ("ApprovalsHidden", "approvals that cannot be shown"),
    ("EffectsLeft", "effects that are left"),
    ("SlowRequests", "slow answers"),
    ("Throttles", "throttles"),
    ("InitFailures", "functions that do not start"),
    ("Errors", "invocations that fail"),
    ("5xx", "answers that fail"),
];

/// A metric as an alarm or widget names it.
struct Named {
    namespace: String,
    metric: String,
    dimensions: Vec<(String, String)>,
}

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let own = own_metrics(view, findings);
    let mut watched = BTreeSet::new();
    for (name, alarm) in view.stack.of_type("AWS::CloudWatch::Alarm") {
        let metrics = of_alarm(alarm);
        findings.unless(!metrics.is_empty(), "alarms", name, || "watches nothing".to_owned());
        for metric in &metrics {
            check_metric(view, name, metric, &own, findings);
        }
        watched.extend(metrics.into_iter().map(|metric| metric.metric));
        findings.unless(!items(&alarm["AlarmActions"]).is_empty(), "alarms", name, || "tells nobody".to_owned());
        findings.unless(alarm["TreatMissingData"].is_string(), "alarms", name, || {
            "does not say what silence means".to_owned()
        });
        let misses = alarm["ComparisonOperator"].as_str().is_some_and(|operator| operator.starts_with("LessThan"));
        findings.unless(!misses || alarm["TreatMissingData"] == "breaching", "alarms", name, || {
            "waits for too little, and takes silence for enough".to_owned()
        });
    }
    for (metric, meaning) in WATCHED {
        findings.unless(watched.contains(*metric), "alarms", metric, || format!("no alarm tells of {meaning}"));
    }
    check_dashboards(view, &own, findings);
}

fn of_alarm(alarm: &Value) -> Vec<Named> {
    let named = |metric: &Value| Named {
        namespace: metric["Namespace"].as_str().unwrap_or_default().to_owned(),
        metric: metric["MetricName"].as_str().unwrap_or_default().to_owned(),
        dimensions: items(&metric["Dimensions"])
            .into_iter()
            .filter_map(|one| Some((one["Name"].as_str()?.to_owned(), one["Value"].as_str()?.to_owned())))
            .collect(),
    };
    match alarm.get("MetricName") {
        Some(_) => vec![named(alarm)],
        None => {
            let queries = items(&alarm["Metrics"]).into_iter();
            queries
                .filter(|query| query.get("MetricStat").is_some())
                .map(|query| named(&query["MetricStat"]["Metric"]))
                .collect()
        }
    }
}

/// The metrics that log lines become: their log group is there, and the code writes such a line.
fn own_metrics(view: &View<'_>, findings: &mut Findings) -> BTreeSet<(String, String)> {
    let mut own = BTreeSet::new();
    for (name, filter) in view.stack.of_type("AWS::Logs::MetricFilter") {
        let group = view.stack.named("AWS::Logs::LogGroup", &filter["LogGroupName"]);
        findings.unless(group.is_some(), "metrics", name, || {
            "reads a log group that the template does not declare".to_owned()
        });
        for transformation in items(&filter["MetricTransformations"]) {
            let text = |key: &str| transformation[key].as_str().unwrap_or_default().to_owned();
            own.insert((text("MetricNamespace"), text("MetricName")));
            let field = text("MetricValue");
            let field = field.strip_prefix("$.").unwrap_or("");
            findings.unless(field.is_empty() || written(view, &format!("{field} =")), "metrics", name, || {
                format!("reads the field `{field}`, which no line has")
            });
        }
        let pattern = filter["FilterPattern"].as_str().unwrap_or_default();
        for (field, value) in equalities(pattern) {
            let there = match field {
                "$.message" => written(view, &format!("\"{value}\"")),
                "$.outcome" => written(view, &format!("=> \"{value}\"")),
                "$.job" => view.subject.code.jobs.iter().any(|(job, _)| job == value),
                _ => true,
            };
            findings.unless(there, "metrics", name, || format!("waits for `{field}` = `{value}`, which no line has"));
        }
    }
    own
}

/// The `field = "value"` of a filter pattern.
fn equalities(pattern: &str) -> Vec<(&str, &str)> {
    let parts = pattern.split(['{', '}', '(', ')', '&', '|']).map(str::trim);
    parts
        .filter_map(|part| part.split_once(" = \""))
        .filter_map(|(field, value)| Some((field, value.strip_suffix('"')?)))
        .collect()
}

/// Whether the functions' sources hold this text.
fn written(view: &View<'_>, text: &str) -> bool {
    view.subject.code.sources.values().any(|source| source.contains(text))
}

fn check_metric(view: &View<'_>, at: &str, named: &Named, own: &BTreeSet<(String, String)>, findings: &mut Findings) {
    let Named { namespace, metric, dimensions } = named;
    let Some((_, metrics, sets)) = OF_AWS.iter().find(|(of, _, _)| of == namespace) else {
        let known = own.contains(&(namespace.clone(), metric.clone()));
        findings
            .unless(known && dimensions.is_empty(), "alarms", at, || format!("`{namespace}` has no metric `{metric}`"));
        return;
    };
    findings
        .unless(metrics.contains(&metric.as_str()), "alarms", at, || format!("`{namespace}` has no metric `{metric}`"));
    let mut names: Vec<&str> = dimensions.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    findings.unless(sets.contains(&names.as_slice()), "alarms", at, || {
        format!("`{namespace}` is not published with the dimensions {names:?}")
    });
    for (dimension, value) in dimensions {
        let Some((_, kind, attribute)) = NAMED_BY.iter().find(|(of, _, _)| of == dimension) else { continue };
        let resource = resource_name(value).and_then(|name| view.stack.resources.get_key_value(name));
        let right =
            resource.is_some_and(|(name, one)| one["Type"] == *kind && *value == format!("${{{name}{attribute}}}"));
        findings.unless(right, "alarms", at, || {
            format!("`{dimension}` is `{value}`, which names no {kind} of the template")
        });
    }
}

fn check_dashboards(view: &View<'_>, own: &BTreeSet<(String, String)>, findings: &mut Findings) {
    let mut dashboards = 0;
    for (name, dashboard) in view.stack.of_type("AWS::CloudWatch::Dashboard") {
        dashboards += 1;
        let body = dashboard["DashboardBody"].as_str().unwrap_or_default();
        let Ok(body) = serde_json::from_str::<Value>(body) else {
            findings.add("dashboard", name, "has a body that is not JSON");
            continue;
        };
        for widget in items(&body["widgets"]) {
            for metric in items(&widget["properties"]["metrics"]) {
                let mut texts = items(metric).into_iter().filter_map(Value::as_str).map(ToOwned::to_owned);
                let (namespace, metric) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
                let mut dimensions = Vec::new();
                while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                    dimensions.push((name, value));
                }
                check_metric(view, name, &Named { namespace, metric, dimensions }, own, findings);
            }
        }
    }
    findings.unless(dashboards == 1, "dashboard", "Dashboard", || "is not there".to_owned());
}
