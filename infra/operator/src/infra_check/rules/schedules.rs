//! Schedules: every job fires as often as the code says, with an input that the code reads, and nothing that fails is lost.

use std::time::Duration;

use cleanup::event::{Firing, Task};
use serde_json::Value;

use super::View;
use crate::infra_check::finding::Findings;

const SCHEDULE: &str = "AWS::Scheduler::Schedule";
const QUEUE: &str = "AWS::SQS::Queue";

/// What the scheduler puts the time in place of
/// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>).
const TIME: &str = "<aws.scheduler.scheduled-time>";

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mut fired = Vec::new();
    for (name, schedule) in view.stack.of_type(SCHEDULE) {
        let target = &schedule["Target"];
        let every = every(schedule["ScheduleExpression"].as_str().unwrap_or_default());
        match job(target["Input"].as_str().unwrap_or_default()) {
            Ok(job) => {
                if let Some(every) = every {
                    fired.push((job, every));
                }
            }
            Err(problem) => findings.add("schedules", name, format!("fires what the function refuses: {problem}")),
        }
        findings.unless(every.is_some(), "schedules", name, || "has no rate".to_owned());
        let dead_letters = view.stack.named(QUEUE, &reference(&target["DeadLetterConfig"]["Arn"]));
        let of_its_own = dead_letters.is_some_and(|(queue, _)| !feeds_on(view, queue));
        findings.unless(of_its_own, "schedules", name, || "has no dead-letter queue of the schedules' own".to_owned());
        let retries = target["RetryPolicy"]["MaximumRetryAttempts"].as_u64();
        let age = target["RetryPolicy"]["MaximumEventAgeInSeconds"].as_u64();
        findings
            .unless(retries.is_some() && age.is_some(), "schedules", name, || "does not bound its retries".to_owned());
        let late = every.zip(age).is_some_and(|(every, age)| Duration::from_secs(age) > every);
        findings.unless(!late, "schedules", name, || "is still tried when the next firing is due".to_owned());
        findings.unless(
            view.stack.named("AWS::Scheduler::ScheduleGroup", &schedule["GroupName"]).is_some(),
            "schedules",
            name,
            || "is in no group, by which its metrics are found".to_owned(),
        );
    }
    for job in &view.subject.code.jobs {
        findings.unless(fired.iter().filter(|one| *one == job).count() == 1, "schedules", &job.0, || {
            format!("is not fired every {} s by one schedule", job.1.as_secs())
        });
    }
    for one in &fired {
        findings.unless(view.subject.code.jobs.contains(one), "schedules", &one.0, || {
            "is fired otherwise than the code says".to_owned()
        });
    }
    let kept = view.stack.of_type("AWS::Lambda::EventInvokeConfig").any(|(_, config)| {
        view.stack.named(QUEUE, &reference(&config["DestinationConfig"]["OnFailure"]["Destination"])).is_some()
    });
    findings.unless(kept, "schedules", "CleanupFunction", || {
        "loses a firing that fails: the scheduler does not wait for its end".to_owned()
    });
}

/// The job that an input names, as the function reads it.
fn job(input: &str) -> Result<String, String> {
    if !input.contains(TIME) {
        return Err(format!("no `{TIME}`, so that a repeated firing would run again"));
    }
    let event: Value =
        serde_json::from_str(&input.replace(TIME, "2026-01-01T00:00:00Z")).map_err(|error| error.to_string())?;
    let firing = Firing::read(event).map_err(|error| error.to_string())?;
    match firing.task {
        Task::Job(job) => Ok(job.name().to_owned()),
        Task::StartRun { schedule, .. } => Ok(schedule),
    }
}

/// `rate(5 minutes)` as a span.
fn every(expression: &str) -> Option<Duration> {
    let (count, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let seconds = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// `${Queue.Arn}` as `${Queue}`.
fn reference(arn: &Value) -> Value {
    Value::from(arn.as_str().unwrap_or_default().replace(".Arn}", "}"))
}

/// Whether runs' messages end in this queue.
fn feeds_on(view: &View<'_>, queue: &str) -> bool {
    let arn = format!("${{{queue}.Arn}}");
    view.stack.of_type(QUEUE).any(|(_, other)| other["RedrivePolicy"]["deadLetterTargetArn"] == arn)
}
