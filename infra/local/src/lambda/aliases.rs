//! The aliases of a function.

use super::{
    alias::{Alias, Weight},
    qualifier::{AliasName, Version},
    refusal::Refusal,
    versioned::{State, Versioned, lock},
};
use crate::identifier;

/// What `CreateAlias` and `UpdateAlias` may say.
#[derive(Debug, Default)]
pub(crate) struct AliasChange {
    pub(crate) version: Option<Version>,
    /// `Some(None)` takes the second version away.
    pub(crate) weight: Option<Option<Weight>>,
    pub(crate) description: Option<String>,
    pub(crate) revision_id: Option<String>,
}

impl Versioned {
    pub(crate) fn aliases(&self) -> Vec<(AliasName, Alias)> {
        lock(&self.state).aliases.iter().map(|(name, alias)| (name.clone(), alias.clone())).collect()
    }

    pub(crate) fn alias(&self, name: &AliasName) -> Result<Alias, Refusal> {
        lock(&self.state).aliases.get(name).cloned().ok_or_else(|| self.no_alias(name))
    }

    pub(crate) fn create_alias(&self, name: AliasName, change: AliasChange) -> Result<Alias, Refusal> {
        let mut state = lock(&self.state);
        if state.aliases.contains_key(&name) {
            return Err(Refusal::AliasExists { arn: self.qualified_arn(name.as_str()) });
        }
        let version = change.version.ok_or_else(|| Refusal::invalid("FunctionVersion is missing"))?;
        let alias = Alias {
            version,
            weight: change.weight.flatten(),
            description: change.description.unwrap_or_default(),
            revision_id: identifier::uuid(),
        };
        self.check_alias(&state, &alias)?;
        state.aliases.insert(name, alias.clone());
        Ok(alias)
    }

    /// ```text
    /// one ── GetAlias (revision a) ──────────────────── UpdateAlias if a ── refused: it is b by now
    /// other ───────── GetAlias (a) ── UpdateAlias if a ── done, revision b
    /// ```
    pub(crate) fn update_alias(&self, name: &AliasName, change: AliasChange) -> Result<Alias, Refusal> {
        let mut state = lock(&self.state);
        let before = state.aliases.get(name).ok_or_else(|| self.no_alias(name))?;
        if change.revision_id.as_ref().is_some_and(|revision_id| *revision_id != before.revision_id) {
            return Err(Refusal::Stale);
        }
        let alias = Alias {
            version: change.version.unwrap_or(before.version),
            weight: change.weight.unwrap_or(before.weight),
            description: change.description.unwrap_or_else(|| before.description.clone()),
            revision_id: identifier::uuid(),
        };
        self.check_alias(&state, &alias)?;
        state.aliases.insert(name.clone(), alias.clone());
        Ok(alias)
    }

    /// Deleting what is not there is no error, as on Lambda.
    pub(crate) fn delete_alias(&self, name: &AliasName) {
        lock(&self.state).aliases.remove(name);
    }

    fn check_alias(&self, state: &State, alias: &Alias) -> Result<(), Refusal> {
        for version in std::iter::once(alias.version).chain(alias.weight.map(|weight| weight.version)) {
            if state.revision(version).is_none() {
                return Err(self.missing(version));
            }
        }
        let Some(weight) = alias.weight else { return Ok(()) };
        if alias.version == Version::Latest || weight.version == Version::Latest {
            return Err(Refusal::invalid("$LATEST is not supported for an alias pointing to more than 1 version"));
        }
        if weight.version == alias.version {
            let version = alias.version;
            return Err(Refusal::invalid(format!(
                "Invalid function version {version}. Function version {version} is already included in routing configuration."
            )));
        }
        Ok(())
    }

    fn no_alias(&self, name: &AliasName) -> Refusal {
        Refusal::NoAlias { arn: self.qualified_arn(name.as_str()) }
    }
}
