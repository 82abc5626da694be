//! Calls that only read: those that stand side by side in a plan are made together, and answers that are still good are not
//! asked for again.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde_json::Value;
use tracing::{debug, warn};

use super::{
    Advanced,
    outcomes::{outcome_word, ran_out_of_time, returned},
    perform::looking_takes,
    turn::{Flushed, Interrupted, Turn},
};
use crate::{
    agent::{
        answers::{AnswerKey, KeptAnswer},
        tool::{CacheRule, CacheScope, Effect, TOOL_ANSWER_BYTES_MAX, Tool},
    },
    clock::before,
    ids::CallId,
    run::{
        entry::{Event, ToolOutcome},
        next,
        screen::suspected,
        state::{Call, CallStatus},
    },
};

/// Calls under way at once within one run. A small function has one connection pool and a fraction of a core; a batch works on
/// ten runs beside each other.
pub const READS_AT_ONCE_MAX: usize = 8;

/// How long looking for a kept answer, or keeping one, may take: then calling the tool is the better way.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(2);

/// A call that is about to be made.
struct Reading {
    call: Call,
    tool: Arc<dyn Tool>,
}

impl Reading {
    /// How long it may take, with keeping its answer.
    fn takes(&self) -> Duration {
        let spec = self.tool.spec();
        spec.timeout + spec.cache.map_or(Duration::ZERO, |_| ANSWERS_TIMEOUT)
    }
}

impl Turn<'_> {
    /// Makes the reading call `first` and those that may be made beside it: one intent entry, all calls at once, one entry of
    /// outcomes.
    pub(super) async fn read(&mut self, first: CallId) -> Result<Option<Advanced>, Interrupted> {
        let ready = next::ready_from(&self.state, first, self.now(), self.lease.epoch);
        let readings: Vec<Reading> =
            ready.into_iter().map_while(|id| self.reading(id)).take(READS_AT_ONCE_MAX).collect();
        let readings = self.answer_from_cache(readings).await?;
        let looking = readings.iter().map(|reading| looking_takes(reading.tool.spec())).max();
        if let Some(ended) = self.make_room_for(looking.unwrap_or_default()).await? {
            return Ok(ended);
        }
        let (readings, in_the_way) = self.ready(readings).await;
        if let Some(reason) = in_the_way.filter(|_| readings.is_empty()) {
            return Ok(self.hold(reason).await?.advanced());
        }
        let Some(needed) = readings.iter().map(Reading::takes).max() else { return Ok(None) };
        if let Some(ended) = self.make_room_for(needed).await? {
            return Ok(ended);
        }
        for Reading { call, .. } in &readings {
            self.record(Event::ToolAttempted {
                call: call.id,
                attempt: call.attempts + 1,
                effect: Effect::Read,
                compensable: false,
                deadline: self.deadline,
            })?;
        }
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let outcomes = if self.may_act_for(needed) {
            join_all(readings.iter().map(|reading| self.outcome(reading))).await
        } else {
            vec![ToolOutcome::Absent; readings.len()]
        };
        for (Reading { call, tool }, outcome) in readings.iter().zip(outcomes) {
            let attempt = call.attempts + 1;
            debug!(call = %call.id, tool = %tool.spec().name, attempt, outcome = outcome_word(&outcome), "called");
            self.record(returned(call.id, attempt, outcome))?;
        }
        Ok(None)
    }

    /// Those that may be tried now, and what is in the way of the first that may not.
    async fn ready(&self, readings: Vec<Reading>) -> (Vec<Reading>, Option<String>) {
        let asked = readings.iter().map(|Reading { call, tool }| self.in_the_way(call.id, tool.as_ref()));
        let asked = join_all(asked).await;
        let (mut ready, mut first) = (Vec::with_capacity(readings.len()), None);
        for (reading, in_the_way) in readings.into_iter().zip(asked) {
            match in_the_way {
                None => ready.push(reading),
                Some(reason) => first = first.or(Some(reason)),
            }
        }
        (ready, first)
    }

    fn reading(&self, id: CallId) -> Option<Reading> {
        let call = self.state.call(id)?.clone();
        let tool = self.tool_of(&call.tool)?;
        (tool.spec().effect == Effect::Read && tool.spec().schema.is_known() && self.may_read(&call))
            .then_some(Reading { call, tool })
    }

    async fn outcome(&self, Reading { call, tool }: &Reading) -> ToolOutcome {
        let (clock, spec) = (self.engine.clock.as_ref(), tool.spec());
        let context = self.context(call.id);
        let until = self.now() + spec.timeout;
        let result = before(clock, until, tool.call(&context, &call.arguments)).await;
        if let (Some(Ok(value)), Some(rule)) = (&result, spec.cache)
            && self.may_remember()
        {
            self.keep(call, value, rule).await;
        }
        self.outcome_of(spec, call, result.unwrap_or_else(|| Err(ran_out_of_time(spec))))
    }

    /// Records kept answers; what is left has to be called.
    async fn answer_from_cache(&mut self, readings: Vec<Reading>) -> Result<Vec<Reading>, Interrupted> {
        let kept = join_all(readings.iter().map(|reading| self.kept(reading))).await;
        let mut left = Vec::with_capacity(readings.len());
        for (reading, kept) in readings.into_iter().zip(kept) {
            let Some(KeptAnswer { value, given_at, .. }) = kept else {
                left.push(reading);
                continue;
            };
            debug!(call = %reading.call.id, tool = %reading.call.tool, %given_at, "answered from the cache");
            let suspected = suspected(&value);
            self.record(Event::AnsweredFromCache { call: reading.call.id, value, given_at, suspected })?;
        }
        Ok(left)
    }

    async fn kept(&self, Reading { call, tool }: &Reading) -> Option<KeptAnswer> {
        if !matches!(call.status, CallStatus::Allowed { .. }) {
            return None;
        }
        let key = self.answer_key(call, tool.spec().cache?);
        let clock = self.engine.clock.as_ref();
        let until = self.now() + ANSWERS_TIMEOUT;
        let found = before(clock, until, self.engine.answers.get(&key, self.now())).await?;
        let found = found.unwrap_or_else(|error| {
            warn!(%error, "the tool is called instead");
            None
        });
        // Looking took time.
        found.filter(|answer| self.now() < answer.expires_at)
    }

    async fn keep(&self, call: &Call, value: &Value, rule: CacheRule) {
        if value.to_string().len() > TOOL_ANSWER_BYTES_MAX {
            return;
        }
        let key = self.answer_key(call, rule);
        let now = self.now();
        let answer = KeptAnswer { value: value.clone(), given_at: now, expires_at: now + rule.kept_for };
        let keeping = self.engine.answers.keep(&key, &answer);
        match before(self.engine.clock.as_ref(), now + ANSWERS_TIMEOUT, keeping).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!(%error, "the answer is not kept"),
            None => warn!("the answer was not kept in time"),
        }
    }

    fn answer_key(&self, call: &Call, rule: CacheRule) -> AnswerKey {
        let (request, tool) = (&self.state.request, &call.tool);
        match rule.scope {
            CacheScope::Tenant => AnswerKey::of(&request.tenant, tool, &call.arguments),
            CacheScope::Actor => AnswerKey::of_actor(&request.tenant, &request.actor, tool, &call.arguments),
        }
    }
}
