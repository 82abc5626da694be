//! What of the candidates may be used as evidence: a pure decision.

use std::collections::BTreeSet;

use super::{Candidate, SourceKind};
use crate::{
    clock::Timestamp,
    ids::{AclGroup, CitationLabel},
};

/// The most pieces of evidence in one packet: they are part of a tool's answer, which is bounded.
pub const EVIDENCE_MAX: usize = 8;

/// The most characters of one piece of evidence.
pub const EVIDENCE_CHARS_MAX: usize = 4_000;

/// Evidence below this relevance does not carry an answer.
pub const RELEVANCE_MIN: u8 = 30;

/// Who reads, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The groups that the reader belongs to.
    pub groups: BTreeSet<AclGroup>,
    /// The kinds of source that the task may use.
    pub kinds: BTreeSet<SourceKind>,
}

/// What a question is answered from, and what was left out. What was left out is for the record and the check of citations, never for
/// the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packet {
    /// What may be used, the most relevant first.
    pub evidence: Vec<Candidate>,
    /// What may not be used.
    pub omissions: Vec<Omission>,
}

/// A source that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omission {
    /// Its label.
    pub label: CitationLabel,
    /// Why.
    pub reason: OmissionReason,
}

/// Why a source was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OmissionReason {
    /// The reader may not see it.
    Forbidden,
    /// It is out of date.
    Stale {
        /// Since when.
        since: Timestamp,
    },
    /// The task does not use sources of its kind.
    WrongKind,
    /// There was better evidence, and no room.
    NoRoom,
}

impl Packet {
    /// The labels that an answer may cite.
    pub fn labels(&self) -> BTreeSet<&CitationLabel> {
        self.evidence.iter().map(|one| &one.source.citation_label).collect()
    }

    /// Why a source was left out, if it was.
    pub fn omitted(&self, label: &CitationLabel) -> Option<OmissionReason> {
        self.omissions.iter().find(|one| one.label == *label).map(|one| one.reason)
    }

    /// Whether the evidence does not carry an answer.
    pub fn is_weak(&self) -> bool {
        self.evidence.iter().all(|one| one.relevance < RELEVANCE_MIN)
    }
}

/// Takes out what may not be used. A source that the reader may not see is forbidden whatever else is wrong with it.
pub fn filter(candidates: Vec<Candidate>, reading: &Reading, now: Timestamp) -> Packet {
    let mut packet = Packet::default();
    let mut candidates = candidates;
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.relevance));
    for mut candidate in candidates {
        let source = &candidate.source;
        let reason = match source.freshness.valid_until {
            _ if !reading.groups.contains(&source.acl_group) => Some(OmissionReason::Forbidden),
            Some(since) if source.freshness.is_stale(now) => Some(OmissionReason::Stale { since }),
            _ if !reading.kinds.contains(&source.kind) => Some(OmissionReason::WrongKind),
            _ if packet.evidence.len() >= EVIDENCE_MAX => Some(OmissionReason::NoRoom),
            _ => None,
        };
        match reason {
            Some(reason) => {
                packet.omissions.push(Omission { label: candidate.source.citation_label, reason });
            }
            None => {
                candidate.text = candidate.text.chars().take(EVIDENCE_CHARS_MAX).collect();
                packet.evidence.push(candidate);
            }
        }
    }
    packet
}
