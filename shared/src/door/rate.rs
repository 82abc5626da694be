//! Rate limits: token buckets per actor and per tenant.
//!
//! A bucket is one moment: when it is full again. A token taken moves that moment by the time in which one token comes back, and a
//! bucket whose moment lies so far ahead that it holds no token gives none (the generic cell rate algorithm,
//! <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>). So a bucket needs no job that fills it, and one that has not been
//! used for a while needs no record.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    ids::{Actor, Tenant},
    queue::QueueError,
    retry::Retry,
};

/// The most tokens that a bucket holds, and that come back in its time.
pub const TOKENS_MAX: u32 = 1_000_000;

/// The longest time in which tokens come back: a day. What takes longer is a budget.
pub const SECONDS_MAX: u32 = 86_400;

/// How fast tokens come back, and how many there are at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    tokens: u32,
    seconds: u32,
    burst: u32,
}

impl Rate {
    /// `tokens` come back in `seconds`, and `burst` of them are there at most; each at least 1 and at most what a limit may say.
    pub fn clamped(tokens: u64, seconds: u32, burst: u64) -> Rate {
        let within = |tokens: u64| u32::try_from(tokens).unwrap_or(TOKENS_MAX).clamp(1, TOKENS_MAX);
        Rate { tokens: within(tokens), seconds: seconds.clamp(1, SECONDS_MAX), burst: within(burst) }
    }

    /// How many requests can be made at once after a quiet time.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// In how many microseconds one token comes back.
    pub fn interval_micros(self) -> i64 {
        (i64::from(self.seconds) * 1_000_000 / i64::from(self.tokens)).max(1)
    }

    /// In how long an empty bucket is full again.
    pub fn refill(self) -> Duration {
        micros(self.interval_micros().saturating_mul(i64::from(self.burst)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.tokens, self.seconds, self.burst)
    }
}

/// The text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a limit")]
pub struct InvalidLimit;

/// What one may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So much.
    Rate(Rate),
    /// As much as one likes. Nothing is counted.
    Off,
}

impl Limit {
    const fn rate(self) -> Option<Rate> {
        match self {
            Limit::Off => None,
            Limit::Rate(rate) => Some(rate),
        }
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// `60/10:30`: 60 requests in 10 seconds, 30 of them at once; or `off`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Limit::Off);
        }
        let parse = || {
            let (rate, burst) = text.split_once(':')?;
            let (tokens, seconds) = rate.split_once('/')?;
            let number = |text: &str, most: u32| text.parse().ok().filter(|number| (1..=most).contains(number));
            let (tokens, seconds) = (number(tokens, TOKENS_MAX)?, number(seconds, SECONDS_MAX)?);
            Some(Limit::Rate(Rate { tokens, seconds, burst: number(burst, TOKENS_MAX)? }))
        };
        parse().ok_or(InvalidLimit)
    }
}

/// How a tenant's share of what waits is counted: another bucket of the tenant, much slower than its limit. It says who filled the
/// queue, which a limit cannot: at a steady rate just below its limit a tenant's bucket stays full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Not at all.
    Off,
    /// It is counted and refuses nobody: an empty bucket stays empty.
    Counted(Rate),
    /// Who has taken the share gets no token.
    Bounded(Rate),
}

impl Share {
    const fn rate(self) -> Option<Rate> {
        match self {
            Share::Off => None,
            Share::Counted(rate) | Share::Bounded(rate) => Some(rate),
        }
    }

    /// The same share, refusing.
    #[must_use]
    pub const fn bounded(self) -> Share {
        match self {
            Share::Counted(rate) => Share::Bounded(rate),
            Share::Off | Share::Bounded(_) => self,
        }
    }
}

/// The limits that hold for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all that one tenant's actors take together.
    pub tenant: Limit,
    /// Of what one actor takes.
    pub actor: Limit,
    /// Of what waits to be worked on.
    pub share: Share,
}

/// What is counted. Each scope has buckets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Starting runs.
    Starts,
    /// Looking at runs and ending them.
    Reads,
    /// Waiting for a run within a request.
    Waits,
}

impl Limits {
    /// Nobody is limited.
    pub const OFF: Limits = Limits { tenant: Limit::Off, actor: Limit::Off, share: Share::Off };

    /// Whether there is nothing to count.
    pub fn are_off(&self) -> bool {
        *self == Limits::OFF
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The tenant's.
    Tenants,
    /// The actor's.
    Actors,
    /// The tenant's share of what waits.
    Shares,
}

impl Whose {
    /// The name of the policy, in headers and problems.
    pub const fn policy(self) -> &'static str {
        match self {
            Whose::Tenants => "tenant",
            Whose::Actors => "actor",
            Whose::Shares => "share",
        }
    }
}

