//! The approval function: shows what a person is to decide, and takes the decision.
//!
//! | request | answer |
//! |---|---|
//! | `GET /approvals` | 200 with a page of the open ones that the caller may see |
//! | `GET /approvals/{id}` | 200 with the exact action, and a token for whoever may decide; it never decides |
//! | `POST /approvals/{id}` | 200 once, then 409 |
//!
//! Each takes a token of the caller's read limits, and is answered 429 when there is none.
#![deny(missing_docs)]

use std::sync::Arc;

use windlass::{
    approval::token::ApprovalKeys,
    clock::Clock,
    door::Reads,
    ids::{Random, Release},
    journal::{Heads, Journal},
    principal::Principal,
    queue::WakeUps,
    run::outside::Outside,
    secrets::SecretCache,
    telemetry::Teller,
};
use windlass_http::{
    Claims, Event, Kind, Problem, Reply, Request, Response, Target, door::turned_away, identify, refusals, respond,
};

mod decide;
mod list;
mod show;
mod view;

/// What the function works with.
pub struct Desk {
    /// Where journals are.
    pub journal: Arc<dyn Journal>,
    /// Told what is written to them, if anybody is.
    pub telemetry: Option<Arc<Teller>>,
    /// Where runs are found.
    pub heads: Arc<dyn Heads>,
    /// Where wake-ups are sent.
    pub wake_ups: Arc<dyn WakeUps>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For marks and jitter.
    pub random: Arc<dyn Random>,
    /// What tokens are signed with.
    pub keys: Arc<SecretCache<ApprovalKeys>>,
    /// The release that answers.
    pub release: Release,
    /// Which claims say who asks.
    pub claims: Claims,
    /// Whether one may look now.
    pub reads: Reads,
}

impl Desk {
    /// Answers one request. What cannot be met is a problem document, never an error of the function.
    pub async fn handle(&self, event: Event) -> Response {
        let started = self.clock.now();
        let request = Request::read(event, self.random.as_ref());
        let result = self.route(&request).await;
        respond(&request, self.clock.now().since(started), result)
    }

    async fn route(&self, request: &Request) -> Result<Reply, Problem> {
        let caller = identify(request, &self.claims)?;
        self.answer(request, &caller).await.inspect_err(|problem| refusals::tell(request, &caller, problem))
    }

    async fn answer(&self, request: &Request, caller: &Principal) -> Result<Reply, Problem> {
        let Target { method, segments, count } = request.target();
        match (method, &segments[..count.min(3)]) {
            ("GET", ["approvals"]) => {
                self.may_look(caller).await?;
                self.list(request, caller).await
            }
            ("GET", ["approvals", id]) => {
                let id = id.parse()?;
                self.may_look(caller).await?;
                self.show(caller, id).await
            }
            ("POST", ["approvals", id]) => {
                let id = id.parse()?;
                self.may_look(caller).await?;
                self.decide(request, caller, id).await
            }
            (_, ["approvals"]) => Err(not_allowed("GET")),
            (_, ["approvals", _]) => Err(not_allowed("GET, POST")),
            _ => Err(Problem::new(Kind::NotFound, "there is nothing at this path")),
        }
    }

    /// Counts a look, or a decision: with the looks at runs.
    async fn may_look(&self, caller: &Principal) -> Result<(), Problem> {
        self.reads.may_read(&caller.tenant, &caller.actor).await.map(drop).map_err(turned_away)
    }

    fn outside(&self) -> Outside<'_> {
        Outside {
            journal: self.journal.as_ref(),
            wake_ups: self.wake_ups.as_ref(),
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
            release: &self.release,
            telemetry: self.telemetry.as_deref(),
        }
    }
}

fn not_allowed(allowed: &'static str) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("this path takes {allowed}")).header("allow", allowed)
}
