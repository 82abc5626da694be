//! Every alarm of the template goes off when it should, and not beside it: its own expressions and the template's own metric filters are
//! evaluated, over lines and values that stand here.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use serde_json::{Value, json};
use windlass_local::{ManualClock, MetricFilterSpec, Monitoring};

use crate::{
    functions::checkout,
    infra_check::{
        Subject,
        stack::{Stack, items},
    },
};

/// Midnight, UTC: every period of an alarm begins with it.
const START: Duration = Duration::from_secs(20_833 * 86_400);

/// What is seen in one period.
#[derive(Clone)]
enum Seen {
    /// A line of a log group.
    Line(&'static str, Value),
    /// A value of a metric of AWS, by its dimensions.
    Metric(&'static str, &'static str, Vec<(&'static str, &'static str)>, f64),
}

/// In which of the alarm's periods something is seen, and how often in each.
type Series = Vec<(Range<u64>, u32, Seen)>;

/// An alarm, what makes it go off, and what does not.
struct Row {
    alarm: &'static str,
    fires: Vec<Series>,
    quiet: Vec<Series>,
}

fn row(alarm: &'static str, fires: Vec<Series>, quiet: Vec<Series>) -> Row {
    Row { alarm, fires, quiet }
}

fn line(group: &'static str, message: &str, more: Value) -> Seen {
    let mut line = json!({ "message": message });
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    Seen::Line(group, line)
}

fn step(message: &str) -> Seen {
    line("${StepLogs}", message, json!({}))
}

fn over(outcome: &str) -> Seen {
    line("${StepLogs}", "the run is over", json!({ "outcome": outcome }))
}

fn ran(job: &str, behind_seconds: u64) -> Seen {
    line("${CleanupLogs}", "ran", json!({ "job": job, "handled": 1, "behind_seconds": behind_seconds }))
}

fn failed(job: &str) -> Seen {
    line("${CleanupLogs}", "ran", json!({ "job": job, "handled": 0, "behind_seconds": 0, "error": "no" }))
}

fn held(by: &str, seconds: u64) -> Seen {
    line("${StepLogs}", "the run is held", json!({ "held_by": by, "held_seconds": seconds }))
}

fn model(cost_micro_usd: u64) -> Seen {
    Seen::Line("${StepLogs}", json!({ "event": "model", "cost_micro_usd": cost_micro_usd }))
}

fn starts(group: &'static str, status: &str) -> Seen {
    Seen::Line(group, json!({ "type": "platform.initReport", "record": { "status": status } }))
}

fn queue(metric: &'static str, name: &'static str, value: f64) -> Seen {
    Seen::Metric("AWS/SQS", metric, vec![("QueueName", name)], value)
}

fn lambda(metric: &'static str, function: &'static str, value: f64) -> Seen {
    Seen::Metric("AWS/Lambda", metric, vec![("FunctionName", function)], value)
}

fn table(metric: &'static str, table: &'static str, value: f64) -> Seen {
    Seen::Metric("AWS/DynamoDB", metric, vec![("TableName", table)], value)
}

fn index(metric: &'static str, name: &'static str, value: f64) -> Seen {
    let dimensions = vec![("TableName", "${RunsTable}"), ("GlobalSecondaryIndexName", name)];
    Seen::Metric("AWS/DynamoDB", metric, dimensions, value)
}

fn api(metric: &'static str, value: f64) -> Seen {
    Seen::Metric("AWS/ApiGateway", metric, vec![("ApiId", "${HttpApi}")], value)
}

/// One thing, once, in the first period.
fn once(seen: Seen) -> Series {
    vec![(0..1, 1, seen)]
}

fn of_runs() -> Vec<Row> {
    const WITHOUT_END: &str = "the run is handed over";
    let handed_over = |claims: u64| line("${StepLogs}", WITHOUT_END, json!({ "claims": claims }));
    vec![
        row("runs-dead", vec![once(over("dead"))], vec![vec![(0..1, 9, over("failed"))]]),
        row(
            "runs-failed",
            vec![
                vec![(0..2, 2, over("failed")), (0..2, 18, over("completed"))],
                vec![(1..3, 1, over("limit_reached")), (1..3, 1, over("doubt_expired")), (1..3, 20, over("completed"))],
            ],
            vec![
                vec![(0..3, 1, over("failed")), (0..3, 19, over("completed"))],
                vec![(0..3, 19, over("failed"))],
                vec![(0..1, 20, over("failed"))],
                vec![(0..3, 20, over("completed"))],
            ],
        ),
        row("runs-unreadable", vec![once(step("the run was left alone"))], vec![once(step("advanced"))]),
        row("foreign-messages", vec![once(step("a message that is not ours"))], vec![once(step("advanced"))]),
        row(
            "effects-left",
            vec![once(step("an effect could not be undone")), once(step("an abandoned run leaves calls in doubt"))],
            vec![once(step("undone"))],
        ),
        row(
            "runs-held",
            vec![once(held("switch", 3_600)), once(held("model", 90_000))],
            vec![vec![(0..1, 500, held("model", 3_599))]],
        ),
        row(
            "many-runs-held",
            vec![
                vec![(0..1, 50, held("model", 0))],
                vec![(0..1, 25, held("controls", 0)), (0..1, 25, held("prompt", 0))],
            ],
            vec![
                vec![(0..1, 49, held("model", 0))],
                vec![(0..1, 500, held("switch", 0))],
                vec![(0..1, 500, held("model", 30))],
            ],
        ),
        row("runs-without-end", vec![once(handed_over(200))], vec![vec![(0..1, 99, handed_over(199))]]),
        row(
            "model-unanswered",
            vec![vec![(0..2, 10, step("the model did not answer"))]],
            vec![vec![(0..3, 9, step("the model did not answer"))], vec![(0..1, 99, step("the model did not answer"))]],
        ),
        row("daily-cost", vec![vec![(0..1, 2, model(25_000_000))]], vec![vec![(0..1, 1, model(49_999_999))]]),
    ]
}

fn of_approvals_and_jobs() -> Vec<Row> {
    const HIDDEN: &str = "a run that waits for a person cannot be read";
    vec![
        row(
            "approvals-expiring",
            vec![once(step("an approval is about to expire"))],
            vec![once(step("a person is asked"))],
        ),
        row("approvals-expired", vec![once(step("nobody answered in time"))], vec![once(step("a person is asked"))]),
        row(
            "approvals-hidden",
            vec![once(line("${ApprovalLogs}", HIDDEN, json!({})))],
            vec![once(line("${ApprovalLogs}", "a request is refused", json!({})))],
        ),
        row(
            "rescue-missed",
            vec![vec![], vec![(0..1, 5, failed("rescue-runs"))], vec![(0..1, 5, ran("enforce-retention", 0))]],
            vec![once(ran("rescue-runs", 0))],
        ),
        row("sweep-behind", vec![once(ran("rescue-runs", 121))], vec![vec![(0..1, 5, ran("rescue-runs", 120))]]),
        row(
            "retention-missed",
            vec![vec![], vec![(0..3, 1, failed("enforce-retention"))]],
            vec![vec![(1..2, 1, ran("enforce-retention", 0))]],
        ),
        row(
            "retention-behind",
            vec![vec![(0..3, 1, ran("enforce-retention", 21_600))]],
            vec![vec![(0..3, 1, ran("enforce-retention", 18_000))], vec![(0..2, 1, ran("enforce-retention", 82_800))]],
        ),
        row(
            "firings-dropped",
            vec![once(Seen::Metric(
                "AWS/Scheduler",
                "InvocationDroppedCount",
                vec![("ScheduleGroup", "${Schedules}")],
                1.0,
            ))],
            vec![once(Seen::Metric(
                "AWS/Scheduler",
                "InvocationAttemptCount",
                vec![("ScheduleGroup", "${Schedules}")],
                9.0,
            ))],
        ),
    ]
}

fn of_services() -> Vec<Row> {
    const AGE: &str = "ApproximateAgeOfOldestMessage";
    const VISIBLE: &str = "ApproximateNumberOfMessagesVisible";
    const SLOW: &str = "a request took long";
    let (step_dead, schedule_dead) = ("${StepDeadLetters.QueueName}", "${ScheduleDeadLetters.QueueName}");
    let shed = || line("${IntakeLogs}", "a request is shed", json!({ "reason": "overloaded" }));
    let slow = |group: &'static str| line(group, SLOW, json!({ "took_ms": 2_001 }));
    vec![
        row(
            "oldest-message",
            vec![vec![(0..3, 1, queue(AGE, "${StepQueue.QueueName}", 300.0))]],
            vec![
                vec![(0..5, 1, queue(AGE, "${StepQueue.QueueName}", 299.0))],
                vec![(0..2, 1, queue(AGE, "${StepQueue.QueueName}", 900.0))],
            ],
        ),
        row(
            "step-dead-letters",
            vec![once(queue(VISIBLE, step_dead, 1.0))],
            vec![once(queue(VISIBLE, schedule_dead, 1.0))],
        ),
        row(
            "schedule-dead-letters",
            vec![once(queue(VISIBLE, schedule_dead, 1.0))],
            vec![once(queue(VISIBLE, step_dead, 1.0))],
        ),
        row(
            "init-failures",
            ["${IntakeLogs}", "${StepLogs}", "${ApprovalLogs}", "${CleanupLogs}"]
                .map(|of| once(starts(of, "error")))
                .into(),
            vec![once(starts("${StepLogs}", "success"))],
        ),
        row(
            "function-errors",
            ["${IntakeFunction}", "${StepFunction}", "${ApprovalFunction}", "${CleanupFunction}"]
                .map(|one| vec![(0..1, 5, lambda("Errors", one, 1.0))])
                .into(),
            vec![vec![(0..1, 4, lambda("Errors", "${StepFunction}", 1.0))]],
        ),
        row(
            "throttles",
            ["${IntakeFunction}", "${StepFunction}", "${ApprovalFunction}", "${CleanupFunction}"]
                .map(|one| vec![(0..2, 10, lambda("Throttles", one, 1.0))])
                .into(),
            vec![
                vec![(0..3, 9, lambda("Throttles", "${StepFunction}", 1.0))],
                vec![(0..1, 99, lambda("Throttles", "${StepFunction}", 1.0))],
            ],
        ),
        row(
            "table-throttles",
            ["${RunsTable}", "${ControlsTable}", "${IdempotencyTable}", "${MemoryTable}"]
                .into_iter()
                .flat_map(|one| {
                    ["ReadThrottleEvents", "WriteThrottleEvents"]
                        .map(|metric| vec![(0..2, 1, table(metric, one, 10.0))])
                })
                .collect(),
            vec![
                vec![(0..3, 1, table("WriteThrottleEvents", "${RunsTable}", 9.0))],
                vec![(1..2, 1, table("WriteThrottleEvents", "${RunsTable}", 99.0))],
            ],
        ),
        row(
            "index-throttles",
            ["due", "inbox", "owner"]
                .into_iter()
                .flat_map(|one| {
                    ["ReadThrottleEvents", "WriteThrottleEvents"]
                        .map(|metric| vec![(0..2, 1, index(metric, one, 10.0))])
                })
                .collect(),
            vec![
                vec![(0..3, 1, index("WriteThrottleEvents", "due", 9.0))],
                vec![(0..3, 1, table("WriteThrottleEvents", "${RunsTable}", 99.0))],
            ],
        ),
        row(
            "server-errors",
            vec![once(api("5xx", 5.0)), vec![(0..1, 1, api("5xx", 105.0)), (0..1, 100, shed())]],
            vec![
                once(api("5xx", 4.0)),
                vec![(0..1, 1, api("5xx", 100.0)), (0..1, 100, shed())],
                vec![(0..1, 100, shed())],
            ],
        ),
        row(
            "latency",
            vec![
                vec![(0..3, 1, api("Count", 40.0)), (0..3, 3, slow("${IntakeLogs}"))],
                vec![
                    (0..3, 1, api("Count", 20.0)),
                    (0..3, 1, slow("${IntakeLogs}")),
                    (0..3, 1, slow("${ApprovalLogs}")),
                ],
            ],
            vec![
                vec![(0..3, 1, api("Count", 40.0)), (0..3, 2, slow("${IntakeLogs}"))],
                vec![(0..3, 1, api("Count", 19.0)), (0..3, 19, slow("${IntakeLogs}"))],
                vec![(0..3, 1, api("Count", 100.0)), (0..3, 100, api("IntegrationLatency", 25_000.0))],
                vec![(0..3, 1, api("Count", 40.0)), (1..3, 40, slow("${IntakeLogs}"))],
            ],
        ),
    ]
}

/// The template's alarms and metric filters, as the production deployment sees them.
struct Template {
    alarms: Vec<Value>,
    filters: Vec<MetricFilterSpec>,
}

impl Template {
    fn read() -> Template {
        let subject = Subject::read(&checkout()).expect("the template");
        let production = subject.deployments.iter().find(|one| one.name == "production").expect("a deployment");
        let stack = Stack::of(&subject.template.value, &production.parameters);
        let filters = stack.of_type("AWS::Logs::MetricFilter").flat_map(|(_, filter)| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let (log_group, pattern) = (text(&filter["LogGroupName"]), text(&filter["FilterPattern"]));
            items(&filter["MetricTransformations"])
                .into_iter()
                .map(|one| MetricFilterSpec {
                    log_group: log_group.clone(),
                    pattern: pattern.clone(),
                    namespace: text(&one["MetricNamespace"]),
                    metric: text(&one["MetricName"]),
                    value: text(&one["MetricValue"]),
                })
                .collect::<Vec<_>>()
        });
        Template {
            filters: filters.collect(),
            alarms: stack.of_type("AWS::CloudWatch::Alarm").map(|(_, alarm)| alarm.clone()).collect(),
        }
    }

