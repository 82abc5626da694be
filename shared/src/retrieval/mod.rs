//! Sources that an answer may rest on, and the rules for using them.
//!
//! What a reader may not see, what is out of date and what is of the wrong kind is taken out before the model sees anything
//! ([`filter`](filter::filter)). An answer that cites anything else is not given; the reader gets the list of approved sources
//! instead ([`citations`]). [`SearchSources`] is the tool that finds sources, [`CitedAnswers`] the model that is held to them; each
//! looks by itself, so that what became forbidden or stale between the two is noticed.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ids::{AclGroup, Actor, CitationLabel, SourceId, Tenant},
    retry::Retry,
};

pub mod citations;
mod cited_answers;
pub mod filter;
mod search_sources;
#[cfg(test)]
mod tests;

pub use cited_answers::CitedAnswers;
pub use search_sources::{InvalidSearch, SEARCH_SOURCES, SearchSources, Shown, shown_in};

/// The most candidates that one search brings.
pub const CANDIDATES_MAX: usize = 50;

/// Something that an answer may rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its id; all versions share it.
    pub id: SourceId,
    /// What it is called.
    pub title: String,
    /// Which version it is.
    pub version: String,
    /// How long it is good.
    pub freshness: Freshness,
    /// Who answers for it.
    pub owner: String,
    /// Who may read it.
    pub acl_group: AclGroup,
    /// Under which label answers cite it; unique within a tenant.
    pub citation_label: CitationLabel,
    /// What it is.
    pub kind: SourceKind,
}

/// How long a source is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// As of when it says what it says.
    pub as_of: Timestamp,
    /// From when it is not good any more; `None` when it stays good until it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

impl Freshness {
    /// Whether it is out of date at `now`.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.valid_until.is_some_and(|until| until <= now)
    }
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// What has to be done.
    Policy,
    /// How something is done.
    Manual,
    /// What happened.
    Record,
    /// Anything published elsewhere.
    Reference,
}

/// A source that may bear on a question, with the text that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The source.
    pub source: Source,
    /// The passage.
    pub text: String,
    /// How well it fits the question, 0 to 100.
    pub relevance: u8,
}

/// Why sources cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sources cannot be looked up: {message}")]
pub struct IndexError {
    /// What was seen.
    pub message: String,
}

impl IndexError {
    /// Whether looking again may help.
    pub fn retry(&self) -> Retry {
        Retry::Transient { after: Duration::ZERO }
    }
}

/// Where sources are found. It may leave out what a reader may not see; the rules hold whatever it brings.
#[async_trait]
pub trait SourceIndex: Send + Sync {
    /// The groups that an actor reads with.
    async fn groups(&self, tenant: &Tenant, actor: &Actor) -> Result<BTreeSet<AclGroup>, IndexError>;

    /// What bears on `query`, the most relevant first, at most [`CANDIDATES_MAX`].
    async fn search(&self, tenant: &Tenant, query: &str) -> Result<Vec<Candidate>, IndexError>;

    /// The sources with these labels, those that there are.
    async fn named(&self, tenant: &Tenant, labels: &BTreeSet<CitationLabel>) -> Result<Vec<Candidate>, IndexError>;
}
