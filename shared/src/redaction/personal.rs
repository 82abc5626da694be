//! What says something about a person, by its looks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Kind,
    scan::{Found, Scanner, Slot},
};

/// The most bytes of an e-mail address (RFC 5321, 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// The longest number there is: a card of 19 digits with spaces, an IBAN of 34 characters with spaces.
const CARD_BYTES_MAX: usize = 25;
const IBAN_BYTES_MAX: usize = 42;

/// The most bytes of an IBAN without its spaces.
const IBAN_CHARS_MAX: usize = 34;

/// The most bytes of a telephone number behind its `+`.
const PHONE_BYTES_MAX: usize = 24;

/// The most bytes of an IP address, with an IPv4 address at the end of an IPv6 one.
const IP_ADDRESS_BYTES_MAX: usize = 45;

/// The most colons in an IPv6 address, of which the last two may be one after the other.
const IPV6_COLONS_MAX: usize = 8;

/// `local@domain.tld`, percent-encoded or not.
pub(super) fn email(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-!#$&'*/=?^{|}~".contains(&byte) || byte >= 0x80;
    let run = scanner.run(Slot::Local, at, is_local);
    let end = if run > 0 && run <= EMAIL_BYTES_MAX && scanner.bytes(at + run).first() == Some(&b'@') {
        domain(scanner, 0, at + run + 1)
    } else {
        let local = run.min(EMAIL_BYTES_MAX);
        scanner.text.get(at..at + local)?;
        let sign = percent(scanner, at, at + run).filter(|sign| *sign > at && sign + 3 <= at + local)?;
        domain(scanner, 1, sign + 3)
    };
    Some(Found { from: at, end: end?, kind: Kind::Email })
}

/// The first `%40` between `at` and `end`, where the run ends that it is in.
fn percent(scanner: &mut Scanner<'_>, at: usize, end: usize) -> Option<usize> {
    let found = match scanner.percent.filter(|(from, found)| *from <= at && at <= *found && *found <= end) {
        Some((_, found)) => found,
        None => {
            let found = scanner.bytes(at)[..end - at].windows(3).position(|sign| sign == b"%40");
            let found = found.map_or(end, |found| at + found);
            scanner.look(found - at + 1);
            scanner.percent = Some((at, found));
            found
        }
    };
    (found < end).then_some(found)
}

/// Where the domain ends that begins at `from`, if it is one. No domain holds what stands before another.
fn domain(scanner: &mut Scanner<'_>, place: usize, from: usize) -> Option<usize> {
    if let Some((_, known)) = scanner.domains[place].filter(|(known, _)| *known == from) {
        return known;
    }
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') || byte >= 0x80;
    let length = scanner.run_up_to(usize::MAX, from, is_domain);
    let fits = |domain: &&str| {
        let top = domain.rsplit_once('.').map(|(_, top)| top);
        let is_top = |top: &str| top.chars().nth(1).is_some() && top.chars().all(char::is_alphabetic);
        top.is_some_and(is_top) && !domain.starts_with('.')
    };
    let domain = scanner.text.get(from..from + length).map(|domain| domain.trim_end_matches(['.', '-'])).filter(fits);
    let end = domain.map(|domain| from + domain.len());
    scanner.domains[place] = Some((from, end));
    end
}