    fn names(&self) -> BTreeSet<&str> {
        self.alarms.iter().map(name).collect()
    }

    /// The alarm's state once its evaluation periods are over, in which `series` was seen.
    fn state(&self, alarm: &Value, series: &Series) -> String {
        let clock = Arc::new(ManualClock::at(START));
        let monitoring = Monitoring::new(clock.clone(), self.filters.clone()).expect("patterns are understood");
        monitoring.put_alarm(alarm.clone()).unwrap_or_else(|problem| panic!("{}: {problem}", name(alarm)));
        let stat = items(&alarm["Metrics"]).into_iter().find(|query| query.get("MetricStat").is_some());
        let period = stat.map_or(&alarm["Period"], |query| &query["MetricStat"]["Period"]).as_u64().expect("a period");
        for number in 0..alarm["EvaluationPeriods"].as_u64().expect("periods") {
            for (_, times, seen) in series.iter().filter(|(periods, ..)| periods.contains(&number)) {
                (0..*times).for_each(|_| show(&monitoring, seen));
            }
            clock.advance(Duration::from_secs(period));
        }
        monitoring.state(alarm["AlarmName"].as_str().expect("a name")).expect("the alarm is there")
    }
}

fn name(alarm: &Value) -> &str {
    let name = alarm["AlarmName"].as_str().and_then(|name| name.strip_prefix("${AWS::StackName}-"));
    name.expect("an alarm has the stack's name before its own")
}

