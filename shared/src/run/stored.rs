//! How an entry is stored: versioned JSON, compressed when that pays, bounded.

use std::{cell::RefCell, io::Read as _};

use flate2::{Compress, Compression, FlushCompress, Status, read::DeflateDecoder};

use super::entry::Entry;
use crate::journal::ENTRIES_MAX;

/// The version of the envelope that this code writes. It reads this one and every older one.
pub const ENVELOPE_VERSION: u32 = 1;

/// The most bytes of an entry as stored. DynamoDB's limit is 400 KB for an item with its attribute names
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
pub const ENTRY_BYTES_MAX: usize = 350 * 1024;

/// The most bytes of an entry's JSON, so that a damaged item cannot fill memory when it is inflated.
pub const ENTRY_JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Shorter JSON is stored as it is: it fits the first write unit anyway
/// (1 KB, <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>) and can be
/// read in the console.
pub const COMPRESS_FROM_BYTES: usize = 700;

/// An entry as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The envelope's version.
    pub version: u32,
    /// The entry.
    pub body: Body,
}

/// The bytes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// JSON.
    Json(String),
    /// JSON, compressed with DEFLATE (RFC 1951).
    Deflated(Vec<u8>),
}

/// An entry cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {bytes} bytes; at most {max} are stored")]
pub struct EntryTooLarge {
    /// Its size, compressed where that helped.
    pub bytes: usize,
    /// What is allowed.
    pub max: usize,
}

/// A stored entry cannot be read. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later release wrote it.
    #[error("envelope version {found}; this release reads up to {ENVELOPE_VERSION}")]
    FutureVersion {
        /// Its version.
        found: u32,
    },
    /// Its journal goes on where no journal does.
    #[error("it has more than {ENTRIES_MAX} entries, and no more are read")]
    TooLong,
    /// It is damaged, or nobody of ours wrote it.
    #[error("not an entry: {problem}")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
}

impl Unreadable {
    /// An entry that is not there although later ones are.
    pub(crate) fn missing() -> Unreadable {
        Unreadable::Malformed { problem: "it is missing, later ones are not".to_owned() }
    }
}

impl Stored {
    /// Encodes an entry.
    ///
    /// # Errors
    /// When it is larger than [`ENTRY_BYTES_MAX`].
    pub fn encode(entry: &Entry) -> Result<Stored, EntryTooLarge> {
        // Entries hold nothing that JSON cannot (no maps with other keys than text, no failing serializers).
        let json = serde_json::to_string(entry).unwrap_or_default();
        if json.len() > ENTRY_JSON_BYTES_MAX {
            return Err(EntryTooLarge { bytes: json.len(), max: ENTRY_JSON_BYTES_MAX });
        }
        let body = match (json.len() >= COMPRESS_FROM_BYTES).then(|| deflate(json.as_bytes())).flatten() {
            Some(deflated) => Body::Deflated(deflated),
            None => Body::Json(json),
        };
        match body.len() {
            bytes if bytes > ENTRY_BYTES_MAX => Err(EntryTooLarge { bytes, max: ENTRY_BYTES_MAX }),
            _ => Ok(Stored { version: ENVELOPE_VERSION, body }),
        }
    }

    /// The same, compressed however short it is, if that makes it shorter: for where a few bytes decide.
    pub(crate) fn compressed(self) -> Stored {
        let Body::Json(json) = &self.body else { return self };
        match deflate(json.as_bytes()) {
            Some(deflated) if deflated.len() < json.len() => Stored { body: Body::Deflated(deflated), ..self },
            _ => self,
        }
    }

    /// Decodes an entry.
    ///
    /// # Errors
    /// When it is of a later version, or damaged.
    pub fn decode(&self) -> Result<Entry, Unreadable> {
        if self.version > ENVELOPE_VERSION {
            return Err(Unreadable::FutureVersion { found: self.version });
        }
        let entry: Entry = match &self.body {
            Body::Json(json) => serde_json::from_str(json).map_err(malformed)?,
            Body::Deflated(bytes) => {
                serde_json::from_slice(&inflate(bytes, ENTRY_JSON_BYTES_MAX)?).map_err(malformed)?
            }
        };
        if entry.events.is_empty() {
            return Err(Unreadable::Malformed { problem: "no events".to_owned() });
        }
        Ok(entry)
    }
}

