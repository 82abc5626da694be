//! `GET /approvals/{id}`: shows, and never decides.

use windlass::{
    approval::decide::{Forbidden, Question, Standing},
    ids::ApprovalId,
    journal::JournalError,
    principal::{APPROVER, OPERATOR, Principal},
    run::outside::History,
};
use windlass_http::{Kind, Problem, Reply};

use crate::{Desk, view::Shown};

impl Desk {
    pub(crate) async fn show(&self, caller: &Principal, id: ApprovalId) -> Result<Reply, Problem> {
        self.ours(caller, id).await?;
        let history = match History::load(self.journal.as_ref(), id.run).await {
            Err(JournalError::Missing { .. }) => return Err(unknown(id)),
            other => other?,
        };
        let now = self.clock.now();
        let question = (history.state.request.tenant == caller.tenant)
            .then(|| Question::find(&history, id, now))
            .flatten()
            .ok_or_else(|| unknown(id))?;
        if !sees(&question, &history, caller) {
            return Err(Forbidden::Role { role: question.request.role }.into());
        }
        let shown = match (&question.standing, question.permits(&history, caller)) {
            (Standing::Open, Ok(())) => {
                let token = self.keys.get().await?.issue(&question.request, caller, now);
                Shown::of(question, &history.state).for_decision(token.to_string())
            }
            (Standing::Open, Err(forbidden)) => {
                Shown::of(question, &history.state).for_information(forbidden.to_string())
            }
            _ => Shown::of(question, &history.state).for_the_record(),
        };
        Ok(Reply::json(200, &shown)?.in_trace(history.state.trace))
    }
}

impl Desk {
    /// Looks at the head first: that another tenant's journal cannot be read is not for the caller to know.
    pub(crate) async fn ours(&self, caller: &Principal, id: ApprovalId) -> Result<(), Problem> {
        let head = self.heads.head(id.run).await?;
        let is_ours = head.is_some_and(|head| head.tenant == caller.tenant);
        is_ours.then_some(()).ok_or_else(|| unknown(id))
    }
}

/// Whoever may decide it, whoever asked for it, operators and approvers see an approval of their tenant.
pub(crate) fn sees(question: &Question, history: &History, caller: &Principal) -> bool {
    let role = question.request.role.as_str();
    [role, APPROVER, OPERATOR].into_iter().any(|role| caller.holds(role)) || history.state.request.actor == caller.actor
}

/// Another tenant's approval is as unknown as one that was never asked for.
pub(crate) fn unknown(id: ApprovalId) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no approval `{id}`"))
}
