//! How long a provider asks us to wait.

use std::time::Duration;

use windlass::clock::Timestamp;

/// The longest that is believed: a run waits no longer at once, whatever a provider says.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The value of `retry-after-ms` (OpenAI and Azure send it), or of `retry-after`: seconds or a date
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>). Zero when there is none that can be read.
pub fn retry_after(header: impl Fn(&str) -> Option<String>, now: Timestamp) -> Duration {
    let millis = header("retry-after-ms").and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
    let wait = millis.or_else(|| header("retry-after").and_then(|text| seconds_or_date(text.trim(), now)));
    wait.unwrap_or_default().min(RETRY_AFTER_MAX)
}

fn seconds_or_date(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()).since(now))
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
        assert_eq!(of("retry-after", "999999999"), RETRY_AFTER_MAX);
        assert_eq!(of("other", "7"), Duration::ZERO);
    }
}
