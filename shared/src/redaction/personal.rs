//! What says something about a person, by its looks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Kind,
    credentials::JWT_BEGIN,
    scan::{Found, Scanner, Slot},
};

/// The most bytes of an e-mail address (RFC 5321, 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// The longest number there is: a card of 19 digits with spaces, an IBAN of 34 characters with spaces.
const CARD_BYTES_MAX: usize = 25;
const IBAN_BYTES_MAX: usize = 42;

/// The fewest and the most digits of a card number.
const CARD_DIGITS_MIN: usize = 13;
const CARD_DIGITS_MAX: usize = 19;

/// The most bytes of an IBAN without its spaces.
const IBAN_CHARS_MAX: usize = 34;

/// The most bytes of a telephone number behind its `+`.
const PHONE_BYTES_MAX: usize = 24;

/// The fewest and the most digits of a telephone number that begins with `+` (E.164).
const PHONE_DIGITS_MIN: usize = 8;
const PHONE_DIGITS_MAX: usize = 15;

/// The most groups of digits that fit into a telephone number.
const PHONE_GROUPS_MAX: usize = PHONE_BYTES_MAX.div_ceil(2);

/// The digits of each group of a North American number.
const NATIONAL_PHONES: [&[usize]; 2] = [&[3, 3, 4], &[1, 3, 3, 4]];

/// The fewest bytes of an IP address that says something of somebody: `1::2:3`.
const IP_ADDRESS_BYTES_MIN: usize = 6;

/// The most bytes of an IPv4 address, and of an IPv6 address with an IPv4 one at its end.
const IPV4_BYTES_MAX: usize = 15;
const IPV6_BYTES_MAX: usize = 45;

/// The groups of an IPv6 address, and the fewest that are written: `a::b` is a path in some languages; an address of anybody has more
/// to it.
const IPV6_GROUPS: usize = 8;
const IPV6_GROUPS_MIN: usize = 3;

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
    let text = scanner.text.get(from..from + length).map(|text| text.trim_end_matches(['.', '-']));
    let end = text.and_then(domain_bytes).map(|length| from + length);
    scanner.domains[place] = Some((from, end));
    end
}

