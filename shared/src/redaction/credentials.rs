//! What opens a door, by its looks.

use super::{
    Kind,
    scan::{Found, run},
};

/// How keys and tokens of providers begin, and how many characters follow at least. Sources: each provider's page on key formats
/// and GitHub's list of secret-scanning patterns
/// (<https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns>).
const PREFIXES: &[(&str, usize, Kind)] = &[
    ("sk-ant-", 16, Kind::AnthropicKey),
    ("sk-", 20, Kind::OpenAiKey),
    ("sk_live_", 16, Kind::StripeKey),
    ("sk_test_", 16, Kind::StripeKey),
    ("rk_live_", 16, Kind::StripeKey),
    ("rk_test_", 16, Kind::StripeKey),
    ("whsec_", 16, Kind::StripeKey),
    ("ghp_", 30, Kind::GitHubToken),
    ("gho_", 30, Kind::GitHubToken),
    ("ghu_", 30, Kind::GitHubToken),
    ("ghs_", 30, Kind::GitHubToken),
    ("ghr_", 30, Kind::GitHubToken),
    ("github_pat_", 30, Kind::GitHubToken),
    ("glpat-", 16, Kind::GitLabToken),
    ("xoxb-", 10, Kind::SlackToken),
    ("xoxa-", 10, Kind::SlackToken),
    ("xoxp-", 10, Kind::SlackToken),
    ("xoxr-", 10, Kind::SlackToken),
    ("xoxs-", 10, Kind::SlackToken),
    ("xapp-", 10, Kind::SlackToken),
    ("hooks.slack.com/services/", 20, Kind::SlackToken),
    // <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html>
    ("ABSK", 40, Kind::AwsSecretKey),
    ("AIza", 35, Kind::GoogleKey),
    ("ya29.", 20, Kind::GoogleKey),
    ("GOCSPX-", 20, Kind::GoogleKey),
    ("SG.", 40, Kind::SendGridKey),
    ("npm_", 30, Kind::RegistryToken),
    ("pypi-", 30, Kind::RegistryToken),
    ("hf_", 30, Kind::RegistryToken),
    ("dop_v1_", 40, Kind::RegistryToken),
    ("dckr_pat_", 20, Kind::RegistryToken),
];

/// How AWS key ids begin
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>).
const AWS_PREFIXES: [&str; 4] = ["AKIA", "ASIA", "ABIA", "ACCA"];

/// The bytes of an AWS key id after its prefix, and of a secret access key.
const AWS_ID_BYTES: usize = 16;
const AWS_SECRET_BYTES: usize = 40;

/// The most bytes of a PEM block: an RSA key of 16,384 bits has about 13,000.
const PEM_BYTES_MAX: usize = 16 * 1024;

/// The fewest bytes that count as a token after `Bearer`.
const BEARER_BYTES_MIN: usize = 8;

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'=' | b'~')
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=')
}

/// A PEM block with a private key; without its end, everything that may belong to it.
pub(super) fn private_key(text: &str, at: usize) -> Option<Found> {
    let rest = text[at..].strip_prefix("-----BEGIN ")?;
    let (label, _) = rest.get(..rest.find("-----")?).map(|label| (label, ()))?;
    if label.len() > 40 || !label.ends_with("PRIVATE KEY") {
        return None;
    }
    let closing = format!("-----END {label}-----");
    let end = match text[at..].find(&closing) {
        Some(end) => at + end + closing.len(),
        None => (at..=text.len().min(at + PEM_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end))?,
    };
    Some(Found { from: at, end, kind: Kind::PrivateKey })
}

/// `Bearer …` and `Basic …`, the scheme left standing.
pub(super) fn authorization(text: &str, at: usize) -> Option<Found> {
    let scheme = text.get(at..at + 6)?;
    let from = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => at + 6,
        "basic " => at + 5,
        _ => return None,
    };
    let spaces = run(text, from, |byte| byte == b' ');
    let length = run(text, from + spaces, is_token);
    let token = &text[from + spaces..from + spaces + length];
    let looks = token.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() || byte == b'=');
    let fits = spaces > 0 && length >= BEARER_BYTES_MIN && looks;
    fits.then_some(Found { from: from + spaces, end: from + spaces + length, kind: Kind::Authorization })
}

/// Keys that tell their provider by how they begin.
pub(super) fn prefixed(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    for (prefix, length_min, kind) in PREFIXES {
        if rest.starts_with(prefix) {
            let length = run(text, at + prefix.len(), is_token);
            if length >= *length_min {
                return Some(Found { from: at, end: at + prefix.len() + length, kind: *kind });
            }
        }
    }
    let is_id = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let known = rest.get(..4).is_some_and(|prefix| AWS_PREFIXES.contains(&prefix));
    let whole = known && run(text, at + 4, is_id) == AWS_ID_BYTES;
    whole.then_some(Found { from: at, end: at + 4 + AWS_ID_BYTES, kind: Kind::AwsAccessKey })
}

/// Three parts of base64url, the first of which is a JSON object.
pub(super) fn jwt(text: &str, at: usize) -> Option<Found> {
    if !text[at..].starts_with("eyJ") {
        return None;
    }
    let mut end = at;
    for part in 0..3 {
        let length = run(text, end, is_base64url);
        if length < 4 && part < 2 {
            return None;
        }
        end += length;
        if part < 2 {
            if text.as_bytes().get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
    }
    Some(Found { from: at, end, kind: Kind::Jwt })
}

/// `scheme://user:password@host`, of which `user:password` goes.
pub(super) fn url_password(text: &str, at: usize) -> Option<Found> {
    let scheme = run(text, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let from = text.get(at + scheme..)?.strip_prefix("://").map(|_| at + scheme + 3)?;
    let is_authority = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<');
    let authority = text.get(from..from + run(text, from, is_authority))?;
    let inside = &authority[..authority.rfind('@')?];
    let end = from + inside.len();
    let fits = scheme > 0 && inside.contains(':');
    (fits && !super::scan::is_mark(inside)).then_some(Found { from, end, kind: Kind::UrlPassword })
}

/// Forty characters of base64 in which lower case, upper case and digits mix: hexadecimal digests are not, and words are not.
pub(super) fn aws_secret(text: &str, at: usize) -> Option<Found> {
    let length = run(text, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'));
    let secret = text.get(at..at + length).filter(|_| length == AWS_SECRET_BYTES)?;
    let count = |fits: fn(&u8) -> bool| secret.bytes().filter(fits).count();
    let mixed = count(u8::is_ascii_digit) > 0 && count(u8::is_ascii_uppercase) > 4 && count(u8::is_ascii_lowercase) > 4;
    mixed.then_some(Found { from: at, end: at + length, kind: Kind::AwsSecretKey })
}
