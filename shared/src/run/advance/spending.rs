//! What a turn spends: reserved before the model is asked, settled after it.

use std::time::Duration;

use tracing::{info, warn};

use super::{
    Advanced,
    turn::{Interrupted, Turn},
};
use crate::{
    agent::model::Usage,
    budgets::{Account, BudgetError, Reservation, Reserved, Spend},
    clock::CLOCK_SKEW_MAX,
    retry::{Backoff, Retry},
    run::{
        entry::{Event, StopReason},
        state::CallStatus,
    },
};

/// How a call to the accounts is repeated.
const RETRY: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1), attempts_max: 4 };

/// How long a run rests whose budget is held by calls under way: about as long as one of them takes.
const BUSY_REST: Duration = Duration::from_secs(5);

/// How long a run rests when the accounts do not answer.
const UNAVAILABLE_REST: Duration = Duration::from_secs(30);

/// What came of asking for money.
pub(super) enum Funds {
    /// There is enough; this is what is held back of it, if there is a bound.
    There(Option<Reservation>),
    /// The turn goes on with something else, or has ended.
    Not(Option<Advanced>),
}

impl Turn<'_> {
    /// Reserves what one question takes at most.
    pub(super) async fn reserve(&mut self, attempt: u32) -> Result<Funds, Interrupted> {
        let live = &self.engine.live;
        if !live.allowance.is_bounded() {
            return Ok(Funds::There(None));
        }
        let now = self.engine.clock.now();
        let request = &self.state.request;
        let reservation = Reservation {
            account: Account::at(now, &request.tenant, &request.actor),
            id: Reservation::id(self.run, self.state.totals.steps, self.lease.epoch, attempt),
            worst: self.engine.agent.model.worst_case(self.question_bytes()),
            deadline: self.deadline,
        };
        match self.reserved(&reservation).await {
            Ok(Reserved::Done) => Ok(Funds::There(Some(reservation))),
            Ok(Reserved::Busy) => {
                let jitter = Duration::from_millis(self.engine.random.below(BUSY_REST.as_millis() as u64));
                self.rest_for_funds(BUSY_REST + jitter, "other calls hold what is left of the day's budget".to_owned())
            }
            Ok(Reserved::Exhausted) => {
                let Account { actor, .. } = &reservation.account;
                let (date, renews_at) = (reservation.account.date(), reservation.account.renews_at());
                let limit =
                    format!("the budget of `{actor}` for {date} ({}); it renews at {renews_at}", live.allowance);
                info!(%limit, "the run stops");
                let reason = StopReason::LimitReached { limit, renews_at: Some(renews_at) };
                self.record(Event::Abandoned { reason })?;
                Ok(Funds::Not(None))
            }
            Err(error) => self.rest_for_funds(UNAVAILABLE_REST, error.to_string()),
        }
    }

    fn rest_for_funds(&mut self, span: Duration, reason: String) -> Result<Funds, Interrupted> {
        info!(%reason, "the run rests");
        let until = self.engine.clock.now() + span;
        self.record(Event::Waited { until, reason })?;
        Ok(Funds::Not(None))
    }

    async fn reserved(&self, reservation: &Reservation) -> Result<Reserved, BudgetError> {
        let live = &self.engine.live;
        let mut attempt = 1;
        loop {
            let now = self.engine.clock.now();
            match live.budgets.reserve(reservation, live.allowance, now).await {
                Ok(reserved) => return Ok(reserved),
                Err(error) => self.again(&mut attempt, error).await?,
            }
        }
    }

    /// Replaces a reservation by what was used. What cannot be settled stays at its worst case: too much is counted, never too
    /// little.
    pub(super) async fn settle(&self, reservation: Option<Reservation>, used: Spend) {
        let Some(reservation) = reservation else { return };
        let mut attempt = 1;
        loop {
            match self.engine.live.budgets.settle(&reservation, used).await {
                Ok(_) => return,
                Err(error) => {
                    if let Err(error) = self.again(&mut attempt, error).await {
                        return warn!(%error, "a reservation was not settled; it counts at its worst case");
                    }
                }
            }
        }
    }

    async fn again(&self, attempt: &mut u32, error: BudgetError) -> Result<(), BudgetError> {
        let wait = match error.retry() {
            Retry::Transient { after } => RETRY.wait(*attempt, after, self.engine.random.as_ref()),
            Retry::Terminal => None,
        };
        let Some(wait) = wait.filter(|wait| self.holds_for(*wait) && self.has_time_for(*wait + CLOCK_SKEW_MAX)) else {
            return Err(error);
        };
        *attempt += 1;
        self.engine.clock.sleep_until(self.engine.clock.now() + wait).await;
        Ok(())
    }

    /// How large a question about the run is: what was asked, the prompt, the tools, and every call with what came of it.
    fn question_bytes(&self) -> u64 {
        let calls = self.state.calls.iter().map(|call| {
            let outcome = match &call.status {
                CallStatus::Succeeded { value } => value.to_string().len(),
                CallStatus::Failed { message }
                | CallStatus::Doubtful { message }
                | CallStatus::Standing { message } => message.len(),
                _ => 0,
            };
            call.tool.as_str().len() + call.arguments.to_string().len() + outcome
        });
        let tools = self.engine.agent.tools.values().map(|tool| tool.spec());
        let tools = tools.map(|spec| spec.name.as_str().len() + spec.description.len() + spec.schema.to_string().len());
        let own = self.state.request.payload.to_string().len() + self.prompt.text.len();
        (own + tools.sum::<usize>() + calls.sum::<usize>()) as u64
    }
}

/// What an answer used.
pub(super) const fn spend_of(usage: Usage) -> Spend {
    Spend { micro_usd: usage.cost_micro_usd, tokens: usage.input_tokens.saturating_add(usage.output_tokens) }
}
