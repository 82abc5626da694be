//! Who may see which run.

use windlass::{
    ids::RunId,
    journal::{Head, Heads, JournalError},
    principal::{APPROVER, OPERATOR, Principal},
};

/// The head of a run that `caller` may see: their own, or any of their tenant for an operator or approver. Anything else does not
/// exist for them, whether or not it does.
///
/// # Errors
/// [`JournalError::Missing`] for every run that they may not see.
pub(crate) async fn visible(heads: &dyn Heads, caller: &Principal, run: RunId) -> Result<Head, JournalError> {
    let sees = |head: &Head| {
        let trusted = caller.holds(OPERATOR) || caller.holds(APPROVER);
        head.tenant == caller.tenant && (head.actor == caller.actor || trusted)
    };
    heads.head(run).await?.filter(sees).ok_or(JournalError::Missing { run })
}
