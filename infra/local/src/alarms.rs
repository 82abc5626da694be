//! Alarms on one metric, or on what is computed of several. They are evaluated when they are described, by the clock, so nothing happens
//! by itself, and their actions are kept but not carried out.

mod evaluation;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) use self::evaluation::{Comparison, Condition, MissingData};
use crate::metrics::{
    Metric, Metrics, Range, Statistic,
    math::{Expression, Series},
};

/// The most alarms. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
const ALARMS_MAX: usize = 5_000;

/// Periods looked at beyond those that are needed, for values to make up for missing ones.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html>
const PERIODS_MORE: usize = 2;

/// What an alarm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ok,
    Alarm,
    InsufficientData,
}

impl State {
    pub(crate) const ALL: [State; 3] = [State::Ok, State::Alarm, State::InsufficientData];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// A statistic of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) metric: Metric,
    pub(crate) unit: Option<String>,
    pub(crate) statistic: Statistic,
}

impl Measure {
    /// Its points in periods of the range.
    pub(crate) fn points(&self, metrics: &Metrics, range: &Range) -> Series {
        let periods = metrics.periods(&self.metric, self.unit.as_deref(), range).into_iter();
        periods.filter_map(|(at, values)| Some((at, values.statistic(self.statistic)?))).collect()
    }
}

/// What several measures and expressions, each under an id, make: an expression may name what stands before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Computed {
    pub(crate) measures: Vec<(String, Measure)>,
    pub(crate) expressions: Vec<(String, Expression)>,
}

impl Computed {
    /// Every series by its id, in periods of the range.
    pub(crate) fn series(&self, metrics: &Metrics, range: &Range) -> BTreeMap<String, Series> {
        let measured = self.measures.iter().map(|(id, measure)| (id.clone(), measure.points(metrics, range)));
        let mut series: BTreeMap<String, Series> = measured.collect();
        let times = range.periods();
        for (id, expression) in &self.expressions {
            let points = expression.points(&series, &times);
            series.insert(id.clone(), points);
        }
        series
    }
}

/// Where an alarm's values come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Measure(Measure),
    /// The series with this id.
    Computed(Computed, String),
}

impl Source {
    fn points(&self, metrics: &Metrics, range: &Range) -> Series {
        match self {
            Self::Measure(measure) => measure.points(metrics, range),
            Self::Computed(computed, result) => computed.series(metrics, range).remove(result).unwrap_or_default(),
        }
    }
}

/// What an alarm looks at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watched {
    pub(crate) source: Source,
    pub(crate) period_seconds: u64,
    pub(crate) condition: Condition,
}

/// An alarm.
#[derive(Debug, Clone)]
pub(crate) struct Alarm<D> {
    pub(crate) watched: Watched,
    /// As it was put, for whoever asks.
    pub(crate) definition: D,
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) reason_data: Option<String>,
    /// When it was put, when its state was last set, and when it last became another; since the epoch.
    pub(crate) configured: Duration,
    pub(crate) updated: Duration,
    pub(crate) transitioned: Duration,
    /// Until when a state that was set by hand stays.
    held_until: Duration,
}

/// There is no room for another alarm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// There is no such alarm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing;

/// Every alarm, by name.
pub(crate) struct Alarms<D> {
    metrics: Arc<Metrics>,
    by_name: Mutex<BTreeMap<String, Alarm<D>>>,
}

