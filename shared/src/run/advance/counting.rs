//! How a turn counts calls in the windows of its policy: read to judge, reserved before the intent, settled after the outcome.

use std::{collections::BTreeSet, time::Duration};

use tracing::{info, warn};

use super::{
    switches::May,
    turn::{Interrupted, Turn},
};
use crate::{
    agent::tool::ToolSpec,
    ids::CallId,
    retry::{Backoff, Retry},
    run::{
        entry::Decision,
        state::{Call, CallStatus, RunState},
    },
    windows::{Became, CountReservation, CountReserved, Counted, Window, WindowError, WindowName, WindowTotals},
};

/// How a request to the counters is repeated.
const RETRY: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1), attempts_max: 4 };

/// How often a call is judged again in one turn because a counter changed meanwhile. Of so many calls that are counted at once, one
/// is through after each.
const JUDGED_AGAIN_MAX: u32 = 24;

/// How long a run rests after that, or while a counter is crowded: about as long as calls are under way.
const BUSY_REST: Duration = Duration::from_secs(5);

/// A call's place in one of its windows.
struct Place {
    window: WindowName,
    counted: Counted,
    /// What the counter had without the call.
    seen: u128,
    reserved: bool,
}

impl Turn<'_> {
    /// The windows that count a call.
    fn windows_of<'w>(&self, windows: &'w [Window], call: &Call) -> Vec<&'w Window> {
        windows.iter().filter(|window| window.tool == call.tool).collect()
    }

    /// What the windows of a call have counted without it: what is settled and reserved by any run, and what calls before it in its
    /// plan will add.
    ///
    /// # Errors
    /// Why a counter cannot be read, in words: the call is not judged then.
    pub(super) async fn window_totals(&self, call: &Call) -> Result<WindowTotals, String> {
        let policy = std::sync::Arc::clone(&self.engine.agent.policy);
        let now = self.now();
        let mut totals = WindowTotals::new();
        for window in self.windows_of(policy.windows(), call) {
            let counted = window.counted(&self.state.request, &call.arguments, now);
            let mut total = self.total(&counted).await.map_err(|error| error.to_string())?;
            for earlier in self.state.calls.iter().filter(|other| other.id < call.id && is_to_come(other, call)) {
                let other = window.counted(&self.state.request, &earlier.arguments, now);
                if other.counter == counted.counter {
                    total = total.saturating_add(other.amount.into());
                }
            }
            totals.insert(window.name.clone(), total);
        }
        Ok(totals)
    }

    /// Counts a call that is about to be attempted for the first time. It is judged again with the counters as they are when it is
    /// counted; if it is not permitted any more, it is denied or a person is asked.
    pub(super) async fn count(&mut self, call: &Call, spec: &ToolSpec) -> Result<May, Interrupted> {
        let policy = std::sync::Arc::clone(&self.engine.agent.policy);
        let windows = self.windows_of(policy.windows(), call);
        if windows.is_empty() || call.attempts > 0 {
            return Ok(May::Go);
        }
        let now = self.now();
        let mut places = Vec::with_capacity(windows.len());
        for window in windows {
            let counted = window.counted(&self.state.request, &call.arguments, now);
            match self.total(&counted).await {
                Ok(seen) => places.push(Place { window: window.name.clone(), counted, seen, reserved: false }),
                Err(error) => return self.hold(error.to_string()).await,
            }
        }
        for _ in 0..JUDGED_AGAIN_MAX {
            let totals = places.iter().map(|place| (place.window.clone(), place.seen)).collect();
            let ruling = self.ruling(call, spec, &totals);
            if !is_covered(&ruling.decision, call) {
                self.take_back(call, &places).await;
                info!(call = %call.id, tool = %call.tool, "not permitted any more: others were counted meanwhile");
                self.decided(call, ruling)?;
                return Ok(May::Not(None));
            }
            match self.reserve_all(call, &mut places).await {
                Ok(Reserving::Done) => return Ok(May::Go),
                Ok(Reserving::Changed) => {}
                Ok(Reserving::Crowded) => break,
                Err(error) => {
                    self.take_back(call, &places).await;
                    return self.hold(error.to_string()).await;
                }
            }
        }
        self.take_back(call, &places).await;
        let jitter = Duration::from_millis(self.engine.random.below(BUSY_REST.as_millis() as u64));
        Ok(May::Not(self.wait(self.now() + BUSY_REST + jitter).await?))
    }

    async fn reserve_all(&self, call: &Call, places: &mut [Place]) -> Result<Reserving, WindowError> {
        for place in places.iter_mut().filter(|place| !place.reserved) {
            let id = CountReservation::id(self.run, call.id);
            let reservation = CountReservation { counted: place.counted.clone(), id, deadline: self.deadline };
            let mut attempt = 1;
            loop {
                let now = self.now();
                match self.engine.live.windows.reserve(&reservation, place.seen, now).await {
                    Ok(CountReserved::Done) => break place.reserved = true,
                    Ok(CountReserved::Changed { total }) => {
                        place.seen = total;
                        return Ok(Reserving::Changed);
                    }
                    // What dead processes left is settled by now.
                    Ok(CountReserved::Crowded) if attempt == 1 => attempt += 1,
                    Ok(CountReserved::Crowded) => return Ok(Reserving::Crowded),
                    Err(error) => self.count_again(&mut attempt, error).await?,
                }
            }
        }
        Ok(Reserving::Done)
    }

    async fn take_back(&self, call: &Call, places: &[Place]) {
        for place in places.iter().filter(|place| place.reserved) {
            self.settle_count(&place.counted, call.id, Became::NotMade).await;
        }
    }

    /// Settles what has become of counted calls since it was last looked at. Only what is durable is settled: an outcome that is lost
    /// with its process is decided anew, and its call must still be counted then.
    pub(super) async fn settle_counts(&mut self) {
        let policy = std::sync::Arc::clone(&self.engine.agent.policy);
        if policy.windows().is_empty() {
            return;
        }
        let new: Vec<Call> =
            self.state.calls.iter().filter(|call| !self.counts_settled.contains(&call.id)).cloned().collect();
        for call in new {
            let became = match call.status {
                CallStatus::Failed { .. } => Became::NotMade,
                _ if call.status.is_settled() => Became::Made,
                _ => continue,
            };
            self.counts_settled.insert(call.id);
            if call.attempts == 0 {
                continue;
            }
            let now = self.now();
            for window in self.windows_of(policy.windows(), &call) {
                // What was counted in a window that is over is of no interest to anybody.
                let counted = window.counted(&self.state.request, &call.arguments, now);
                self.settle_count(&counted, call.id, became).await;
            }
        }
    }

    /// What cannot be settled stays counted: too much, never too little.
    async fn settle_count(&self, counted: &Counted, call: CallId, became: Became) {
        let id = CountReservation::id(self.run, call);
        let mut attempt = 1;
        loop {
            match self.engine.live.windows.settle(counted, &id, became).await {
                Ok(_) => return,
                Err(error) => {
                    if let Err(error) = self.count_again(&mut attempt, error).await {
                        return warn!(%error, "a counted call was not settled; it stays counted until its window ends");
                    }
                }
            }
        }
    }

    async fn total(&self, counted: &Counted) -> Result<u128, WindowError> {
        let mut attempt = 1;
        loop {
            match self.engine.live.windows.total(&counted.counter).await {
                Ok(total) => return Ok(total),
                Err(error) => self.count_again(&mut attempt, error).await?,
            }
        }
    }

    async fn count_again(&self, attempt: &mut u32, error: WindowError) -> Result<(), WindowError> {
        let wait = match error.retry() {
            Retry::Transient { after } => RETRY.wait(*attempt, after, self.engine.random.as_ref()),
            Retry::Terminal => None,
        };
        let Some(wait) = wait.filter(|wait| self.holds_for(*wait) && self.has_time_for(*wait)) else {
            return Err(error);
        };
        *attempt += 1;
        self.engine.clock.sleep_until(self.now() + wait).await;
        Ok(())
    }
}

enum Reserving {
    Done,
    Changed,
    Crowded,
}

/// Whether a call that stands before `call` will be counted, and is not yet.
fn is_to_come(earlier: &Call, call: &Call) -> bool {
    let permitted = matches!(earlier.status, CallStatus::Allowed { .. } | CallStatus::AwaitingApproval(_));
    earlier.tool == call.tool && permitted && earlier.attempts == 0
}

/// Whether what the policy says now is covered by what was said before.
fn is_covered(decision: &Decision, call: &Call) -> bool {
    match decision {
        Decision::Allow { .. } => true,
        Decision::RequireApproval { role, .. } => call.approved_as.contains(role),
        Decision::Deny { .. } => false,
    }
}

/// The calls whose counts somebody settled before: those of earlier plans. The last plan's may have been answered by a person, or by a
/// holder that died before it settled them.
pub(super) fn settled_before(state: &RunState) -> BTreeSet<CallId> {
    let last = state.calls.last().map_or(0, |call| call.step);
    let earlier = state.calls.iter().filter(|call| call.step < last && call.status.is_settled());
    earlier.map(|call| call.id).collect()
}
