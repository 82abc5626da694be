//! Metrics in CloudWatch's embedded metric format: a line of JSON from which CloudWatch takes the numbers, without a request
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
//!
//! | metric | unit | outcome |
//! |---|---|---|
//! | `RunsAccepted` | Count | |
//! | `RunsEnded`, `RunDuration`, `RunSteps`, `RunTokens`, `RunCost` | Count, Milliseconds, US dollars | how the run ended |
//! | `ModelAnswers`, `ModelUnanswered`, `InputTokens`, `OutputTokens`, `Cost`, `ModelLatency` | Count, US dollars, Milliseconds | what was answered |
//! | `ToolCalls`, `ToolLatency` | Count, Milliseconds | what came of the attempt |
//! | `PolicyDecisions` | Count | the decision |
//! | `ApprovalsRequested`, `ApprovalsReminded`, `ApprovalsDecided`, `ApprovalWait`, `ApprovalsWaitingChange` | Count, Milliseconds | the verdict |
//! | `Evaluations`, `EvaluationScore` | Count, None | passed or failed |
//! | `Strikes` | Count | |
//! | `ModelRequests` | Count | what came of a request to a model, or that it was not made |
//! | `BreakerOpened`, `BreakerClosed` | Count | |
//!
//! Approvals waiting are the running sum of `ApprovalsWaitingChange` (`RUNNING_SUM` in metric mathematics): one when a person is
//! asked, minus one when the question is answered, expires, or its run ends. Latencies are single values, so that CloudWatch can
//! give percentiles.
//!
//! What is told of every step (answers, requests to models, decisions, tool calls) is gathered until the run is left, at most for a minute
//! and 100 values of a metric: a line then has the values as a list. The other numbers are told at once.
//!
//! Of requests and breakers the line says which model it is about, in a field `Model` that is no dimension.
//!
//! Each stack has a namespace of its own, `Windlass/` and the variable `SERVICE_NAME`, which the template sets to the stack's name: two stacks of an
//! account do not mix. Every metric has the dimension `Release`, and those of [`BY_OUTCOME`] once more with `Outcome`. An environment, a tenant, an
//! actor or a run is never a dimension: each combination is a metric that is paid for by the month (`docs/deploy.md` counts them).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Body, TelemetryEvent};
use crate::{clock::Timestamp, ids::Release};

/// What the namespace of a service's metrics is.
pub fn namespace(service_name: &str) -> String {
    format!("Windlass/{service_name}")
}

/// Every metric of these lines.
pub const METRICS: [&str; 26] = [
    "RunsAccepted",
    "RunsEnded",
    "RunDuration",
    "RunSteps",
    "RunTokens",
    "RunCost",
    "ModelAnswers",
    "ModelUnanswered",
    "InputTokens",
    "OutputTokens",
    "Cost",
    "ModelLatency",
    "ToolCalls",
    "ToolLatency",
    "PolicyDecisions",
    "ApprovalsRequested",
    "ApprovalsReminded",
    "ApprovalsDecided",
    "ApprovalWait",
    "ApprovalsWaitingChange",
    "Evaluations",
    "EvaluationScore",
    "Strikes",
    "ModelRequests",
    "BreakerOpened",
    "BreakerClosed",
];

/// Those that are told once more by outcome: how often each end came. What an end took is not divided so.
pub const BY_OUTCOME: [&str; 7] =
    ["RunsEnded", "ModelAnswers", "ToolCalls", "PolicyDecisions", "ApprovalsDecided", "Evaluations", "ModelRequests"];

/// A unit of CloudWatch
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// So many.
    Count,
    /// Thousandths of a second.
    Milliseconds,
    /// None of CloudWatch's: US dollars, scores.
    None,
}

/// One metric's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What is measured.
    pub name: &'static str,
    /// In what.
    pub unit: Unit,
    /// How much, each time; at least one.
    pub values: Vec<f64>,
}

/// Numbers with the same dimensions: a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// When the first of them was seen.
    pub at: Timestamp,
    /// Where.
    pub environment: String,
    /// Of which release.
    pub release: Release,
    /// With what end, when there are several.
    pub outcome: Option<String>,
    /// About which model, when it is about one; it can be searched for and is no dimension.
    pub model: Option<String>,
    /// The numbers.
    pub metrics: Vec<Metric>,
}

