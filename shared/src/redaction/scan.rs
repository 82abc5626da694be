//! One pass over a text: at each place every rule is asked whether something begins there.
//!
//! A rule looks at no byte again that it has looked at: where a run of its bytes ends is remembered ([`Scanner::run`]), and so is what
//! it made of it. What is not remembered is bounded. So the time that a text takes is linear in its bytes, whatever it is made of.

use std::borrow::Cow;

use super::{
    Class, Kind, credentials, personal,
    values::{self, Geometry, Stop},
};

/// How every mark begins.
const MARK: &str = "[redacted:";

/// The most bytes of the word in a mark: more than any kind's.
const MARK_WORD_BYTES_MAX: usize = 24;

/// How far behind its end a text is looked at before it is cut: no secret is known by more than this. An authority in a URL and a PEM
/// block are the longest of them.
const LOOK_AHEAD_BYTES: usize = 64 * 1024;

/// What begins at a place: it ends before `end`, and of it `from` to `end` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) from: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// A rule: what begins in the text at that byte, which starts a word.
type Rule = fn(&mut Scanner<'_>, usize) -> Option<Found>;

/// In this order; with the worst that a rule finds. What is under a key comes before what it looks like, so that of a password with an
/// `@` in it all goes.
const RULES: [(Rule, Class); 11] = [
    (credentials::private_key, Class::Credential),
    (credentials::authorization, Class::Credential),
    (credentials::prefixed, Class::Credential),
    (credentials::jwt, Class::Credential),
    (credentials::url_password, Class::Credential),
    (credentials::aws_secret, Class::Credential),
    (values::key_and_value, Class::Credential),
    (personal::email, Class::Personal),
    (personal::iban, Class::Personal),
    (personal::digits, Class::Personal),
    (personal::ip_address, Class::Personal),
];

/// Runs of bytes whose end is remembered, one for each place that asks: each asks for ever later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The parts of a JSON web token.
    Jwt(usize),
    /// The scheme of a URL.
    Scheme,
    /// Forty characters of base64.
    Secret,
    /// What stands before the `@`.
    Local,
    /// An IP address.
    Address,
}

const SLOTS: usize = 7;

impl Slot {
    const fn index(self) -> usize {
        match self {
            Slot::Jwt(part) => part,
            Slot::Scheme => 3,
            Slot::Secret => 4,
            Slot::Local => 5,
            Slot::Address => 6,
        }
    }
}

/// Bytes that were looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    from: usize,
    end: usize,
}

/// A text with what rules know of it.
pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    runs: [Run; SLOTS],
    /// Of the last authority of a URL that was looked at: where it begins, and where what must go of it ends.
    pub(super) authority: Option<(usize, Option<usize>)>,
    /// Of the last domain behind an `@` and behind a `%40`: where it begins, and where it ends if it is one.
    pub(super) domains: [Option<(usize, Option<usize>)>; 2],
    /// The first `%40` at or behind a place, or the end of the run that was searched for it.
    pub(super) percent: Option<(usize, usize)>,
    /// Of the last key that was looked at: where it ends, and what follows it.
    pub(super) geometry: Option<(usize, Option<Geometry>)>,
    /// Where values end.
    pub(super) stops: [Option<Stop>; 3],
    looked_at: u64,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            runs: [Run::default(); SLOTS],
            authority: None,
            domains: [None; 2],
            percent: None,
            geometry: None,
            stops: [None; 3],
            looked_at: 0,
        }
    }

    /// The bytes from `at` on.
    pub(super) fn bytes(&self, at: usize) -> &'t [u8] {
        self.text.as_bytes().get(at..).unwrap_or_default()
    }

    /// Counts what was looked at.
    pub(super) fn look(&mut self, bytes: usize) {
        self.looked_at += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// How many bytes from `at` on fit. What is in a run that was looked at is not looked at again.
    pub(super) fn run(&mut self, slot: Slot, at: usize, fits: impl Fn(u8) -> bool) -> usize {
        let known = self.runs[slot.index()];
        if known.from <= at && at < known.end {
            return known.end - at;
        }
        let length = self.bytes(at).iter().take_while(|byte| fits(**byte)).count();
        self.look(length + 1);
        self.runs[slot.index()] = Run { from: at, end: at + length };
        length
    }

    /// How many bytes from `at` on fit, at most `bytes_max`.
    pub(super) fn run_up_to(&mut self, bytes_max: usize, at: usize, fits: impl Fn(u8) -> bool) -> usize {
        let length = self.bytes(at).iter().take(bytes_max).take_while(|byte| fits(**byte)).count();
        self.look(length + 1);
        length
    }

    /// The first of `least` or worse that begins at the byte `from`, where the last one ended, or behind it, and before `until`.
    fn next(&mut self, from: usize, until: usize, least: Class) -> Option<Found> {
        let mut at = from;
        while at < until {
            self.look(1);
            if let Some(mark) = mark_at(self.text, at) {
                at = mark;
                continue;
            }
            // Where something was taken out, a word ends: what is glued to a number may be the next number.
            let word = can_start_word(self.text, at) && (at == from || !is_within_word(self.text, at));
            if let Some(found) = word.then(|| self.found(at, least)).flatten() {
                return Some(found);
            }
            at += self.text[at..].chars().next().map_or(1, char::len_utf8);
        }
        None
    }

    fn found(&mut self, at: usize, least: Class) -> Option<Found> {
        let fits = |found: &Found| found.kind.class() >= least && found.from < found.end;
        RULES.iter().filter(|(_, worst)| *worst >= least).find_map(|(rule, _)| rule(self, at).filter(fits))
    }
}

