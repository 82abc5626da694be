//! Alarms.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    CloudWatch,
    refusal::Refusal,
    wire::{self, Dimension, Query},
};
use crate::{
    alarms::{Alarm, Comparison, Condition, Measure, MissingData, Source, State, Watched},
    metrics::Statistic,
};

/// Alarms of one answer when nothing else is asked for, and at most.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>
const LISTED: usize = 50;
const LISTED_MAX: usize = 100;

/// The most periods of an alarm: it looks back a week at most.
const PERIODS_MAX: usize = 1_440;

/// An alarm as it was put. Actions are told back and not carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Definition {
    alarm_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm_description: Option<String>,
    #[serde(default = "yes")]
    actions_enabled: bool,
    #[serde(default, rename = "OKActions")]
    ok_actions: Vec<String>,
    #[serde(default)]
    alarm_actions: Vec<String>,
    #[serde(default)]
    insufficient_data_actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statistic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_statistic: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Query>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    evaluation_periods: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datapoints_to_alarm: Option<usize>,
    threshold: f64,
    comparison_operator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    treat_missing_data: Option<String>,
    #[serde(default, rename = "Tags", skip_serializing)]
    _tags: Vec<Value>,
}

const fn yes() -> bool {
    true
}

impl Definition {
    fn watched(&self) -> Result<Watched, Refusal> {
        let (source, period_seconds) = if self.metrics.is_empty() { self.measured()? } else { self.computed()? };
        let condition = self.condition()?;
        Ok(Watched { source, period_seconds, condition })
    }

    /// One metric and its statistic.
    fn measured(&self) -> Result<(Source, u64), Refusal> {
        let statistic = match (&self.statistic, &self.extended_statistic) {
            (Some(one), None) | (None, Some(one)) => one,
            _ => return Err(Refusal::validation("one of Statistic and ExtendedStatistic is required")),
        };
        let statistic = Statistic::parse(statistic).ok_or_else(|| Refusal::invalid("Statistic", statistic, None))?;
        let (namespace, name) = (self.namespace.as_deref(), self.metric_name.as_deref());
        let measure = Measure {
            metric: wire::metric(namespace.unwrap_or_default(), name.unwrap_or_default(), &self.dimensions)?,
            unit: wire::unit(self.unit.as_deref())?.map(str::to_owned),
            statistic,
        };
        let period = self.period.ok_or_else(|| Refusal::Missing { name: "Period".into() })?;
        Ok((Source::Measure(measure), wire::period(period)?))
    }

    /// Several metrics, and which of the queries is watched.
    fn computed(&self) -> Result<(Source, u64), Refusal> {
        if self.metric_name.is_some() || self.period.is_some() || self.statistic.is_some() {
            return Err(Refusal::validation("Metrics stands instead of one metric, its statistic and its period"));
        }
        let mut watched = self.metrics.iter().filter(|query| query.return_data != Some(false));
        let (Some(result), None) = (watched.next(), watched.next()) else {
            return Err(Refusal::validation("exactly one of Metrics returns data"));
        };
        let (computed, period) = wire::computed(&self.metrics)?;
        Ok((Source::Computed(computed, result.id.clone()), period))
    }