/// What there is to say of a model's provider that no journal entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelNews {
    /// It answered, usably or not.
    Answered,
    /// It is there, and refused.
    Refused,
    /// It said that it cannot answer now, or could not be reached.
    Failed,
    /// It was asked and did not answer: what that took is not known.
    Unanswered,
    /// It was not asked, since its circuit breaker is open.
    TurnedAway,
    /// Its circuit breaker opened: it is left alone for a while.
    Opened,
    /// It is asked as usual again.
    Closed,
}

fn one(name: &'static str, unit: Unit, value: f64) -> Metric {
    Metric { name, unit, values: vec![value] }
}

fn count(name: &'static str, value: u64) -> Metric {
    one(name, Unit::Count, value as f64)
}

fn millis(name: &'static str, value: u64) -> Metric {
    one(name, Unit::Milliseconds, value as f64)
}

fn usd(name: &'static str, micro_usd: u64) -> Metric {
    one(name, Unit::None, micro_usd as f64 / 1e6)
}

impl Metrics {
    /// The numbers in an event, if there are any.
    pub fn of(event: &TelemetryEvent) -> Option<Metrics> {
        let (outcome, metrics) = match &event.body {
            Body::Run(run) => match (run.status.as_str(), &run.totals) {
                ("accepted", _) => (None, vec![count("RunsAccepted", 1)]),
                ("ended", Some(totals)) => {
                    let numbers = vec![
                        count("RunsEnded", 1),
                        millis("RunDuration", totals.duration_ms),
                        count("RunSteps", u64::from(totals.steps)),
                        count("RunTokens", totals.tokens),
                        usd("RunCost", totals.cost_micro_usd),
                    ];
                    (run.outcome.clone(), numbers)
                }
                _ => return None,
            },
            Body::Model(model) => {
                let answers = if model.output_status == "unanswered" { "ModelUnanswered" } else { "ModelAnswers" };
                let mut numbers = vec![
                    count(answers, 1),
                    count("InputTokens", model.input_tokens),
                    count("OutputTokens", model.output_tokens),
                    usd("Cost", model.cost_micro_usd),
                ];
                numbers.extend(model.duration_ms.map(|took| millis("ModelLatency", took)));
                (Some(model.output_status.clone()), numbers)
            }
            // An intent is no outcome.
            Body::Tool(tool) if matches!(tool.status.as_str(), "attempted" | "undoing") => return None,
            Body::Tool(tool) => {
                let latency = tool.duration_ms.map(|took| millis("ToolLatency", took));
                (Some(tool.status.clone()), [count("ToolCalls", 1)].into_iter().chain(latency).collect())
            }
            Body::Policy(policy) => (Some(policy.decision.clone()), vec![count("PolicyDecisions", 1)]),
            Body::Approval(approval) if approval.result == "requested" => {
                (None, vec![count("ApprovalsRequested", 1), count("ApprovalsWaitingChange", 1)])
            }
            Body::Approval(approval) if approval.result == "reminded" => (None, vec![count("ApprovalsReminded", 1)]),
            Body::Approval(approval) => {
                let change = one("ApprovalsWaitingChange", Unit::Count, -1.0);
                let wait = approval.waited_ms.map(|waited| millis("ApprovalWait", waited));
                let numbers = [count("ApprovalsDecided", 1), change].into_iter().chain(wait);
                (Some(approval.result.clone()), numbers.collect())
            }
            Body::Eval(eval) => {
                let score = one("EvaluationScore", Unit::None, eval.score);
                let outcome = if eval.passed { "passed" } else { "failed" };
                (Some(outcome.to_owned()), vec![count("Evaluations", 1), score])
            }
            Body::Retrieval(_) | Body::Memory(_) => return None,
        };
        let envelope = &event.envelope;
        let (environment, release) = (envelope.environment.clone(), envelope.release.clone());
        Some(Metrics { at: envelope.at, environment, release, outcome, model: None, metrics })
    }

