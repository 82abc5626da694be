//! What several requests have in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::refusal::Refusal;
use crate::{
    alarms::{Computed, Measure},
    metrics::{DIMENSIONS_MAX, Metric, Statistic, math::Expression},
};

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

/// A metric or an expression under an id.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html>
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Query {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metric_stat: Option<MetricStat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expression: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) return_data: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricStat {
    pub(super) metric: MetricName,
    pub(super) period: u64,
    pub(super) stat: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricName {
    pub(super) namespace: String,
    pub(super) metric_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) dimensions: Vec<Dimension>,
}

/// What several queries make of metrics of one period, in seconds. An expression may name what stands beside it, in any order.
pub(super) fn computed(queries: &[Query]) -> Result<(Computed, u64), Refusal> {
    let (mut computed, mut ids) = (Computed::default(), BTreeSet::new());
    let mut periods = BTreeSet::new();
    for query in queries {
        if !is_id(&query.id) || !ids.insert(query.id.clone()) {
            return Err(Refusal::invalid("MetricDataQueries.member.1.Id", &query.id, None));
        }
        match (&query.metric_stat, &query.expression) {
            (Some(stat), None) => {
                periods.insert(period(stat.period)?);
                computed.measures.push((query.id.clone(), measure(stat)?));
            }
            (None, Some(text)) => {
                let expression = Expression::parse(text).map_err(|problem| {
                    Refusal::validation(format!("the expression is not answered on this machine: {problem}"))
                })?;
                computed.expressions.push((query.id.clone(), expression));
            }
            _ => return Err(Refusal::validation("a query is one of a MetricStat and an Expression")),
        }
    }
    in_order(&mut computed)?;
    match periods.into_iter().collect::<Vec<u64>>()[..] {
        [period] => Ok((computed, period)),
        _ => Err(Refusal::validation("the metrics of an expression have one period on this machine")),
    }
}

/// Brings each expression behind those that it names.
fn in_order(computed: &mut Computed) -> Result<(), Refusal> {
    let mut known: BTreeSet<String> = computed.measures.iter().map(|(id, _)| id.clone()).collect();
    let mut left = std::mem::take(&mut computed.expressions);
    while !left.is_empty() {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(_, expression)| expression.ids().iter().all(|id| known.contains(*id)));
        if ready.is_empty() {
            return Err(Refusal::validation("an expression names an id that no query has, or itself"));
        }
        known.extend(ready.iter().map(|(id, _)| id.clone()));
        computed.expressions.extend(ready);
        left = waiting;
    }
    Ok(())
}

pub(super) fn measure(asked: &MetricStat) -> Result<Measure, Refusal> {
    let MetricName { namespace, metric_name, dimensions } = &asked.metric;
    Ok(Measure {
        metric: metric(namespace, metric_name, dimensions)?,
        unit: unit(asked.unit.as_deref())?.map(str::to_owned),
        statistic: Statistic::parse(&asked.stat)
            .ok_or_else(|| Refusal::invalid("MetricStat.Stat", &asked.stat, None))?,
    })
}

/// A small letter, then letters, digits and `_`.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
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
