//! What several requests have in common.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::refusal::Refusal;
use crate::metrics::{DIMENSIONS_MAX, Metric};

/// The units that CloudWatch knows.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// A dimension of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dimension {
    pub(super) name: String,
    /// A filter may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
}

/// Reads a request; a field that is not understood is refused, so that nothing is silently left undone.
pub(super) fn read<T: DeserializeOwned>(request: Value) -> Result<T, Refusal> {
    serde_json::from_value(request)
        .map_err(|error| Refusal::validation(format!("the request is not answered like this on this machine: {error}")))
}

pub(super) fn metric(namespace: &str, name: &str, dimensions: &[Dimension]) -> Result<Metric, Refusal> {
    for (parameter, text) in [("Namespace", namespace), ("MetricName", name)] {
        if text.is_empty() || text.len() > 255 {
            return Err(Refusal::invalid(parameter, text, None));
        }
    }
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(Refusal::invalid("Dimensions", dimensions.len(), Some("There may be 30.")));
    }
    let mut named = BTreeMap::new();
    for dimension in dimensions {
        let value =
            dimension.value.clone().ok_or_else(|| Refusal::Missing { name: "Dimensions.member.1.Value".into() })?;
        named.insert(dimension.name.clone(), value);
    }
    Ok(Metric { namespace: namespace.to_owned(), name: name.to_owned(), dimensions: named })
}

/// A unit, if one is given.
pub(super) fn unit(unit: Option<&str>) -> Result<Option<&str>, Refusal> {
    match unit {
        Some(unit) if !UNITS.contains(&unit) => Err(Refusal::invalid("Unit", unit, None)),
        unit => Ok(unit),
    }
}

/// A period in whole seconds: 1, 5, 10, 20, 30 or minutes.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html>
pub(super) fn period(seconds: u64) -> Result<u64, Refusal> {
    if matches!(seconds, 1 | 5 | 10 | 20 | 30) || (seconds > 0 && seconds.is_multiple_of(60)) {
        Ok(seconds)
    } else {
        Err(Refusal::invalid("Period", seconds, Some("It is 1, 5, 10, 20, 30 or a multiple of 60.")))
    }
}

/// A time of a request, in seconds since the epoch.
pub(super) fn time(name: &str, seconds: f64) -> Result<Duration, Refusal> {
    Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::invalid(name, seconds, None))
}

/// A time for an answer.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