/// When the buckets of a request are full again, in microseconds since 1970. A bucket that is full may have any moment in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// The tenant's.
    pub tenant: i64,
    /// The actor's.
    pub actor: i64,
    /// The tenant's share of what waits.
    pub share: i64,
}

/// How a bucket stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub whose: Whose,
    /// How it fills.
    pub rate: Rate,
    /// How many tokens are left.
    pub left: u32,
    /// In how long it is full.
    pub full_in: Duration,
}

/// What came of taking a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Every bucket gave one. How they stand now; a bucket that is off is not among them.
    Yes(Vec<Standing>),
    /// None did.
    No {
        /// Whose were empty.
        empty: Vec<Whose>,
        /// When all have a token again, if nobody else takes it.
        after: Duration,
        /// How they stand.
        standings: Vec<Standing>,
    },
}

impl Limits {
    /// What becomes of the buckets when a token of each is taken at `now`; `None` when one of them has none.
    pub fn take(&self, levels: Levels, now: Timestamp) -> Option<Levels> {
        let take = |limit: Limit, level: i64| match limit {
            Limit::Off => Some(level),
            Limit::Rate(rate) => {
                let next = level.max(now_micros(now)) + rate.interval_micros();
                (next <= now_micros(now) + capacity(rate)).then_some(next)
            }
        };
        let share = match self.share {
            Share::Off => levels.share,
            Share::Bounded(rate) => take(Limit::Rate(rate), levels.share)?,
            // Not beyond an empty bucket: who has been refused for a while is not refused for the longer.
            Share::Counted(rate) => take(Limit::Rate(rate), levels.share).unwrap_or(levels.share),
        };
        Some(Levels { tenant: take(self.tenant, levels.tenant)?, actor: take(self.actor, levels.actor)?, share })
    }

    /// How the buckets stand.
    pub fn standings(&self, levels: Levels, now: Timestamp) -> Vec<Standing> {
        let standing = |whose, rate: Option<Rate>, level: i64| {
            let rate = rate?;
            let missing = (level - now_micros(now)).max(0);
            let taken = (missing + rate.interval_micros() - 1) / rate.interval_micros();
            let left = u32::try_from(i64::from(rate.burst) - taken).unwrap_or(0);
            Some(Standing { whose, rate, left, full_in: micros(missing) })
        };
        let buckets = [
            standing(Whose::Actors, self.actor.rate(), levels.actor),
            standing(Whose::Tenants, self.tenant.rate(), levels.tenant),
            standing(Whose::Shares, self.share.rate(), levels.share),
        ];
        buckets.into_iter().flatten().collect()
    }

    /// The refusal of a token that [`Limits::take`] did not get.
    pub fn refusal(&self, levels: Levels, now: Timestamp) -> Taken {
        let wait = |limit, level: i64| match limit {
            Limit::Off => 0,
            Limit::Rate(rate) => {
                (level.max(now_micros(now)) + rate.interval_micros() - now_micros(now) - capacity(rate)).max(0)
            }
        };
        let share = match self.share {
            Share::Bounded(rate) => wait(Limit::Rate(rate), levels.share),
            Share::Off | Share::Counted(_) => 0,
        };
        let waits = [
            (Whose::Actors, wait(self.actor, levels.actor)),
            (Whose::Tenants, wait(self.tenant, levels.tenant)),
            (Whose::Shares, share),
        ];
        Taken::No {
            empty: waits.iter().filter(|(_, wait)| *wait > 0).map(|(whose, _)| *whose).collect(),
            after: micros(waits.iter().map(|(_, wait)| *wait).max().unwrap_or(0)),
            standings: self.standings(levels, now),
        }
    }

    /// In how long any bucket that is empty now is full.
    pub fn refill(&self) -> Duration {
        let rates = [self.tenant.rate(), self.actor.rate(), self.share.rate()];
        rates.into_iter().flatten().map(Rate::refill).max().unwrap_or_default()
    }
}

/// A moment in microseconds: rates of many requests a second need them.
pub fn now_micros(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1_000)
}

/// How far ahead the moment of an empty bucket lies.
pub fn capacity(rate: Rate) -> i64 {
    rate.interval_micros().saturating_mul(i64::from(rate.burst))
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The buckets' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It could not be reached or throttles, or others kept being faster.
    #[error("the rate limits are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or a bucket cannot be read.
    #[error("the rate limits refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
}

