//! Queues and the mapping from the step queue to its function.

use serde_json::Value;

use super::View;
use crate::infra_check::{finding::Findings, stack::items};

const QUEUE: &str = "AWS::SQS::Queue";

/// The longest that SQS keeps a message, in seconds: 14 days
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const RETENTION_MAX_SECONDS: u64 = 14 * 24 * 3600;

/// How many times the function's timeout a message must stay hidden
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>).
const TIMEOUTS_HIDDEN: u64 = 6;

/// The maximum concurrency that a mapping can have
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>).
const CONCURRENCY: std::ops::RangeInclusive<u64> = 2..=1_000;

/// Receives after which a message is given up: enough for a run that is held, few enough that a poisonous one ends. Below five, a few
/// throttled receives would be the end of a message.
const RECEIVES: std::ops::RangeInclusive<u64> = 5..=20;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let mappings: Vec<_> = view.stack.of_type("AWS::Lambda::EventSourceMapping").collect();
    findings.unless(!mappings.is_empty(), "queues", "StepQueue", || "nothing reads it".to_owned());
    for (name, mapping) in mappings {
        check_mapping(view, name, mapping, findings);
    }
    for (name, queue) in view.stack.of_type(QUEUE) {
        findings.unless(
            queue["SqsManagedSseEnabled"] == true || queue["KmsMasterKeyId"].is_string(),
            "queues",
            name,
            || "is not encrypted".to_owned(),
        );
        findings.unless(queue["MessageRetentionPeriod"] == RETENTION_MAX_SECONDS, "queues", name, || {
            "does not keep messages for 14 days: a message's age counts from its first send, dead or not".to_owned()
        });
        findings.unless(only_over_tls(view, name), "queues", name, || "can be reached without TLS".to_owned());
    }
}

fn check_mapping(view: &View<'_>, name: &str, mapping: &Value, findings: &mut Findings) {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    findings.unless(
        mapping["FunctionResponseTypes"] == serde_json::json!(["ReportBatchItemFailures"]),
        "queues",
        name,
        || "does not take reports of single failures: one failed message brings its whole batch back".to_owned(),
    );
    let most = number(&mapping["ScalingConfig"]["MaximumConcurrency"]);
    findings.unless(CONCURRENCY.contains(&most), "queues", name, || {
        "has no maximum concurrency between 2 and 1000".to_owned()
    });
    let Some((queue_name, queue)) = view.stack.named(QUEUE, &mapping["EventSourceArn"]) else {
        return findings.add("queues", name, "reads from a queue that the template does not declare");
    };
    check_redrive(view, queue_name, queue, findings);
    // What `cfn-lint` cannot see: the mapping names an alias, and the timeout is its function's.
    let Some((function_name, function)) = view.stack.behind_live(&mapping["FunctionName"]) else { return };
    let needed = TIMEOUTS_HIDDEN * number(&function["Timeout"]) + number(&mapping["MaximumBatchingWindowInSeconds"]);
    let hidden = number(&queue["VisibilityTimeout"]);
    findings.unless(hidden >= needed, "queues", queue_name, || {
        format!(
            "hides a message for {hidden} s; six timeouts of `{function_name}` and the batching window take {needed} s"
        )
    });
    // A parameter's value is text.
    let reserved = &function["ReservedConcurrentExecutions"];
    match reserved.as_u64().or_else(|| reserved.as_str()?.parse().ok()) {
        Some(reserved) => findings.unless(reserved >= most, "queues", function_name, || {
            format!("reserves {reserved} executions, and its mapping uses up to {most}: the rest is throttled")
        }),
        None => findings.unless(view.deployment.name == "dev", "queues", function_name, || {
            format!("reserves no concurrency in {}", view.deployment.name)
        }),
    }
}

fn check_redrive(view: &View<'_>, name: &str, queue: &Value, findings: &mut Findings) {
    let redrive = &queue["RedrivePolicy"];
    let target = view.stack.named(QUEUE, &redrive["deadLetterTargetArn"]);
    findings.unless(target.is_some_and(|(target, _)| target != name), "queues", name, || {
        "has no dead-letter queue of this template".to_owned()
    });
    let receives = redrive["maxReceiveCount"].as_u64().unwrap_or_default();
    findings.unless(RECEIVES.contains(&receives), "queues", name, || {
        format!("gives a message up after {receives} receives, not after {} to {}", RECEIVES.start(), RECEIVES.end())
    });
}

fn only_over_tls(view: &View<'_>, name: &str) -> bool {
    let refuses = |statement: &&Value| {
        statement["Effect"] == "Deny" && statement["Condition"]["Bool"]["aws:SecureTransport"] == "false"
    };
    let mut policies = view.stack.of_type("AWS::SQS::QueuePolicy");
    policies.any(|(_, policy)| {
        items(&policy["Queues"]).contains(&&Value::from(format!("${{{name}}}")))
            && items(&policy["PolicyDocument"]["Statement"]).iter().any(refuses)
    })
}