/// Where the mark that begins at `at` ends.
pub(super) fn mark_at(text: &str, at: usize) -> Option<usize> {
    let word = text.as_bytes().get(at..)?.strip_prefix(MARK.as_bytes())?;
    let is_part = |byte: &&u8| byte.is_ascii_lowercase() || **byte == b'-';
    let length = word.iter().take(MARK_WORD_BYTES_MAX).take_while(is_part).count();
    (length > 0 && word.get(length) == Some(&b']')).then_some(at + MARK.len() + length + 1)
}

/// Whether a text is nothing but a mark.
pub(super) fn is_mark(text: &str) -> bool {
    mark_at(text, 0) == Some(text.len())
}

/// How often a text is looked over again after something was taken out of it. One finding is seldom hidden by another, and only secret
/// keys that are glued to each other are hidden in a row.
const PASSES_MAX: usize = 3;

/// `text` with marks in the place of everything of `least` or worse. What was taken out may have hidden what stood beside it (forty
/// characters that something is glued to are no secret key, alone they are), so it is looked over until nothing more is found.
///
/// A rule that takes the longest beginning that fits, whatever follows, finds rows of numbers and addresses in one pass: one that wanted
/// the whole row would find the last of them in each.
pub(super) fn replace(text: &str, least: Class) -> Cow<'_, str> {
    counted(text, least).0
}

/// The same, and how many bytes were looked at.
pub(super) fn counted(text: &str, least: Class) -> (Cow<'_, str>, u64) {
    let (mut shown, mut looked_at) = replace_once(text, least);
    for _ in 0..PASSES_MAX {
        let Cow::Owned(before) = &shown else { break };
        let (after, more) = replace_once(before, least);
        looked_at += more;
        match after {
            Cow::Borrowed(_) => break,
            Cow::Owned(after) => shown = Cow::Owned(after),
        }
    }
    (shown, looked_at)
}

fn replace_once(text: &str, least: Class) -> (Cow<'_, str>, u64) {
    let mut scanner = Scanner::new(text);
    let mut shown: Option<String> = None;
    let mut copied = 0;
    while let Some(found) = scanner.next(copied, text.len(), least) {
        let shown = shown.get_or_insert_with(String::new);
        shown.push_str(&text[copied..found.from]);
        shown.push_str(&found.kind.mark());
        copied = found.end;
    }
    let shown = match shown {
        None => Cow::Borrowed(text),
        Some(mut shown) => {
            shown.push_str(&text[copied..]);
            Cow::Owned(shown)
        }
    };
    (shown, scanner.looked_at)
}

/// The beginning of `text` up to the byte `end`, or to where something begins that reaches it: what follows may be what it is
/// known by.
pub(super) fn whole(text: &str, end: usize) -> &str {
    let seen = &text[..text.floor_char_boundary(end.saturating_add(LOOK_AHEAD_BYTES))];
    let mut scanner = Scanner::new(seen);
    let mut at = 0;
    while let Some(found) = scanner.next(at, end, Class::Personal).filter(|found| found.from < end) {
        if found.end >= end {
            return &text[..found.from];
        }
        at = found.end;
    }
    &text[..end]
}

/// What a number is, if it must not be shown.
pub(super) fn number(digits: &str, least: Class) -> Option<Kind> {
    let card = personal::card(&mut Scanner::new(digits), 0);
    card.map(|found| found.kind).filter(|kind| kind.class() >= least)
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
