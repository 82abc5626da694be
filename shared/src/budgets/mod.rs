//! Budgets per actor and day: reserved before a model call, settled after it.
//!
//! ```text
//! A: reserve 40 IF spent <= 100 - 40 ── done (40) ── asks the model ── settle: 40 becomes 12 (12)
//! B: reserve 40 IF spent <= 60       ── done (80) ── asks … dies      … stays at 40: it may have been spent
//! C: reserve 40 IF spent <= 60       ── refused (80 > 60): B's is open ──► waits, or, once B is dead for certain, settles it at 40
//! ```
//!
//! What is spent and what is reserved never exceed the allowance together, so an actor overspends by what one call takes beyond its
//! estimate, and by nothing when estimates hold. A reservation is settled *before* the answer is recorded: a process that dies in
//! between has its call counted, and the call that repeats it is counted too, since both were paid for. A process that dies
//! before it settles leaves its reservation open; whoever is refused because of it settles it at its worst case once that
//! process is dead for certain, and until then waits.

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    ids::{Actor, RunId, Tenant},
    retry::Retry,
};

mod prices;

pub use prices::{usage, worst_case};

/// How long a day's account is kept after its end.
pub const ACCOUNT_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(40 * 24 * 3600);

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// What was spent, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spend {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// Tokens in and out.
    pub tokens: u64,
}

impl Spend {
    /// Both together.
    pub const fn plus(self, other: Spend) -> Spend {
        Spend {
            micro_usd: self.micro_usd.saturating_add(other.micro_usd),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// What is left of it without `other`.
    pub const fn minus(self, other: Spend) -> Spend {
        Spend {
            micro_usd: self.micro_usd.saturating_sub(other.micro_usd),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

/// What one actor may spend in one day (UTC). 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// Tokens in and out.
    pub tokens: u64,
}

impl Allowance {
    /// Whether there is any bound.
    pub const fn is_bounded(self) -> bool {
        self.micro_usd > 0 || self.tokens > 0
    }

    /// What may have been spent already if `more` is to fit; `None` when it never fits.
    pub fn room_for(self, more: Spend) -> Option<Spend> {
        let room = |bound: u64, more: u64| if bound == 0 { Some(u64::MAX) } else { bound.checked_sub(more) };
        Some(Spend { micro_usd: room(self.micro_usd, more.micro_usd)?, tokens: room(self.tokens, more.tokens)? })
    }

    /// Whether `more` fits on top of `spent`.
    pub fn fits(self, spent: Spend, more: Spend) -> bool {
        self.room_for(more).is_some_and(|room| spent.micro_usd <= room.micro_usd && spent.tokens <= room.tokens)
    }

    /// Whether nothing is left.
    pub fn is_used_up(self, spent: Spend) -> bool {
        !self.fits(spent, Spend { micro_usd: 1, tokens: 1 })
    }
}

impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dollars = format!("{}.{:06} US dollars", self.micro_usd / 1_000_000, self.micro_usd % 1_000_000);
        match (self.micro_usd, self.tokens) {
            (0, 0) => f.write_str("no bound"),
            (0, tokens) => write!(f, "{tokens} tokens"),
            (_, 0) => f.write_str(&dollars),
            (_, tokens) => write!(f, "{dollars} and {tokens} tokens"),
        }
    }
}

/// One actor's account of one day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Whose data the actor works on.
    pub tenant: Tenant,
    /// Who spends.
    pub actor: Actor,
    /// Days since 1970-01-01 (UTC).
    day: i64,
}

impl Account {
    /// The account that is open at `now`.
    pub fn at(now: Timestamp, tenant: &Tenant, actor: &Actor) -> Account {
        Account { tenant: tenant.clone(), actor: actor.clone(), day: now.as_millis().div_euclid(DAY_MILLIS) }
    }

    /// When the next day's account opens.
    pub const fn renews_at(&self) -> Timestamp {
        Timestamp::from_millis((self.day + 1) * DAY_MILLIS)
    }

