//! The controls, prompts and accounts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::locked;
use crate::{
    audit::AuditRecord,
    budgets::{Account, Allowance, Balance, BudgetError, Budgets, Reservation, Reserved, Spend, is_dead},
    clock::Timestamp,
    controls::{self, Changed, ControlsError, Document, Initialised},
    ids::Task,
    prompts::{self, PromptError, SavedPrompt},
};

/// An audit trail that several stores in memory share.
pub(super) type Trail = Arc<Mutex<BTreeMap<(Timestamp, String), AuditRecord>>>;

/// The controls in memory. They share the audit trail of [`Plans`](super::Plans).
pub struct Controls {
    kept: Mutex<Kept>,
    trail: Trail,
}

/// Documents, and the number of the one in force.
#[derive(Default)]
struct Kept {
    versions: Vec<Arc<Document>>,
    in_force: Option<u64>,
}

impl Kept {
    fn newest(&self) -> Option<&Arc<Document>> {
        self.versions.last()
    }

    fn version(&self, version: u64) -> Option<&Arc<Document>> {
        self.versions.iter().find(|document| document.version == version)
    }

    fn put(&mut self, document: Document) {
        self.in_force = Some(document.version);
        self.versions.push(Arc::new(document));
    }
}

impl Controls {
    /// With version 0 in force: everything on, and never changed.
    pub fn new(plans: &super::Plans) -> Self {
        let controls = Controls::unmade(plans);
        locked(&controls.kept).put(Document::default());
        controls
    }

    /// As before a deployment has made them.
    pub fn unmade(plans: &super::Plans) -> Self {
        Self { kept: Mutex::default(), trail: plans.trail() }
    }

    /// Forgets which version is in force, as a table does whose items somebody deletes.
    pub fn forget(&self) {
        locked(&self.kept).in_force = None;
    }

    fn note(&self, audit: &AuditRecord) {
        locked(&self.trail).insert((audit.at, audit.id.clone()), audit.clone());
    }
}

#[async_trait]
impl controls::Controls for Controls {
    async fn read(&self) -> Result<Arc<Document>, ControlsError> {
        let kept = locked(&self.kept);
        let version = kept.in_force.ok_or(ControlsError::Missing)?;
        let gone = || ControlsError::Unreadable { problem: format!("version {version} is in force and not there") };
        kept.version(version).cloned().ok_or_else(gone)
    }

    async fn init(&self, audit: &AuditRecord) -> Result<Initialised, ControlsError> {
        let mut kept = locked(&self.kept);
        let made = match (kept.newest().map(|document| document.version), kept.in_force) {
            (Some(version), Some(in_force)) if version == in_force => return Ok(Initialised::There { version }),
            (Some(version), _) => {
                kept.in_force = Some(version);
                Initialised::Restored { version }
            }
            (None, _) => {
                kept.put(Document::default());
                Initialised::Made
            }
        };
        self.note(audit);
        Ok(made)
    }

    async fn change(&self, document: &Document, audit: &AuditRecord) -> Result<Changed, ControlsError> {
        let mut kept = locked(&self.kept);
        if kept.version(document.version).is_some_and(|there| there.as_ref() == document) {
            return Ok(Changed::Done);
        }
        if kept.newest().is_none_or(|newest| newest.version + 1 != document.version) {
            return Ok(Changed::Conflict);
        }
        kept.put(document.clone());
        self.note(audit);
        Ok(Changed::Done)
    }

    async fn history(&self, limit: usize) -> Result<Vec<Document>, ControlsError> {
        Ok(locked(&self.kept).versions.iter().rev().take(limit).map(|document| Document::clone(document)).collect())
    }

    async fn version(&self, version: u64) -> Result<Option<Document>, ControlsError> {
        Ok(locked(&self.kept).version(version).map(|document| Document::clone(document)))
    }
}

/// Prompts in memory.
#[derive(Default)]
pub struct Prompts {
    saved: Mutex<BTreeMap<(Task, u32), SavedPrompt>>,
}

impl Prompts {
    /// No prompts yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl prompts::Prompts for Prompts {
    async fn save(&self, prompt: &SavedPrompt) -> Result<bool, PromptError> {
        let mut saved = locked(&self.saved);
        let there = saved.entry((prompt.task.clone(), prompt.version)).or_insert_with(|| prompt.clone());
        Ok(there == prompt)
    }

    async fn version(&self, task: &Task, version: u32) -> Result<Option<SavedPrompt>, PromptError> {
        Ok(locked(&self.saved).get(&(task.clone(), version)).cloned())
    }

    async fn list(&self, task: &Task, limit: usize) -> Result<Vec<SavedPrompt>, PromptError> {
        let saved = locked(&self.saved);
        let of_task = saved.range((task.clone(), 0)..=(task.clone(), u32::MAX));
        Ok(of_task.rev().take(limit).map(|(_, prompt)| prompt.clone()).collect())
    }
}

/// Accounts in memory.
#[derive(Default)]
pub struct Accounts {
    accounts: Mutex<BTreeMap<Account, OfAccount>>,
}

/// What is settled, and what is open by id.
#[derive(Default)]
struct OfAccount {
    settled: Spend,
    open: BTreeMap<String, (Spend, Timestamp)>,
}

impl OfAccount {
    fn balance(&self) -> Balance {
        let reserved = self.open.values().fold(Spend::default(), |sum, (worst, _)| sum.plus(*worst));
        Balance { settled: self.settled, reserved }
    }

    /// Settles what dead processes left at its worst.
    fn tidy(&mut self, now: Timestamp) {
        let settled = &mut self.settled;
        self.open.retain(|_, (worst, deadline)| {
            let dead = is_dead(*deadline, now);
            if dead {
                *settled = settled.plus(*worst);
            }
            !dead
        });
    }
}

impl Accounts {
    /// Nothing spent yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Budgets for Accounts {
    async fn reserve(
        &self,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, BudgetError> {
        let mut accounts = locked(&self.accounts);
        let account = accounts.entry(reservation.account.clone()).or_default();
        if account.open.contains_key(&reservation.id) {
            return Ok(Reserved::Done);
        }
        let Balance { settled, reserved } = account.balance();
        if !allowance.fits(settled.plus(reserved), reservation.worst) {
            account.tidy(now);
            return Ok(account.balance().refusal(allowance, reservation.worst));
        }
        account.open.insert(reservation.id.clone(), (reservation.worst, reservation.deadline));
        Ok(Reserved::Done)
    }

    async fn settle(&self, reservation: &Reservation, used: Spend) -> Result<bool, BudgetError> {
        let mut accounts = locked(&self.accounts);
        let Some(account) = accounts.get_mut(&reservation.account) else { return Ok(false) };
        if account.open.remove(&reservation.id).is_none() {
            return Ok(false);
        }
        account.settled = account.settled.plus(used);
        Ok(true)
    }

    async fn balance(&self, account: &Account) -> Result<Balance, BudgetError> {
        Ok(locked(&self.accounts).get(account).map(OfAccount::balance).unwrap_or_default())
    }
}
