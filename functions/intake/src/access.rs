//! Who may see which run.

use windlass::{
    ids::RunId,
    journal::{Head, Heads, JournalError},
    principal::{APPROVER, OPERATOR, Principal},
};
use windlass_http::{Problem, door::turned_away};

use crate::Intake;

impl Intake {
    /// Counts a look at a run. Who looks occupies an invocation, as who starts a run does.
    ///
    /// # Errors
    /// When there have been too many.
    pub(crate) async fn may_read(&self, caller: &Principal) -> Result<(), Problem> {
        self.door.reads.may_read(&caller.tenant, &caller.actor).await.map(drop).map_err(turned_away)
    }
}

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
