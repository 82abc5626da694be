//! Metrics, as CloudWatch keeps them: what functions write in the embedded metric format, what clients put, and what Lambda counts.
//!
//! Known differences: everything is kept by the second for three hours and by the hour for 15 days (CloudWatch keeps single seconds only
//! of metrics that ask for it, and minutes for 15 days), it can be read at once, and a percentile is one of the values seen.

mod distribution;
mod embedded;
pub(crate) mod filter;
mod invocations;
pub(crate) mod math;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(crate) use self::{
    distribution::{Distribution, Statistic},
    embedded::EmbeddedMetrics,
    invocations::{Invocation, Outcome},
};
use crate::clock::Clock;

/// How long CloudWatch keeps single seconds.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention>
pub(crate) const KEPT: Duration = Duration::from_secs(3 * 3600);

/// How long hours are kept: as long as an alarm looks back at most, and a day that it looks at is over; the same page.
const HOURS_KEPT: Duration = Duration::from_secs(15 * 24 * 3600);

/// How far ahead of the clock a value may be; the same page.
pub(crate) const AHEAD_MAX: Duration = Duration::from_secs(2 * 3600);

/// The most dimensions of a metric.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
pub(crate) const DIMENSIONS_MAX: usize = 30;

/// The most periods of one expression: the most values of an answer.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>
const PERIODS_MAX: usize = 100_800;

/// The most metrics kept; further ones are dropped. A bound on memory, not one of CloudWatch's.
const METRICS_MAX: usize = 10_000;

/// What identifies a metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dimensions: BTreeMap<String, String>,
}

/// What was seen of one metric in one unit, by seconds since the epoch: the latest by the second, what is older by the hour.
#[derive(Debug, Default)]
struct Seen {
    seconds: BTreeMap<u64, Distribution>,
    hours: BTreeMap<u64, Distribution>,
}

impl Seen {
    /// Takes a value in, and what has become old out.
    fn add(&mut self, at: u64, values: &Distribution, now: Duration) {
        self.seconds.entry(at).or_default().merge(values);
        let (oldest_second, oldest_hour) = (now.saturating_sub(KEPT), now.saturating_sub(HOURS_KEPT));
        while let Some(first) = self.seconds.first_entry()
            && *first.key() < oldest_second.as_secs()
        {
            let (second, values) = first.remove_entry();
            self.hours.entry(second - second % 3_600).or_default().merge(&values);
        }
        while let Some(first) = self.hours.first_entry()
            && *first.key() < oldest_hour.as_secs()
        {
            first.remove();
        }
    }
}

/// Every metric of a stack.
#[derive(Debug)]
pub(crate) struct Metrics {
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<Metric, HashMap<String, Seen>>>,
}

impl Metrics {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.since_epoch()
    }

    /// Adds to one second of one metric. What is too old to be kept is dropped, and so is a metric too many.
    pub(crate) fn add(&self, metric: Metric, unit: &str, at: Duration, values: &Distribution) {
        let now = self.now();
        if at < now.saturating_sub(HOURS_KEPT) {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= METRICS_MAX && !kept.contains_key(&metric) {
            return tracing::warn!(metric = metric.name, "too many metrics: dropped");
        }
        let units = kept.entry(metric).or_default();
        if !units.contains_key(unit) {
            units.insert(unit.to_owned(), Seen::default());
        }
        if let Some(seen) = units.get_mut(unit) {
            seen.add(at.as_secs(), values, now);
        }
    }

    /// Adds one value of now.
    pub(crate) fn count(&self, metric: Metric, unit: &str, value: f64) {
        self.add(metric, unit, self.now(), &Distribution::of(value, 1.0));
    }

    /// What was seen in each period from `from` until before `until`, oldest first; periods without values are left out. Without a
    /// unit, values of all units count.
    pub(crate) fn periods(&self, metric: &Metric, unit: Option<&str>, asked: &Range) -> Vec<(u64, Distribution)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut periods: BTreeMap<u64, Distribution> = BTreeMap::new();
        let units = kept.get(metric).into_iter().flatten();
        for (_, seen) in units.filter(|(of, _)| unit.is_none_or(|unit| unit == of.as_str())) {
            let range = || asked.from..asked.until.max(asked.from);
            for (second, values) in seen.hours.range(range()).chain(seen.seconds.range(range())) {
                let period = second - second % asked.period_seconds.max(1);
                periods.entry(period).or_default().merge(values);
            }
        }
        periods.into_iter().collect()
    }

    /// Every metric there is, in order.
    pub(crate) fn list(&self) -> Vec<Metric> {
        let mut all: Vec<Metric> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        all.sort();
        all
    }
}

