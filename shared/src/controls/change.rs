//! Changing the document: read, edit, compare-and-set; then waking what a lifted switch held.

use std::time::Duration;

use super::{
    Change, Changed, Controls, ControlsError, DOCUMENT_BYTES_MAX, Document, Initialised, Settings,
    setting::InvalidSetting,
};
use crate::{
    audit::AuditRecord,
    clock::Clock,
    ids::{Actor, Random},
    journal::{DUE_SHARDS, Head, Heads, JournalError, Listing},
    queue::{QueueError, Sleeper, WakeUps},
    retry::Retry,
};

/// How often a change that lost the race is decided again. Changes are made by people.
const ATTEMPTS_MAX: u32 = 5;

/// The most characters of a reason.
pub const WHY_CHARS_MAX: usize = 1_000;

/// The most held runs of one shard that one change wakes. What is beyond is found by its own recheck within minutes.
pub const WAKE_MAX: usize = 10_000;

/// How many held runs are woken in a second. More at once would fill the step queue up to where the door closes for everybody; with
/// [`WAKE_MAX`] runs in each of [`DUE_SHARDS`] shards the last one is woken within the quarter of an hour for which SQS delays a
/// message at most. Delayed messages do not count as waiting.
pub const WAKES_PER_SECOND: usize = 50;
const _: () = assert!(WAKE_MAX * DUE_SHARDS as usize / WAKES_PER_SECOND <= crate::queue::DELAY_MAX.as_secs() as usize);

/// The action of making or restoring the controls in the audit trail.
pub const INIT_ACTION: &str = "controls.init";

/// The action of a change in the audit trail.
pub const ACTION: &str = "controls.change";

/// The document was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked is not a setting.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// There is no reason, or too long a one.
    #[error("a change needs a reason of 1 to {WHY_CHARS_MAX} characters")]
    Why,
    /// Everything is as asked already.
    #[error("version {version} already says so")]
    Unchanged {
        /// The version in force.
        version: u64,
    },
    /// The document in force is not the one that was expected.
    #[error("the controls are at version {found}, not {expected}")]
    Conflict {
        /// What was expected.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// There is no such version to go back to.
    #[error("there is no version {version} of the controls")]
    Missing {
        /// The version.
        version: u64,
    },
    /// The document would not fit.
    #[error("the controls would take {bytes} bytes; at most {DOCUMENT_BYTES_MAX} are kept")]
    TooLarge {
        /// How large it would be.
        bytes: usize,
    },
    /// The store did not do as asked. The change may have been made.
    #[error(transparent)]
    Controls(#[from] ControlsError),
}

impl ChangeError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            ChangeError::Controls(error) => error.retry(),
            ChangeError::Conflict { .. }
            | ChangeError::Setting(_)
            | ChangeError::Why
            | ChangeError::Unchanged { .. }
            | ChangeError::Missing { .. }
            | ChangeError::TooLarge { .. } => Retry::Terminal,
        }
    }
}

/// Who changes the controls, with what.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    /// Where they are.
    pub controls: &'a dyn Controls,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For ids.
    pub random: &'a dyn Random,
    /// Who.
    pub by: &'a Actor,
    /// Why.
    pub why: &'a str,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// What was in force before.
    pub before: Document,
    /// What is now.
    pub after: Document,
}

impl Made {
    /// Whether something that was set is not set so any more: only then may a held run go on.
    pub fn may_lift(&self) -> bool {
        self.before.settings.diff(&self.after.settings).iter().any(|(_, before, _)| before.is_some())
    }
}

