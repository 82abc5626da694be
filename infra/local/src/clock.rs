//! Time as a port, so that tests can drive it.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where the stack reads the wall clock: token times, deadlines as functions see them, metrics and alarms. How long something
/// takes is measured apart, with tokio's timer.
pub trait Clock: Send + Sync + Debug {
    /// Time since 1970-01-01T00:00:00Z.
    fn since_epoch(&self) -> Duration;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that stands until it is moved, to the millisecond.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Stands at this time since 1970-01-01T00:00:00Z.
    pub fn at(since_epoch: Duration) -> Self {
        Self(AtomicU64::new(millis(since_epoch)))
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn since_epoch(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Acquire))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A moment as Lambda writes it, for example `2026-01-31T08:30:00.000+0000`.
pub(crate) fn written(since_epoch: Duration) -> String {
    moment(since_epoch).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// A moment as EventBridge Scheduler writes it, for example `2026-01-31T08:30:00Z`.
pub(crate) fn written_to_the_second(since_epoch: Duration) -> String {
    moment(since_epoch).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn moment(since_epoch: Duration) -> jiff::Timestamp {
    let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_each_service_writes_it() {
        let moment = Duration::from_millis(1_768_000_000_120);
        assert_eq!(written(moment), "2026-01-09T23:06:40.120+0000");
        assert_eq!(written_to_the_second(moment), "2026-01-09T23:06:40Z");
        assert_eq!(written_to_the_second(Duration::MAX).len(), "9999-12-31T23:59:59Z".len());
    }

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::at(Duration::from_secs(5));
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.since_epoch(), Duration::from_millis(6500));
    }
}