    /// The day, as `2026-11-21`.
    pub fn date(&self) -> String {
        Timestamp::from_millis(self.day * DAY_MILLIS).to_string().chars().take(10).collect()
    }
}

/// What one model call may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// From whose account.
    pub account: Account,
    /// The call: `RUN-STEP-EPOCH`. Another claim that repeats a step makes another call.
    pub id: String,
    /// What it takes at most.
    pub worst: Spend,
    /// When the process that makes it is dead for certain.
    pub deadline: Timestamp,
}

impl Reservation {
    /// The id of the call of a step under a claim; `attempt` tells repeated calls of one claim apart.
    pub fn id(run: RunId, step: u32, epoch: u64, attempt: u32) -> String {
        format!("{run}-{step}-{epoch}-{attempt}")
    }
}

/// What came of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It is reserved.
    Done,
    /// It would fit if the calls under way took nothing: wait for them.
    Busy,
    /// It does not fit in what is left of the day.
    Exhausted,
}

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Spent, and known to be.
    pub settled: Spend,
    /// What calls under way may take.
    pub reserved: Spend,
}

/// Whether the process that makes a call with this deadline is dead for certain.
pub fn is_dead(deadline: Timestamp, now: Timestamp) -> bool {
    deadline + crate::clock::CLOCK_SKEW_MAX <= now
}

impl Balance {
    /// What calls under way may take.
    pub const fn reserved(&self) -> Spend {
        self.reserved
    }

    /// What a reservation that did not fit is told.
    pub fn refusal(&self, allowance: Allowance, worst: Spend) -> Reserved {
        if allowance.fits(self.settled, worst) { Reserved::Busy } else { Reserved::Exhausted }
    }
}

/// The accounts' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// It could not be reached or throttles.
    #[error("the budgets are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or an account cannot be read.
    #[error("the budgets: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl BudgetError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            BudgetError::Unavailable { .. } => Retry::SOON,
            BudgetError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Where accounts are kept.
#[async_trait]
pub trait Budgets: Send + Sync {
    /// Reserves, if it fits; a repetition whose answer was lost is done. Reservations that are over and stand in the way
    /// are settled at their worst case first.
    async fn reserve(
        &self,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, BudgetError>;

    /// Replaces a reservation by what was used; false when it was settled before.
    async fn settle(&self, reservation: &Reservation, used: Spend) -> Result<bool, BudgetError>;

    /// How an account stands, read consistently.
    async fn balance(&self, account: &Account) -> Result<Balance, BudgetError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_renews_at_midnight_utc() {
        let (tenant, actor) = ("acme".parse().expect("a tenant"), "ada".parse().expect("an actor"));
        let late: Timestamp = "2026-11-21T23:59:59.999Z".parse().expect("a time");
        let account = Account::at(late, &tenant, &actor);
        assert_eq!(
            (account.date().as_str(), account.renews_at().to_string().as_str()),
            ("2026-11-21", "2026-11-22T00:00:00.000Z")
        );
        assert_ne!(Account::at(account.renews_at(), &tenant, &actor), account);
    }

    #[test]
    fn what_is_not_bounded_always_fits() {
        let huge = Spend { micro_usd: u64::MAX, tokens: u64::MAX };
        assert!(Allowance::default().fits(huge, huge));
        let dollars = Allowance { micro_usd: 10, tokens: 0 };
        assert!(dollars.fits(Spend { micro_usd: 4, tokens: 9 }, Spend { micro_usd: 6, tokens: 9 }));
        assert!(!dollars.fits(Spend { micro_usd: 5, tokens: 0 }, Spend { micro_usd: 6, tokens: 0 }));
        assert!(
            dollars.is_used_up(Spend { micro_usd: 10, tokens: 0 })
                && !dollars.is_used_up(Spend { micro_usd: 9, tokens: 0 })
        );
    }
}
