//! CloudWatch by itself: alarms and metric filters over values and log lines that a test gives, by a clock that it drives. So what a
//! template declares is evaluated as it stands there, without a stack that would have to be broken first.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    clock::Clock,
    cloudwatch::CloudWatch,
    meter::Counts,
    metrics::{Distribution, EmbeddedMetrics, Metric, Metrics, filter::Pattern},
};

/// A metric that is read from log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricFilterSpec {
    /// Of which log group.
    pub log_group: String,
    /// Which lines count.
    pub pattern: String,
    /// Where the metric is.
    pub namespace: String,
    /// What it is called.
    pub metric: String,
    /// A number, or `$.field` for that of each line.
    pub value: String,
}

/// Metrics and alarms.
pub struct Monitoring {
    metrics: Arc<Metrics>,
    embedded: EmbeddedMetrics,
    cloudwatch: CloudWatch,
    filters: Vec<(MetricFilterSpec, Pattern)>,
}

impl Monitoring {
    /// With these metric filters, and no alarms yet.
    ///
    /// # Errors
    /// When a pattern is not answered on this machine.
    pub fn new(clock: Arc<dyn Clock>, filters: Vec<MetricFilterSpec>) -> Result<Monitoring, String> {
        let metrics = Arc::new(Metrics::new(clock));
        let cloudwatch =
            CloudWatch::new(Arc::clone(&metrics), "us-east-1", "000000000000", Arc::new(Counts::default()));
        let read = |filter: MetricFilterSpec| {
            let pattern = Pattern::parse(&filter.pattern);
            pattern.map(|pattern| (filter.clone(), pattern)).map_err(|problem| format!("{}: {problem}", filter.pattern))
        };
        let filters = filters.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Monitoring { embedded: EmbeddedMetrics::new(Arc::clone(&metrics)), metrics, cloudwatch, filters })
    }

    /// Puts an alarm, as `PutMetricAlarm` takes it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn put_alarm(&self, alarm: Value) -> Result<(), String> {
        self.cloudwatch.ask("PutMetricAlarm", alarm).map(drop)
    }

    /// Takes a value of a metric of any namespace, AWS's own among them, so long ago.
    pub fn observe(&self, namespace: &str, name: &str, dimensions: &[(String, String)], value: f64, ago: Duration) {
        let (namespace, name, dimensions) =
            (namespace.to_owned(), name.to_owned(), dimensions.iter().cloned().collect());
        let at = self.metrics.now().saturating_sub(ago);
        self.metrics.add(Metric { namespace, name, dimensions }, "None", at, &Distribution::of(value, 1.0));
    }

    /// Takes a line of a log group; how many metrics it counts for by filters.
    pub fn log(&self, log_group: &str, line: &str) -> usize {
        self.embedded.read(line);
        let Ok(Value::Object(line)) = serde_json::from_str(line) else { return 0 };
        let mut counted = 0;
        for (filter, _) in
            self.filters.iter().filter(|(of, pattern)| of.log_group == log_group && pattern.matches(&line))
        {
            let value = match filter.value.strip_prefix("$.") {
                Some(field) => line.get(field).and_then(Value::as_f64),
                None => filter.value.parse().ok(),
            };
            let Some(value) = value else { continue };
            self.observe(&filter.namespace, &filter.metric, &[], value, Duration::ZERO);
            counted += 1;
        }
        counted
    }

    /// The state of an alarm now, for example `ALARM`.
    ///
    /// # Errors
    /// When there is no such alarm.
    pub fn state(&self, alarm: &str) -> Result<String, String> {
        let described = self.cloudwatch.ask("DescribeAlarms", json!({ "AlarmNames": [alarm] }))?;
        let state = described["MetricAlarms"][0]["StateValue"].as_str();
        state.map(str::to_owned).ok_or_else(|| format!("there is no alarm `{alarm}`"))
    }
}
