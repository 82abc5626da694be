//! What says something about a person, by its looks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Kind,
    scan::{Found, run},
};

/// The most bytes of an e-mail address (RFC 5321, 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// The longest number there is: a card of 19 digits with spaces, an IBAN of 34 characters with spaces.
const CARD_BYTES_MAX: usize = 25;
const IBAN_BYTES_MAX: usize = 42;

/// `local@domain.tld`, percent-encoded or not.
pub(super) fn email(text: &str, at: usize) -> Option<Found> {
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-!#$&'*/=?^{|}~".contains(&byte) || byte >= 0x80;
    let local = run(text, at, is_local).min(EMAIL_BYTES_MAX);
    let (local, sign) = match text.as_bytes().get(at + local) {
        Some(b'@') => (local, 1),
        _ => (text.get(at..at + local)?.find("%40")?, 3),
    };
    let domain = run(text, at + local + sign, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') || byte >= 0x80
    });
    let domain = text.get(at + local + sign..at + local + sign + domain)?.trim_end_matches(['.', '-']);
    let end = at + local + sign + domain.len();
    let (_, top) = domain.rsplit_once('.')?;
    let fits =
        local > 0 && top.chars().count() >= 2 && top.chars().all(char::is_alphabetic) && !domain.starts_with('.');
    fits.then_some(Found { from: at, end, kind: Kind::Email })
}

/// An IBAN (ISO 13616) with the right check digits.
pub(super) fn iban(text: &str, at: usize) -> Option<Found> {
    let bytes = &text.as_bytes()[at..];
    let (country, check) = (bytes.get(..2)?, bytes.get(2..4)?);
    if !country.iter().all(u8::is_ascii_alphabetic) || !check.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut compact: Vec<u8> = Vec::with_capacity(34);
    let mut end = 0;
    for (index, byte) in bytes.iter().take(IBAN_BYTES_MAX).enumerate() {
        match byte {
            _ if byte.is_ascii_alphanumeric() && compact.len() < 34 => compact.push(byte.to_ascii_uppercase()),
            b' ' | b'-' if compact.len().is_multiple_of(4) => continue,
            _ => break,
        }
        // The longest that fits: a word may follow it.
        let ends = !bytes.get(index + 1).is_some_and(u8::is_ascii_alphanumeric);
        if ends && compact.len() >= 15 && is_iban(&compact) {
            end = index + 1;
        }
    }
    (end > 0).then_some(Found { from: at, end: at + end, kind: Kind::BankAccount })
}

fn is_iban(compact: &[u8]) -> bool {
    let moved = compact[4..].iter().chain(&compact[..4]);
    let remainder = moved.fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Cards, social security numbers and telephone numbers.
pub(super) fn digits(text: &str, at: usize) -> Option<Found> {
    card(text, at).or_else(|| national_id(text, at)).or_else(|| phone(text, at))
}

/// A card number: 13 to 19 digits in the range of an issuer, with Luhn's check digit (ISO/IEC 7812).
pub(super) fn card(text: &str, at: usize) -> Option<Found> {
    let mut digits: Vec<u8> = Vec::with_capacity(19);
    let mut end = at;
    for (index, byte) in text.as_bytes()[at..].iter().take(CARD_BYTES_MAX).enumerate() {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b' ' | b'-' if !digits.is_empty() => continue,
            _ => break,
        }
        end = at + index + 1;
    }
    let whole = !text.as_bytes().get(end).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
    let issued = matches!(digits.first(), Some(2..=6));
    let fits = whole && issued && (13..=19).contains(&digits.len()) && has_check_digit(&digits);
    fits.then_some(Found { from: at, end, kind: Kind::Card })
}

fn has_check_digit(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let from_the_right = digits.iter().rev().enumerate();
    let sum: u32 =
        from_the_right.map(|(place, digit)| u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit })).sum();
    sum.is_multiple_of(10)
}

/// A US social security number with its dashes or spaces
/// (<https://www.ssa.gov/employer/randomization.html> says which areas there are not).
fn national_id(text: &str, at: usize) -> Option<Found> {
    let bytes = text.as_bytes().get(at..at + 11)?;
    let dash = bytes[3];
    let shaped = bytes.iter().enumerate().all(|(place, byte)| match place {
        3 | 6 => *byte == dash && matches!(dash, b'-' | b' '),
        _ => byte.is_ascii_digit(),
    });
    let area = &bytes[..3];
    let issued = area != b"000" && area != b"666" && area[0] != b'9' && &bytes[4..6] != b"00" && &bytes[7..] != b"0000";
    let whole = !text.as_bytes().get(at + 11).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'-');
    (shaped && issued && whole).then_some(Found { from: at, end: at + 11, kind: Kind::NationalId })
}

/// `+` and 8 to 15 digits (E.164), or ten digits written in three groups as in North America.
fn phone(text: &str, at: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/');
    let plus = usize::from(bytes[at] == b'+');
    let reach = plus + run(text, at + plus, is_part).min(24);
    let written = text.get(at..at + reach)?.trim_end_matches([' ', '-', '.', '(', ')', '/']);
    let digits = written.bytes().filter(u8::is_ascii_digit).count();
    let whole = !bytes.get(at + written.len()).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
    let groups: Vec<usize> =
        written.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|length| *length > 0).collect();
    let international = plus == 1 && (8..=15).contains(&digits);
    let national = plus == 0 && matches!(groups.as_slice(), [3, 3, 4] | [1, 3, 3, 4]);
    (whole && (international || national)).then_some(Found { from: at, end: at + written.len(), kind: Kind::Phone })
}

/// An IP address. Loopback and unspecified addresses say nothing of anybody.
pub(super) fn ip_address(text: &str, at: usize) -> Option<Found> {
    let length = run(text, at, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')).min(45);
    let found = text.get(at..at + length)?;
    let v4 = found.split(':').next().unwrap_or_default().trim_end_matches('.');
    let (address, length) = match v4.parse::<Ipv4Addr>() {
        Ok(address) => (IpAddr::V4(address), v4.len()),
        Err(_) => {
            let v6 = found.trim_end_matches('.');
            let v6 = if v6.ends_with("::") { v6 } else { v6.trim_end_matches(':') };
            // `a::b` is a path in some languages; an address of anybody has more to it.
            let parts = v6.split(':').filter(|part| !part.is_empty()).count();
            (IpAddr::V6(v6.parse::<Ipv6Addr>().ok().filter(|_| parts >= 3)?), v6.len())
        }
    };
    let whole = !text.as_bytes().get(at + length).is_some_and(|next| next.is_ascii_alphanumeric());
    let says = !address.is_loopback() && !address.is_unspecified();
    (whole && says).then_some(Found { from: at, end: at + length, kind: Kind::IpAddress })
}
