//! How long a peer asks us to wait.

use std::time::Duration;

use super::ASKED_WAIT_MAX;
use crate::clock::Timestamp;

/// The most bytes of such a header: a date takes 29, and what is longer is no date and no number of seconds.
const HEADER_BYTES_MAX: usize = 64;

/// The value of `retry-after-ms` (OpenAI and Azure send it), or of `retry-after`: seconds or a date
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>). Seconds may have a fraction, which some gateways send. Zero when there is
/// none that can be read; at most [`ASKED_WAIT_MAX`].
pub fn retry_after(header: impl Fn(&str) -> Option<String>, now: Timestamp) -> Duration {
    let read = |name: &str| header(name).filter(|text| text.len() <= HEADER_BYTES_MAX);
    let millis = read("retry-after-ms").and_then(|text| seconds(text.trim(), 1_000.0));
    let wait = millis.or_else(|| read("retry-after").and_then(|text| seconds_or_date(text.trim(), now)));
    wait.unwrap_or_default().min(ASKED_WAIT_MAX)
}

fn seconds_or_date(text: &str, now: Timestamp) -> Option<Duration> {
    if let Some(span) = seconds(text, 1.0) {
        return Some(span);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()).since(now))
}

/// A number of which `per_second` are a second; capped before it becomes a span, since a span cannot hold every number.
fn seconds(text: &str, per_second: f64) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|number| *number >= 0.0)? / per_second;
    Duration::try_from_secs_f64(seconds.min(ASKED_WAIT_MAX.as_secs_f64())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_milliseconds_and_dates_are_read_and_bounded() {
        let now = Timestamp::from_millis(1_445_412_420_000); // Wed, 21 Oct 2015 07:27:00 GMT
        let of = |name: &'static str, value: &'static str| {
            retry_after(|asked| (asked == name).then(|| value.to_owned()), now)
        };
        assert_eq!(of("retry-after", "7"), Duration::from_secs(7));
        assert_eq!(of("retry-after", "2.5"), Duration::from_millis(2_500));
        assert_eq!(of("retry-after-ms", "250"), Duration::from_millis(250));
        assert_eq!(of("retry-after-ms", "250.5"), Duration::from_micros(250_500));
        assert_eq!(of("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Duration::from_secs(60));
        assert_eq!(of("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT"), Duration::ZERO);
        for nothing in ["soon", "-1", "-0.5", "NaN", ""] {
            assert_eq!(of("retry-after", nothing), Duration::ZERO, "{nothing}");
        }
        for long in ["999999999", "1768000000000", "1e300", "inf", "18446744073709551616"] {
            assert_eq!(of("retry-after", long), ASKED_WAIT_MAX, "{long}");
        }
        assert_eq!(of("other", "7"), Duration::ZERO);
    }
}
