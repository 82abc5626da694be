//! `POST /approvals/{id}`: takes a decision, once.

use serde::Deserialize;
use serde_json::{Value, json};
use windlass::{
    approval::{
        CallResult, Subject, Verdict,
        decide::{Answer, Decided, decide},
    },
    ids::ApprovalId,
    principal::Principal,
};
use windlass_http::{Kind, Problem, Reply, Request};

use crate::{Desk, show::unknown, view::verdict_word};

/// The most bytes of a body.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Who decides is not in it: that comes from authentication.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    decision: Decision,
    token: String,
    note: Option<String>,
    /// What the call answered; with `happened` only.
    result: Option<Value>,
    /// Why it failed; with `happened_and_failed` only.
    message: Option<String>,
}

/// What a person can say; that nobody did in time is for the clock to say.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Approved,
    Denied,
    Happened,
    HappenedAndFailed,
    NotHappened,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Verdict {
        match decision {
            Decision::Approved => Verdict::Approved,
            Decision::Denied => Verdict::Denied,
            Decision::Happened => Verdict::Happened,
            Decision::HappenedAndFailed => Verdict::HappenedAndFailed,
            Decision::NotHappened => Verdict::NotHappened,
        }
    }
}

impl Desk {
    pub(crate) async fn decide(&self, request: &Request, caller: &Principal, id: ApprovalId) -> Result<Reply, Problem> {
        let Body { decision, token, note, result, message } = request.json(BODY_BYTES_MAX)?;
        let result = said(result, message)?;
        let verdict = Verdict::from(decision);
        let answer = Answer { approval: id, token: token.parse()?, verdict, note, result };
        self.ours(caller, id).await?;
        let decided = decide(&self.outside(), &self.keys, caller, &answer).await?;
        reply(id, verdict, caller, decided)
    }
}

/// What a person says that the call came to.
fn said(result: Option<Value>, message: Option<String>) -> Result<Option<CallResult>, Problem> {
    match (result, message) {
        (None, None) => Ok(None),
        (Some(value), None) => CallResult::value(value)
            .map(Some)
            .map_err(|too_large| Problem::new(Kind::Malformed, format!("`result`: {too_large}"))),
        (None, Some(text)) => Ok(Some(CallResult::message(&text))),
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::Malformed, "`result` says that it happened, and `message` that it failed"))
        }
    }
}

fn reply(id: ApprovalId, verdict: Verdict, caller: &Principal, decided: Decided) -> Result<Reply, Problem> {
    Err(match decided {
        Decided::Recorded => {
            let status = verdict_word(verdict);
            let body = json!({ "id": id, "run_id": id.run, "status": status, "decided_by": caller.actor });
            return Reply::json(200, &body);
        }
        Decided::NotFound => unknown(id),
        Decided::Forbidden(forbidden) => forbidden.into(),
        Decided::BadToken(error) => error.into(),
        Decided::DoesNotFit { subject } => {
            let fitting = match subject {
                Subject::Permission => "`approved` or `denied`",
                Subject::Doubt => {
                    "`happened` (and its `result`), `happened_and_failed` (and its `message`) or `not_happened`"
                }
            };
            Problem::new(Kind::Malformed, format!("this approval is decided with {fitting}"))
        }
        Decided::AlreadyDecided { verdict: Verdict::Expired, .. } => {
            Problem::new(Kind::Expired, "nobody decided in time")
        }
        Decided::AlreadyDecided { verdict, by } => {
            let problem = Problem::new(Kind::AlreadyDecided, "the approval has been decided");
            let problem = problem.with("decision", verdict_word(verdict));
            by.into_iter().fold(problem, |problem, by| problem.with("decided_by", by.as_str()))
        }
        Decided::Late { expired_at } => Problem::new(Kind::Expired, format!("the approval expired at {expired_at}")),
        Decided::Closed => Problem::new(Kind::RunOver, "the run ended, or is ending, without this decision"),
    })
}
