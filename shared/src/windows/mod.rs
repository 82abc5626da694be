//! Windows: counts and sums of calls over many runs, which a policy declares and looks at.
//!
//! ```text
//! A: reads 0 ── judged at 0 ── reserve 5000 IF total = 0 ── done (5000) ── intent ── refund ── settle: it happened (5000)
//! B: reads 0 ── judged at 0 ── reserve 5000 IF total = 0 ── changed (5000) ── judged again at 5000 ── a person is asked
//! C: reads 5000 … reserve … dies before the refund                       … stays reserved: it may have happened
//! ```
//!
//! A call is counted before its intent is durable, on condition that the counter is as it was when the call was judged; if it changed,
//! the call is judged again. So two calls that are judged at once never both pass a limit that has room for one. The reservation
//! becomes final once the outcome is durable, and is taken back when the call certainly did not happen. A process that dies in
//! between leaves its reservation: the next holder of the run settles it, and until then it counts. What is counted too much is
//! forgotten when the window ends; nothing is ever counted too little.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    ids::{CallId, RunId, Tenant},
    json,
    retry::Retry,
    run::request::RunRequest,
};

mod declared;

pub use declared::{InvalidWindow, Window};

/// The most windows that count one tool. Each takes three requests to the table for a call.
pub const WINDOWS_PER_TOOL_MAX: usize = 4;

/// The most reservations that are open in one counter. An open one takes about 60 bytes of the item, which is written at each call.
pub const OPEN_MAX: usize = 100;

/// How long a counter is kept after its window has ended.
pub const COUNTER_KEPT_FOR: Duration = Duration::from_secs(40 * 24 * 3600);

/// The most that one call adds. Larger amounts count as this much, so that no sum overflows.
pub const AMOUNT_MAX: u64 = 1 << 53;

/// The name of a window: what follows `context.windows.` in a policy. 1 to 64 of `A-Z a-z 0-9 _`, not beginning with a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowName(String);

impl WindowName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WindowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WindowName {
    type Err = InvalidWindow;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !allowed || !begins || text.len() > 64 {
            return Err(InvalidWindow(format!("`{text}` is not a name (1 to 64 of A-Z a-z 0-9 _, no digit first)")));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// Calls.
    Count,
    /// The whole number at this JSON pointer (RFC 6901) of the arguments. What is absent or below zero adds nothing.
    Sum(String),
}

/// What has a counter of its own. Tenants never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// The tenant.
    Tenant,
    /// The actor.
    Actor,
    /// The value at this JSON pointer (RFC 6901) of the arguments, such as a customer.
    Argument(String),
}

/// When a counter starts again, by UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// At every full hour.
    Hour,
    /// At midnight.
    Day,
}

impl Every {
    const fn millis(self) -> i64 {
        match self {
            Every::Hour => 3600 * 1000,
            Every::Day => 24 * 3600 * 1000,
        }
    }
}

/// One counter of a window: one item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Whose calls it counts.
    pub tenant: Tenant,
    /// The window's name.
    pub window: WindowName,
    /// What it is a counter of, and how it counts, as a digest: a value may be personal, and a window that is declared otherwise
    /// counts anew.
    pub of: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// What a call adds to a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub counter: Counter,
    /// How much; at most [`AMOUNT_MAX`].
    pub amount: u64,
}

impl Window {
    /// What a call of this window's tool adds, and to which counter.
    pub fn counted(&self, request: &RunRequest, arguments: &Value, now: Timestamp) -> Counted {
        let key = match &self.per {
            Per::Tenant => String::new(),
            Per::Actor => request.actor.to_string(),
            // A value and its absence are two keys.
            Per::Argument(pointer) => arguments.pointer(pointer).map_or_else(String::new, json::canonical),
        };
        let mut hash = Sha256::new();
        for part in [self.to_string().as_str(), key.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let of = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let from = now.as_millis().div_euclid(self.every.millis()) * self.every.millis();
        let counter = Counter {
            tenant: request.tenant.clone(),
            window: self.name.clone(),
            of,
            from: Timestamp::from_millis(from),
            until: Timestamp::from_millis(from + self.every.millis()),
        };
        Counted { counter, amount: self.amount(arguments) }
    }

    fn amount(&self, arguments: &Value) -> u64 {
        match &self.measure {
            Measure::Count => 1,
            Measure::Sum(pointer) => match arguments.pointer(pointer) {
                None | Some(Value::Null) => 0,
                // What asks for less than nothing makes no room.
                Some(Value::Number(number)) if number.as_i64().is_some_and(|number| number < 0) => 0,
                Some(Value::Number(number)) => number.as_u64().map_or(AMOUNT_MAX, |amount| amount.min(AMOUNT_MAX)),
                Some(_) => AMOUNT_MAX,
            },
        }
    }
}

/// What a policy sees of the windows of a call's tool, without the call itself.
pub type WindowTotals = BTreeMap<WindowName, u128>;

/// A call that is to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountReservation {
    /// What it adds.
    pub counted: Counted,
    /// The call: [`CountReservation::id`].
    pub id: String,
    /// When the process that makes it is dead for certain.
    pub deadline: Timestamp,
}

impl CountReservation {
    /// The id under which a call is counted once, however often it is attempted.
    pub fn id(run: RunId, call: CallId) -> String {
        format!("{run}-{call}")
    }
}

/// What came of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountReserved {
    /// The call is counted, now or before.
    Done,
    /// The counter is not as it was seen.
    Changed {
        /// What it is now.
        total: u128,
    },
    /// [`OPEN_MAX`] calls are under way.
    Crowded,
}

/// What became of a counted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It happened, or may have.
    Made,
    /// It certainly did not happen.
    NotMade,
}

/// The counters' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It could not be reached or throttles.
    #[error("the windows are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or a counter cannot be read.
    #[error("the windows: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl WindowError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            WindowError::Unavailable { .. } => Retry::SOON,
            WindowError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Where counters are kept.
#[async_trait]
pub trait Windows: Send + Sync {
    /// What a counter has: what is settled and what is reserved. Read consistently.
    async fn total(&self, counter: &Counter) -> Result<u128, WindowError>;

    /// Counts a call, if the counter is at `seen`; a repetition whose answer was lost is done. When the counter is crowded,
    /// reservations of dead processes become final first.
    async fn reserve(
        &self,
        reservation: &CountReservation,
        seen: u128,
        now: Timestamp,
    ) -> Result<CountReserved, WindowError>;

    /// Makes a reservation final, or takes it back; false when it is not open in that counter.
    async fn settle(&self, counted: &Counted, id: &str, became: Became) -> Result<bool, WindowError>;
}

#[cfg(test)]
mod tests;
