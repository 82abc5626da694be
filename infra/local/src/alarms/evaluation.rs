//! What the latest periods of a metric say of a threshold.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html>

use super::State;

/// How a value is held to the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    GreaterThanOrEqual,
    GreaterThan,
    LessThan,
    LessThanOrEqual,
}

impl Comparison {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GreaterThanOrEqualToThreshold" => Self::GreaterThanOrEqual,
            "GreaterThanThreshold" => Self::GreaterThan,
            "LessThanThreshold" => Self::LessThan,
            "LessThanOrEqualToThreshold" => Self::LessThanOrEqual,
            _ => return None,
        })
    }

    fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanOrEqual => value >= threshold,
            Self::GreaterThan => value > threshold,
            Self::LessThan => value < threshold,
            Self::LessThanOrEqual => value <= threshold,
        }
    }
}

/// What a period without values counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingData {
    Breaching,
    NotBreaching,
    /// The state stays.
    Ignore,
    /// The state is unknown.
    Missing,
}

impl MissingData {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "breaching" => Self::Breaching,
            "notBreaching" => Self::NotBreaching,
            "ignore" => Self::Ignore,
            "missing" => Self::Missing,
            _ => return None,
        })
    }
}

/// When there is an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Condition {
    pub(crate) comparison: Comparison,
    pub(crate) threshold: f64,
    /// Periods that count.
    pub(crate) periods: usize,
    /// How many of them must breach.
    pub(crate) breaches_min: usize,
    pub(crate) missing: MissingData,
}

impl Condition {
    /// The state after these periods, the newest first; `None` leaves it as it is. Values of older periods make up for missing ones.
    pub(super) fn judge(&self, newest_first: &[Option<f64>]) -> Option<State> {
        let values = self.values(newest_first);
        let breaching = self.breaching(&values);
        let missing = self.periods.saturating_sub(values.len());
        let alarm_if = |alarm: bool| if alarm { State::Alarm } else { State::Ok };
        if breaching >= self.breaches_min {
            return Some(State::Alarm);
        }
        match self.missing {
            _ if missing == 0 => Some(State::Ok),
            MissingData::Breaching => Some(alarm_if(breaching + missing >= self.breaches_min)),
            MissingData::NotBreaching => Some(State::Ok),
            MissingData::Ignore => (values.len() > breaching).then_some(State::Ok),
            MissingData::Missing if values.is_empty() => Some(State::InsufficientData),
            MissingData::Missing => Some(alarm_if(values.len() == breaching)),
        }
    }

    pub(super) fn reason(&self, newest_first: &[Option<f64>]) -> String {
        let values = self.values(newest_first);
        let listed: Vec<String> = values.iter().map(f64::to_string).collect();
        let (breaching, periods, threshold) = (self.breaching(&values), self.periods, self.threshold);
        let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        format!("{breaching} of the last {periods} datapoints breach the threshold of {threshold}: {listed}")
    }

    fn values(&self, newest_first: &[Option<f64>]) -> Vec<f64> {
        newest_first.iter().flatten().copied().take(self.periods).collect()
    }

    fn breaching(&self, values: &[f64]) -> usize {
        values.iter().filter(|value| self.comparison.breaches(**value, self.threshold)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of the page above: `0` is a value that does not breach, `X` one that does, `-` none; the newest last.
    fn judged(breaches_min: usize, seen: &str) -> [Option<State>; 4] {
        let value = |letter: char| match letter {
            'X' => Some(1.0),
            '0' => Some(0.0),
            _ => None,
        };
        let newest_first: Vec<Option<f64>> = seen.chars().rev().map(value).collect();
        use MissingData::{Breaching, Ignore, Missing, NotBreaching};
        [Missing, Ignore, Breaching, NotBreaching].map(|missing| {
            let comparison = Comparison::GreaterThan;
            Condition { comparison, threshold: 0.5, periods: 3, breaches_min, missing }.judge(&newest_first)
        })
    }

    const OK: Option<State> = Some(State::Ok);
    const ALARM: Option<State> = Some(State::Alarm);
    const UNKNOWN: Option<State> = Some(State::InsufficientData);
    const STAYS: Option<State> = None;

    #[test]
    fn three_of_three_is_judged_as_the_table_says() {
        for (seen, states) in [
            ("0-X-X", [OK, OK, OK, OK]),
            ("0----", [OK, OK, OK, OK]),
            ("-----", [UNKNOWN, STAYS, ALARM, OK]),
            ("0XX-X", [ALARM, ALARM, ALARM, ALARM]),
            ("--X--", [ALARM, STAYS, ALARM, OK]),
        ] {
            assert_eq!(judged(3, seen), states, "{seen}");
        }
    }

    #[test]
    fn two_of_three_is_judged_as_the_table_says() {
        for (seen, states) in [
            ("0-X-X", [ALARM, ALARM, ALARM, ALARM]),
            ("00X0X", [ALARM, ALARM, ALARM, ALARM]),
            ("0-X--", [OK, OK, ALARM, OK]),
            ("----0", [OK, OK, ALARM, OK]),
            ("---X-", [ALARM, STAYS, ALARM, OK]),
        ] {
            assert_eq!(judged(2, seen), states, "{seen}");
        }
    }

    #[test]
    fn each_comparison_has_its_edge() {
        for (name, at, above) in [
            ("GreaterThanOrEqualToThreshold", true, true),
            ("GreaterThanThreshold", false, true),
            ("LessThanThreshold", false, false),
            ("LessThanOrEqualToThreshold", true, false),
        ] {
            let comparison = Comparison::parse(name).expect("a comparison");
            assert_eq!((comparison.breaches(1.0, 1.0), comparison.breaches(2.0, 1.0)), (at, above), "{name}");
        }
        assert_eq!(Comparison::parse("GreaterThanUpperThreshold"), None, "anomaly bands are not answered");
    }
}
