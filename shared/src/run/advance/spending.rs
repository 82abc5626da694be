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
    retry::{Backoff, Rests, Retry},
    run::entry::{Event, StopReason},
};

/// How a call to the accounts is repeated.
const RETRY: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1), attempts_max: 4 };

/// How long a run rests whose budget is held by calls under way: at first about as long as one of them takes.
const BUSY_RESTS: Rests = Rests { base: Duration::from_secs(8), cap: Duration::from_secs(300) };

/// How long a run rests when the accounts do not answer.
const UNAVAILABLE_RESTS: Rests = Rests { base: Duration::from_secs(30), cap: Duration::from_secs(600) };

/// What came of asking for money.
pub(super) enum Funds {
    /// There is enough; this is what is held back of it.
    There(Reservation),
    /// The turn goes on with something else, or has ended.
    Not(Option<Advanced>),
}

impl Turn<'_> {
    /// Reserves what one question takes at most.
    pub(super) async fn reserve(&mut self, worst: Usage) -> Result<Funds, Interrupted> {
        let live = &self.engine.live;
        let (steps, failures) = (self.state.totals.steps, self.state.trouble.failures);
        let now = self.engine.clock.now();
        let request = &self.state.request;
        let reservation = Reservation {
            account: Account::at(now, &request.tenant, &request.actor),
            id: Reservation::id(self.run, steps, self.lease.epoch, failures),
            worst: spend_of(worst),
            deadline: self.deadline,
        };
        match self.reserved(&reservation).await {
            Ok(Reserved::Done) => Ok(Funds::There(reservation)),
            Ok(Reserved::Busy) => {
                self.rest_for_funds(BUSY_RESTS, "other calls hold what is left of the day's budget".to_owned())
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
            Err(error) => self.rest_for_funds(UNAVAILABLE_RESTS, error.to_string()),
        }
    }

    fn rest_for_funds(&mut self, rests: Rests, reason: String) -> Result<Funds, Interrupted> {
        info!(%reason, "the run rests");
        let failures = self.state.trouble.failures.saturating_add(1);
        let until = self.engine.clock.now() + rests.after(failures, Duration::ZERO, self.engine.random.as_ref());
        self.record(Event::Waited { until, reason, failures })?;
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
}

/// What an answer used.
pub(super) const fn spend_of(usage: Usage) -> Spend {
    Spend { micro_usd: usage.cost_micro_usd, tokens: usage.input_tokens.saturating_add(usage.output_tokens) }
}
