//! What to do next with a run: a pure decision over its state and the time.

use super::{
    entry::{Epoch, StopReason},
    state::{Call, CallStatus, Phase, RunState},
};
use crate::{
    agent::tool::Effect,
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::{ApprovalId, CallId},
};

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
    if let Some(next) = state.calls.iter().find_map(|call| resolve(call, state.abandoned.is_some(), now, epoch)) {
        return next;
    }
    match &state.abandoned {
        Some(reason) => unwind(state, reason, now),
        None => go_on(state, now),
    }
}

/// An intent without an outcome is decided by its effect class, never guessed.
fn resolve(call: &Call, abandoned: bool, now: Timestamp, epoch: Epoch) -> Option<Next> {
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
        Effect::Read | Effect::Idempotent => once_settled(call.compensable.then_some(Next::Compensate(call.id))),
        // The holder knows that it is not acting any more; anybody else waits.
        Effect::Queryable if holder == epoch => Some(Next::Query(call.id)),
        Effect::Queryable => once_settled(Some(Next::Query(call.id))),
        Effect::Irreversible => once_settled((!abandoned).then_some(Next::Doubt(call.id))),
    }
}

fn go_on(state: &RunState, now: Timestamp) -> Next {
    let give_up_at = state.accepted_at + state.limits.wall_time_max();
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
    let reminder = state.next_reminder().map(|(remind_at, _)| remind_at);
    let first_change = state.open_approvals().map(|request| request.expires_at).chain(reminder).min();
    let until = |moment: Timestamp| Next::Await { until: first_change.unwrap_or(moment).min(moment).min(give_up_at) };
    match state.calls.iter().find(|call| !call.status.is_settled()) {
        Some(Call { id, status: CallStatus::Allowed { from }, .. }) if *from <= now => Next::Call(*id),
        Some(Call { status: CallStatus::Allowed { from }, .. }) => until(*from),
        _ => until(give_up_at),
    }
}

/// The calls that may be attempted now, from `first` on and without a gap: what comes after one that is neither settled nor ready
/// has to wait for it. They may be attempted together if all of them only read.
pub fn ready_from(state: &RunState, first: CallId, now: Timestamp, epoch: Epoch) -> Vec<CallId> {
    let ready = |call: &&Call| match call.status {
        CallStatus::Allowed { from } => from <= now,
        CallStatus::Attempted { .. } => {
            resolve(call, state.abandoned.is_some(), now, epoch) == Some(Next::Call(call.id))
        }
        _ => false,
    };
    let unsettled = state.calls.iter().skip_while(|call| call.id != first).filter(|call| !call.status.is_settled());
    unsettled.take_while(ready).map(|call| call.id).collect()
}

fn exhausted(state: &RunState) -> Option<StopReason> {
    let (used, limits) = (&state.totals, &state.limits);
    let limit = if used.steps >= limits.steps_max {
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

/// What an abandoned run did is undone, last first.
fn unwind(state: &RunState, reason: &StopReason, now: Timestamp) -> Next {
    for call in state.calls.iter().rev().filter(|call| call.compensable) {
        match call.status {
            CallStatus::Succeeded { .. } => return Next::Compensate(call.id),
            CallStatus::Compensating { from, .. } if from <= now => return Next::Compensate(call.id),
            CallStatus::Compensating { from, .. } => return Next::Await { until: from },
            _ => {}
        }
    }
    Next::Stop(reason.clone())
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
        _ => false,
    })
}

fn ids_of(state: &RunState, wanted: impl Fn(&Call) -> bool) -> Vec<CallId> {
    state.calls.iter().filter(|call| wanted(call)).map(|call| call.id).collect()
}

#[cfg(test)]
mod tests;
