//! One function: `$LATEST`, what was published of it, and its aliases.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use super::{
    alias::Alias,
    package::Code,
    qualifier::{AliasName, Qualifier, Version},
    refusal::Refusal,
    revision::{Configuration, Revision},
};
use crate::{
    clock::Clock,
    dice::Dice,
    function::{Function, Surroundings},
    identifier,
    metrics::Metrics,
    pool::Pool,
};

/// A function and everything that runs of it.
pub(crate) struct Versioned {
    pub(crate) name: String,
    /// Without a qualifier.
    pub(crate) arn: String,
    pub(crate) concurrency_max: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(super) dice: Arc<dyn Dice>,
    clock: Arc<dyn Clock>,
    surroundings: Surroundings,
    pub(super) slots: Arc<Semaphore>,
    pub(super) state: Mutex<State>,
    /// Every pool that may have a process, also of what is no version any more.
    pub(super) pools: Mutex<Vec<Arc<Pool>>>,
}

/// What can change.
pub(super) struct State {
    latest: Revision,
    versions: BTreeMap<u64, Revision>,
    published_last: u64,
    pub(super) aliases: BTreeMap<AliasName, Alias>,
    /// The digest of a program that was built anew, as it looked last.
    pub(super) seen_rebuilt: Option<String>,
}

/// What a version was published as.
pub(crate) struct Published {
    pub(crate) version: Version,
    pub(crate) revision: Revision,
}

