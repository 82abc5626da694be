//! Whether an answer rests on what it may rest on, and what is said instead when it does not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::filter::{OmissionReason, Packet};
use crate::{clock::Timestamp, ids::CitationLabel, redaction::cut};

/// The most citations of one answer.
pub const CITATIONS_MAX: usize = 64;

/// Why an answer is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CitationProblem {
    /// It cites nothing, or not in a way that can be checked.
    #[error("the answer cites no source")]
    Uncited,
    /// It cites what was not among the sources it was given.
    #[error("the answer cites `{label}`, which is not among its sources")]
    Missing {
        /// What it cites, shortened.
        label: String,
    },
    /// It cites what is out of date.
    #[error("the answer cites `{label}`, which is out of date since {since}")]
    Stale {
        /// What it cites.
        label: CitationLabel,
        /// Since when.
        since: Timestamp,
    },
    /// It cites what the reader may not see.
    #[error("the answer cites a source that the reader may not see")]
    Forbidden {
        /// What it cites; not for the reader.
        label: CitationLabel,
    },
}

impl CitationProblem {
    /// The word under which it is counted.
    pub const fn word(&self) -> &'static str {
        match self {
            CitationProblem::Uncited => "uncited",
            CitationProblem::Missing { .. } => "missing",
            CitationProblem::Stale { .. } => "stale",
            CitationProblem::Forbidden { .. } => "forbidden",
        }
    }
}

/// What an answer cites: its `citations`, an array of labels, and every `[label]` in its texts.
///
/// # Errors
/// When one is not a label, there are too many, or `citations` is not an array of texts.
pub fn cited(answer: &Value) -> Result<BTreeSet<CitationLabel>, CitationProblem> {
    let mut labels = BTreeSet::new();
    let mut take = |text: &str| match text.parse() {
        Ok(label) if labels.len() < CITATIONS_MAX => {
            labels.insert(label);
            Ok(())
        }
        _ => Err(CitationProblem::Missing { label: cut(text, 64).to_owned() }),
    };
    match answer.get("citations") {
        None | Some(Value::Null) => {}
        Some(Value::Array(listed)) => {
            for label in listed {
                take(label.as_str().ok_or(CitationProblem::Uncited)?)?;
            }
        }
        Some(_) => return Err(CitationProblem::Uncited),
    }
    let mut texts = Vec::new();
    texts_of(answer, &mut texts);
    for text in texts {
        for inside in text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside) {
            // What cannot be a label, `[see below]`, is no citation.
            if inside.parse::<CitationLabel>().is_ok() {
                take(inside)?;
            }
        }
    }
    Ok(labels)
}

fn texts_of<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts_of(value, texts)),
        Value::Object(values) => values.values().for_each(|value| texts_of(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Checks that an answer cites, and cites only the evidence of `packet`.
///
/// # Errors
/// The first citation that is not to be given.
pub fn check_citations(answer: &Value, packet: &Packet) -> Result<BTreeSet<CitationLabel>, CitationProblem> {
    let (labels, known) = (cited(answer)?, packet.labels());
    if let Some(label) = labels.iter().find(|label| !known.contains(*label)).cloned() {
        return Err(match packet.omitted(&label) {
            Some(OmissionReason::Forbidden) => CitationProblem::Forbidden { label },
            Some(OmissionReason::Stale { since }) => CitationProblem::Stale { label, since },
            Some(OmissionReason::WrongKind | OmissionReason::NoRoom) | None => {
                CitationProblem::Missing { label: label.to_string() }
            }
        });
    }
    if labels.is_empty() { Err(CitationProblem::Uncited) } else { Ok(labels) }
}

/// What is said instead of an answer: why, and the sources that the reader may look at.
pub fn fallback(packet: &Packet, because: &str) -> Value {
    let source = |one: &super::Candidate| {
        json!({
            "label": one.source.citation_label,
            "title": one.source.title,
            "version": one.source.version,
            "as_of": one.source.freshness.as_of,
            "owner": one.source.owner,
        })
    };
    let sources: Vec<Value> = packet.evidence.iter().map(source).collect();
    json!({ "answer": null, "fallback": "sources", "because": because, "sources": sources })
}
