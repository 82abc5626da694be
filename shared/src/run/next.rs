//! What to do next with a run: a pure decision over its state and the time.

use std::time::Duration;

use super::{
    entry::{Epoch, StopReason},
    limits::UNANSWERED_MAX,
    state::{Abandonment, Call, CallStatus, Phase, RunState},
};
use crate::{
    agent::tool::Effect,
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::{ApprovalId, CallId},
};

/// For how long an abandoned run's effects are undone, and asked about, before that is given up and a person has to see to them. A day: a
/// tool that is missing from a release or switched off is put right by people, who work by day.
pub const UNDO_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a repetition that is still on its way may take to arrive, when a run is abandoned during a long rest: longer than requests
/// live in proxies. What undoes a call must cope with one that arrives later still.
const STILL_ON_ITS_WAY: Duration = Duration::from_secs(60);

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Ask the model.
    Plan,
    /// Ask the policy about this call.
    Judge(CallId),
    /// Make this call, or make it again under the same key.
    Call(CallId),
    /// Ask this call's tool whether it took effect.
    Query(CallId),
    /// Ask a person whether this call took effect.
    Doubt(CallId),
    /// Undo this call.
    Compensate(CallId),
    /// Record that this call can be neither undone nor asked about, and what stands in the way.
    GiveUp(CallId),
    /// Warn that this question is about to expire.
    Remind(ApprovalId),
    /// Record that nobody answered this question in time.
    Expire(ApprovalId),
    /// Nothing can be done before then.
    Await {
        /// When to look again.
        until: Timestamp,
    },
    /// Give the planned answer.
    Respond,
    /// Record that the run cannot go on.
    Abandon(StopReason),
    /// Record its end.
    Stop(StopReason),
    /// It is over.
    Nothing,
}

/// What a claimant under `epoch` does next at `now`.
pub fn decide(state: &RunState, now: Timestamp, epoch: Epoch) -> Next {
    if let Phase::Finished(_) = state.phase {
        return Next::Nothing;
    }
    if state.must_stop() {
        let limit = || state.journal_limit().unwrap_or_else(|| format!("journal of {} entries", state.seq));
        let reason = || StopReason::LimitReached { limit: limit(), renews_at: None };
        let abandoned = state.abandoned.as_ref().map(|abandonment| abandonment.reason.clone());
        return Next::Stop(abandoned.unwrap_or_else(reason));
    }
    match &state.abandoned {
        Some(abandonment) => unwind(state, abandonment, now, epoch),
        None => go_on(state, now, epoch),
    }
}

/// What to do about the first call whose outcome is not known.
fn unresolved(state: &RunState, now: Timestamp, epoch: Epoch) -> Option<Next> {
    state.calls.iter().find_map(|call| resolve(call, state.abandoned.as_ref(), now, epoch))
}

/// An intent without an outcome is decided by its effect class, never guessed.
fn resolve(call: &Call, abandonment: Option<&Abandonment>, now: Timestamp, epoch: Epoch) -> Option<Next> {
    let abandoned = abandonment.is_some();
    let (deadline, holder) = match call.status {
        CallStatus::Uncertain if abandoned => return call.compensable.then_some(Next::Compensate(call.id)),
        CallStatus::Uncertain => return Some(Next::Doubt(call.id)),
        CallStatus::Attempted { deadline, epoch } => (deadline, epoch),
        _ => return None,
    };
    // Until the holder is dead for certain, it may still act or record.
    let settled = deadline + CLOCK_SKEW_MAX;
    let once_settled = |next: Option<Next>| if now < settled { Some(Next::Await { until: settled }) } else { next };
    match call.effect {
        Effect::Read if abandoned => None,
        Effect::Read | Effect::Idempotent if !abandoned => {
            // The key makes a repetition harmless even beside a holder that still lives. An attempt that came back
            // unknown has no holder, and its deadline is its backoff.
            let backing_off = holder == 0 && now < deadline;
            Some(if backing_off { Next::Await { until: deadline } } else { Next::Call(call.id) })
        }
        Effect::Read | Effect::Idempotent => match abandonment {
            // Nobody acts; its deadline was a rest.
            Some(Abandonment { since, .. }) if holder == 0 && *since + STILL_ON_ITS_WAY <= now => {
                call.compensable.then_some(Next::Compensate(call.id))
            }
            _ => once_settled(call.compensable.then_some(Next::Compensate(call.id))),
        },
        // The holder knows that it is not acting any more; anybody else waits.
        Effect::Queryable if holder == epoch => Some(Next::Query(call.id)),
        Effect::Queryable => once_settled(Some(Next::Query(call.id))),
        Effect::Irreversible => once_settled((!abandoned).then_some(Next::Doubt(call.id))),
    }
}

/// The limits come first: what cannot be resolved must not keep a run from ending.
fn go_on(state: &RunState, now: Timestamp, epoch: Epoch) -> Next {
    let give_up_at = state.accepted_at + state.limits.wall_time_max();
    if !matches!(state.phase, Phase::Answering { .. })
        && let Some(limit) = state.journal_limit()
    {
        return Next::Abandon(StopReason::LimitReached { limit, renews_at: None });
    }
    if give_up_at <= now && !matches!(state.phase, Phase::Answering { .. }) {
        let limit = format!("wall time of {} s", state.limits.wall_time_max_seconds);
        return Next::Abandon(StopReason::LimitReached { limit, renews_at: None });
    }
    if let Some(late) = state.open_approvals().find(|request| request.expires_at <= now) {
        return Next::Expire(late.id);
    }
    if let Some((remind_at, approval)) = state.next_reminder()
        && remind_at <= now
    {
        return Next::Remind(approval);
    }
    match unresolved(state, now, epoch) {
        Some(Next::Await { until }) => return Next::Await { until: until.min(first_change(state, give_up_at)) },
        Some(next) => return next,
        None => {}
    }
    match &state.phase {
        Phase::Planning => exhausted(state).map_or(Next::Plan, Next::Abandon),
        Phase::Waiting { until } if *until <= now => exhausted(state).map_or(Next::Plan, Next::Abandon),
        Phase::Waiting { until } => Next::Await { until: give_up_at.min(*until) },
        Phase::Answering { .. } => Next::Respond,
        Phase::Acting => act(state, now, give_up_at),
        Phase::Finished(_) => Next::Nothing,
    }
}

