//! Live controls that nobody has changed, for tests that are about something else.

use std::sync::Arc;

use windlass::{
    budgets::Allowance,
    clock::Clock,
    memory::{Accounts, Controls, Plans, Prompts, Windows},
    prompts::PromptCache,
    run::advance::Live,
};

/// Everything is on, there are no saved prompts, and nothing bounds what is spent.
pub fn everything_on(clock: Arc<dyn Clock>) -> Live {
    Live {
        controls: Arc::new(Controls::new(&Plans::new(clock))),
        seen: Arc::default(),
        prompts: PromptCache::new(Arc::new(Prompts::new())),
        budgets: Arc::new(Accounts::new()),
        allowance: Allowance::default(),
        windows: Arc::new(Windows::new()),
    }
}