impl RateError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            RateError::Unavailable { .. } => Retry::SOON,
            RateError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Who takes a token for what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What is counted.
    pub scope: Scope,
    /// Whose tenant.
    pub tenant: &'a Tenant,
    /// Which actor.
    pub actor: &'a Actor,
}

/// Where buckets are kept.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// Takes one token from each bucket of the scope that is limited, the actor's, the tenant's and the tenant's share, or none from any.
    ///
    /// ```text
    /// A: take IF the bucket is as idle as I last saw it ── done
    /// B: take IF it is idle                             ── refused: busy ──► take IF it is busy and has a token ── done
    /// C: take IF it is busy and has a token             ── refused: empty ──► no
    /// ```
    ///
    /// # Errors
    /// When the store does not do as asked. A token may have been taken then.
    async fn take(&self, asked: Asked<'_>, limits: &Limits, now: Timestamp) -> Result<Taken, RateError>;
}

/// How much waits in the step queue.
#[async_trait]
pub trait Backlog: Send + Sync {
    /// How many messages could be received now, approximately.
    async fn waiting(&self) -> Result<u64, QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);

    fn limit(text: &str) -> Limit {
        text.parse().expect("a limit")
    }

    #[test]
    fn a_limit_is_read_and_everything_else_is_not_one() {
        let Limit::Rate(rate) = limit("60/10:30") else { panic!("it is a rate") };
        assert_eq!(
            (rate.burst(), rate.interval_micros(), rate.refill()),
            (30, 166_666, Duration::from_micros(4_999_980))
        );
        assert_eq!((limit("off"), rate.to_string()), (Limit::Off, "60/10:30".to_owned()));
        for bad in ["", "60", "60/10", "0/1:1", "1/0:1", "1/1:0", "-1/1:1", "1/86401:1", "1/1:1000001", "Off", "1/1:1 "]
        {
            assert_eq!(bad.parse::<Limit>(), Err(InvalidLimit), "{bad}");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_at_a_time() {
        let limits = Limits { actor: limit("2/1:3"), ..Limits::OFF };
        let mut levels = Levels::default();
        for left in [2, 1, 0] {
            levels = limits.take(levels, NOW).expect("there is a token");
            assert_eq!(limits.standings(levels, NOW)[0].left, left);
        }
        assert_eq!(limits.take(levels, NOW), None);
        let Taken::No { empty, after, standings } = limits.refusal(levels, NOW) else { panic!("it is one") };
        assert_eq!((empty, after), (vec![Whose::Actors], Duration::from_millis(500)));
        assert_eq!(standings[0].full_in, Duration::from_millis(1_500));
        assert_eq!(limits.take(levels, NOW + Duration::from_millis(499)), None);
        let later = NOW + Duration::from_millis(500);
        let levels = limits.take(levels, later).expect("one came back");
        assert_eq!(limits.take(levels, later), None);
    }

    #[test]
    fn an_empty_bucket_of_either_kind_gives_nothing_and_takes_nothing_of_the_other() {
        let limits = Limits { tenant: limit("1/1:1"), actor: limit("1/1:9"), ..Limits::OFF };
        let levels = limits.take(Levels::default(), NOW).expect("there is a token");
        assert_eq!(limits.take(levels, NOW), None);
        let Taken::No { empty, standings, .. } = limits.refusal(levels, NOW) else { panic!("it is one") };
        assert_eq!(empty, [Whose::Tenants]);
        assert_eq!(
            standings.iter().map(|one| (one.whose, one.left)).collect::<Vec<_>>(),
            [(Whose::Actors, 8), (Whose::Tenants, 0)]
        );
    }

    #[test]
    fn a_share_that_is_counted_refuses_nobody_and_says_who_has_taken_it() {
        let rate = Rate::clamped(2, 600, 2);
        let counted = Limits { share: Share::Counted(rate), ..Limits::OFF };
        let bounded = Limits { share: counted.share.bounded(), ..Limits::OFF };
        let mut levels = Levels::default();
        for left in [1, 0, 0, 0] {
            levels = counted.take(levels, NOW).expect("nobody is refused");
            assert_eq!(counted.standings(levels, NOW)[0].left, left);
        }
        assert_eq!(bounded.take(levels, NOW), None);
        let Taken::No { empty, after, .. } = bounded.refusal(levels, NOW) else { panic!("it is one") };
        assert_eq!(
            (empty, after),
            (vec![Whose::Shares], Duration::from_secs(300)),
            "one token comes back in that time"
        );
        assert!(bounded.take(Levels::default(), NOW).is_some(), "who has taken nothing is let in");
    }
}