/// A stretch of time in periods; seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) period_seconds: u64,
}

impl Range {
    /// When each of its periods begins.
    pub(crate) fn periods(&self) -> Vec<u64> {
        let period = self.period_seconds.max(1);
        (self.from - self.from % period..self.until.max(self.from))
            .step_by(usize::try_from(period).unwrap_or(usize::MAX))
            .take(PERIODS_MAX)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const START: Duration = Duration::from_secs(1_800_000_000);

    fn metric(name: &str) -> Metric {
        Metric { namespace: "N".into(), name: name.into(), dimensions: BTreeMap::new() }
    }

    fn range(from: u64, until: u64, period_seconds: u64) -> Range {
        Range { from: START.as_secs() + from, until: START.as_secs() + until, period_seconds }
    }

    #[test]
    fn values_are_gathered_by_period_and_a_unit_keeps_others_out() {
        let metrics = Metrics::new(Arc::new(ManualClock::at(START)));
        for (second, unit, value) in [(0, "Count", 1.0), (59, "Count", 2.0), (60, "Count", 4.0), (60, "None", 8.0)] {
            metrics.add(metric("a"), unit, START + Duration::from_secs(second), &Distribution::of(value, 1.0));
        }
        let sums = |unit: Option<&str>, range: Range| -> Vec<(u64, Option<f64>)> {
            let periods = metrics.periods(&metric("a"), unit, &range);
            periods.iter().map(|(at, values)| (at - START.as_secs(), values.statistic(Statistic::Sum))).collect()
        };
        assert_eq!(sums(None, range(0, 120, 60)), [(0, Some(3.0)), (60, Some(12.0))]);
        assert_eq!(sums(Some("Count"), range(0, 120, 60)), [(0, Some(3.0)), (60, Some(4.0))]);
        assert_eq!(sums(None, range(0, 60, 60)), [(0, Some(3.0))], "the end is not part of the range");
        assert_eq!(sums(None, range(120, 0, 60)), []);
        assert!(metrics.periods(&metric("b"), None, &range(0, 120, 60)).is_empty());
    }

    #[test]
    fn what_is_old_is_kept_by_the_hour_and_then_dropped() {
        let clock = Arc::new(ManualClock::at(START));
        let metrics = Metrics::new(clock.clone());
        for _ in 0..2 {
            clock.advance(Duration::from_secs(1));
            metrics.count(metric("a"), "Count", 1.0);
        }
        clock.advance(KEPT + Duration::from_secs(2));
        metrics.count(metric("a"), "Count", 4.0);
        let seen = |period_seconds: u64| {
            let periods = metrics.periods(&metric("a"), None, &range(0, 2 * HOURS_KEPT.as_secs(), period_seconds));
            periods.iter().filter_map(|(_, values)| values.statistic(Statistic::Sum)).collect::<Vec<f64>>()
        };
        assert_eq!(seen(1), [2.0, 4.0], "the two of one hour are one");
        assert_eq!(seen(24 * 3600), [6.0]);
        clock.advance(HOURS_KEPT);
        metrics.add(metric("a"), "Count", START, &Distribution::of(1.0, 1.0));
        metrics.count(metric("a"), "Count", 8.0);
        assert_eq!(seen(1), [8.0]);
    }
}
