//! How long a provider asks us to wait.

use std::time::Duration;

use windlass::{clock::Timestamp, retry::ASKED_WAIT_MAX};

/// The value of `retry-after-ms` (OpenAI and Azure send it), or of `retry-after`: seconds, fractions of
/// one as some gateways send them, or a date (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>). Zero when there is none that
/// can be read, an hour at most.
pub fn retry_after(header: impl Fn(&str) -> Option<String>, now: Timestamp) -> Duration {
    let millis = header("retry-after-ms").and_then(|text| seconds(text.trim())).map(|span| span / 1_000);
    let wait = millis.or_else(|| header("retry-after").and_then(|text| seconds_or_date(text.trim(), now)));
    wait.unwrap_or_default().min(ASKED_WAIT_MAX)
}

fn seconds_or_date(text: &str, now: Timestamp) -> Option<Duration> {
    if let Some(span) = seconds(text) {
        return Some(span);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()).since(now))
}

/// A number of seconds that is not below zero; more than a year is a year.
fn seconds(text: &str) -> Option<Duration> {
    const YEAR_SECONDS: f64 = 31_536_000.0;
    let number: f64 = text.parse().ok()?;
    (number >= 0.0).then(|| Duration::from_secs_f64(number.min(YEAR_SECONDS)))
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
        assert_eq!(of("retry-after-ms", "250"), Duration::from_millis(250));
        assert_eq!(of("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Duration::from_secs(60));
        assert_eq!(of("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT"), Duration::ZERO);
        assert_eq!(of("retry-after", "soon"), Duration::ZERO);
        assert_eq!(of("retry-after", "-1"), Duration::ZERO);
        assert_eq!(of("retry-after", "20.5"), Duration::from_millis(20_500));
        assert_eq!(of("retry-after-ms", "250.5"), Duration::from_micros(250_500));
        for endless in ["999999999", "1768000000000", "1e300", "inf", "Wed, 21 Oct 2115 07:28:00 GMT"] {
            assert_eq!(of("retry-after", endless), ASKED_WAIT_MAX, "{endless}");
        }
        assert_eq!(of("retry-after-ms", "99999999999999999999"), ASKED_WAIT_MAX);
        assert_eq!(of("retry-after", "NaN"), Duration::ZERO);
        assert_eq!(of("other", "7"), Duration::ZERO);
    }
}
