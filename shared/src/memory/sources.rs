//! Sources in memory, read from JSON: for tests, samples and small handbooks.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AclGroup, Actor, CitationLabel, Tenant},
    retrieval::{CANDIDATES_MAX, Candidate, IndexError, Source, SourceIndex},
};

/// Sources of some tenants. In JSON:
/// `{"acme": {"groups": {"ada": ["finance"]}, "everybody": ["public"], "sources": [{"source": {…}, "text": "…"}]}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources {
    tenants: BTreeMap<Tenant, Shelf>,
}

/// What one tenant has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shelf {
    /// The groups that every actor reads with.
    #[serde(default)]
    pub everybody: BTreeSet<AclGroup>,
    /// The groups that an actor reads with beyond that.
    #[serde(default)]
    pub groups: BTreeMap<Actor, BTreeSet<AclGroup>>,
    /// The sources.
    pub sources: Vec<Text>,
}

/// A source with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The source.
    pub source: Source,
    /// What it says.
    pub text: String,
}

impl Sources {
    /// Reads them.
    ///
    /// # Errors
    /// When the text is not JSON of that form.
    pub fn parse(json: &str) -> Result<Sources, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Sets what one tenant has.
    pub fn set(&mut self, tenant: Tenant, shelf: Shelf) {
        self.tenants.insert(tenant, shelf);
    }

    fn texts(&self, tenant: &Tenant) -> impl Iterator<Item = &Text> {
        self.tenants.get(tenant).into_iter().flat_map(|shelf| &shelf.sources)
    }
}

#[async_trait]
impl SourceIndex for Sources {
    async fn groups(&self, tenant: &Tenant, actor: &Actor) -> Result<BTreeSet<AclGroup>, IndexError> {
        let Some(shelf) = self.tenants.get(tenant) else { return Ok(BTreeSet::new()) };
        Ok(shelf.everybody.iter().chain(shelf.groups.get(actor).into_iter().flatten()).cloned().collect())
    }

    async fn search(&self, tenant: &Tenant, query: &str) -> Result<Vec<Candidate>, IndexError> {
        let wanted = words(query);
        let found = self.texts(tenant).map(|text| {
            let relevance = share(&wanted, &words(&format!("{} {}", text.source.title, text.text)));
            Candidate { source: text.source.clone(), text: text.text.clone(), relevance }
        });
        let mut found: Vec<Candidate> = found.filter(|candidate| candidate.relevance > 0).collect();
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.relevance));
        found.truncate(CANDIDATES_MAX);
        Ok(found)
    }

    async fn named(&self, tenant: &Tenant, labels: &BTreeSet<CitationLabel>) -> Result<Vec<Candidate>, IndexError> {
        let named = self.texts(tenant).filter(|text| labels.contains(&text.source.citation_label));
        Ok(named.map(|text| Candidate { source: text.source.clone(), text: text.text.clone(), relevance: 0 }).collect())
    }
}

/// Words of three letters and more, in lower case.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 2);
    words.map(str::to_lowercase).collect()
}

/// How many of a hundred wanted words there are.
fn share(wanted: &BTreeSet<String>, there: &BTreeSet<String>) -> u8 {
    let found = wanted.intersection(there).count();
    u8::try_from(found * 100 / wanted.len().max(1)).unwrap_or(100)
}
