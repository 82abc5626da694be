//! One pass over a text: at each place every rule is asked whether something begins there.

use std::borrow::Cow;

use super::{Class, Kind, credentials, keys, personal};

/// How every mark begins.
const MARK: &str = "[redacted:";

/// The most bytes of a key in `key=value`.
const KEY_BYTES_MAX: usize = 40;

/// The fewest digits of a value under a personal key in running text.
const PERSONAL_DIGITS_MIN: usize = 4;

/// What begins at a place: it ends before `end`, and of it `from` to `end` goes.
pub(super) struct Found {
    pub(super) from: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// A rule: what begins in the text at that byte, which starts a word.
type Rule = fn(&str, usize) -> Option<Found>;

const RULES: [Rule; 10] = [
    credentials::private_key,
    credentials::authorization,
    credentials::prefixed,
    credentials::jwt,
    credentials::url_password,
    credentials::aws_secret,
    personal::email,
    personal::iban,
    personal::digits,
    personal::ip_address,
];

/// Whether a text is nothing but a mark.
pub(super) fn is_mark(text: &str) -> bool {
    text.starts_with(MARK) && text.ends_with(']') && !text[MARK.len()..text.len() - 1].contains(['[', ']'])
}

/// How often a text is looked over again after something was taken out of it. Nothing is known to need more than three.
const PASSES_MAX: usize = 8;

/// `text` with marks in the place of everything of `least` or worse. What was taken out may have hidden what stood beside it (eight
/// digits beside ten others are no telephone number, alone they are), so it is looked over until nothing more is found.
pub(super) fn replace(text: &str, least: Class) -> Cow<'_, str> {
    let mut shown = replace_once(text, least);
    for _ in 0..PASSES_MAX {
        let Cow::Owned(before) = &shown else { break };
        match replace_once(before, least) {
            Cow::Borrowed(_) => break,
            Cow::Owned(after) => shown = Cow::Owned(after),
        }
    }
    shown
}

fn replace_once(text: &str, least: Class) -> Cow<'_, str> {
    let mut shown: Option<String> = None;
    let mut copied = 0;
    while let Some(found) = next(text, copied, least) {
        let shown = shown.get_or_insert_with(String::new);
        shown.push_str(&text[copied..found.from]);
        shown.push_str(&found.kind.mark());
        copied = found.end;
    }
    match shown {
        None => Cow::Borrowed(text),
        Some(mut shown) => {
            shown.push_str(&text[copied..]);
            Cow::Owned(shown)
        }
    }
}

/// The beginning of `text` up to the byte `end`, or to where something begins that reaches it: what follows may be what it is
/// known by.
pub(super) fn whole(text: &str, end: usize) -> &str {
    let mut at = 0;
    while let Some(found) = next(text, at, Class::Personal).filter(|found| found.from < end) {
        if found.end >= end {
            return &text[..found.from];
        }
        at = found.end;
    }
    &text[..end]
}

/// The first of `least` or worse from the byte `from` on, where the last one ended.
fn next(text: &str, from: usize, least: Class) -> Option<Found> {
    let mut at = from;
    while at < text.len() {
        if let Some(mark) = mark_at(text, at) {
            at = mark;
            continue;
        }
        // Where something was taken out, a word ends: what is glued to a number may be the next number.
        let word = can_start_word(text, at) && (at == from || !is_within_word(text, at));
        if let Some(found) = word.then(|| found(text, at, least)).flatten() {
            return Some(found);
        }
        at += text[at..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// What a number is, if it must not be shown.
pub(super) fn number(digits: &str, least: Class) -> Option<Kind> {
    personal::card(digits, 0).map(|found| found.kind).filter(|kind| kind.class() >= least)
}

fn found(text: &str, at: usize, least: Class) -> Option<Found> {
    let rules = RULES.iter().filter_map(|rule| rule(text, at));
    rules.chain(key_and_value(text, at)).find(|found| found.kind.class() >= least && found.from < found.end)
}

/// Where the mark that begins at `at` ends.
fn mark_at(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?.strip_prefix(MARK)?;
    rest.find(']').map(|end| at + MARK.len() + end + 1)
}

/// Whether a word, a number or a sign can start with what is at `at`.
fn can_start_word(text: &str, at: usize) -> bool {
    let here = text[at..].chars().next();
    here.is_some_and(|here| here.is_alphanumeric() || matches!(here, '+' | '(' | '-' | ':' | '_'))
}

/// Whether a word goes on at `at`.
fn is_within_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_')
}

/// `password=hunter2`, `"api_key": "abc"`, `pin: 1234` in running text; `"lastName":"Hopper"` where JSON is part of a text.
fn key_and_value(text: &str, at: usize) -> Option<Found> {
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let length = text.as_bytes()[at..].iter().take(KEY_BYTES_MAX).take_while(|b| is_key(b)).count();
    let name = text.get(at..at + length).filter(|name| !name.is_empty())?;
    let rest = text[at + length..].trim_start_matches(['"', '\'', '\\']).trim_start();
    let value = rest.strip_prefix([':', '='])?.trim_start_matches(['"', '\'', '\\', ' ']);
    let kind = keys::kind_of(name).filter(|_| !value.starts_with(MARK))?;
    // `"password":"","next":…`: there is nothing under it, and what follows is another key's.
    let is_quoted_nothing =
        text[..text.len() - value.len()].ends_with("\"\"") || text[..text.len() - value.len()].ends_with("\\\"");
    if is_quoted_nothing && value.trim_start().starts_with([',', '}', ']', ')', ';', ':']) {
        return None;
    }
    let value = after_scheme(opened(value));
    let from = text.len() - value.len();
    // It takes a line break to end a key.
    if value.starts_with(MARK) || value.starts_with('{') || text[at..from].contains('\n') {
        return None;
    }
    let is_data = text[..from].ends_with('"');
    let stops = |c: char| match kind {
        // A quoted value ends where its quotation does.
        _ if is_data => matches!(c, '"' | '\\' | '\n'),
        Kind::Cookie => matches!(c, '\n'),
        _ => c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ',' | ';' | '&' | '}' | ']' | ')' | '<'),
    };
    let end = from + value.find(stops).unwrap_or(value.len());
    // What is under a personal key in running text is often an ordinary word (`address: unknown`): patterns find the rest.
    let digits = text[from..end].bytes().filter(u8::is_ascii_digit).count();
    let says = is_data || kind.class() == Class::Credential || digits >= PERSONAL_DIGITS_MIN;
    says.then_some(Found { from, end, kind })
}

/// What is in brackets and quotes; a mark keeps its own bracket.
fn opened(mut value: &str) -> &str {
    while !value.starts_with(MARK)
        && let Some(rest) = value.strip_prefix(['[', '"', '\'', '\\'])
    {
        value = rest;
    }
    value
}

/// What follows `Bearer`, `Basic` and their like.
fn after_scheme(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, rest)) if ["bearer", "basic", "digest", "token"].contains(&scheme.to_lowercase().as_str()) => {
            rest
        }
        _ => value,
    }
}

/// Bytes from `at` on that fit.
pub(super) fn run(text: &str, at: usize, fits: impl Fn(u8) -> bool) -> usize {
    text.as_bytes().get(at..).unwrap_or_default().iter().take_while(|byte| fits(**byte)).count()
}
