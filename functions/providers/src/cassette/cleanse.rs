//! Keeps credentials out of what is written down: the key in use wherever it stands, and whatever looks like a credential.

/// What stands for a credential.
pub const REDACTED: &str = "[redacted]";

/// How credentials begin, and how long they are at least. From the formats that GitHub's secret scanning knows
/// (<https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns>).
const CREDENTIALS: [(&str, usize); 16] = [
    ("sk-", 16),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("AKIA", 20),
    ("ASIA", 20),
    ("ABSK", 24),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("AIza", 30),
    ("eyJ", 40),
];

/// A text without `secret` and without anything that looks like a credential.
pub fn cleanse(text: &str, secret: Option<&str>) -> String {
    let text = match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) => text.replace(secret, REDACTED),
        None => text.to_owned(),
    };
    let mut cleansed = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut after_bearer = false;
    while let Some(first) = rest.chars().next() {
        let is_word = is_part(first);
        let end = rest.find(|c| is_part(c) != is_word).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if is_word {
            cleansed.push_str(if is_credential(run) || (after_bearer && run.len() >= 8) { REDACTED } else { run });
            after_bearer = run.eq_ignore_ascii_case("bearer");
        } else {
            cleansed.push_str(run);
            after_bearer &= run.trim().is_empty();
        }
        rest = after;
    }
    cleansed
}

const fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

fn is_credential(word: &str) -> bool {
    let word = word.rsplit('=').find(|part| !part.is_empty()).unwrap_or(word);
    CREDENTIALS.iter().any(|(start, length)| word.len() >= *length && word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_replaced_and_ordinary_text_is_not() {
        for text in [
            "sk-ant-api03-0123456789abcdef",
            "the key is sk-proj-0123456789abcdef, keep it",
            "Authorization: Bearer 0123456789abcdef",
            "id AKIAIOSFODNN7EXAMPLE",
            "token=ghp_0123456789abcdefghijklmnop",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
        ] {
            let cleansed = cleanse(text, None);
            assert!(cleansed.contains(REDACTED) && !cleansed.contains("0123456789abcdef"), "{cleansed}");
        }
        assert_eq!(cleanse("a hunter2b", Some("hunter2")), "a [redacted]b");
        for text in
            ["task-force one", "the bearer of news", "sk-short", "order A-1001, ask-me-anything-you-like-now", "héllo"]
        {
            assert_eq!(cleanse(text, None), text);
        }
    }
}
