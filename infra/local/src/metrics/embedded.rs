//! Metrics in what functions write.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DIMENSIONS_MAX, Distribution, Metric, Metrics};

/// The most metrics in one directive; the specification's.
const METRICS_MAX: usize = 100;

/// The most values of one metric in one line; the specification's.
const VALUES_MAX: usize = 100;

/// Reads the lines of functions.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedMetrics(Arc<Metrics>);

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "Timestamp")]
    timestamp_ms: u64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: Vec<Directive>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: String,
    dimensions: Vec<Vec<String>>,
    metrics: Vec<Definition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: String,
    #[serde(default)]
    unit: Option<String>,
}

impl EmbeddedMetrics {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self(metrics)
    }

    /// Adds the metrics of a line; most lines have none. A line that breaks the specification is ignored, as CloudWatch ignores it.
    pub(crate) fn read(&self, line: &str) {
        if !line.starts_with('{') || !line.contains("\"_aws\"") {
            return;
        }
        let Ok(root) = serde_json::from_str::<Map<String, Value>>(line) else { return };
        let Some(Ok(metadata)) = root.get("_aws").map(Metadata::deserialize) else { return };
        for directive in &metadata.directives {
            self.add(directive, &root, Duration::from_millis(metadata.timestamp_ms));
        }
    }

    fn add(&self, directive: &Directive, root: &Map<String, Value>, at: Duration) {
        for definition in directive.metrics.iter().take(METRICS_MAX) {
            let Some(values) = root.get(&definition.name).and_then(values) else { continue };
            for names in directive.dimensions.iter().filter(|names| names.len() <= DIMENSIONS_MAX) {
                let Some(dimensions) = dimensions(names, root) else { continue };
                let (namespace, name) = (directive.namespace.clone(), definition.name.clone());
                let unit = definition.unit.as_deref().unwrap_or("None");
                self.0.add(Metric { namespace, name, dimensions }, unit, at, &values);
            }
        }
    }
}

fn values(value: &Value) -> Option<Distribution> {
    let Value::Array(values) = value else {
        return Some(Distribution::of(value.as_f64()?, 1.0));
    };
    let mut all = Distribution::default();
    for value in values.iter().take(VALUES_MAX) {
        all.merge(&Distribution::of(value.as_f64()?, 1.0));
    }
    Some(all)
}

/// `None` when a dimension has no text.
fn dimensions(names: &[String], root: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
    names.iter().map(|name| Some((name.clone(), root.get(name)?.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        clock::ManualClock,
        metrics::{Range, Statistic},
    };

    const AT: u64 = 1_800_000_000;

    fn metrics() -> (Arc<Metrics>, EmbeddedMetrics) {
        let metrics = Arc::new(Metrics::new(Arc::new(ManualClock::at(Duration::from_secs(AT)))));
        (Arc::clone(&metrics), EmbeddedMetrics::new(metrics))
    }

    fn line(extra: Value) -> String {
        let directive = json!({
            "Namespace": "Kit", "Dimensions": [["Release"], ["Release", "Outcome"]],
            "Metrics": [{ "Name": "Runs", "Unit": "Count" }, { "Name": "Missing" }, { "Name": "Took" }],
        });
        let mut root = json!({
            "_aws": { "Timestamp": AT * 1000, "CloudWatchMetrics": [directive] },
            "Release": "r1", "Outcome": "done", "Runs": 1, "Took": [1.5, 2.5], "other": { "a": 1 },
        });
        if let (Value::Object(root), Value::Object(extra)) = (&mut root, extra) {
            root.extend(extra);
        }
        root.to_string()
    }

    #[test]
    fn a_line_adds_to_every_set_of_dimensions() {
        let (metrics, lines) = metrics();
        lines.read(&line(json!({})));
        lines.read(&line(json!({ "Runs": 2 })));
        let sum = |name: &str, dimensions: &[(&str, &str)]| {
            let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let metric = Metric { namespace: "Kit".into(), name: name.into(), dimensions };
            let range = Range { from: AT, until: AT + 60, period_seconds: 60 };
            metrics.periods(&metric, None, &range).first().and_then(|(_, values)| values.statistic(Statistic::Sum))
        };
        assert_eq!(sum("Runs", &[("Release", "r1")]), Some(3.0));
        assert_eq!(sum("Runs", &[("Release", "r1"), ("Outcome", "done")]), Some(3.0));
        assert_eq!(sum("Took", &[("Release", "r1")]), Some(8.0));
        assert_eq!(sum("Runs", &[]), None);
        assert_eq!(metrics.list().len(), 4);
    }

    #[test]
    fn what_is_not_of_the_format_is_ignored() {
        let (metrics, lines) = metrics();
        for line in [
            "hello".to_owned(),
            "{\"_aws\"".to_owned(),
            "{\"_aws\":1}".to_owned(),
            "{\"_aws\":{\"Timestamp\":\"now\",\"CloudWatchMetrics\":[]}}".to_owned(),
            line(json!({ "Runs": "many", "Took": ["a"] })),
            line(json!({ "Release": 7 })),
        ] {
            lines.read(&line);
        }
        assert!(metrics.list().is_empty(), "{:?}", metrics.list());
    }
}
