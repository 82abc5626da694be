//! What runs of a function.

use std::{sync::Arc, time::Duration};

use super::{
    alias::Alias,
    qualifier::{Qualifier, Version},
    versioned::{Versioned, lock},
};
use crate::{
    function::{FunctionStatus, InvokeError},
    pool::Pool,
};

impl Versioned {
    /// Processes at work.
    pub(crate) fn busy(&self) -> usize {
        self.concurrency_max.saturating_sub(self.slots.available_permits())
    }

    /// Resolves when an invocation would find a slot.
    pub(super) async fn available(&self) -> Result<(), InvokeError> {
        self.slots.acquire().await.map(drop).map_err(|_| InvokeError::ShuttingDown)
    }

    /// The pools behind a qualifier, the most likely first.
    fn pools_behind(&self, qualifier: &Qualifier) -> Vec<Arc<Pool>> {
        let state = lock(&self.state);
        let versions: Vec<Version> = match qualifier {
            Qualifier::Version(version) => vec![*version],
            Qualifier::Alias(name) => state.aliases.get(name).into_iter().flat_map(Alias::versions).collect(),
        };
        versions.into_iter().filter_map(|version| Some(Arc::clone(&state.revision(version)?.pool))).collect()
    }

    /// Starts a process of each version behind a qualifier that has none; how the first is doing.
    pub(crate) async fn warm(&self, qualifier: &Qualifier) -> FunctionStatus {
        let mut statuses = Vec::new();
        for pool in self.pools_behind(qualifier) {
            statuses.push(pool.warm().await);
        }
        statuses.into_iter().next().unwrap_or(FunctionStatus::Starting)
    }

    pub(crate) fn status(&self, qualifier: &Qualifier) -> FunctionStatus {
        self.pools_behind(qualifier).first().map_or(FunctionStatus::Starting, |pool| pool.status())
    }

    /// The processes behind a qualifier, or all.
    pub(crate) fn pids(&self, qualifier: Option<&Qualifier>) -> Vec<u32> {
        let pools = qualifier.map_or_else(|| lock(&self.pools).clone(), |qualifier| self.pools_behind(qualifier));
        pools.iter().flat_map(|pool| pool.pids()).collect()
    }

    /// Ends processes that have been idle for long, and forgets pools that are neither a version nor have a process.
    pub(crate) fn end_idle(&self, limit: Duration) {
        for pool in lock(&self.pools).iter() {
            pool.end_idle(limit);
        }
        lock(&self.pools).retain(|pool| !pool.is_over());
    }

    /// Takes note of a program that was built anew in its place: new processes run it, and those that there are end when they have finished
    /// what they have. Whether there was one. It must look the same twice in a row, so that none is run that is still being written.
    pub(crate) fn renew(&self) -> bool {
        let mut state = lock(&self.state);
        let rebuilt = state.revisions().find_map(|revision| revision.configuration.code.rebuilt());
        let same_as_before = state.seen_rebuilt == rebuilt.as_ref().map(|code| code.sha256.clone());
        state.seen_rebuilt = rebuilt.as_ref().map(|code| code.sha256.clone());
        let Some(code) = rebuilt.filter(|_| same_as_before) else { return false };
        state.seen_rebuilt = None;
        for revision in state.revisions().filter(|revision| revision.configuration.code.rebuilt().is_some()) {
            revision.configuration.code = code.clone();
            revision.pool.renew();
        }
        true
    }

    /// Kills every process without waiting for it; nothing is started any more.
    pub(crate) fn kill(&self) {
        self.slots.close();
        for pool in lock(&self.pools).iter() {
            pool.kill();
        }
    }

    /// Kills every process and waits for their end.
    pub(crate) async fn close(&self) {
        self.kill();
        let pools = lock(&self.pools).clone();
        for pool in pools {
            pool.close().await;
        }
    }
}