impl<D: Clone> Alarms<D> {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, by_name: Mutex::default() }
    }

    /// Creates an alarm, or replaces what one is about and leaves its state until it is evaluated.
    pub(crate) fn put(&self, name: String, watched: Watched, definition: D) -> Result<(), TooMany> {
        let now = self.metrics.now();
        let mut alarms = self.lock();
        if let Some(alarm) = alarms.get_mut(&name) {
            (alarm.watched, alarm.definition, alarm.configured) = (watched, definition, now);
            return Ok(());
        }
        if alarms.len() >= ALARMS_MAX {
            return Err(TooMany);
        }
        let alarm = Alarm {
            watched,
            definition,
            state: State::InsufficientData,
            reason: "Unchecked: Initial alarm creation".into(),
            reason_data: None,
            configured: now,
            updated: now,
            transitioned: now,
            held_until: Duration::ZERO,
        };
        alarms.insert(name, alarm);
        Ok(())
    }

    /// Sets a state that stays until the alarm's next period begins, as CloudWatch's stays until its next look.
    pub(crate) fn set(
        &self,
        name: &str,
        state: State,
        reason: String,
        reason_data: Option<String>,
    ) -> Result<(), Missing> {
        let now = self.metrics.now();
        let mut alarms = self.lock();
        let alarm = alarms.get_mut(name).ok_or(Missing)?;
        let period = alarm.watched.period_seconds;
        alarm.held_until = Duration::from_secs(now.as_secs() - now.as_secs() % period + period);
        alarm.become_state(state, reason, now);
        alarm.reason_data = reason_data;
        Ok(())
    }

    /// Deletes all of these, or none when one is missing.
    pub(crate) fn delete(&self, names: &[String]) -> Result<(), Missing> {
        let mut alarms = self.lock();
        if names.iter().any(|name| !alarms.contains_key(name)) {
            return Err(Missing);
        }
        alarms.retain(|name, _| !names.contains(name));
        Ok(())
    }

    /// Evaluates every alarm now and describes those that are wanted, by name.
    pub(crate) fn describe(&self, wanted: impl Fn(&str, &Alarm<D>) -> bool) -> Vec<(String, Alarm<D>)> {
        let mut alarms = self.lock();
        for alarm in alarms.values_mut() {
            alarm.evaluate(&self.metrics);
        }
        let wanted = alarms.iter().filter(|(name, alarm)| wanted(name, alarm));
        wanted.map(|(name, alarm)| (name.clone(), alarm.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Alarm<D>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Alarm<D> {
    fn evaluate(&mut self, metrics: &Metrics) {
        let now = metrics.now();
        if now < self.held_until {
            return;
        }
        let Watched { source, period_seconds, condition } = &self.watched;
        let periods = condition.periods + PERIODS_MORE;
        // Only periods that are over.
        let until = now.as_secs() - now.as_secs() % period_seconds;
        let from = until.saturating_sub(period_seconds.saturating_mul(u64::try_from(periods).unwrap_or(u64::MAX)));
        let range = Range { from, until, period_seconds: *period_seconds };
        let seen = source.points(metrics, &range);
        let starts = (0..periods).map_while(|back| until.checked_sub(period_seconds * (u64::try_from(back).ok()? + 1)));
        let newest_first: Vec<Option<f64>> = starts.map(|at| seen.get(&at).copied()).collect();
        let Some(state) = condition.judge(&newest_first) else { return };
        if state != self.state {
            let reason = condition.reason(&newest_first);
            self.become_state(state, reason, now);
        }
    }

    fn become_state(&mut self, state: State, reason: String, now: Duration) {
        if state != self.state {
            self.transitioned = now;
        }
        (self.state, self.reason, self.reason_data, self.updated) = (state, reason, None, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    const START: Duration = Duration::from_secs(1_800_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn errors() -> Metric {
        Metric { namespace: "AWS/Lambda".into(), name: "Errors".into(), dimensions: BTreeMap::new() }
    }

    fn stack() -> (Arc<ManualClock>, Arc<Metrics>, Alarms<()>) {
        let clock = Arc::new(ManualClock::at(START));
        let metrics = Arc::new(Metrics::new(clock.clone()));
        let alarms = Alarms::new(Arc::clone(&metrics));
        let condition = Condition {
            comparison: Comparison::GreaterThanOrEqual,
            threshold: 3.0,
            periods: 2,
            breaches_min: 1,
            missing: MissingData::NotBreaching,
        };
        let source = Source::Measure(Measure { metric: errors(), unit: None, statistic: Statistic::Sum });
        let watched = Watched { source, period_seconds: 60, condition };
        alarms.put("errors".into(), watched, ()).expect("there is room");
        (clock, metrics, alarms)
    }

    fn state(alarms: &Alarms<()>) -> State {
        alarms.describe(|_, _| true)[0].1.state
    }

    #[test]
    fn an_alarm_follows_its_metric_with_the_clock() {
        let (clock, metrics, alarms) = stack();
        for _ in 0..3 {
            metrics.count(errors(), "Count", 1.0);
        }
        assert_eq!(state(&alarms), State::Ok, "the period is not over");
        clock.advance(MINUTE);
        let alarm = &alarms.describe(|_, _| true)[0].1;
        assert_eq!((alarm.state, alarm.transitioned), (State::Alarm, clock.since_epoch()));
        assert_eq!(alarm.reason, "1 of the last 2 datapoints breach the threshold of 3: 3");
        clock.advance(MINUTE);
        assert_eq!(state(&alarms), State::Alarm, "one of two periods is enough");
        clock.advance(3 * MINUTE);
        assert_eq!(state(&alarms), State::Ok);
    }

    #[test]
    fn a_state_set_by_hand_stays_until_the_next_period() {
        let (clock, _, alarms) = stack();
        alarms.set("errors", State::Alarm, "drill".into(), None).expect("it is there");
        clock.advance(Duration::from_secs(59));
        assert_eq!(state(&alarms), State::Alarm);
        clock.advance(Duration::from_secs(1));
        assert_eq!(state(&alarms), State::Ok);
        assert_eq!(alarms.set("other", State::Ok, String::new(), None), Err(Missing));
    }

    #[test]
    fn alarms_are_deleted_together_or_not_at_all() {
        let (_, _, alarms) = stack();
        assert_eq!(alarms.delete(&["errors".into(), "other".into()]), Err(Missing));
        assert_eq!(alarms.describe(|_, _| true).len(), 1);
        assert_eq!(alarms.delete(&["errors".into()]), Ok(()));
        assert!(alarms.describe(|_, _| true).is_empty());
    }
}