impl Hand<'_> {
    /// Changes what `edit` changes. Without an `expected` version, an edit that met another is made again on top of it.
    ///
    /// # Errors
    /// Why nothing was changed; after a [`ControlsError`] it may have been.
    pub async fn change(
        &self,
        expected: Option<u64>,
        edit: impl Fn(Settings) -> Result<Settings, InvalidSetting>,
    ) -> Result<Made, ChangeError> {
        if self.why.trim().is_empty() || self.why.chars().count() > WHY_CHARS_MAX {
            return Err(ChangeError::Why);
        }
        let mut found = 0;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.controls.history(1).await?.pop().ok_or(ControlsError::Missing)?;
            found = before.version;
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(ChangeError::Conflict { expected, found });
            }
            let settings = edit(before.settings.clone())?;
            let diff = before.settings.diff(&settings);
            if diff.is_empty() {
                return Err(ChangeError::Unchanged { version: found });
            }
            let change = Change { by: self.by.clone(), at: self.clock.now(), why: self.why.to_owned() };
            let after = before.changed(settings, change);
            let bytes = serde_json::to_string(&after).map_or(usize::MAX, |text| text.len());
            if bytes > DOCUMENT_BYTES_MAX {
                return Err(ChangeError::TooLarge { bytes });
            }
            if self.controls.change(&after, &self.audit(&after, &diff)).await? == Changed::Done {
                return Ok(Made { before, after });
            }
        }
        Err(ChangeError::Conflict { expected: expected.unwrap_or(found), found: found + 1 })
    }

    /// Puts the settings of an earlier version in force again, as a new version. Whether tables were restored is no setting to go back on:
    /// what waits for a release goes on waiting.
    ///
    /// # Errors
    /// As [`Hand::change`]; also when there is no such version.
    pub async fn revert(&self, version: u64) -> Result<Made, ChangeError> {
        let earlier = match version {
            0 => Document::default(),
            _ => self.controls.version(version).await?.ok_or(ChangeError::Missing { version })?,
        };
        self.change(None, |now| Ok(Settings { restored: now.restored, ..earlier.settings.clone() })).await
    }

    /// Puts version 0 in force, or the newest version again ([`Controls::init`]).
    ///
    /// # Errors
    /// When the store does not do as asked.
    pub async fn init(&self) -> Result<Initialised, ControlsError> {
        let audit = AuditRecord::new(self.clock.now(), self.random, self.by, INIT_ACTION, "controls", self.why);
        self.controls.init(&audit).await
    }

    fn audit(&self, after: &Document, diff: &[(String, Option<String>, Option<String>)]) -> AuditRecord {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "default".to_owned());
        let lines: Vec<String> =
            diff.iter().map(|(name, here, there)| format!("{name}: {} -> {}", word(here), word(there))).collect();
        let (subject, detail) = (format!("v{}", after.version), format!("{}; why: {}", lines.join(", "), self.why));
        AuditRecord::new(self.clock.now(), self.random, self.by, ACTION, &subject, &detail)
    }
}

/// Held runs could not be found or woken; each looks again by itself.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// They could not be listed.
    #[error(transparent)]
    Heads(#[from] JournalError),
    /// They could not be woken.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl WakeError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            WakeError::Heads(error) => error.retry(),
            WakeError::Queue(error) => error.retry(),
        }
    }
}

/// Wakes every run that a switch holds, [`WAKES_PER_SECOND`], and says how many. Each finds out by itself whether it may go on.
///
/// # Errors
/// When they cannot be listed or woken.
pub async fn wake_held(heads: &dyn Heads, wake_ups: &dyn WakeUps) -> Result<usize, WakeError> {
    let (mut woken, mut listed) = (0, 0);
    for shard in 0..DUE_SHARDS {
        let held = heads.list(&Listing::Held { shard }, WAKE_MAX).await?;
        let delay = |index: usize| Duration::from_secs((index / WAKES_PER_SECOND) as u64);
        let awake = |(index, head): (usize, Head)| Sleeper { run: head.run, tenant: head.tenant, delay: delay(index) };
        let sleepers: Vec<Sleeper> = (listed..).zip(held).map(awake).collect();
        listed += sleepers.len();
        for some in sleepers.chunks(crate::queue::BATCH_MESSAGES_MAX) {
            woken += some.len() - wake_ups.send_batch(some).await?.len();
        }
    }
    Ok(woken)
}
