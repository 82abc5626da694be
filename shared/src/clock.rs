//! Time as a port: logic asks a [`Clock`], never the operating system, so that tests can drive it.

use std::{fmt, ops::Add, ops::Sub, str::FromStr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::redaction::cut;

/// 0000-01-01T00:00:00Z: RFC 3339 has no earlier year.
const MILLIS_MIN: i64 = -62_167_219_200_000;

/// 9999-12-30T22:00:00.999Z: the latest moment that `jiff` reads in every time zone.
const MILLIS_MAX: i64 = 253_402_207_200_999;

/// A moment in UTC with millisecond precision, written as RFC 3339 (`2026-01-31T08:30:00.000Z`).
///
/// Every value is one that can be written and read back: what lies outside becomes the nearest moment that can. A peer may name any
/// time, and what it names is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment.
    pub const MIN: Timestamp = Timestamp(MILLIS_MIN);
    /// The latest moment.
    pub const MAX: Timestamp = Timestamp(MILLIS_MAX);

    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z, or the nearest one between [`Timestamp::MIN`] and
    /// [`Timestamp::MAX`].
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MILLIS_MIN {
            Timestamp::MIN
        } else if millis > MILLIS_MAX {
            Timestamp::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, as DynamoDB's time to live wants them
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html>).
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whether an item that expires at this moment has expired by `now`. Counted in whole seconds, as time to live is; DynamoDB
    /// deletes late, so every reader asks this
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ttl-expired-items.html>).
    pub const fn has_expired(self, now: Timestamp) -> bool {
        self.as_seconds() < now.as_seconds()
    }

    /// The whole second that this moment is in.
    pub const fn whole_second(self) -> Timestamp {
        Self::from_millis(self.as_seconds() * 1000)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Duration) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both ends are within what `jiff` knows.
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an RFC 3339 date and time.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 date and time")]
pub struct InvalidTimestamp {
    text: String,
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond)
            .filter(|millis| (MILLIS_MIN..=MILLIS_MAX).contains(millis))
            .map(Timestamp)
            .ok_or_else(|| InvalidTimestamp { text: cut(text, 40).to_owned() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Where logic gets the time from and how it waits.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now. Machines disagree by a bound; see [`CLOCK_SKEW_MAX`].
    fn now(&self) -> Timestamp;
    /// Returns once [`Clock::now`] has reached `until`.
    async fn sleep_until(&self, until: Timestamp);
}

/// How far apart the clocks of two functions are taken to be at most. Lambda's hosts use the Amazon Time Sync Service,
/// which keeps them within milliseconds (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/set-time.html>); a
/// second leaves room for a host in trouble and costs only a second more before a lost lease is taken over.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(1);

/// The operating system's clock, through tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    async fn sleep_until(&self, until: Timestamp) {
        tokio::time::sleep(until.since(self.now())).await;
    }
}

/// `future`'s result, or `None` when `until` comes first by `clock`.
pub async fn before<T>(clock: &dyn Clock, until: Timestamp, future: impl Future<Output = T>) -> Option<T> {
    let sleep = clock.sleep_until(until);
    let future = std::pin::pin!(future);
    match futures::future::select(future, sleep).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(((), _)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_and_read_as_rfc_3339() {
        let moment = Timestamp::from_millis(1_768_000_000_123);
        assert_eq!(moment.to_string(), "2026-01-09T23:06:40.123Z");
        assert_eq!(moment.to_string().parse::<Timestamp>().expect("it was just written"), moment);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    fn comes_back(moment: Timestamp) {
        let text = moment.to_string();
        assert_eq!(text.parse::<Timestamp>().expect(&text), moment, "{text}");
        let json = serde_json::to_string(&moment).expect("it can be written");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect(&json), moment);
    }

    proptest::proptest! {
        #[test]
        fn whatever_time_a_peer_names_reads_back_as_it_was_written(millis: i64, span_millis: u64) {
            let moment = Timestamp::from_millis(millis);
            comes_back(moment);
            comes_back(moment + Duration::from_millis(span_millis));
            comes_back(moment - Duration::from_millis(span_millis));
            comes_back(moment.whole_second());
        }
    }

    #[test]
    fn a_time_beyond_all_calendars_is_the_last_one_that_reads_back() {
        // Seen: `Retry-After: 1768000000000` of a tool server made its run unreadable.
        let named = Timestamp::from_millis(1_768_000_000_000) + Duration::from_secs(1_768_000_000_000);
        assert_eq!(named, Timestamp::MAX);
        for edge in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_millis(i64::MIN), named] {
            comes_back(edge);
        }
        assert!("-000001-12-31T23:59:59Z".parse::<Timestamp>().is_err());
    }

    #[test]
    fn time_does_not_run_backwards() {
        let early = Timestamp::from_millis(1_000);
        assert_eq!(early.since(early + Duration::from_secs(5)), Duration::ZERO);
    }
}
