//! Numbers of steps, gathered until their run is left: a line of them has one outcome and up to [`VALUES_MAX`] values of each metric,
//! from which CloudWatch takes the same statistics as from a line for each. Told step by step they are a third of what a step writes to
//! the log, which is paid for by the byte.

use std::time::Duration;

use super::metrics::Metrics;

/// The most values of one metric in a line
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
const VALUES_MAX: usize = 100;

/// How long numbers wait: a line has one moment, its first number's, and CloudWatch keeps metrics by the minute
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Resolution_definition>).
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Lines that are not written yet; no two have the same dimensions.
#[derive(Debug, Default)]
pub(super) struct Gathered(Vec<Metrics>);

impl Gathered {
    /// Takes numbers in; what has to be written now, if the line that they go with is full or has waited long enough.
    pub(super) fn add(&mut self, metrics: Metrics) -> Option<Metrics> {
        let Some(line) = self.0.iter_mut().find(|line| line.goes_with(&metrics)) else {
            self.0.push(metrics);
            return None;
        };
        if line.values_max() >= VALUES_MAX || metrics.at.since(line.at) >= WAIT_MAX {
            return Some(std::mem::replace(line, metrics));
        }
        line.merge(metrics);
        None
    }

    /// Everything there is.
    pub(super) fn take(&mut self) -> Vec<Metrics> {
        std::mem::take(&mut self.0)
    }
}
