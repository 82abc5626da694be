//! What the live controls let a turn do, and how a run waits that they hold.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    Advanced, Live,
    outcomes::not_made,
    turn::{Flushed, Interrupted, Turn},
};
use crate::{
    agent::{
        model::Usage,
        policy::{Tightening, tightened},
        tool::{Effect, Tool},
    },
    clock::Timestamp,
    controls::{
        AgentSwitch, Document,
        gate::{self, Act, Ask},
    },
    ids::{CallId, FlagName, ToolName},
    journal::{Head, HeadStatus},
    prompts::{Choice, choose},
    retry::{Backoff, Retry},
    run::{
        entry::{Decision, Event, HeldBy, Plan, PlannedCall, ToolOutcome},
        stand_in,
        state::{Call, CallStatus},
    },
};

/// How reading the controls is repeated before the run is held without them. Well within a lease.
const READ_RETRY: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1), attempts_max: 4 };

/// How old the controls may be that a question to the model goes by. A question is no side effect, and one that is asked a moment after
/// its switch was thrown does nothing: what it proposes is held to controls that are read anew. A thousandth of what the slowest
/// models take; reading for every question would double the round trips of a step. The first question of a run may go by the controls
/// that let it in, by clocks that differ by as much as [`CLOCK_SKEW_MAX`](crate::clock::CLOCK_SKEW_MAX).
const FRESH_FOR: Duration = Duration::from_secs(1);

/// When a held run is looked at again, at first and at last. Lifting a switch wakes what it held; this is for runs that were missed.
/// A look costs about five write units and three queue requests, some 4 millionths of a dollar: a thousand runs held for a day
/// cost about 60 cents at ten minutes, and would cost 12 dollars at thirty seconds.
const RECHECK_MIN: Duration = Duration::from_secs(30);
const RECHECK_MAX: Duration = Duration::from_secs(600);

/// What came of the turn's last look at the controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLook {
    /// They were read.
    Answered,
    /// They could not be.
    Failed,
}

/// What a step may do.
pub(super) enum May {
    /// What was wanted.
    Go,
    /// The turn goes on with something else, or has ended.
    Not(Option<Advanced>),
}

impl May {
    /// What the turn ends with, if it does.
    pub(super) fn advanced(self) -> Option<Advanced> {
        match self {
            May::Go => None,
            May::Not(advanced) => advanced,
        }
    }
}

/// The controls that let a run in a moment ago, if this is the first turn with it and the process knows their version; and when they
/// were asked for.
///
/// ```text
/// operator: ───────────────────────────── v8 ── acknowledged
/// intake:   read v7 ── open run A (by v7) ─┴─ read v8 ── open run B (by v8)
/// step:                claim A ── knows v7 ──────────────── claim B ── knows v7 ── read v8
/// ```
pub(super) fn that_let_in(live: &Live, head: &Head, now: Timestamp) -> Option<(Arc<Document>, Timestamp)> {
    let admitted = head.admitted.filter(|admitted| head.is_fresh() && now.since(admitted.at) < FRESH_FOR)?;
    Some((live.seen.version(admitted.controls)?, admitted.at))
}