/// All calls of a plan are judged first, so that everything a person must decide is asked at once; then they are made
/// in order.
fn act(state: &RunState, now: Timestamp, give_up_at: Timestamp) -> Next {
    if let Some(call) = state.calls.iter().find(|call| call.status == CallStatus::Proposed) {
        return Next::Judge(call.id);
    }
    let until = |moment: Timestamp| Next::Await { until: moment.min(first_change(state, give_up_at)) };
    match state.calls.iter().find(|call| !call.status.is_settled()) {
        Some(Call { id, status: CallStatus::Allowed { from }, .. }) if *from <= now => Next::Call(*id),
        Some(Call { status: CallStatus::Allowed { from }, .. }) => until(*from),
        _ => until(give_up_at),
    }
}

/// When a question needs a warning or is over, or the run is.
fn first_change(state: &RunState, give_up_at: Timestamp) -> Timestamp {
    let reminder = state.next_reminder().map(|(remind_at, _)| remind_at);
    let questions = state.open_approvals().map(|request| request.expires_at).chain(reminder);
    questions.fold(give_up_at, Timestamp::min)
}

/// The calls that may be attempted now, from `first` on and without a gap: what comes after one that is neither settled nor ready
/// has to wait for it. They may be attempted together if all of them only read.
pub fn ready_from(state: &RunState, first: CallId, now: Timestamp, epoch: Epoch) -> Vec<CallId> {
    let ready = |call: &&Call| match call.status {
        CallStatus::Allowed { from } => from <= now,
        CallStatus::Attempted { .. } => {
            resolve(call, state.abandoned.as_ref(), now, epoch) == Some(Next::Call(call.id))
        }
        _ => false,
    };
    let unsettled = state.calls.iter().skip_while(|call| call.id != first).filter(|call| !call.status.is_settled());
    unsettled.take_while(ready).map(|call| call.id).collect()
}

fn exhausted(state: &RunState) -> Option<StopReason> {
    let (used, limits) = (&state.totals, &state.limits);
    let limit = if state.trouble.unanswered >= UNANSWERED_MAX {
        format!("{UNANSWERED_MAX} questions in a row without an answer, the last one: {}", state.trouble.reason)
    } else if used.steps >= limits.steps_max {
        format!("{} steps", limits.steps_max)
    } else if used.tokens >= limits.tokens_max {
        format!("{} tokens", limits.tokens_max)
    } else if used.cost_micro_usd >= limits.cost_max_micro_usd {
        format!("{} micro-USD", limits.cost_max_micro_usd)
    } else {
        return None;
    };
    Some(StopReason::LimitReached { limit, renews_at: None })
}

/// What an abandoned run did is undone, last first, for as long as [`UNDO_FOR`].
fn unwind(state: &RunState, abandonment: &Abandonment, now: Timestamp, epoch: Epoch) -> Next {
    let give_up_at = abandonment.since + UNDO_FOR;
    let next = unresolved(state, now, epoch).or_else(|| undo(state, now, give_up_at));
    match next.unwrap_or_else(|| Next::Stop(abandonment.reason.clone())) {
        Next::Compensate(call) | Next::Query(call) if give_up_at <= now => Next::GiveUp(call),
        next => next,
    }
}

fn undo(state: &RunState, now: Timestamp, give_up_at: Timestamp) -> Option<Next> {
    state.calls.iter().rev().filter(|call| call.compensable).find_map(|call| match call.status {
        CallStatus::Compensating { from, .. } if now < from && now < give_up_at => {
            Some(Next::Await { until: from.min(give_up_at) })
        }
        CallStatus::Succeeded { .. } | CallStatus::Compensating { .. } => Some(Next::Compensate(call.id)),
        _ => None,
    })
}

/// The calls whose effect stands, when the run stops now for a reason other than its completion.
pub fn standing(state: &RunState) -> Vec<CallId> {
    ids_of(state, |call| match call.status {
        CallStatus::Succeeded { .. } => call.effect != Effect::Read,
        CallStatus::Standing { .. } => true,
        _ => false,
    })
}

/// The calls of which nobody knows whether they took effect, when the run stops now.
pub fn in_doubt(state: &RunState) -> Vec<CallId> {
    ids_of(state, |call| match call.status {
        CallStatus::Attempted { .. } => call.effect != Effect::Read,
        CallStatus::Uncertain | CallStatus::InDoubt(_) | CallStatus::Doubtful { .. } => true,
        // Stopped while it was being undone.
        CallStatus::Compensating { .. } => true,
        _ => false,
    })
}

fn ids_of(state: &RunState, wanted: impl Fn(&Call) -> bool) -> Vec<CallId> {
    state.calls.iter().filter(|call| wanted(call)).map(|call| call.id).collect()
}

#[cfg(test)]
mod tests;
