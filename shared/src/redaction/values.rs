//! `password=hunter2`, `"api_key": "abc"`, `pin: 1234` in running text; `"lastName":"Hopper"` where JSON is part of a text.

use super::{
    Class, Kind, keys,
    scan::{Found, Scanner, mark_at},
};

/// The most bytes of a key in `key=value`.
const KEY_BYTES_MAX: usize = 40;

/// The fewest digits of a value under a personal key in running text.
const PERSONAL_DIGITS_MIN: usize = 4;

/// What may stand between a key and what it names.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "token"];

/// The most bytes of such a word, in whatever letters it is written.
const SCHEME_BYTES_MAX: usize = 12;

/// Where a value begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    from: usize,
    /// Whether a quotation mark opens it.
    is_quoted: bool,
}

/// Text without a stop, and the last digits in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    from: usize,
    end: usize,
    last_digits: [Option<usize>; PERSONAL_DIGITS_MIN],
}

/// What ends a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The end of its quotation.
    Quotation,
    /// The end of its line.
    Line,
    /// Whatever is not part of a word.
    Word,
}

impl Ending {
    fn is(self, c: char) -> bool {
        match self {
            Ending::Quotation => matches!(c, '"' | '\\' | '\n'),
            Ending::Line => c == '\n',
            Ending::Word => {
                c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ',' | ';' | '&' | '}' | ']' | ')' | '<')
            }
        }
    }
}

/// What is under the key that begins at `at`.
pub(super) fn key_and_value(scanner: &mut Scanner<'_>, at: usize) -> Option<Found> {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = scanner.run_up_to(KEY_BYTES_MAX, at, is_key);
    let name = scanner.text.get(at..at + length).filter(|name| !name.is_empty())?;
    let Geometry { from, is_quoted } = scanner.geometry(at + length)?;
    let kind = keys::kind_of(name)?;
    let ending = match kind {
        // A quoted value ends where its quotation does.
        _ if is_quoted => Ending::Quotation,
        Kind::Cookie => Ending::Line,
        _ => Ending::Word,
    };
    let Stop { end, last_digits, .. } = scanner.stop(ending, from);
    // What is under a personal key in running text is often an ordinary word (`address: unknown`): patterns find the rest.
    let has_digits = last_digits[0].is_some_and(|digit| digit >= from);
    (is_quoted || kind.class() == Class::Credential || has_digits).then_some(Found { from, end, kind })
}

impl Scanner<'_> {
    /// Where the value of a key begins that ends at `key_end`; `None` when it has none, or one that is marked already.
    fn geometry(&mut self, key_end: usize) -> Option<Geometry> {
        if let Some((_, known)) = self.geometry.filter(|(known, _)| *known == key_end) {
            return known;
        }
        let found = geometry(self.text, key_end);
        let reach = self.text[key_end..].find(|c: char| !is_between(c)).unwrap_or(self.text.len() - key_end);
        self.look(reach + SCHEME_BYTES_MAX);
        self.geometry = Some((key_end, found));
        found
    }

    /// Where the value ends that begins at `from`.
    fn stop(&mut self, ending: Ending, from: usize) -> Stop {
        let slot = ending as usize;
        if let Some(known) = self.stops[slot].filter(|known| known.from <= from && from < known.end) {
            return known;
        }
        let mut last_digits = [None; PERSONAL_DIGITS_MIN];
        let mut end = self.text.len();
        for (place, c) in self.text[from..].char_indices() {
            if ending.is(c) {
                end = from + place;
                break;
            }
            if c.is_ascii_digit() {
                last_digits.rotate_left(1);
                last_digits[PERSONAL_DIGITS_MIN - 1] = Some(from + place);
            }
        }
        self.look(end - from + 1);
        let stop = Stop { from, end, last_digits };
        self.stops[slot] = Some(stop);
        stop
    }
}

/// Whether a character can stand between a key and its value.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ':' | '=' | '[')
}

fn geometry(text: &str, key_end: usize) -> Option<Geometry> {
    let rest = text[key_end..].trim_start_matches(['"', '\'', '\\']).trim_start();
    let value = rest.strip_prefix([':', '='])?.trim_start_matches(['"', '\'', '\\', ' ']);
    if starts_with_mark(value) {
        return None;
    }
    // `"password":"","next":…`: there is nothing under it, and what follows is another key's.
    let before = &text[..text.len() - value.len()];
    let is_quoted_nothing = before.ends_with("\"\"") || before.ends_with("\\\"");
    if is_quoted_nothing && value.trim_start().starts_with([',', '}', ']', ')', ';', ':']) {
        return None;
    }
    let value = after_scheme(opened(value));
    let from = text.len() - value.len();
    // It takes a line break to end a key.
    if starts_with_mark(value) || value.starts_with('{') || text[key_end..from].contains('\n') {
        return None;
    }
    Some(Geometry { from, is_quoted: text[..from].ends_with('"') })
}

fn starts_with_mark(text: &str) -> bool {
    mark_at(text, 0).is_some()
}

/// What is in brackets and quotes; a mark keeps its own bracket.
fn opened(mut value: &str) -> &str {
    while !starts_with_mark(value)
        && let Some(rest) = value.strip_prefix(['[', '"', '\'', '\\'])
    {
        value = rest;
    }
    value
}

/// What follows `Bearer`, `Basic` and their like.
fn after_scheme(value: &str) -> &str {
    let space = value.bytes().take(SCHEME_BYTES_MAX).position(|byte| byte == b' ');
    let Some((scheme, rest)) = space.map(|space| (&value[..space], &value[space + 1..])) else { return value };
    if SCHEMES.contains(&scheme.to_lowercase().as_str()) { rest } else { value }
}