impl Turn<'_> {
    /// Reads the controls, consistently, now.
    ///
    /// # Errors
    /// Why they cannot be read, in words: nothing may start then.
    async fn controls_now(&mut self) -> Result<Arc<Document>, String> {
        let mut attempt = 1;
        loop {
            let error = match self.engine.live.controls.read().await {
                Ok(document) => {
                    self.engine.live.seen.note(&document);
                    (self.controls, self.controls_read_at) = (Some(Arc::clone(&document)), self.engine.clock.now());
                    self.last_look = LastLook::Answered;
                    return Ok(document);
                }
                Err(error) => error,
            };
            warn!(%error, attempt, "the controls were not read");
            let wait = match error.retry() {
                Retry::Transient { after } => READ_RETRY.wait(attempt, after, self.engine.random.as_ref()),
                Retry::Terminal => None,
            };
            match wait.filter(|wait| self.holds_for(*wait) && self.has_time_for(*wait)) {
                Some(wait) => self.engine.clock.sleep_until(self.engine.clock.now() + wait).await,
                None => {
                    self.last_look = LastLook::Failed;
                    return Err(error.to_string());
                }
            }
            attempt += 1;
        }
    }

    /// The controls as this turn last read them.
    async fn controls_known(&mut self) -> Result<Arc<Document>, String> {
        match &self.controls {
            Some(known) => Ok(Arc::clone(known)),
            None => self.controls_now().await,
        }
    }

    /// The controls as this turn read them a moment ago, or now. A run that was held is not let go by what may have held it.
    async fn controls_fresh(&mut self) -> Result<Arc<Document>, String> {
        let age = self.engine.clock.now().since(self.controls_read_at);
        match &self.controls {
            Some(known) if age < FRESH_FOR && self.state.held.is_none() => Ok(Arc::clone(known)),
            _ => self.controls_now().await,
        }
    }

    /// After an effect the model is not asked by what was read before it: else a run could have two effects after a switch was thrown.
    pub(super) fn read_controls_before_asking(&mut self) {
        self.controls_read_at = Timestamp::from_millis(0);
    }

    /// How far the policy is tightened, as this turn last read the controls.
    pub(super) fn tightening(&self) -> Tightening {
        self.controls.as_ref().map_or(Tightening::None, |known| known.settings.policy)
    }

    /// The features that are on for the run's tenant, as this turn last read the controls.
    pub(super) fn flags(&self) -> BTreeSet<FlagName> {
        let known = self.controls.as_ref();
        known.map_or_else(BTreeSet::new, |known| known.settings.flags_of(&self.state.request.tenant))
    }

    /// Which model the run's task is routed to, if to any.
    pub(super) fn routed_to(&self) -> Option<String> {
        self.controls.as_ref().and_then(|known| known.settings.route(&self.state.request.task).model)
    }

    /// A tool by its name: the agent's, or the one that stands in for the agent.
    pub(super) fn tool_of(&self, name: &ToolName) -> Option<Arc<dyn Tool>> {
        stand_in::tool(name).or_else(|| self.engine.agent.tool(name).cloned())
    }

    /// Whether the turn may begin. A run that waits for an operator after a restore does nothing, not even end. What the process has read
    /// before will do here: before each question and effect the controls are read anew. When they cannot be read, those hold the run.
    pub(super) async fn may_begin(&mut self) -> Result<May, Interrupted> {
        if self.is_over() {
            return Ok(May::Go);
        }
        let known = self.controls.clone().or_else(|| self.engine.live.seen.newest());
        let document = match known.filter(|_| self.state.held.is_none()) {
            Some(known) => Some(known),
            None => self.controls_now().await.ok(),
        };
        match document.and_then(|document| self.held_since_restore(&document)) {
            Some(reason) => self.hold(reason).await,
            None => Ok(May::Go),
        }
    }

    /// Why the run waits for an operator because the tables were restored.
    fn held_since_restore(&self, document: &Document) -> Option<String> {
        gate::restored(&document.settings, self.run, self.state.accepted_at)
    }

    /// Whether the model may be asked now, and with which prompt; otherwise what happens instead.
    pub(super) async fn may_ask(&mut self) -> Result<May, Interrupted> {
        let document = match self.controls_fresh().await {
            Ok(document) => document,
            Err(reason) => return self.hold(Hindrance::controls(reason)).await,
        };
        if let Some(reason) = self.held_since_restore(&document) {
            return self.hold(reason).await;
        }
        if let Some(answer) = self.state.calls.last().and_then(stand_in::agreed) {
            return self.answer_instead(answer);
        }
        match gate::ask(&document.settings) {
            Ask::Yes => match self.routed_to().filter(|name| !self.engine.agent.model.can_ask(name)) {
                Some(name) => {
                    self.hold(format!("this release cannot ask the model `{name}` that its route names")).await
                }
                None => self.take_prompt(&document).await,
            },
            Ask::Held(reason) => self.hold(reason).await,
            Ask::Fallback(answer) => self.answer_instead(answer),
            Ask::Person(_, answer) => {
                let arguments = json!({ "task": self.state.request.task, "answer": answer });
                let id = CallId(self.state.calls.len() as u32 + 1);
                let call =
                    PlannedCall { id, tool: stand_in::name(), arguments, redaction: Default::default(), echo: None };
                self.planned_instead(Plan::Call { calls: vec![call] })
            }
        }
    }

    async fn take_prompt(&mut self, document: &Document) -> Result<May, Interrupted> {
        let task = self.state.request.task.clone();
        let number = match choose(document, &task, self.state.prompt_version.as_deref()) {
            Choice::BuiltIn => {
                self.prompt = Arc::new(self.engine.agent.prompt.clone());
                return Ok(May::Go);
            }
            Choice::Version(number) => number,
        };
        match self.engine.live.prompts.get(&task, number).await {
            Ok(Some(prompt)) => {
                self.prompt = prompt;
                Ok(May::Go)
            }
            Ok(None) => {
                self.hold(Hindrance::prompt(format!("there is no version {number} of the prompt of `{task}`"))).await
            }
            Err(error) => self.hold(Hindrance::prompt(error.to_string())).await,
        }
    }

    fn answer_instead(&mut self, response: Value) -> Result<May, Interrupted> {
        info!("the agent is switched off; its fallback answers");
        self.planned_instead(Plan::Answer { response })
    }

    fn planned_instead(&mut self, plan: Plan) -> Result<May, Interrupted> {
        let (model, prompt_version) = (stand_in::MODEL.to_owned(), String::new());
        self.record(Event::Planned { plan, usage: Usage::default(), model, prompt_version })?;
        Ok(May::Not(None))
    }

    /// What the controls decide of a proposed call, whatever the policy says.
    pub(super) async fn may_judge(&mut self, call: CallId) -> Result<May, Interrupted> {
        let document = match self.controls_known().await {
            Ok(document) => document,
            Err(reason) => return self.hold(Hindrance::controls(reason)).await,
        };
        if let Some(reason) = self.held_since_restore(&document) {
            return self.hold(reason).await;
        }
        let Some(call) = self.state.call(call).cloned() else { return Ok(May::Go) };
        if stand_in::is(&call.tool) {
            let role = match &document.settings.agent {
                AgentSwitch::Person { role } => role.clone(),
                _ => self.engine.agent.policy.doubt_role(),
            };
            let reason = "the agent is switched off: may this be answered in its place?".to_owned();
            self.decide_by_controls(&call, Decision::RequireApproval { role, reason })?;
            return Ok(May::Not(None));
        }
        match gate::act(&document.settings, &call, true) {
            Act::Denied(reason) => {
                self.decide_by_controls(&call, Decision::Deny { reason: reason.to_owned() })?;
                Ok(May::Not(None))
            }
            Act::Yes | Act::Held(_) | Act::Judge => Ok(May::Go),
        }
    }

    /// Whether a permitted call may be made, as the controls were last read in this turn: so that a run which is known to be held
    /// writes no intent.
    pub(super) async fn may_call(&mut self, call: &Call, effect: Effect) -> Result<May, Interrupted> {
        if stand_in::is(&call.tool) {
            return Ok(May::Go);
        }
        let known = match (&self.controls, effect) {
            // What was read before the run was held may be what held it.
            (Some(_), _) if self.state.held.is_none() => self.controls_known().await,
            _ => self.controls_now().await,
        };
        let document = match known {
            Ok(document) => document,
            Err(reason) => return self.hold(Hindrance::controls(reason)).await,
        };
        if let Some(reason) = self.held_since_restore(&document) {
            return self.hold(reason).await;
        }
        let begun = matches!(call.status, CallStatus::Attempted { .. });
        match gate::act(&document.settings, call, effect == Effect::Read) {
            Act::Yes => Ok(May::Go),
            Act::Held(reason) => self.hold(reason).await,
            // It may have taken effect: it is neither denied nor asked about, it waits to be resolved.
            Act::Judge | Act::Denied(_) if begun => {
                self.hold(format!("an attempt of `{}` has no outcome, and it may not be repeated now", call.tool)).await
            }
            Act::Denied(reason) => {
                self.decide_by_controls(call, Decision::Deny { reason: reason.to_owned() })?;
                Ok(May::Not(None))
            }
            Act::Judge => {
                let policy = self.engine.agent.policy.as_ref();
                let allowed = Decision::Allow { reason: "it was permitted before".to_owned() };
                let decision = tightened(policy, document.settings.policy, effect, allowed);
                self.decide_by_controls(call, decision)?;
                Ok(May::Not(None))
            }
        }
    }

    /// Whether a call that only reads may be made beside another one that [`Turn::may_call`] let go.
    pub(super) fn may_read(&self, call: &Call) -> bool {
        let known = self.controls.as_ref();
        let may = |known: &Arc<Document>| {
            gate::act(&known.settings, call, true) == Act::Yes && self.held_since_restore(known).is_none()
        };
        stand_in::is(&call.tool) || known.is_none_or(may)
    }

    /// Whether what tools answer may be kept for other runs, as this turn last read the controls.
    pub(super) fn may_remember(&self) -> bool {
        self.controls.as_ref().is_some_and(|known| known.settings.allows_memory_writes())
    }

    /// The last look, after the intent is durable and right before the effect: `None` to act, or what to do with the intent.
    pub(super) async fn stopped_at_the_last_moment(&mut self, call: &Call, effect: Effect) -> Option<Stopped> {
        if effect == Effect::Read {
            return None;
        }
        let repeated = matches!(call.status, CallStatus::Attempted { .. });
        let (hold, why) = match self.controls_now().await {
            Err(reason) => (Some(Hindrance::controls(reason.clone())), reason),
            Ok(document) => match (self.held_since_restore(&document), gate::act(&document.settings, call, false)) {
                (Some(reason), _) | (None, Act::Held(reason)) => (Some(Hindrance::from(reason.clone())), reason),
                (None, Act::Yes) => return None,
                (None, Act::Judge) => (None, "the policy was tightened".to_owned()),
                (None, Act::Denied(reason)) => (None, reason.to_owned()),
            },
        };
        warn!(call = %call.id, tool = %call.tool, %why, "stopped at the last moment");
        Some(Stopped { hold, outcome: not_made(repeated, &why, self.engine.clock.now()) })
    }

    /// Whether a call may be undone now. A look at what is known when there is no intent yet, a fresh one when there is.
    pub(super) async fn undo_is_held(&mut self, tool: &ToolName) -> Option<Hindrance> {
        match self.controls_now().await {
            Ok(document) => {
                let held = self.held_since_restore(&document).or_else(|| gate::undo(&document.settings, tool));
                held.map(Hindrance::from)
            }
            Err(reason) => Some(Hindrance::controls(reason)),
        }
    }

    fn decide_by_controls(&mut self, call: &Call, decision: Decision) -> Result<(), Interrupted> {
        let ask = match &decision {
            Decision::RequireApproval { role, reason } => Some((role.clone(), reason.clone())),
            Decision::Allow { .. } | Decision::Deny { .. } => None,
        };
        let version = self.controls.as_ref().map_or(0, |known| known.version);
        self.record(Event::PolicyDecided {
            call: call.id,
            decision,
            policy_version: format!("controls-v{version}"),
            policies: Vec::new(),
        })?;
        match ask {
            Some((role, reason)) => self.ask(call, crate::approval::Subject::Permission, role, reason),
            None => Ok(()),
        }
    }

    /// Parks the run with the reason. It can be claimed at any time, so that lifting the switch needs only a wake-up.
    ///
    /// ```text
    /// holder:   read v8 (off) ── leave (held, listed) ── read v8 ── same ──► parked
    /// operator:                                                          v9 (on) ── list held ── wake ──► claimed
    /// operator:        v9 (on) ── list held: not there yet
    /// holder:   read v8 (off) ── leave (held, listed) ── read v9 ── another ──► wakes itself
    /// holder:   read: no answer ── leave (held, listed) ── (does not ask again: the store has too much to do) ──► looks again later
    /// ```
    pub(super) async fn hold(&mut self, hindrance: impl Into<Hindrance>) -> Result<May, Interrupted> {
        let Hindrance { by, reason } = hindrance.into();
        let seen = self.controls.as_ref().map(|known| known.version);
        let held_for = self.state.held.as_ref().map(|held| self.engine.clock.now().since(held.since));
        // The metrics of `infra/template.yaml` are read from this line, which each look at a held run writes.
        let held_seconds = held_for.unwrap_or_default().as_secs();
        info!(%reason, held_by = by.word(), held_seconds, "the run is held");
        if self.state.held.as_ref().is_none_or(|held| held.is_news(by, &reason)) {
            self.record(Event::Held { reason: reason.clone(), controls: seen.unwrap_or(0), by })?;
        }
        if self.flush().await? == Flushed::Reloaded {
            return Ok(May::Not(None));
        }
        let now = self.engine.clock.now();
        let since = self.state.held.as_ref().map_or(now, |held| held.since);
        let span = (now.since(since) / 4).clamp(RECHECK_MIN, RECHECK_MAX);
        // As long as the span itself: what was held together is not looked at together.
        let jitter = Duration::from_millis(self.engine.random.below(span.as_millis() as u64));
        let give_up_at = self.state.accepted_at + self.state.limits.wall_time_max();
        let mut again = now + span + jitter;
        if self.state.abandoned.is_none() && give_up_at > now {
            again = again.min(give_up_at);
        }
        let asked = self.state.open_approvals().map(|request| request.expires_at).min();
        let (status, due) = match asked {
            Some(expires_at) => (HeadStatus::AwaitingApproval, again.min(expires_at.max(now))),
            None => (HeadStatus::Held { reason }, again),
        };
        let left = self.leave(status, Some(now), Some(due)).await?;
        if left.is_none() {
            return Ok(May::Not(None));
        }
        if let (Some(seen), LastLook::Answered) = (seen, self.last_look)
            && let Ok(document) = self.engine.live.controls.read().await
            && document.version != seen
        {
            self.wake(Duration::ZERO).await;
        }
        Ok(May::Not(Some(Advanced::Parked { until: due })))
    }
}

/// Why a run is held.
#[derive(Debug, Clone)]
pub(super) struct Hindrance {
    by: HeldBy,
    pub(super) reason: String,
}

impl Hindrance {
    /// The controls cannot be read.
    fn controls(reason: String) -> Hindrance {
        Hindrance { by: HeldBy::Controls, reason }
    }

    /// The model cannot be asked.
    pub(super) fn model(reason: String) -> Hindrance {
        Hindrance { by: HeldBy::Model, reason }
    }

    /// The prompt cannot be had.
    fn prompt(reason: String) -> Hindrance {
        Hindrance { by: HeldBy::Prompt, reason }
    }
}

/// A switch, in its words.
impl From<String> for Hindrance {
    fn from(reason: String) -> Hindrance {
        Hindrance { by: HeldBy::Switch, reason }
    }
}

/// An intent that was not acted on.
pub(super) struct Stopped {
    /// Why the run is held; `None` when its call is decided anew.
    pub(super) hold: Option<Hindrance>,
    /// What is recorded.
    pub(super) outcome: ToolOutcome,
}
