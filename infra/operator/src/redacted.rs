//! Runs as this command shows them: without credentials and personal data.
//!
//! Whoever types is an operator of the table and could read it; but what a terminal shows ends up in tickets and chats.

use windlass::{
    redaction::{Redaction, Redactions},
    run::{
        entry::Entry,
        outside::History,
        state::{IllegalEntry, RunState},
    },
};

use crate::failure::Failure;

/// Entries, redacted.
pub(crate) fn entries(entries: &[Entry]) -> Result<Vec<Entry>, Failure> {
    Ok(Redactions::default().entries(entries)?)
}

/// A whole run, redacted: what its state says comes from redacted entries.
pub(crate) fn history(history: History) -> Result<History, Failure> {
    let entries = entries(&history.entries)?;
    let state = RunState::fold(&entries)
        .map_err(|error: IllegalEntry| Failure::NotRedacted(serde::de::Error::custom(error)))?;
    Ok(History { entries, state })
}

/// A text that somebody or something else wrote.
pub(crate) fn text(text: &str) -> String {
    Redaction::STRICT.text(text).into_owned()
}
