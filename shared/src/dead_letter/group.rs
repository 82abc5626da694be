//! Dead letters by cause.

use std::collections::BTreeMap;

use serde::Serialize;

use super::DeadLetter;
use crate::clock::Timestamp;

/// Dead letters with one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What they share.
    pub fingerprint: String,
    /// How many there are.
    pub count: usize,
    /// How many of them a replay can do something with.
    pub replayable: usize,
    /// When the newest happened.
    pub newest: Timestamp,
    /// When the oldest did.
    pub oldest: Timestamp,
    /// [`Origin::key`](super::Origin::key) of the newest.
    pub example: String,
    /// The newest one's cause.
    pub cause: String,
}

/// The groups of `letters`, the largest first.
pub fn group(letters: &[DeadLetter]) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for letter in letters {
        let group = groups.entry(&letter.fingerprint).or_insert_with(|| Group {
            fingerprint: letter.fingerprint.clone(),
            count: 0,
            replayable: 0,
            newest: letter.at,
            oldest: letter.at,
            example: letter.origin.key(),
            cause: letter.cause.clone(),
        });
        group.count += 1;
        group.replayable += usize::from(letter.replayable);
        group.oldest = group.oldest.min(letter.at);
        if letter.at > group.newest {
            (group.newest, group.example, group.cause) = (letter.at, letter.origin.key(), letter.cause.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    groups
}
