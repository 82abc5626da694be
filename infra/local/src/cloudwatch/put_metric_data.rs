//! `PutMetricData`.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CloudWatch,
    refusal::Refusal,
    wire::{self, Dimension},
};
use crate::metrics::{AHEAD_MAX, Distribution, KEPT, Metric};

/// The most metrics of one request, and the most values of one metric; the page above.
const DATA_MAX: usize = 1_000;
const VALUES_MAX: usize = 150;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Request {
    namespace: Option<String>,
    #[serde(default)]
    metric_data: Vec<Datum>,
    /// About entities, of which there are none.
    #[serde(default, rename = "StrictEntityValidation")]
    _strict_entity_validation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Datum {
    #[serde(default)]
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    timestamp: Option<f64>,
    value: Option<f64>,
    statistic_values: Option<StatisticSet>,
    values: Option<Vec<f64>>,
    counts: Option<Vec<f64>>,
    unit: Option<String>,
    /// Everything is kept by the second.
    #[serde(default, rename = "StorageResolution")]
    _storage_resolution: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StatisticSet {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

impl CloudWatch {
    /// Takes all of a request or nothing.
    pub(super) fn put_metric_data(&self, request: Value) -> Result<Value, Refusal> {
        let Request { namespace, metric_data, .. } = wire::read(request)?;
        let namespace = namespace.ok_or_else(|| Refusal::Missing { name: "Namespace".into() })?;
        if namespace.starts_with("AWS/") {
            return Err(Refusal::invalid("Namespace", namespace, Some("It is one of AWS.")));
        }
        if metric_data.len() > DATA_MAX {
            return Err(Refusal::invalid("MetricData", metric_data.len(), Some("There may be 1000.")));
        }
        let mut taken: Vec<(Metric, String, Duration, Distribution)> = Vec::with_capacity(metric_data.len());
        for datum in metric_data {
            let unit = wire::unit(datum.unit.as_deref())?.unwrap_or("None").to_owned();
            let metric = wire::metric(&namespace, &datum.metric_name, &datum.dimensions)?;
            taken.push((metric, unit, self.moment(datum.timestamp)?, datum.values()?));
        }
        for (metric, unit, at, values) in taken {
            self.metrics.add(metric, &unit, at, &values);
        }
        Ok(json!({}))
    }

    /// When a value was seen: at most as long ago as it is kept, and not far in the future.
    fn moment(&self, timestamp: Option<f64>) -> Result<Duration, Refusal> {
        let now = self.metrics.now();
        let at = timestamp.map_or(Ok(now), |seconds| wire::time("Timestamp", seconds))?;
        if at + KEPT < now || at > now + AHEAD_MAX {
            let hint = "On this machine it is at most three hours ago and two hours ahead.";
            return Err(Refusal::invalid("Timestamp", at.as_secs(), Some(hint)));
        }
        Ok(at)
    }
}

impl Datum {
    fn values(&self) -> Result<Distribution, Refusal> {
        match (self.value, &self.statistic_values, &self.values) {
            (Some(value), None, None) => Ok(Distribution::of(value, 1.0)),
            (None, Some(set), None) if set.sample_count > 0.0 => {
                Ok(Distribution::summed_up(set.sample_count, set.sum, set.minimum, set.maximum))
            }
            (None, None, Some(values)) => self.counted(values),
            _ => Err(Refusal::validation(format!(
                "`{}` needs one of Value, StatisticValues and Values",
                self.metric_name
            ))),
        }
    }

    fn counted(&self, values: &[f64]) -> Result<Distribution, Refusal> {
        let counts = self.counts.as_deref();
        if values.len() > VALUES_MAX || counts.is_some_and(|counts| counts.len() != values.len()) {
            return Err(Refusal::validation("Values may be 150, and Counts as many as Values"));
        }
        let mut all = Distribution::default();
        for (index, value) in values.iter().enumerate() {
            let times = counts.map_or(1.0, |counts| counts[index]);
            if times < 0.0 {
                return Err(Refusal::invalid("Counts", times, None));
            }
            all.merge(&Distribution::of(*value, times));
        }
        Ok(all)
    }
}