    fn condition(&self) -> Result<Condition, Refusal> {
        let periods = self.evaluation_periods;
        if !(1..=PERIODS_MAX).contains(&periods) {
            return Err(Refusal::invalid("EvaluationPeriods", periods, None));
        }
        let breaches_min = self.datapoints_to_alarm.unwrap_or(periods);
        if !(1..=periods).contains(&breaches_min) {
            return Err(Refusal::invalid("DatapointsToAlarm", breaches_min, Some("It is at most EvaluationPeriods.")));
        }
        let comparison = Comparison::parse(&self.comparison_operator)
            .ok_or_else(|| Refusal::invalid("ComparisonOperator", &self.comparison_operator, None))?;
        let missing = self.treat_missing_data.as_deref().unwrap_or("missing");
        let missing = MissingData::parse(missing).ok_or_else(|| Refusal::invalid("TreatMissingData", missing, None))?;
        Ok(Condition { comparison, threshold: self.threshold, periods, breaches_min, missing })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeAlarms {
    alarm_names: Option<Vec<String>>,
    alarm_name_prefix: Option<String>,
    #[serde(default)]
    alarm_types: Vec<String>,
    state_value: Option<String>,
    max_records: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SetAlarmState {
    alarm_name: String,
    state_value: String,
    state_reason: String,
    state_reason_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteAlarms {
    alarm_names: Vec<String>,
}

fn state(text: &str) -> Result<State, Refusal> {
    State::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| Refusal::invalid("StateValue", text, None))
}

impl CloudWatch {
    pub(super) fn put_metric_alarm(&self, request: Value) -> Result<Value, Refusal> {
        let definition: Definition = wire::read(request)?;
        let watched = definition.watched()?;
        self.alarms.put(definition.alarm_name.clone(), watched, definition).map_err(|_| Refusal::TooManyAlarms)?;
        Ok(json!({}))
    }

    pub(super) fn set_alarm_state(&self, request: Value) -> Result<Value, Refusal> {
        let asked: SetAlarmState = wire::read(request)?;
        let state = state(&asked.state_value)?;
        self.alarms
            .set(&asked.alarm_name, state, asked.state_reason, asked.state_reason_data)
            .map_err(|_| Refusal::NotFound { message: format!("Unknown alarm {}", asked.alarm_name) })?;
        Ok(json!({}))
    }

    pub(super) fn delete_alarms(&self, request: Value) -> Result<Value, Refusal> {
        let DeleteAlarms { alarm_names } = wire::read(request)?;
        self.alarms
            .delete(&alarm_names)
            .map_err(|_| Refusal::NotFound { message: format!("not all of {} exist", alarm_names.join(", ")) })?;
        Ok(json!({}))
    }

    pub(super) fn describe_alarms(&self, request: Value) -> Result<Value, Refusal> {
        let asked: DescribeAlarms = wire::read(request)?;
        let wanted_state = asked.state_value.as_deref().map(state).transpose()?;
        let from: usize = match &asked.next_token {
            Some(token) => token.parse().map_err(|_| Refusal::invalid("NextToken", token, None))?,
            None => 0,
        };
        // There are metric alarms only.
        let metric_alarms = asked.alarm_types.is_empty() || asked.alarm_types.iter().any(|kind| kind == "MetricAlarm");
        let alarms = self.alarms.describe(|name, alarm| {
            metric_alarms
                && asked.alarm_names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
                && asked.alarm_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
                && wanted_state.is_none_or(|state| state == alarm.state)
        });
        let size = asked.max_records.unwrap_or(LISTED).clamp(1, LISTED_MAX);
        let page = alarms.iter().skip(from).take(size);
        let described: Vec<Value> = page.map(|(name, alarm)| self.described(name, alarm)).collect();
        let mut answer = json!({ "MetricAlarms": described, "CompositeAlarms": [] });
        if alarms.len() > from.saturating_add(size) {
            answer["NextToken"] = json!((from + size).to_string());
        }
        Ok(answer)
    }

    fn described(&self, name: &str, alarm: &Alarm<Definition>) -> Value {
        let mut described = serde_json::to_value(&alarm.definition).unwrap_or_default();
        described["AlarmArn"] = json!(format!("{}:{name}", self.arn_base));
        described["StateValue"] = json!(alarm.state.name());
        described["StateReason"] = json!(alarm.reason);
        if let Some(data) = &alarm.reason_data {
            described["StateReasonData"] = json!(data);
        }
        described["AlarmConfigurationUpdatedTimestamp"] = json!(wire::seconds(alarm.configured));
        described["StateUpdatedTimestamp"] = json!(wire::seconds(alarm.updated));
        described["StateTransitionedTimestamp"] = json!(wire::seconds(alarm.transitioned));
        described
    }
}
