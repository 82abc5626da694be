//! `POST /runs/{id}/cancel`.

use serde::Deserialize;
use serde_json::json;
use windlass::{
    ids::RunId,
    principal::{OPERATOR, Principal},
    run::{
        cancel::{Cancellation, cancel},
        entry::StopReason,
    },
};
use windlass_http::{Kind, Problem, Reply, Request};

use crate::{Intake, access::visible};

/// The most bytes of a body.
const BODY_BYTES_MAX: usize = 8 * 1024;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: Option<String>,
}

impl Intake {
    pub(crate) async fn cancel(&self, request: &Request, caller: &Principal, run: RunId) -> Result<Reply, Problem> {
        let Body { reason } = if request.has_body() { request.json(BODY_BYTES_MAX)? } else { Body::default() };
        self.may_read(caller).await?;
        let head = visible(self.heads.as_ref(), caller, run).await?;
        if head.actor != caller.actor && !caller.holds(OPERATOR) {
            let detail = format!("ending somebody else's run takes the role `{OPERATOR}`");
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        match cancel(&self.outside(), run, &caller.actor, reason.as_deref()).await? {
            Cancellation::Requested | Cancellation::AlreadyEnding { .. } => {
                Reply::json(202, &json!({ "run_id": run, "status": "stopping" }))
            }
            Cancellation::AlreadyOver { reason: StopReason::Cancelled } => {
                Reply::json(200, &json!({ "run_id": run, "status": StopReason::Cancelled.word() }))
            }
            Cancellation::AlreadyOver { reason } => {
                let detail = format!("the run is over: {}", reason.word());
                Err(Problem::new(Kind::RunOver, detail).with("status_of_run", reason.word()))
            }
        }
    }
}
