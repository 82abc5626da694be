//! `GET /approvals`: what the tenant's runs wait for, a page at a time.

use futures::{StreamExt as _, stream};
use serde::Serialize;
use windlass::{
    approval::{
        Subject,
        decide::{Question, Standing},
    },
    clock::Timestamp,
    ids::{ApprovalId, Role, RunId, ToolName},
    journal::{Head, JournalError, Position, Waiting},
    principal::Principal,
    redaction::{Redaction, cut},
    run::outside::History,
};
use windlass_http::{Kind, Problem, Reply, Request};

use crate::{Desk, show::sees};

/// The most runs of one page: what is read within a second or two.
const RUNS_MAX: usize = 50;

/// How many journals are read at the same time, and so are in memory.
const READ_AT_ONCE: usize = 4;

/// The most characters of a reason in a list.
const REASON_CHARS_MAX: usize = 300;

#[derive(Serialize)]
struct Page {
    approvals: Vec<Listed>,
    /// Runs whose journals could not be read; they are not in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<RunId>,
    /// What `after` is for the next page. A page may be short, or empty, although there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One approval in a list: what it takes to choose one. The exact action is shown by itself.
#[derive(Serialize)]
struct Listed {
    id: ApprovalId,
    run_id: RunId,
    subject: Subject,
    tool: ToolName,
    role: Role,
    reason: String,
    requested_at: Timestamp,
    expires_at: Timestamp,
    may_decide: bool,
    /// Why the caller may not decide it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

impl Desk {
    pub(crate) async fn list(&self, request: &Request, caller: &Principal) -> Result<Reply, Problem> {
        let malformed = |detail: &str| Problem::new(Kind::Malformed, detail);
        let after = request.query("after").map(|text| text.parse::<Position>()).transpose();
        let after = after.map_err(|_| malformed("`after` is not what `next` of a page said"))?;
        let limit = match request.query("limit").map(|text| text.parse()) {
            None => RUNS_MAX,
            Some(Ok(limit)) if (1..=RUNS_MAX).contains(&limit) => limit,
            Some(_) => return Err(malformed(&format!("`limit` is not 1 to {RUNS_MAX}"))),
        };
        let Waiting { heads, next } = self.heads.waiting(&caller.tenant, after, limit).await?;
        let mut page = Page { approvals: Vec::new(), unreadable: Vec::new(), next: next.map(|next| next.to_string()) };
        let read = |head: Head| async move { (head.run, self.open(head.run, caller).await) };
        // A journal may be large; what is listed of it is not.
        let mut open = stream::iter(heads).map(read).buffered(READ_AT_ONCE);
        while let Some((run, open)) = open.next().await {
            match open {
                Ok(open) => page.approvals.extend(open),
                // The index is a moment late.
                Err(JournalError::Missing { .. }) => {}
                Err(error @ JournalError::Unavailable { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%run, %error, "a run that waits for a person cannot be read");
                    page.unreadable.push(run);
                }
            }
        }
        Reply::json(200, &page)
    }

    async fn open(&self, run: RunId, caller: &Principal) -> Result<Vec<Listed>, JournalError> {
        let history = History::load(self.journal.as_ref(), run).await?;
        let now = self.clock.now();
        let is_ours = history.state.request.tenant == caller.tenant;
        let asked = history.state.open_approvals().filter(|_| is_ours);
        let questions = asked.filter_map(|request| Question::find(&history, request.id, now));
        let seen = questions.filter(|question| question.standing == Standing::Open && sees(question, &history, caller));
        Ok(seen
            .map(|question| {
                let why_not = question.permits(&history, caller).err().map(|forbidden| forbidden.to_string());
                Listed::of(question, why_not)
            })
            .collect())
    }
}

impl Listed {
    fn of(question: Question, why_not: Option<String>) -> Listed {
        let request = question.request;
        Listed {
            id: request.id,
            run_id: request.id.run,
            subject: request.subject,
            tool: request.action.tool,
            role: request.role,
            reason: cut(&Redaction::STRICT.text(&request.reason), REASON_CHARS_MAX).to_owned(),
            requested_at: request.requested_at,
            expires_at: request.expires_at,
            may_decide: why_not.is_none(),
            why_not,
        }
    }
}
