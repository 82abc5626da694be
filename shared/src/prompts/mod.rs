//! Prompts: versions that never change, found by task and number. Which one is used is a [route](crate::controls::Route).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    controls::{Document, PromptSwitch},
    ids::{Actor, Task},
    retry::Retry,
};

/// The most bytes of a prompt: an item may have 400 KB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>), and every question carries it.
pub const PROMPT_BYTES_MAX: usize = 128 * 1024;

/// The most versions of one task.
pub const VERSIONS_MAX: u32 = 10_000;

/// Prompts kept in memory by one process.
const CACHED_MAX: usize = 64;

/// A prompt as the model is asked with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The version that entries record.
    pub version: String,
    /// The text.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal digits.
    pub digest: String,
}

impl Prompt {
    /// A prompt that comes with the release.
    pub fn built_in(version: &str, text: &str) -> Prompt {
        Prompt { version: version.to_owned(), text: text.to_owned(), digest: digest(text) }
    }
}

/// A prompt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPrompt {
    /// Whose it is.
    pub task: Task,
    /// 1, 2, 3 …
    pub version: u32,
    /// The text.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal digits.
    pub digest: String,
    /// Who saved it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What is new in it.
    pub note: String,
}

impl SavedPrompt {
    /// The version that entries record: number and content, so that no two prompts ever share it.
    pub fn name(&self) -> String {
        version_name(self.version, &self.digest)
    }

    /// As the model is asked with it.
    pub fn prompt(&self) -> Prompt {
        Prompt { version: self.name(), text: self.text.clone(), digest: self.digest.clone() }
    }
}

fn version_name(version: u32, digest: &str) -> String {
    let short: String = digest.chars().take(12).collect();
    format!("v{version}@{short}")
}

/// SHA-256 of a prompt's text, in hexadecimal digits.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The prompts' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// It could not be reached or throttles.
    #[error("the prompts are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or a prompt cannot be read.
    #[error("the prompts: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl PromptError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            PromptError::Unavailable { .. } => Retry::SOON,
            PromptError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Where prompts are kept.
#[async_trait]
pub trait Prompts: Send + Sync {
    /// Keeps a prompt under its version, if that is free or holds the same; false when another prompt has it.
    async fn save(&self, prompt: &SavedPrompt) -> Result<bool, PromptError>;

    /// One version.
    async fn version(&self, task: &Task, version: u32) -> Result<Option<SavedPrompt>, PromptError>;

    /// The newest `limit` versions of a task, newest first.
    async fn list(&self, task: &Task, limit: usize) -> Result<Vec<SavedPrompt>, PromptError>;
}

/// Which prompt a run's model is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one that comes with the release.
    BuiltIn,
    /// This version of the task's.
    Version(u32),
}

/// Which prompt a run is asked with that was asked with `before`, if it was asked.
///
/// A run keeps the version that it started with: half of its steps under one prompt and half under another is what nobody has
/// tested. The switch says otherwise for a prompt that turns out to be harmful.
pub fn choose(document: &Document, task: &Task, before: Option<&str>) -> Choice {
    let routed = document.settings.route(task).prompt.map_or(Choice::BuiltIn, Choice::Version);
    match (document.settings.prompt, before) {
        (PromptSwitch::Default, _) => Choice::BuiltIn,
        (PromptSwitch::Routed, _) | (_, None) => routed,
        (PromptSwitch::On | PromptSwitch::Off, Some(before)) => {
            number_of(before).map_or(Choice::BuiltIn, Choice::Version)
        }
    }
}

/// The number of a saved prompt's version; `None` for a built-in one's.
fn number_of(name: &str) -> Option<u32> {
    let (number, digest) = name.strip_prefix('v')?.split_once('@')?;
    let saved = digest.len() == 12 && digest.chars().all(|c| c.is_ascii_hexdigit());
    number.parse().ok().filter(|_| saved)
}

/// Prompts by task and number.
type Versions = BTreeMap<(Task, u32), Arc<Prompt>>;

/// Prompts that this process has read. A version never changes, so what is here is never stale: how fresh the *choice* is, the
/// controls say, and they are read anew every second.
#[derive(Clone)]
pub struct PromptCache {
    store: Arc<dyn Prompts>,
    read: Arc<Mutex<Versions>>,
}

impl PromptCache {
    /// Nothing read yet.
    pub fn new(store: Arc<dyn Prompts>) -> Self {
        Self { store, read: Arc::default() }
    }

    /// The prompt of that number, or `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, task: &Task, version: u32) -> Result<Option<Arc<Prompt>>, PromptError> {
        let key = (task.clone(), version);
        if let Some(prompt) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(Arc::clone(prompt)));
        }
        let Some(saved) = self.store.version(task, version).await? else { return Ok(None) };
        if digest(&saved.text) != saved.digest {
            return Err(PromptError::Refused {
                message: format!("version {version} of `{task}` is not what was saved"),
            });
        }
        let prompt = Arc::new(saved.prompt());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= CACHED_MAX {
            read.clear();
        }
        read.insert(key, Arc::clone(&prompt));
        Ok(Some(prompt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(typed: &[&str]) -> Document {
        let mut document = Document::default();
        for one in typed {
            document.settings = document.settings.set(one).expect(one);
        }
        document
    }

    #[test]
    fn a_run_keeps_its_prompt_unless_the_switch_says_otherwise() {
        let task: Task = "refund".parse().expect("a task");
        let started = version_name(2, &digest("two"));
        let routed = "route.refund.prompt=3";
        for (typed, before, expected) in [
            (vec![], None, Choice::BuiltIn),
            (vec![routed], None, Choice::Version(3)),
            (vec![routed], Some(started.as_str()), Choice::Version(2)),
            (vec![routed], Some("refund-desk-1"), Choice::BuiltIn),
            (vec![routed, "prompt=routed"], Some(started.as_str()), Choice::Version(3)),
            (vec![routed, "prompt=default"], Some(started.as_str()), Choice::BuiltIn),
        ] {
            assert_eq!(choose(&document(&typed), &task, before), expected, "{typed:?} {before:?}");
        }
    }
}
