//! Backpressure: how much waits in the step queue, and what that means for whoever comes to the door.

use std::{
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{Either, select};

use super::rate::{Backlog, Rate, Share, Standing, Whose};
use crate::clock::{Clock, Timestamp};

/// For how long what the queue said counts. SQS itself lags by about a minute after a change
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
pub const SEEN_FOR: Duration = Duration::from_secs(5);

/// What part of the bound on what waits is one tenant's share: above it a fair queue puts a tenant behind the others too
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html>).
pub const SHARES: u64 = 10;

/// In how many seconds a share that was taken is given back: in about this time ten workers empty a queue at its bound of runs that take
/// half a second. Who starts fewer runs than a share in this time counts as one who did not fill the queue.
pub const SHARE_SECONDS: u32 = 600;

/// From how many times the bound on nobody is let in, whoever filled the queue.
pub const CLOSED_FROM: u64 = 2;

/// How long a request waits for the queue to say.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A bound on what waits in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many messages.
    Messages(u64),
    /// None.
    Off,
}

impl Bound {
    fn is_reached(self, waiting: u64) -> bool {
        matches!(self, Bound::Messages(most) if waiting >= most)
    }

    const fn times(self, times: u64) -> Bound {
        match self {
            Bound::Messages(most) => Bound::Messages(most.saturating_mul(times)),
            Bound::Off => Bound::Off,
        }
    }
}

/// The text is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a bound")]
pub struct InvalidBound;

impl FromStr for Bound {
    type Err = InvalidBound;

    /// A number of messages, or `off`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Bound::Off),
            _ => text.parse().ok().filter(|most| *most > 0).map(Bound::Messages).ok_or(InvalidBound),
        }
    }
}

/// From how many waiting messages on fewer runs are taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From here on a tenant waits that has used up more than half of its bucket: most of what waits is likely to be its own.
    pub busy: Bound,
    /// From here on a tenant waits that has taken its share of it; from [`CLOSED_FROM`] times this on everybody waits.
    pub full: Bound,
}

impl Bounds {
    /// However much waits, runs are taken on.
    pub const OFF: Bounds = Bounds { busy: Bound::Off, full: Bound::Off };

    /// How a queue is in which so much waits.
    pub fn of(&self, waiting: u64) -> Pressure {
        if self.full.times(CLOSED_FROM).is_reached(waiting) {
            return Pressure::Closed;
        }
        match (self.full.is_reached(waiting), self.busy.is_reached(waiting)) {
            (true, _) => Pressure::Full,
            (false, true) => Pressure::Busy,
            (false, false) => Pressure::None,
        }
    }

    /// How one tenant's share of what waits is counted.
    pub fn share(&self) -> Share {
        match self.full {
            Bound::Off => Share::Off,
            Bound::Messages(most) => {
                let share = most / SHARES;
                Share::Counted(Rate::clamped(share, SHARE_SECONDS, share))
            }
        }
    }
}

/// How the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Little waits, or nobody knows how much.
    None,
    /// Much waits.
    Busy,
    /// Too much waits: only who has not filled the queue comes in.
    Full,
    /// Far too much waits.
    Closed,
}

impl Pressure {
    /// Whether it makes a tenant wait whose buckets stand so.
    pub fn holds_back(self, standings: &[Standing]) -> bool {
        let mut tenants = standings.iter().filter(|standing| standing.whose == Whose::Tenants);
        match self {
            Pressure::None => false,
            Pressure::Busy | Pressure::Full => tenants.any(|standing| standing.left < standing.rate.burst() / 2),
            Pressure::Closed => true,
        }
    }
}

/// Looks at the queue, at most once in [`SEEN_FOR`].
pub struct Gauge {
    backlog: Arc<dyn Backlog>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    seen: Mutex<Option<(Timestamp, Pressure)>>,
}

impl Gauge {
    /// Of this queue.
    pub fn new(backlog: Arc<dyn Backlog>, clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self { backlog, clock, bounds, seen: Mutex::default() }
    }

    /// How one tenant's share of what waits is counted.
    pub fn share(&self) -> Share {
        self.bounds.share()
    }

    /// How the queue is, as of a few seconds ago.
    ///
    /// A queue that does not say how much waits is under no pressure: the depth is a hint, runs are kept in the journal however deep the
    /// queue is, and a door that closes because a hint is missing would turn a small failure into a large one.
    pub async fn pressure(&self) -> Pressure {
        if self.bounds == Bounds::OFF {
            return Pressure::None;
        }
        let now = self.clock.now();
        if let Some((at, pressure)) = *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
            && now < at + SEEN_FOR
        {
            return pressure;
        }
        let waiting = self.backlog.waiting();
        let pressure = match select(waiting, self.clock.sleep_until(now + ANSWER_WITHIN)).await {
            Either::Left((Ok(waiting), _)) => self.bounds.of(waiting),
            Either::Left((Err(error), _)) => {
                tracing::warn!(%error, "how much waits is not known");
                Pressure::None
            }
            Either::Right(_) => {
                tracing::warn!("the queue does not say in time how much waits");
                Pressure::None
            }
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, pressure));
        pressure
    }
}
