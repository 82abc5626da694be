//! What opens a door, by its looks.

use super::{
    Kind,
    scan::{Found, Scanner, Slot, is_mark},
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

/// Which bytes a prefix begins with: most words begin with none of them.
const PREFIX_STARTS: [bool; 256] = {
    let mut starts = [false; 256];
    let mut at = 0;
    while at < PREFIXES.len() {
        starts[PREFIXES[at].0.as_bytes()[0] as usize] = true;
        at += 1;
    }
    starts[b'A' as usize] = true;
    starts
};

/// How AWS key ids begin
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>).
const AWS_PREFIXES: [&str; 4] = ["AKIA", "ASIA", "ABIA", "ACCA"];

/// The bytes of an AWS key id after its prefix, and of a secret access key.
const AWS_ID_BYTES: usize = 16;
const AWS_SECRET_BYTES: usize = 40;

/// The most bytes of a PEM block that has no end: an RSA key of 16,384 bits has about 13,000.
const PEM_BYTES_MAX: usize = 16 * 1024;

/// How far the end of a PEM block is looked for.
const PEM_SEARCH_BYTES_MAX: usize = 4 * PEM_BYTES_MAX;

/// The most bytes of what a PEM block is said to be.
const PEM_LABEL_BYTES_MAX: usize = 40;

/// What a PEM block begins with, and ends its first line with.
const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_DASHES: &str = "-----";

/// How a JSON web token begins: with `{"` in base64url.
pub(super) const JWT_BEGIN: &str = "eyJ";

/// The fewest bytes that count as a token after `Bearer`.
const BEARER_BYTES_MIN: usize = 8;

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'=' | b'~')
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=')
}

/// A PEM block with a private key; without its end, everything that may belong to it.
pub(super) fn private_key(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let text = scanner.text;
    let rest = text[at..].strip_prefix(PEM_BEGIN)?;
    let seen = &rest[..rest.floor_char_boundary(PEM_LABEL_BYTES_MAX + PEM_DASHES.len())];
    scanner.look(seen.len());
    let label = &seen[..seen.find(PEM_DASHES)?];
    if !label.ends_with("PRIVATE KEY") {
        return None;
    }
    let closing = format!("-----END {label}-----");
    let searched = &text[at..text.floor_char_boundary(at + PEM_SEARCH_BYTES_MAX)];
    scanner.look(searched.len());
    let end = match searched.find(&closing) {
        Some(end) => at + end + closing.len(),
        None => text.floor_char_boundary(at + PEM_BYTES_MAX),
    };
    Some(Found { from: at, end, kind: Kind::PrivateKey })
}

/// `Bearer …` and `Basic …`, the scheme left standing.
pub(super) fn authorization(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let text = scanner.text;
    if !matches!(scanner.bytes(at).first(), Some(b'B' | b'b')) {
        return None;
    }
    let scheme = text.get(at..at + 6)?;
    let from = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => at + 6,
        _ if scheme.eq_ignore_ascii_case("basic ") => at + 5,
        _ => return None,
    };
    // Neither run holds a scheme with its space: no byte is in two of them.
    let spaces = scanner.run_up_to(usize::MAX, from, |byte| byte == b' ');
    let length = scanner.run_up_to(usize::MAX, from + spaces, is_token);
    let token = &text[from + spaces..from + spaces + length];
    let looks = token.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() || byte == b'=');
    let fits = spaces > 0 && length >= BEARER_BYTES_MIN && looks;
    fits.then_some(Found { from: from + spaces, end: from + spaces + length, kind: Kind::Authorization })
}

/// Keys that tell their provider by how they begin.
pub(super) fn prefixed(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let rest = scanner.bytes(at);
    if !PREFIX_STARTS[usize::from(*rest.first()?)] {
        return None;
    }
    for (prefix, length_min, kind) in PREFIXES {
        if rest.starts_with(prefix.as_bytes()) {
            // What is long enough is taken out, so that it is not looked at again.
            let length = scanner.run_up_to(usize::MAX, at + prefix.len(), is_token);
            if length >= *length_min {
                return Some(Found { from: at, end: at + prefix.len() + length, kind: *kind });
            }
        }
    }
    let is_id = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let known = rest.get(..4).is_some_and(|prefix| AWS_PREFIXES.iter().any(|known| known.as_bytes() == prefix));
    let whole = known && scanner.run_up_to(AWS_ID_BYTES + 1, at + 4, is_id) == AWS_ID_BYTES;
    whole.then_some(Found { from: at, end: at + 4 + AWS_ID_BYTES, kind: Kind::AwsAccessKey })
}

/// Three parts of base64url, the first of which is a JSON object.
pub(super) fn jwt(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    if !scanner.bytes(at).starts_with(JWT_BEGIN.as_bytes()) {
        return None;
    }
    let mut end = at;
    for part in 0..3 {
        let length = scanner.run(Slot::Jwt(part), end, is_base64url);
        if length < 4 && part < 2 {
            return None;
        }
        end += length;
        if part < 2 {
            if scanner.bytes(end).first() != Some(&b'.') {
                return None;
            }
            end += 1;
        }
    }
    Some(Found { from: at, end, kind: Kind::Jwt })
}

/// `scheme://user:password@host`, of which `user:password` goes.
pub(super) fn url_password(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = scanner.run(Slot::Scheme, at, is_scheme);
    if scheme == 0 || !scanner.bytes(at + scheme).starts_with(b"://") {
        return None;
    }
    let from = at + scheme + 3;
    let end = match scanner.authority.filter(|(known, _)| *known == from) {
        Some((_, known)) => known,
        None => {
            let end = user_and_password(scanner, from);
            scanner.authority = Some((from, end));
            end
        }
    };
    Some(Found { from, end: end?, kind: Kind::UrlPassword })
}

/// Where `user:password` ends that begins at `from`. An authority has no slash in it, so none holds the next one.
fn user_and_password(scanner: &mut Scanner<'_>, from: usize) -> Option<usize> {
    let is_authority = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<');
    let length = scanner.run_up_to(usize::MAX, from, is_authority);
    let authority = scanner.text.get(from..from + length)?;
    let inside = &authority[..authority.rfind('@')?];
    (inside.contains(':') && !is_mark(inside)).then_some(from + inside.len())
}

/// Forty characters of base64 in which lower case, upper case and digits mix: hexadecimal digests are not, and words are not.
pub(super) fn aws_secret(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let length = scanner.run(Slot::Secret, at, is_part);
    let secret = scanner.text.get(at..at + length).filter(|_| length == AWS_SECRET_BYTES)?;
    let count = |fits: fn(&u8) -> bool| secret.bytes().filter(fits).count();
    let mixed = count(u8::is_ascii_digit) > 0 && count(u8::is_ascii_uppercase) > 4 && count(u8::is_ascii_lowercase) > 4;
    mixed.then_some(Found { from: at, end: at + length, kind: Kind::AwsSecretKey })
}