fn show(monitoring: &Monitoring, seen: &Seen) {
    match seen {
        Seen::Line(group, line) => drop(monitoring.log(group, &line.to_string())),
        Seen::Metric(namespace, metric, dimensions, value) => {
            let dimensions: Vec<(String, String)> =
                dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            monitoring.observe(namespace, metric, &dimensions, *value, Duration::ZERO);
        }
    }
}

#[test]
fn every_alarm_of_the_template_goes_off_when_it_should_and_not_beside_it() {
    let template = Template::read();
    let rows: Vec<Row> = [of_runs(), of_approvals_and_jobs(), of_services()].into_iter().flatten().collect();
    let shown: BTreeSet<&str> = rows.iter().map(|row| row.alarm).collect();
    assert_eq!(shown, template.names(), "each alarm has a row, and each row an alarm");
    assert_eq!(shown.len(), rows.len());
    let mut wrong = Vec::new();
    for Row { alarm, fires, quiet } in &rows {
        let declared = template.alarms.iter().find(|one| name(one) == *alarm).expect("it is declared");
        let wanted = fires.iter().map(|series| ("ALARM", series)).chain(quiet.iter().map(|series| ("OK", series)));
        for (number, (wanted, series)) in wanted.enumerate() {
            let state = template.state(declared, series);
            if state != wanted {
                wrong.push(format!("{alarm}, series {number}: {state} instead of {wanted}"));
            }
        }
        assert!(!fires.is_empty() && !quiet.is_empty(), "{alarm}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_alarm_without_data_is_quiet_unless_silence_is_what_it_waits_for() {
    let template = Template::read();
    for alarm in &template.alarms {
        let wanted = if alarm["TreatMissingData"] == "breaching" { "ALARM" } else { "OK" };
        assert_eq!(template.state(alarm, &Vec::new()), wanted, "{}", name(alarm));
    }
}
