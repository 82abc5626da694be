//! The values of a metric in one period.

/// Different values kept for percentiles; beyond that, a value counts as the nearest one kept. CloudWatch takes up to 150 in one
/// datum (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>).
const VALUES_MAX: usize = 256;

/// A statistic that can be asked for.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html>
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Statistic {
    SampleCount,
    Sum,
    Average,
    Minimum,
    Maximum,
    /// Of 100.
    Percentile(f64),
}

impl Statistic {
    /// Reads what requests call it, for example `Sum` or `p95`. Trimmed means and ranks are not answered here.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "SampleCount" => Self::SampleCount,
            "Sum" => Self::Sum,
            "Average" => Self::Average,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            _ => {
                let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
                return (0.0..=100.0).contains(&percent).then_some(Self::Percentile(percent));
            }
        })
    }
}

/// How often which values were seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Distribution {
    samples: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
    /// Ascending, each with how often it was seen.
    values: Vec<(f64, f64)>,
}

impl Distribution {
    /// One value, so many times.
    pub(crate) fn of(value: f64, times: f64) -> Self {
        Self { samples: times, sum: value * times, minimum: value, maximum: value, values: vec![(value, times)] }
    }

    /// What a client has summed up itself. For percentiles all samples are taken to be average.
    pub(crate) fn summed_up(samples: f64, sum: f64, minimum: f64, maximum: f64) -> Self {
        let average = if samples == 0.0 { 0.0 } else { sum / samples };
        Self { samples, sum, minimum, maximum, values: vec![(average, samples)] }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.samples == 0.0 {
            return;
        }
        if self.samples == 0.0 {
            return self.clone_from(other);
        }
        self.samples += other.samples;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        for (value, times) in &other.values {
            self.keep(*value, *times);
        }
    }

    fn keep(&mut self, value: f64, times: f64) {
        match self.values.binary_search_by(|(kept, _)| kept.total_cmp(&value)) {
            Ok(place) => self.values[place].1 += times,
            Err(place) if self.values.len() < VALUES_MAX => self.values.insert(place, (value, times)),
            Err(place) => {
                let distance =
                    |place: usize| self.values.get(place).map_or(f64::INFINITY, |(kept, _)| (kept - value).abs());
                let below = place.saturating_sub(1);
                let nearest = if distance(below) <= distance(place) { below } else { place };
                self.values[nearest].1 += times;
            }
        }
    }

    /// `None` when nothing was seen.
    pub(crate) fn statistic(&self, statistic: Statistic) -> Option<f64> {
        (self.samples > 0.0).then(|| match statistic {
            Statistic::SampleCount => self.samples,
            Statistic::Sum => self.sum,
            Statistic::Average => self.sum / self.samples,
            Statistic::Minimum => self.minimum,
            Statistic::Maximum => self.maximum,
            Statistic::Percentile(percent) => self.percentile(percent),
        })
    }

    /// The smallest value seen that at least so many percent of the samples do not exceed.
    fn percentile(&self, percent: f64) -> f64 {
        let rank = self.samples * percent / 100.0;
        let mut passed = 0.0;
        for (value, times) in &self.values {
            passed += times;
            if passed >= rank {
                return *value;
            }
        }
        self.maximum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(values: impl IntoIterator<Item = f64>) -> Distribution {
        let mut all = Distribution::default();
        for value in values {
            all.merge(&Distribution::of(value, 1.0));
        }
        all
    }

    #[test]
    fn statistics_are_those_of_the_values() {
        let hundred = all((1..=100).rev().map(f64::from));
        let of = |name: &str| hundred.statistic(Statistic::parse(name).expect("a statistic"));
        let expected = [
            ("SampleCount", 100.0),
            ("Sum", 5050.0),
            ("Average", 50.5),
            ("Minimum", 1.0),
            ("Maximum", 100.0),
            ("p50", 50.0),
            ("p95", 95.0),
            ("p99.9", 100.0),
            ("p0", 1.0),
        ];
        for (name, value) in expected {
            assert_eq!(of(name), Some(value), "{name}");
        }
        assert_eq!(Distribution::default().statistic(Statistic::Sum), None);
        for unknown in ["", "p", "p101", "p-1", "tm90", "sum"] {
            assert_eq!(Statistic::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn memory_is_bounded_and_sums_stay_exact() {
        let many = all((0..10_000).map(f64::from));
        assert_eq!(many.values.len(), VALUES_MAX);
        assert_eq!(many.statistic(Statistic::Sum), Some(49_995_000.0));
        assert_eq!(many.statistic(Statistic::SampleCount), Some(10_000.0));
        assert_eq!(many.values.iter().map(|(_, times)| times).sum::<f64>(), 10_000.0);
    }

    #[test]
    fn what_was_summed_up_keeps_its_ends() {
        let mut sums = Distribution::summed_up(4.0, 20.0, 1.0, 12.0);
        sums.merge(&Distribution::of(0.5, 2.0));
        assert_eq!(sums.statistic(Statistic::Minimum), Some(0.5));
        assert_eq!(sums.statistic(Statistic::Maximum), Some(12.0));
        assert_eq!(sums.statistic(Statistic::Average), Some(3.5));
    }
}
