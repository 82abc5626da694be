//! The two headers that say how a request is to be met.

use std::time::Duration;

use windlass::idempotency::InvalidKey;

/// The longest that an answer is waited for. API Gateway ends a request after 30 seconds
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>); five are left for the rest.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(25);

/// The key in an `Idempotency-Key`: a quoted string, as the draft wants it
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>), or the bare text that most clients send.
///
/// # Errors
/// When there is none, there are several, or its quotes and escapes are not those of a string of RFC 8941, section 3.3.3.
pub(crate) fn idempotency_key(header: Option<&str>) -> Result<String, InvalidKey> {
    let text = header.map(str::trim).filter(|text| !text.is_empty()).ok_or(InvalidKey::Missing)?;
    let Some(quoted) = text.strip_prefix('"') else {
        // API Gateway joins repeated headers with commas: two keys are none.
        return if text.contains(',') { Err(InvalidKey::Unprintable) } else { Ok(text.to_owned()) };
    };
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next() {
            Some('"') if chars.as_str().is_empty() => return Ok(key),
            Some('\\') => match chars.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(InvalidKey::Unprintable),
            },
            Some('"') | None => return Err(InvalidKey::Unprintable),
            Some(other) => key.push(other),
        }
    }
}

/// How long `Prefer: wait=N` asks to wait, at most [`WAIT_MAX`]. A preference that is not understood is ignored, as
/// <https://www.rfc-editor.org/rfc/rfc7240#section-2> has it.
pub(crate) fn wait(header: Option<&str>) -> Option<Duration> {
    let preferences = header?.split(',').filter_map(|preference| preference.split(';').next());
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds).min(WAIT_MAX))
    });
    waits.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_quoted_or_bare() {
        for (header, wanted) in [
            (Some("k-1"), Ok("k-1")),
            (Some(r#""k-1""#), Ok("k-1")),
            (Some(r#""a\"b\\c""#), Ok(r#"a"b\c"#)),
            (Some("  k-1 "), Ok("k-1")),
            (Some("k-1,k-2"), Err(InvalidKey::Unprintable)),
            (Some(r#""k-1,k-2""#), Ok("k-1,k-2")),
            (Some(r#""k-1","k-2""#), Err(InvalidKey::Unprintable)),
            (None, Err(InvalidKey::Missing)),
            (Some(" "), Err(InvalidKey::Missing)),
            (Some(r#""k-1"#), Err(InvalidKey::Unprintable)),
            (Some(r#""k"1""#), Err(InvalidKey::Unprintable)),
            (Some(r#""k\1""#), Err(InvalidKey::Unprintable)),
            (Some(r#"""#), Err(InvalidKey::Unprintable)),
        ] {
            assert_eq!(idempotency_key(header), wanted.map(ToOwned::to_owned), "{header:?}");
        }
    }

    #[test]
    fn a_wait_is_bounded_and_what_is_not_understood_is_ignored() {
        for (header, seconds) in [
            (Some("wait=5"), Some(5)),
            (Some("respond-async, wait=10"), Some(10)),
            (Some("Wait = \"3\"; x=1"), Some(3)),
            (Some("wait=3600"), Some(25)),
            (Some("wait=0"), Some(0)),
            (Some("wait=-1"), None),
            (Some("wait=soon"), None),
            (Some("wait"), None),
            (Some("return=minimal"), None),
            (None, None),
        ] {
            assert_eq!(wait(header), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}
