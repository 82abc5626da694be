//! Calls: made, asked about, undone; and what is asked of a person when nobody else can say.

use std::time::Duration;

use tracing::{error, info};

use super::{
    Advanced,
    outcomes::{not_made, outcome_word, ran_out_of_time, returned},
    switches::May,
    turn::{Flushed, Interrupted, Turn},
};
use crate::{
    agent::tool::Effect,
    approval::{Evidence, Subject},
    clock::before,
    ids::{CallId, ToolName},
    run::{
        entry::{Event, ToolOutcome},
        state::{Call, CallStatus},
    },
};

impl Turn<'_> {
    /// Makes a call: the intent first, then the call, then its outcome.
    pub(super) async fn call(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.tool_of(&call.tool) else { return self.rest_for_tool(&call.tool).await };
        let spec = tool.spec();
        if let May::Not(advanced) = self.is_known(id, tool.as_ref()).await? {
            return Ok(advanced);
        }
        if let May::Not(advanced) = self.may_call(&call, spec.effect).await? {
            return Ok(advanced);
        }
        if spec.effect == Effect::Read {
            return self.read(id).await;
        }
        if let May::Not(advanced) = self.is_ready(id, tool.as_ref()).await? {
            return Ok(advanced);
        }
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        if let May::Not(advanced) = self.count(&call, spec).await? {
            return Ok(advanced);
        }
        let attempt = call.attempts + 1;
        self.record(Event::ToolAttempted {
            call: id,
            attempt,
            effect: spec.effect,
            compensable: spec.compensable,
            deadline: self.deadline,
        })?;
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let mut held = None;
        let outcome = match self.stopped_at_the_last_moment(&call, spec.effect).await {
            Some(stopped) => {
                held = stopped.hold;
                stopped.outcome
            }
            None if self.may_act_for(spec.timeout) => {
                let context = self.context(id);
                let until = self.now() + spec.timeout;
                let result = before(self.engine.clock.as_ref(), until, tool.call(&context, &call.arguments)).await;
                self.outcome_of(spec, &call, result.unwrap_or_else(|| Err(ran_out_of_time(spec))))
            }
            None => {
                let repeated = matches!(call.status, CallStatus::Attempted { .. });
                not_made(repeated, "the lease ran low", self.now())
            }
        };
        // The event says the same once it is in the journal; should that write fail, nothing else tells of the effect.
        info!(call = %id, tool = %spec.name, attempt, outcome = outcome_word(&outcome), "called");
        self.record(returned(id, attempt, outcome))?;
        self.read_controls_before_asking();
        if spec.effect == Effect::Irreversible {
            // An outcome that nobody can find out again does not wait for the next write.
            self.flush().await?;
        }
        match held {
            Some(reason) => Ok(self.hold(reason).await?.advanced()),
            None => Ok(None),
        }
    }

    /// Asks a tool whether its call took effect.
    pub(super) async fn query(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.engine.agent.tool(&call.tool).cloned() else {
            return self.rest_for_tool(&call.tool).await;
        };
        let spec = tool.spec();
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        let context = self.context(id);
        let until = self.now() + spec.timeout;
        let asked = before(self.engine.clock.as_ref(), until, tool.query(&context, &call.arguments)).await;
        let outcome = self.outcome_of_query(spec, &call, asked.unwrap_or_else(|| Err(ran_out_of_time(spec))));
        info!(call = %id, tool = %spec.name, outcome = outcome_word(&outcome), "asked whether it took effect");
        self.record(returned(id, call.attempts, outcome))?;
        Ok(None)
    }

    /// Asks a person whether a call took effect.
    pub(super) fn doubt(&mut self, id: CallId) -> Result<(), Interrupted> {
        let call = self.call_of(id)?;
        let evidence = Evidence::of(&call, self.context(id).idempotency_key, self.now());
        let reason = evidence.reason(&call.tool);
        let role = self.engine.agent.policy.doubt_role();
        self.ask_with(&call, Subject::Doubt, role, reason, Some(Box::new(evidence)))
    }

    /// Undoes a completed call.
    pub(super) async fn compensate(&mut self, id: CallId) -> Result<Option<Advanced>, Interrupted> {
        let call = self.call_of(id)?;
        let Some(tool) = self.engine.agent.tool(&call.tool).cloned() else {
            return self.rest_for_tool(&call.tool).await;
        };
        let spec = tool.spec();
        let attempt = call.status.compensation_attempts() + 1;
        if let Some(reason) = self.undo_is_held(&call.tool).await {
            return Ok(self.hold(reason).await?.advanced());
        }
        if let Some(ended) = self.make_room_for(spec.timeout).await? {
            return Ok(ended);
        }
        self.record(Event::CompensationAttempted { call: id, attempt, deadline: self.deadline })?;
        if self.flush().await? == Flushed::Reloaded {
            return Ok(None);
        }
        let held = self.undo_is_held(&call.tool).await;
        let outcome = if let Some(hindrance) = &held {
            ToolOutcome::Unavailable { message: hindrance.reason.clone(), retry_at: Some(self.now()) }
        } else if self.may_act_for(spec.timeout) {
            let context = self.context(id);
            let until = self.now() + spec.timeout;
            let result = before(self.engine.clock.as_ref(), until, tool.compensate(&context, &call.arguments)).await;
            self.outcome_of_undoing(spec, attempt, result.unwrap_or_else(|| Err(ran_out_of_time(spec))))
        } else {
            ToolOutcome::Unavailable { message: "the lease ran low".into(), retry_at: Some(self.now()) }
        };
        info!(call = %id, tool = %spec.name, attempt, outcome = outcome_word(&outcome), "undone");
        if let ToolOutcome::Refused { message } = &outcome {
            tell_standing(id, &call.tool, message);
        }
        self.record(Event::Compensated { call: id, attempt, outcome })?;
        match held {
            Some(reason) => Ok(self.hold(reason).await?.advanced()),
            None => Ok(None),
        }
    }

    /// Records that undoing a call is given up, and what stands in the way.
    pub(super) async fn give_up(&mut self, id: CallId) -> Result<(), Interrupted> {
        let call = self.call_of(id)?;
        let cause = match self.engine.agent.tool(&call.tool) {
            None => missing(&call.tool),
            Some(_) => match (self.undo_is_held(&call.tool).await, &call) {
                (Some(hindrance), _) => hindrance.reason,
                (None, Call { failing: Some(failing), .. }) => failing.message.clone(),
                (None, _) => "it was not reached in time".to_owned(),
            },
        };
        tell_standing(id, &call.tool, &cause);
        self.record(Event::CompensationGivenUp { call: id, cause })
    }

    /// Holds a run that meets a release which lacks one of its tools: a weighted alias serves both releases for a while.
    async fn rest_for_tool(&mut self, tool: &ToolName) -> Result<Option<Advanced>, Interrupted> {
        Ok(self.hold(missing(tool)).await?.advanced())
    }

    /// For how long a call has failed so far.
    pub(super) fn failing_for(&self, call: &Call) -> Duration {
        call.failing.as_ref().map_or(Duration::ZERO, |failing| self.now().since(failing.since))
    }
}

fn missing(tool: &ToolName) -> String {
    format!("this release has no tool `{tool}`")
}

/// An alarm is made of this line (`infra/template.yaml`): somebody has to undo by hand what stands.
fn tell_standing(call: CallId, tool: &ToolName, cause: &str) {
    error!(%call, %tool, cause, "an effect could not be undone");
}