    /// One claim of a run that had been claimed in vain before.
    pub(super) fn strike(at: Timestamp, environment: &str, release: &Release) -> Metrics {
        let (environment, release) = (environment.to_owned(), release.clone());
        Metrics { at, environment, release, outcome: None, model: None, metrics: vec![count("Strikes", 1)] }
    }

    /// Something came of a request to `model`, or of its circuit breaker.
    pub(super) fn of_model(
        model: &str,
        news: ModelNews,
        at: Timestamp,
        environment: &str,
        release: &Release,
    ) -> Metrics {
        let (outcome, name) = match news {
            ModelNews::Answered => (Some("answered"), "ModelRequests"),
            ModelNews::Refused => (Some("refused"), "ModelRequests"),
            ModelNews::Failed => (Some("failed"), "ModelRequests"),
            ModelNews::Unanswered => (Some("unanswered"), "ModelRequests"),
            ModelNews::TurnedAway => (Some("turned_away"), "ModelRequests"),
            ModelNews::Opened => (None, "BreakerOpened"),
            ModelNews::Closed => (None, "BreakerClosed"),
        };
        let (environment, release, outcome) = (environment.to_owned(), release.clone(), outcome.map(str::to_owned));
        Metrics { at, environment, release, outcome, model: Some(model.to_owned()), metrics: vec![count(name, 1)] }
    }

    /// Whether these numbers can be in one line.
    pub(super) fn goes_with(&self, other: &Metrics) -> bool {
        (&self.outcome, &self.model) == (&other.outcome, &other.model)
            && (&self.environment, &self.release) == (&other.environment, &other.release)
    }

    /// Takes in the numbers of another line.
    pub(super) fn merge(&mut self, other: Metrics) {
        for metric in other.metrics {
            match self.metrics.iter_mut().find(|known| known.name == metric.name) {
                Some(known) => known.values.extend(metric.values),
                None => self.metrics.push(metric),
            }
        }
    }

    /// Of how many values the metric is that has the most.
    pub(super) fn values_max(&self) -> usize {
        self.metrics.iter().map(|metric| metric.values.len()).max().unwrap_or_default()
    }

    /// Its line, in the namespace of this service.
    pub fn line(&self, namespace: &str) -> String {
        const ALONE: &[&[&str]] = &[&["Release"]];
        const WITH_OUTCOME: &[&[&str]] = &[&["Release", "Outcome"]];
        let definitions = |of: fn(&&Metric) -> bool| -> Vec<Definition> {
            let metrics = self.metrics.iter().filter(of);
            metrics.map(|metric| Definition { name: metric.name, unit: metric.unit }).collect()
        };
        let mut directives = vec![Directive { namespace, dimensions: ALONE, metrics: definitions(|_| true) }];
        let by_outcome = definitions(|metric| BY_OUTCOME.contains(&metric.name));
        if self.outcome.is_some() && !by_outcome.is_empty() {
            directives.push(Directive { namespace, dimensions: WITH_OUTCOME, metrics: by_outcome });
        }
        let line = Line {
            environment: &self.environment,
            release: &self.release,
            outcome: self.outcome.as_deref(),
            model: self.model.as_deref(),
            aws: Metadata { timestamp: self.at.as_millis(), directives },
            values: self.metrics.iter().map(|metric| (metric.name, Values::of(metric))).collect(),
        };
        // Texts and numbers: nothing that JSON cannot hold.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// A line of the format.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    environment: &'a str,
    release: &'a Release,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(rename = "_aws")]
    aws: Metadata<'a>,
    #[serde(flatten)]
    values: BTreeMap<&'static str, Values<'a>>,
}

/// A number, or a list when there are several.
#[derive(Serialize)]
#[serde(untagged)]
enum Values<'a> {
    One(f64),
    Several(&'a [f64]),
}

impl<'a> Values<'a> {
    fn of(metric: &'a Metric) -> Self {
        match metric.values.as_slice() {
            [one] => Values::One(*one),
            several => Values::Several(several),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: Vec<Directive<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: &'static [&'static [&'static str]],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: Unit,
}