/// The most bytes of what is made of the letters of domains that are one: it ends in a label of two letters or more, and a number, a
/// dash or a token may follow it.
fn domain_bytes(text: &str) -> Option<usize> {
    let mut end = None;
    let mut is_token = false;
    // How many letters the label has so far, if it is behind a dot and has nothing else.
    let mut letters: Option<usize> = None;
    let mut is_label_start = true;
    for (place, c) in text.char_indices() {
        match c {
            '.' if place == 0 => return None,
            '.' | '-' => {
                let is_top = letters.is_some_and(|letters| letters > 1) && !is_token;
                end = if is_top { Some(place) } else { end };
                letters = (c == '.').then_some(0);
            }
            _ => letters = letters.filter(|_| c.is_alphabetic()).map(|letters| letters + 1),
        }
        is_token |= is_label_start && text[place..].starts_with(JWT_BEGIN);
        is_label_start = matches!(c, '.' | '-');
    }
    if letters.is_some_and(|letters| letters > 1) { Some(text.len()) } else { end }
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

/// A card number: 13 to 19 digits in the range of an issuer, with Luhn's check digit (ISO/IEC 7812). The longest that fits: another
/// number may follow it.
pub(super) fn card(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let bytes = scanner.bytes(at);
    if !matches!(bytes.first(), Some(b'2'..=b'6')) {
        return None;
    }
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    // The sum with the digits at even places doubled, and with those at odd ones.
    let mut sums = [0_u32; 2];
    let (mut count, mut end, mut seen) = (0, 0, 0);
    for (index, byte) in bytes.iter().take(CARD_BYTES_MAX).enumerate() {
        seen = index + 1;
        match byte {
            b'0'..=b'9' if count < CARD_DIGITS_MAX => {
                let digit = u32::from(byte - b'0');
                sums[count % 2] += doubled(digit);
                sums[(count + 1) % 2] += digit;
                count += 1;
            }
            b' ' | b'-' => continue,
            _ => break,
        }
        // The last digit is not doubled, and the one before it is.
        if count >= CARD_DIGITS_MIN && sums[count % 2].is_multiple_of(10) && ends(bytes, index + 1) {
            end = index + 1;
        }
    }
    scanner.look(seen + 1);
    (end > 0).then_some(Found { from: at, end: at + end, kind: Kind::Card })
}

/// Whether a number that goes to the byte `end` ends there.
fn ends(bytes: &[u8], end: usize) -> bool {
    !bytes.get(end).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_')
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
    let whole = !next.is_some_and(u8::is_ascii_alphanumeric);
    (shaped && issued && whole).then_some(Found { from: at, end: at + 11, kind: Kind::NationalId })
}

/// `+` and 8 to 15 digits (E.164), or ten digits written in three groups as in North America. The longest that fits: another number
/// may follow it. Of a row of numbers that begins with `+` and is too long all goes: where the first of them ends is not known.
fn phone(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_separator = |byte: u8| matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/');
    let bytes = scanner.bytes(at);
    let is_international = bytes.first() == Some(&b'+');
    // The digits of each group.
    let mut groups = [0_usize; PHONE_GROUPS_MAX + 1];
    let (mut group, mut digits, mut end, mut seen) = (0, 0, 0, usize::from(is_international));
    for (index, byte) in bytes.iter().enumerate().skip(seen).take(PHONE_BYTES_MAX) {
        if is_separator(*byte) {
            group += usize::from(groups[group] > 0);
        } else if byte.is_ascii_digit() {
            groups[group] += 1;
            digits += 1;
        } else {
            break;
        }
        seen = index + 1;
        let fits = match is_international {
            true => (PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&digits),
            false => NATIONAL_PHONES.iter().any(|lengths| **lengths == groups[..=group]),
        };
        if fits && byte.is_ascii_digit() && ends(bytes, seen) {
            end = seen;
        }
    }
    scanner.look(seen + 1);
    if end > 0 && is_international && (digits > PHONE_DIGITS_MAX || seen > PHONE_BYTES_MAX) {
        let rest = scanner.run_up_to(usize::MAX, at + end, |byte| byte.is_ascii_digit() || is_separator(byte));
        let last = (end..end + rest).rev().find(|index| bytes[*index].is_ascii_digit() && ends(bytes, index + 1));
        end = last.map_or(end, |last| last + 1);
    }
    (end > 0).then_some(Found { from: at, end: at + end, kind: Kind::Phone })
}

/// An IP address. Loopback and unspecified addresses say nothing of anybody. Of a row of numbers that begins with an address all goes:
/// which of them are the address is not known.
pub(super) fn ip_address(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let run = scanner.run(Slot::Address, at, is_part);
    if run < IP_ADDRESS_BYTES_MIN {
        return None;
    }
    let row = Row { text: scanner.text.get(at..at + run)?, next: scanner.bytes(at + run).first().copied() };
    scanner.look(IPV4_BYTES_MAX.min(run));
    let (address, length) = match row.ip_v4() {
        Some((address, length)) => (IpAddr::V4(address), length),
        None => {
            scanner.look(IPV6_BYTES_MAX.min(run));
            let (address, length) = row.ip_v6()?;
            (IpAddr::V6(address), length)
        }
    };
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let length = match address {
        IpAddr::V4(_) => row.numbers(length),
        IpAddr::V6(_) => row.groups(length),
    };
    Some(Found { from: at, end: at + length, kind: Kind::IpAddress })
}

/// Everything that IP addresses are made of, from the beginning of what may be one to where something else begins.
struct Row<'t> {
    text: &'t str,
    /// What follows it.
    next: Option<u8>,
}

