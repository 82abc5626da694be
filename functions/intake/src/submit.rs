//! `POST /runs`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use windlass::{
    clock::Timestamp,
    controls::admit::Admitted,
    door::rate::Standing,
    idempotency::check_client_key,
    ids::{RunId, Task},
    journal::HeadStatus,
    principal::Principal,
    run::{
        accept::{Incoming, TakenOn, accept},
        repeat::repeated,
        request::{PAYLOAD_BYTES_MAX, RunRequest, Source},
        snapshot::recall,
    },
};
use windlass_http::{
    Problem, Reply, Request,
    door::{turned_away, with_limits},
    not_admitted,
};

use crate::{
    Intake,
    header::{idempotency_key, wait},
    view::{Started, Summary},
};

/// The most bytes of a body: the payload, and what is around it.
const BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024;

/// How often a run that is waited for is looked at: at first after this, about what a short run without a model takes, then half as
/// often each time. A look is one read unit.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// No two looks are further apart.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    task: Task,
    payload: Value,
}

impl Intake {
    pub(crate) async fn submit(&self, request: &Request, caller: &Principal) -> Result<Reply, Problem> {
        let client_key = idempotency_key(request.header("idempotency-key"))?;
        let Body { task, payload } = request.json(BODY_BYTES_MAX)?;
        let Principal { tenant, actor, roles, .. } = caller.clone();
        let asked = RunRequest { tenant, actor, task, payload, roles };
        // What is not acceptable takes no token.
        check_client_key(&client_key)?;
        asked.check()?;
        let known = self.tasks.check(&asked.task);
        let (person, trace) = (caller.person.clone(), request.client_trace());
        let incoming = Incoming { request: asked, source: Source::Http, client_key, person, trace, admitted: None };
        let wanted = wait(request.header("prefer")).map(|span| (span, self.clock.now() + span));
        let admitted = match known {
            Ok(()) => self.admit(caller).await,
            Err(unknown) => Err(unknown.into()),
        };
        let (taken_on, standings) = match admitted {
            Ok((admitted, standings)) => {
                let incoming = Incoming { admitted: Some(admitted), ..incoming };
                (accept(&self.outside(), &self.terms, incoming).await?, standings)
            }
            // It may have been taken on before, perhaps by a release that knew its task, and its answer lost.
            Err(refusal) => {
                let before = repeated(self.requests.as_ref(), self.journal.as_ref(), &incoming).await?;
                (before.ok_or(refusal)?, Vec::new())
            }
        };
        let may_wait = match wanted {
            Some(_) => self.door.may_wait(&caller.tenant, &caller.actor).await,
            None => Ok(()),
        };
        let until = wanted.filter(|_| may_wait.is_ok());
        let began = self.clock.now();
        if let Some((_, until)) = until {
            self.wait_for(taken_on.run(), until).await;
        }
        let waited = self.clock.now().since(began);
        let reply = with_limits(self.started(taken_on, until.is_some()).await?, &standings).waited(waited);
        Ok(match (until, may_wait) {
            (Some((span, _)), _) => reply.header("preference-applied", format!("wait={}", span.as_secs())),
            (None, Err(after)) => reply.header("retry-after", after.as_millis().div_ceil(1_000).to_string()),
            (None, Ok(())) => reply,
        })
    }

    /// Lets a request in that would start a run.
    async fn admit(&self, caller: &Principal) -> Result<(Admitted, Vec<Standing>), Problem> {
        let admitted = self.admission().admit(&caller.tenant, &caller.actor).await;
        let admitted = admitted.map_err(|refusal| not_admitted(refusal, self.clock.now()))?;
        let standings = self.door.admit(&caller.tenant, &caller.actor).await.map_err(turned_away)?;
        Ok((admitted, standings))
    }

    /// Returns when the run needs nobody to wait any more: it is over, a person is asked, or time is up. A store that does not
    /// answer ends the wait too; the run has been taken on all the same.
    async fn wait_for(&self, run: RunId, until: Timestamp) {
        let mut after = LOOK_AFTER;
        while self.clock.now() < until {
            self.clock.sleep_until((self.clock.now() + after).min(until)).await;
            match self.heads.head(run).await {
                Ok(Some(head)) if !head.status.is_over() && head.status != HeadStatus::AwaitingApproval => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%run, %error, "waiting ended early"),
            }
            after = (after * 2).min(LOOK_AFTER_MAX);
        }
    }

    /// 200 for a run that is over, 202 for any other.
    async fn started(&self, taken_on: TakenOn, waited: bool) -> Result<Reply, Problem> {
        let run = taken_on.run();
        let known = match (taken_on, waited) {
            (TakenOn::New { .. }, false) => None,
            // What is shown goes beyond what was asked for: that it cannot be shown is no failure of the request.
            (TakenOn::New { .. }, true) => recall(self.journal.as_ref(), run).await.ok(),
            (TakenOn::Repeated { .. }, _) => Some(recall(self.journal.as_ref(), run).await?),
        };
        let (summary, trace) = match (&known, taken_on) {
            (Some(state), _) => (Summary::of(state, &self.redactions), state.trace),
            (None, TakenOn::New { trace, .. }) => (Summary::accepted(), trace),
            (None, TakenOn::Repeated { .. }) => return Err(windlass::journal::JournalError::Missing { run }.into()),
        };
        let status = if summary.is_over() { 200 } else { 202 };
        let reply = Reply::json(status, &Started { run_id: run, trace_id: trace, summary })?;
        Ok(reply.header("location", format!("/runs/{run}")).in_trace(trace))
    }
}
