//! What Lambda counts of each invocation.
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>

use std::{collections::BTreeMap, time::Duration};

use super::{Metric, Metrics};

const NAMESPACE: &str = "AWS/Lambda";

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a result.
    Answered,
    /// With an error of the function, a timeout, a crash or a failed start.
    Failed,
    /// It was refused for want of a process. That is no invocation.
    Throttled,
}

/// One invocation, told to [`Metrics`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invocation<'a> {
    pub(crate) function: &'a str,
    /// What was asked for: an alias, a version or `$LATEST`; `None` without a qualifier.
    pub(crate) qualifier: Option<&'a str>,
    /// What ran, if an alias was asked for.
    pub(crate) executed: Option<&'a str>,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// Processes at work when it began, itself included.
    pub(crate) concurrent: usize,
}

impl Metrics {
    /// Counts an invocation under everything it can be looked up by: nothing, its function, what was asked for and, behind an
    /// alias, what ran.
    pub(crate) fn invoked(&self, invocation: &Invocation<'_>) {
        let failed = f64::from(u8::from(invocation.outcome == Outcome::Failed));
        let throttled = f64::from(u8::from(invocation.outcome == Outcome::Throttled));
        let mut numbers = vec![("Throttles", "Count", throttled)];
        if invocation.outcome != Outcome::Throttled {
            numbers.push(("Invocations", "Count", 1.0));
            numbers.push(("Errors", "Count", failed));
            numbers.push(("Duration", "Milliseconds", invocation.took.as_secs_f64() * 1e3));
            numbers.push(("ConcurrentExecutions", "Count", invocation.concurrent as f64));
        }
        for dimensions in invocation.dimensions() {
            for (name, unit, value) in &numbers {
                let (namespace, name) = (NAMESPACE.to_owned(), (*name).to_owned());
                self.count(Metric { namespace, name, dimensions: dimensions.clone() }, unit, *value);
            }
        }
    }
}

impl Invocation<'_> {
    fn dimensions(&self) -> Vec<BTreeMap<String, String>> {
        let resource = match self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.function),
            None => self.function.to_owned(),
        };
        let mut dimensions = BTreeMap::new();
        let mut all = vec![dimensions.clone()];
        let more = [("FunctionName", Some(self.function)), ("Resource", Some(resource.as_str()))];
        for (name, value) in more.into_iter().chain([("ExecutedVersion", self.executed)]) {
            let Some(value) = value else { continue };
            dimensions.insert(name.to_owned(), value.to_owned());
            all.push(dimensions.clone());
        }
        all
    }
}