/// An IBAN (ISO 13616) with the right check digits.
pub(super) fn iban(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let bytes = scanner.bytes(at);
    let (country, check) = (bytes.get(..2)?, bytes.get(2..4)?);
    if !country.iter().all(u8::is_ascii_alphabetic) || !check.iter().all(u8::is_ascii_digit) {
        return None;
    }
    scanner.look(IBAN_BYTES_MAX);
    let mut compact = [0_u8; IBAN_CHARS_MAX];
    let (mut length, mut end) = (0, 0);
    for (index, byte) in bytes.iter().take(IBAN_BYTES_MAX).enumerate() {
        match byte {
            _ if byte.is_ascii_alphanumeric() && length < IBAN_CHARS_MAX => {
                compact[length] = byte.to_ascii_uppercase();
                length += 1;
            }
            b' ' | b'-' if length.is_multiple_of(4) => continue,
            _ => break,
        }
        // The longest that fits: a word may follow it.
        let ends = !bytes.get(index + 1).is_some_and(u8::is_ascii_alphanumeric);
        if ends && length >= 15 && is_iban(&compact[..length]) {
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
pub(super) fn digits(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    if !scanner.bytes(at).first().is_some_and(|first| first.is_ascii_digit() || matches!(first, b'+' | b'(')) {
        return None;
    }
    card(scanner, at).or_else(|| national_id(scanner, at)).or_else(|| phone(scanner, at))
}

/// A card number: 13 to 19 digits in the range of an issuer, with Luhn's check digit (ISO/IEC 7812).
pub(super) fn card(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let bytes = scanner.bytes(at);
    let mut digits = [0_u8; CARD_BYTES_MAX];
    let (mut count, mut length) = (0, 0);
    for (index, byte) in bytes.iter().take(CARD_BYTES_MAX).enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits[count] = byte - b'0';
                count += 1;
            }
            b' ' | b'-' if count > 0 => continue,
            _ => break,
        }
        length = index + 1;
    }
    scanner.look(length + 1);
    let digits = &digits[..count];
    let whole = !bytes.get(length).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
    let issued = matches!(digits.first(), Some(2..=6));
    let fits = whole && issued && (13..=19).contains(&count) && has_check_digit(digits);
    fits.then_some(Found { from: at, end: at + length, kind: Kind::Card })
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
fn national_id(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let bytes = scanner.bytes(at);
    let next = bytes.get(11);
    let bytes = bytes.get(..11)?;
    scanner.look(bytes.len());
    let dash = bytes[3];
    let shaped = bytes.iter().enumerate().all(|(place, byte)| match place {
        3 | 6 => *byte == dash && matches!(dash, b'-' | b' '),
        _ => byte.is_ascii_digit(),
    });
    let area = &bytes[..3];
    let issued = area != b"000" && area != b"666" && area[0] != b'9' && &bytes[4..6] != b"00" && &bytes[7..] != b"0000";
    let whole = !next.is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'-');
    (shaped && issued && whole).then_some(Found { from: at, end: at + 11, kind: Kind::NationalId })
}

/// `+` and 8 to 15 digits (E.164), or ten digits written in three groups as in North America.
fn phone(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/');
    let plus = usize::from(scanner.bytes(at).first() == Some(&b'+'));
    let reach = plus + scanner.run_up_to(PHONE_BYTES_MAX, at + plus, is_part);
    let written = scanner.text.get(at..at + reach)?.trim_end_matches([' ', '-', '.', '(', ')', '/']);
    let digits = written.bytes().filter(u8::is_ascii_digit).count();
    let next = scanner.bytes(at + written.len()).first();
    let whole = !next.is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
    let lengths = || written.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|length| *length > 0);
    let international = plus == 1 && (8..=15).contains(&digits);
    let national = plus == 0 && (lengths().eq([3, 3, 4]) || lengths().eq([1, 3, 3, 4]));
    (whole && (international || national)).then_some(Found { from: at, end: at + written.len(), kind: Kind::Phone })
}

/// An IP address. Loopback and unspecified addresses say nothing of anybody.
pub(super) fn ip_address(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let length = scanner.run(Slot::Address, at, is_part).min(IP_ADDRESS_BYTES_MAX);
    let found = scanner.text.get(at..at + length).filter(|found| found.contains(['.', ':']))?;
    let v4 = found.split(':').next().unwrap_or_default().trim_end_matches('.');
    let (address, length) = match v4.parse::<Ipv4Addr>() {
        Ok(address) => (IpAddr::V4(address), v4.len()),
        Err(_) => {
            let v6 = found.trim_end_matches('.');
            let v6 = if v6.ends_with("::") { v6 } else { v6.trim_end_matches(':') };
            if v6.bytes().filter(|byte| *byte == b':').count() > IPV6_COLONS_MAX {
                return None;
            }
            // `a::b` is a path in some languages; an address of anybody has more to it.
            let parts = v6.split(':').filter(|part| !part.is_empty()).nth(2);
            parts?;
            (IpAddr::V6(v6.parse::<Ipv6Addr>().ok()?), v6.len())
        }
    };
    let whole = !scanner.bytes(at + length).first().is_some_and(u8::is_ascii_alphanumeric);
    let says = !address.is_loopback() && !address.is_unspecified();
    (whole && says).then_some(Found { from: at, end: at + length, kind: Kind::IpAddress })
}
