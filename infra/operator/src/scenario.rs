//! The scenarios in `events/scenarios/`: what the demo shows and the tests hold.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub title: String,
    /// Orders that are there before.
    pub orders: Vec<SeedOrder>,
    /// The body of `POST /runs`.
    pub request: ScenarioRequest,
    /// What the approver says, if asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ScenarioDecision>,
    /// How the run ends.
    pub outcome: String,
    /// Refunds that stand afterwards.
    pub refunds: usize,
    /// Letters sent.
    pub letters: usize,
}

/// An order that is there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedOrder {
    /// Its number.
    pub order: String,
    /// Who bought.
    pub customer: String,
    /// What was paid, in cents.
    pub total_cents: u64,
}

/// The body of `POST /runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioRequest {
    /// What is asked.
    pub task: String,
    /// What it is asked with.
    pub payload: Value,
}

/// What the approver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScenarioDecision {
    /// Yes.
    Approved,
    /// No.
    Denied,
}

/// Scenarios could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file or the folder cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a scenario.
    #[error("`{path}` is not a scenario: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There are none.
    #[error("`{path}` holds no scenarios")]
    Empty {
        /// The folder.
        path: String,
    },
}

/// Every scenario of a folder, by file name.
///
/// # Errors
/// When one cannot be read, or there is none.
pub fn load(folder: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let unreadable = |path: &Path, source| ScenarioError::Unreadable { path: path.display().to_string(), source };
    let listing = std::fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    let mut files: Vec<_> = listing.filter_map(|file| file.ok().map(|file| file.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.is_empty() {
        return Err(ScenarioError::Empty { path: folder.display().to_string() });
    }
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
            serde_json::from_str(&text)
                .map_err(|source| ScenarioError::Malformed { path: path.display().to_string(), source })
        })
        .collect()
}
