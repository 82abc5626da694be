//! The intake function: takes requests on, shows runs, cancels them.
//!
//! | request | answer |
//! |---|---|
//! | `POST /runs` | 202 with the run, 200 when it ended within `Prefer: wait=N` |
//! | `GET /runs/{id}` | 200 with where it stands |
//! | `GET /runs/{id}/journal` | 200 with its entries, a page at a time |
//! | `POST /runs/{id}/cancel` | 202, or 409 when it is over |
//! | `GET /health` | 200, without a look at anything |
//! | `GET /ready` | 200, or 503 with what cannot be reached |
#![deny(missing_docs)]

use std::sync::Arc;

use windlass::{
    budgets::{Allowance, Budgets},
    clock::Clock,
    controls::{Controls, admit::Admission},
    door::{Door, Requests, readiness::Readiness},
    ids::{Random, Release},
    journal::{Heads, Journal},
    principal::Principal,
    queue::WakeUps,
    redaction::Redactions,
    run::{accept::Terms, outside::Outside, tasks::Tasks},
    telemetry::Teller,
};
use windlass_http::{Claims, Event, Kind, Problem, Reply, Request, Response, Target, identify, refusals, respond};

mod access;
mod cancel;
mod header;
mod health;
pub mod parts;
mod show;
mod submit;
mod view;

/// What the function works with.
pub struct Intake {
    /// Where journals are.
    pub journal: Arc<dyn Journal>,
    /// Told what is written to them, if anybody is.
    pub telemetry: Option<Arc<Teller>>,
    /// Where runs are found.
    pub heads: Arc<dyn Heads>,
    /// Where wake-ups are sent.
    pub wake_ups: Arc<dyn WakeUps>,
    /// Who is let in.
    pub door: Door,
    /// What is known of requests before.
    pub requests: Arc<dyn Requests>,
    /// Whether what is needed can be reached.
    pub readiness: Readiness,
    /// What may happen now.
    pub controls: Arc<dyn Controls>,
    /// What actors have spent.
    pub budgets: Arc<dyn Budgets>,
    /// What an actor may spend in a day.
    pub allowance: Allowance,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub random: Arc<dyn Random>,
    /// The release that answers.
    pub release: Release,
    /// On which terms runs are taken on.
    pub terms: Terms,
    /// What runs may be asked to do.
    pub tasks: Tasks,
    /// Which claims say who asks.
    pub claims: Claims,
    /// What may be shown of runs.
    pub redactions: Redactions,
}

impl Intake {
    /// Answers one request. What cannot be met is a problem document, never an error of the function.
    pub async fn handle(&self, event: Event) -> Response {
        let started = self.clock.now();
        let request = Request::read(event, self.random.as_ref());
        let result = self.route(&request).await;
        respond(&request, self.clock.now().since(started), result)
    }

    async fn route(&self, request: &Request) -> Result<Reply, Problem> {
        let Target { method, segments, count } = request.target();
        match (method, segments[0], count) {
            ("GET", "health", 1) => return self.health(),
            ("GET", "ready", 1) => return self.ready().await,
            (_, "health" | "ready", 1) => return Err(not_allowed("GET")),
            _ => {}
        }
        let caller: Principal = identify(request, &self.claims)?;
        self.answer(request, &caller).await.inspect_err(|problem| refusals::tell(request, &caller, problem))
    }

    async fn answer(&self, request: &Request, caller: &Principal) -> Result<Reply, Problem> {
        let Target { method, segments, count } = request.target();
        match (method, &segments[..count.min(3)], count) {
            ("POST", ["runs"], 1) => self.submit(request, caller).await,
            ("GET", ["runs", id], 2) => self.show(caller, id.parse()?).await,
            ("GET", ["runs", id, "journal"], 3) => self.journal(request, caller, id.parse()?).await,
            ("POST", ["runs", id, "cancel"], 3) => self.cancel(request, caller, id.parse()?).await,
            (_, ["runs"] | ["runs", _, "cancel"], 1 | 3) => Err(not_allowed("POST")),
            (_, ["runs", _] | ["runs", _, "journal"], 2 | 3) => Err(not_allowed("GET")),
            _ => Err(Problem::new(Kind::NotFound, "there is nothing at this path")),
        }
    }

    fn admission(&self) -> Admission<'_> {
        Admission {
            controls: self.controls.as_ref(),
            budgets: self.budgets.as_ref(),
            allowance: self.allowance,
            clock: self.clock.as_ref(),
        }
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
