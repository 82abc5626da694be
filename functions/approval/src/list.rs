//! `GET /approvals`: what the tenant's runs wait for.

use futures::{StreamExt as _, stream};
use serde::Serialize;
use windlass::{
    approval::decide::{Question, Standing},
    ids::RunId,
    journal::{Head, JournalError, Listing},
    principal::Principal,
    run::outside::History,
};
use windlass_http::{Problem, Reply};

use crate::{Desk, show::sees, view::Shown};

/// The most runs that are looked at: what one person works through, and what is read within a second or two.
const RUNS_MAX: usize = 50;

/// How many journals are read at the same time.
const READ_AT_ONCE: usize = 8;

#[derive(Serialize)]
struct Listed {
    approvals: Vec<Shown>,
    /// Runs whose journals could not be read; they are not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<RunId>,
    /// Whether there may be more.
    more: bool,
}

impl Desk {
    pub(crate) async fn list(&self, caller: &Principal) -> Result<Reply, Problem> {
        let listing = Listing::AwaitingApproval { tenant: caller.tenant.clone() };
        let heads = self.heads.list(&listing, RUNS_MAX).await?;
        let more = heads.len() == RUNS_MAX;
        let read = |head: Head| async move { (head.run, History::load(self.journal.as_ref(), head.run).await) };
        let histories: Vec<_> = stream::iter(heads).map(read).buffered(READ_AT_ONCE).collect().await;
        let mut listed = Listed { approvals: Vec::new(), unreadable: Vec::new(), more };
        for (run, history) in histories {
            match history {
                Ok(history) => listed.approvals.extend(self.open(&history, caller)),
                // The index is a moment late.
                Err(JournalError::Missing { .. }) => {}
                Err(error @ JournalError::Unavailable { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%run, %error, "a run that waits for a person cannot be read");
                    listed.unreadable.push(run);
                }
            }
        }
        Reply::json(200, &listed)
    }

    fn open(&self, history: &History, caller: &Principal) -> Vec<Shown> {
        let now = self.clock.now();
        let is_ours = history.state.request.tenant == caller.tenant;
        let asked = history.state.open_approvals().filter(|_| is_ours);
        let questions = asked.filter_map(|request| Question::find(history, request.id, now));
        let seen = questions.filter(|question| question.standing == Standing::Open && sees(question, history, caller));
        seen.map(|question| match question.permits(history, caller) {
            Ok(()) => Shown::of(question, &history.state).for_decision(None),
            Err(forbidden) => Shown::of(question, &history.state).for_information(forbidden.to_string()),
        })
        .collect()
    }
}
