//! `GetMetricData` and `ListMetrics`.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CloudWatch,
    refusal::Refusal,
    wire::{self, Dimension, Query},
};
use crate::metrics::{Metric, Range};

/// The most queries of one request, and the most values of an answer; the page above.
const QUERIES_MAX: usize = 500;
const VALUES_MAX: u64 = 100_800;

/// Metrics of one answer of `ListMetrics`.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html>
const LISTED_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetMetricData {
    metric_data_queries: Vec<Query>,
    start_time: f64,
    end_time: f64,
    scan_by: Option<String>,
    /// An answer is always whole, so that there is never a token, and what is more than it may hold is refused.
    #[serde(default, rename = "NextToken")]
    _next_token: Option<String>,
    max_datapoints: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListMetrics {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    next_token: Option<String>,
}

impl CloudWatch {
    pub(super) fn get_metric_data(&self, request: Value) -> Result<Value, Refusal> {
        let asked: GetMetricData = wire::read(request)?;
        let newest_first = match asked.scan_by.as_deref() {
            None | Some("TimestampDescending") => true,
            Some("TimestampAscending") => false,
            Some(other) => return Err(Refusal::invalid("ScanBy", other, None)),
        };
        let (start, end) = (wire::time("StartTime", asked.start_time)?, wire::time("EndTime", asked.end_time)?);
        if start >= end {
            return Err(Refusal::validation("The parameter StartTime must be less than the parameter EndTime."));
        }
        if asked.metric_data_queries.len() > QUERIES_MAX {
            return Err(Refusal::invalid("MetricDataQueries", asked.metric_data_queries.len(), None));
        }
        let mut left = asked.max_datapoints.unwrap_or(VALUES_MAX).min(VALUES_MAX);
        let mut ids = HashSet::new();
        let mut results = Vec::new();
        for query in &asked.metric_data_queries {
            if !wire::is_id(&query.id) || !ids.insert(query.id.as_str()) {
                return Err(Refusal::invalid("MetricDataQueries.member.1.Id", &query.id, None));
            }
            let mut values = self.values(query, &asked.metric_data_queries, (start.as_secs(), end.as_secs()))?;
            left = left
                .checked_sub(values.len() as u64)
                .ok_or_else(|| Refusal::validation("too many values: ask for less"))?;
            if newest_first {
                values.reverse();
            }
            if query.return_data == Some(false) {
                continue;
            }
            let label =
                query.label.as_deref().or(query.metric_stat.as_ref().map(|stat| stat.metric.metric_name.as_str()));
            results.push(json!({
                "Id": query.id,
                "Label": label,
                "Timestamps": values.iter().map(|(at, _)| *at).collect::<Vec<u64>>(),
                "Values": values.iter().map(|(_, value)| *value).collect::<Vec<f64>>(),
                "StatusCode": "Complete",
            }));
        }
        Ok(json!({ "MetricDataResults": results, "Messages": [] }))
    }

    /// Oldest first. An expression is computed of the queries beside it.
    fn values(&self, query: &Query, beside: &[Query], (start, end): (u64, u64)) -> Result<Vec<(u64, f64)>, Refusal> {
        let range = |period_seconds: u64| Range { from: start - start % period_seconds, until: end, period_seconds };
        let series = match (&query.metric_stat, &query.expression) {
            (Some(asked), None) => {
                let range = range(wire::period(asked.period)?);
                wire::measure(asked)?.points(&self.metrics, &range)
            }
            _ => {
                let (computed, period) = wire::computed(beside)?;
                computed.series(&self.metrics, &range(period)).remove(&query.id).unwrap_or_default()
            }
        };
        Ok(series.into_iter().collect())
    }

    pub(super) fn list_metrics(&self, request: Value) -> Result<Value, Refusal> {
        let asked: ListMetrics = wire::read(request)?;
        let from: usize = match &asked.next_token {
            Some(token) => token.parse().map_err(|_| Refusal::invalid("NextToken", token, None))?,
            None => 0,
        };
        let mut all = self.metrics.list();
        all.retain(|metric| asked.wants(metric));
        let more = all.len() > from.saturating_add(LISTED_MAX);
        let described = |metric: &Metric| {
            let dimensions = metric.dimensions.iter();
            let dimensions: Vec<Value> =
                dimensions.map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
            json!({ "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions })
        };
        let mut answer =
            json!({ "Metrics": all.iter().skip(from).take(LISTED_MAX).map(described).collect::<Vec<Value>>() });
        if more {
            answer["NextToken"] = json!((from + LISTED_MAX).to_string());
        }
        Ok(answer)
    }
}

impl ListMetrics {
    fn wants(&self, metric: &Metric) -> bool {
        let has = |wanted: &Dimension| {
            let value = metric.dimensions.get(&wanted.name);
            value.is_some_and(|value| wanted.value.as_ref().is_none_or(|wanted| wanted == value))
        };
        self.namespace.as_ref().is_none_or(|namespace| *namespace == metric.namespace)
            && self.metric_name.as_ref().is_none_or(|name| *name == metric.name)
            && self.dimensions.iter().all(has)
    }
}