impl Versioned {
    /// Publishes version 1 and points every alias at it.
    pub(crate) fn new(
        surroundings: Surroundings,
        concurrency_max: usize,
        configuration: Configuration,
        aliases: &[AliasName],
        (metrics, clock, dice): (Arc<Metrics>, Arc<dyn Clock>, Arc<dyn Dice>),
    ) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(concurrency_max.clamp(1, Semaphore::MAX_PERMITS)));
        let function = Function::new(&surroundings, &configuration, Version::Latest);
        let latest = Revision {
            pool: Pool::new(function, Arc::clone(&slots)),
            configuration,
            revision_id: identifier::uuid(),
            modified: clock.since_epoch(),
        };
        let this = Self {
            name: surroundings.name.clone(),
            arn: surroundings.arn.clone(),
            concurrency_max,
            metrics,
            dice,
            clock,
            surroundings,
            slots,
            pools: Mutex::new(vec![Arc::clone(&latest.pool)]),
            state: Mutex::new(State {
                latest,
                versions: BTreeMap::new(),
                published_last: 0,
                aliases: BTreeMap::new(),
                seen_rebuilt: None,
            }),
        };
        {
            let mut state = lock(&this.state);
            this.publish_in(&mut state, String::new());
            for name in aliases {
                let (version, revision_id) = (Version::Number(1), identifier::uuid());
                let alias = Alias { version, weight: None, description: String::new(), revision_id };
                state.aliases.insert(name.clone(), alias);
            }
        }
        Arc::new(this)
    }

    /// The ARN of a version or an alias.
    pub(crate) fn qualified_arn(&self, qualifier: impl std::fmt::Display) -> String {
        format!("{}:{qualifier}", self.arn)
    }

    /// A version, or the first of an alias.
    pub(crate) fn find(&self, qualifier: &Qualifier) -> Result<Published, Refusal> {
        let state = lock(&self.state);
        let version = match qualifier {
            Qualifier::Version(version) => *version,
            Qualifier::Alias(name) => {
                // Lambda says of a missing alias that there is no function, unless it is asked for as an alias.
                state.aliases.get(name).ok_or_else(|| self.missing(qualifier))?.version
            }
        };
        let revision = state.revision(version).ok_or_else(|| self.missing(qualifier))?.clone();
        Ok(Published { version, revision })
    }

    /// The pool for one invocation: an alias is decided now.
    pub(super) fn choose(&self, qualifier: &Qualifier) -> Option<(Version, Arc<Pool>)> {
        let state = lock(&self.state);
        let version = match qualifier {
            Qualifier::Version(version) => *version,
            // Dice are thrown only where something hangs on them, so that the order of throws is that of weighted invocations.
            Qualifier::Alias(name) => {
                let alias = state.aliases.get(name)?;
                if alias.weight.is_some() { alias.choose(self.dice.roll()) } else { alias.version }
            }
        };
        Some((version, Arc::clone(&state.revision(version)?.pool)))
    }

    /// `$LATEST` first, then by number.
    pub(crate) fn versions(&self) -> Vec<Published> {
        let state = lock(&self.state);
        let latest = Published { version: Version::Latest, revision: state.latest.clone() };
        let published = |(number, revision): (&u64, &Revision)| Published {
            version: Version::Number(*number),
            revision: revision.clone(),
        };
        std::iter::once(latest).chain(state.versions.iter().map(published)).collect()
    }

    /// Makes a version of `$LATEST`, unless it is the version published last.
    pub(crate) fn publish(
        &self,
        description: Option<String>,
        code_sha256: Option<&str>,
        revision_id: Option<&str>,
    ) -> Result<Published, Refusal> {
        let mut state = lock(&self.state);
        state.latest.check(revision_id)?;
        let current = &state.latest.configuration.code.sha256;
        if let Some(wanted) = code_sha256.filter(|wanted| *wanted != current.as_str()) {
            return Err(Refusal::invalid(format!(
                "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the \
                 CodeSHA256 in $LATEST."
            )));
        }
        let last = state.published_last;
        if let Some(revision) = state.versions.get(&last)
            && revision.configuration.is_same_as(&state.latest.configuration)
        {
            return Ok(Published { version: Version::Number(last), revision: revision.clone() });
        }
        let description = description.unwrap_or_else(|| state.latest.configuration.description.clone());
        Ok(self.publish_in(&mut state, description))
    }

    fn publish_in(&self, state: &mut State, description: String) -> Published {
        state.published_last += 1;
        let number = state.published_last;
        let version = Version::Number(number);
        let configuration = Configuration { description, ..state.latest.configuration.clone() };
        let revision = self.revision(configuration, version);
        state.versions.insert(number, revision.clone());
        Published { version, revision }
    }

    fn revision(&self, configuration: Configuration, version: Version) -> Revision {
        let function = Function::new(&self.surroundings, &configuration, version);
        let pool = Pool::new(function, Arc::clone(&self.slots));
        lock(&self.pools).push(Arc::clone(&pool));
        Revision { configuration, revision_id: identifier::uuid(), modified: self.clock.since_epoch(), pool }
    }

    /// Changes `$LATEST`. What runs of it goes on as it was; the next invocation meets the change.
    pub(crate) fn change_latest(
        &self,
        revision_id: Option<&str>,
        change: impl FnOnce(&mut Configuration),
    ) -> Result<Published, Refusal> {
        let mut state = lock(&self.state);
        state.latest.check(revision_id)?;
        let mut configuration = state.latest.configuration.clone();
        change(&mut configuration);
        let revision = self.revision(configuration, Version::Latest);
        let before = std::mem::replace(&mut state.latest, revision.clone());
        before.pool.retire();
        Ok(Published { version: Version::Latest, revision })
    }

    /// What `UpdateFunctionCode` would do, without doing it.
    pub(crate) fn with_code(&self, revision_id: Option<&str>, code: Code) -> Result<Published, Refusal> {
        let state = lock(&self.state);
        state.latest.check(revision_id)?;
        let mut revision = state.latest.clone();
        revision.configuration.code = code;
        Ok(Published { version: Version::Latest, revision })
    }

    /// Deletes a published version that no alias names. What runs of it goes on to its end.
    pub(crate) fn delete_version(&self, number: u64) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        let version = Version::Number(number);
        let named = state.aliases.iter().filter(|(_, alias)| alias.names(version));
        let named: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
        if !named.is_empty() {
            let message = format!(
                "Function version {number} is referenced by the aliases [{}]: it cannot be deleted",
                named.join(", ")
            );
            return Err(Refusal::Conflict { message });
        }
        // Deleting what is not there is no error, as on Lambda.
        if let Some(revision) = state.versions.remove(&number) {
            revision.pool.retire();
        }
        Ok(())
    }

    pub(super) fn missing(&self, qualifier: impl std::fmt::Display) -> Refusal {
        Refusal::NoFunction { arn: self.qualified_arn(qualifier) }
    }
}

impl State {
    pub(super) fn revision(&self, version: Version) -> Option<&Revision> {
        match version {
            Version::Latest => Some(&self.latest),
            Version::Number(number) => self.versions.get(&number),
        }
    }

    /// `$LATEST` and every version.
    pub(super) fn revisions(&mut self) -> impl Iterator<Item = &mut Revision> {
        std::iter::once(&mut self.latest).chain(self.versions.values_mut())
    }
}

impl Revision {
    fn check(&self, revision_id: Option<&str>) -> Result<(), Refusal> {
        if revision_id.is_some_and(|revision_id| revision_id != self.revision_id) {
            Err(Refusal::Stale)
        } else {
            Ok(())
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