impl Row<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied().or(self.next.filter(|_| at == self.text.len()))
    }

    /// Whether no word goes on at the byte `at`.
    fn ends(&self, at: usize) -> bool {
        !self.byte(at).is_some_and(|next| next.is_ascii_alphanumeric())
    }

    /// The IPv4 address at the beginning, with its bytes.
    fn ip_v4(&self) -> Option<(Ipv4Addr, usize)> {
        let mut dots = 0;
        let length = self.text.bytes().take(IPV4_BYTES_MAX).take_while(|byte| {
            dots += usize::from(*byte == b'.');
            byte.is_ascii_digit() || *byte == b'.' && dots < 4
        });
        let length = length.count();
        let address = self.text.get(..length)?.parse().ok()?;
        self.ends(length).then_some((address, length))
    }

    /// Where the numbers end that follow an IPv4 address of so many bytes.
    fn numbers(&self, length: usize) -> usize {
        let mut end = length;
        loop {
            let digits = self.text.bytes().skip(end + 1).take_while(u8::is_ascii_digit).count();
            if self.byte(end) != Some(b'.') || digits == 0 || !self.ends(end + 1 + digits) {
                return end;
            }
            end += 1 + digits;
        }
    }

    /// The IPv6 address at the beginning, the longest that fits, with its bytes.
    fn ip_v6(&self) -> Option<(Ipv6Addr, usize)> {
        let plain = self.ip_v6_bytes();
        let address = |length| Some((self.text.get(..length)?.parse().ok()?, length));
        // It may end in an IPv4 one.
        let near = self.text.get(..IPV6_BYTES_MAX).unwrap_or(self.text);
        let mixed = near.contains('.').then(|| near.trim_end_matches(['.', ':']));
        let groups = |text: &str| text.split(':').filter(|group| !group.is_empty()).count();
        let mixed = mixed.filter(|text| self.ends(text.len()) && groups(text) >= IPV6_GROUPS_MIN);
        mixed.and_then(|text| address(text.len())).or_else(|| address(plain?))
    }

    /// The most bytes at the beginning that are an IPv6 address without an IPv4 one at its end.
    fn ip_v6_bytes(&self) -> Option<usize> {
        let (mut at, mut groups, mut is_compressed, mut end) = (0, 0, false, None);
        while groups < IPV6_GROUPS {
            let is_gap = self.byte(at) == Some(b':') && self.byte(at + 1) == Some(b':');
            match self.byte(at) {
                _ if is_gap && is_compressed => break,
                _ if is_gap => {
                    is_compressed = true;
                    at += 2;
                    end = (groups >= IPV6_GROUPS_MIN && self.ends(at)).then_some(at).or(end);
                }
                Some(b':') if groups > 0 => at += 1,
                _ if at > 0 => break,
                _ => {}
            }
            let digits = self.text.bytes().skip(at).take(5).take_while(u8::is_ascii_hexdigit).count();
            if !(1..=4).contains(&digits) {
                break;
            }
            (at, groups) = (at + digits, groups + 1);
            let fits =
                if is_compressed { (IPV6_GROUPS_MIN..IPV6_GROUPS).contains(&groups) } else { groups == IPV6_GROUPS };
            end = (fits && self.ends(at)).then_some(at).or(end);
        }
        end
    }

    /// Where the groups end that follow an IPv6 address of so many bytes. The scheme of a URL is none of them.
    fn groups(&self, length: usize) -> usize {
        let rest = &self.text[length..];
        let is_scheme = self.next == Some(b'/') && rest.ends_with(':');
        let rest = if is_scheme { rest.trim_end_matches(':') } else { rest };
        let is_whole = !is_scheme && self.ends(self.text.len());
        let whole = if is_whole { rest } else { &rest[..rest.rfind([':', '.']).unwrap_or(0)] };
        length + whole.trim_end_matches([':', '.']).len()
    }
}