impl Body {
    /// Its size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Json(json) => json.len(),
            Body::Deflated(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn malformed(error: serde_json::Error) -> Unreadable {
    Unreadable::Malformed { problem: error.to_string() }
}

/// How hard is tried. On entries of 1 to 2 KB more gives 1 % and less leaves them a third longer, above the first write unit.
const DEFLATE_LEVEL: u32 = 2;

thread_local! {
    /// Setting up a compressor takes several times as long as compressing an entry with it.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(DEFLATE_LEVEL), false));
}

/// `bytes` compressed, if that makes them fewer.
pub(super) fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let mut deflated = Vec::with_capacity(bytes.len());
        let status = compressor.compress_vec(bytes, &mut deflated, FlushCompress::Finish);
        matches!(status, Ok(Status::StreamEnd)).then_some(deflated)
    })
}

/// `bytes` inflated, unless they become more than `bytes_max`.
pub(super) fn inflate(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
    let mut json = Vec::new();
    let mut bounded = DeflateDecoder::new(bytes).take(bytes_max as u64 + 1);
    bounded.read_to_end(&mut json).map_err(|error| Unreadable::Malformed { problem: error.to_string() })?;
    if json.len() > bytes_max {
        return Err(Unreadable::Malformed { problem: format!("inflates to more than {bytes_max} bytes") });
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        ids::Random as _,
        memory::SeededRandom,
        run::entry::{Event, Writer},
    };
    use serde_json::json;

    fn entry(response: serde_json::Value) -> Entry {
        Entry {
            at: Timestamp::from_millis(1_768_000_000_000),
            writer: Writer::Holder(3),
            release: "r1".parse().expect("a release"),
            events: vec![Event::Responded { response }],
        }
    }

    #[test]
    fn a_short_entry_is_plain_json_and_a_long_one_is_deflated_and_both_come_back() {
        let short = entry(json!("ok"));
        let long = entry(json!("la ".repeat(2_000)));
        let (short_stored, long_stored) = (Stored::encode(&short), Stored::encode(&long));
        let (short_stored, long_stored) = (short_stored.expect("it fits"), long_stored.expect("it fits"));
        assert!(matches!(short_stored.body, Body::Json(_)));
        assert!(matches!(&long_stored.body, Body::Deflated(bytes) if bytes.len() < 1_000));
        assert_eq!(short_stored.decode(), Ok(short));
        assert_eq!(long_stored.decode(), Ok(long));
    }

    #[test]
    fn an_entry_that_does_not_fit_an_item_is_refused_before_it_is_written() {
        let random = SeededRandom::new(1);
        // Hexadecimal deflates to half its size.
        let noise: String = (0..ENTRY_BYTES_MAX / 8).map(|_| format!("{:032x}", random.bits())).collect();
        assert!(matches!(Stored::encode(&entry(json!(noise))), Err(EntryTooLarge { .. })));
    }

    #[test]
    fn an_entry_of_a_later_version_is_not_guessed_at() {
        let stored = Stored { version: ENVELOPE_VERSION + 1, ..Stored::encode(&entry(json!(1))).expect("it fits") };
        assert_eq!(stored.decode(), Err(Unreadable::FutureVersion { found: ENVELOPE_VERSION + 1 }));
    }

    #[test]
    fn damaged_entries_are_said_to_be_so() {
        for body in [
            Body::Json(String::new()),
            Body::Json("{}".to_owned()),
            Body::Json(r#"{"at":"2026-01-01T00:00:00Z","writer":{"holder":1},"release":"r","events":[]}"#.to_owned()),
            Body::Json(
                r#"{"at":"2026-01-01T00:00:00Z","writer":{"holder":1},"release":"r","events":[{"event":"new"}]}"#
                    .to_owned(),
            ),
            Body::Deflated(vec![1, 2, 3]),
        ] {
            let stored = Stored { version: 1, body };
            assert!(matches!(stored.decode(), Err(Unreadable::Malformed { .. })), "{stored:?}");
        }
    }

    #[test]
    fn a_bomb_does_not_inflate_beyond_the_bound() {
        let bomb = deflate(&vec![b' '; ENTRY_JSON_BYTES_MAX * 8]).expect("it deflates");
        let stored = Stored { version: 1, body: Body::Deflated(bomb) };
        assert!(matches!(stored.decode(), Err(Unreadable::Malformed { problem }) if problem.contains("inflates")));
    }
}
