//! Causes in words, and fingerprints that are equal for equal causes.

use sha2::{Digest as _, Sha256};

/// 12 hexadecimal digits that are equal for causes that differ only in numbers and ids.
pub fn fingerprint(cause: &str) -> String {
    let words = cause.split_whitespace().map(|word| if word.bytes().any(|b| b.is_ascii_digit()) { "#" } else { word });
    let plain = words.collect::<Vec<_>>().join(" ");
    Sha256::digest(plain).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
