//! What the document means for the next step of a run: pure.

use serde_json::Value;

use super::{AgentSwitch, PromptSwitch, Settings, Switch};
use crate::{
    agent::policy::Tightening,
    clock::Timestamp,
    ids::{Role, RunId, ToolName},
    run::state::Call,
};

/// Why a run is held, in words for a person.
pub type Held = String;

/// Whether the model may be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// It may.
    Yes,
    /// Not while the switch is as it is.
    Held(Held),
    /// The agent does not answer any more; this is answered in its place.
    Fallback(Value),
    /// The same, once a person with this role agrees.
    Person(Role, Value),
}

/// Whether a call may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It may.
    Yes,
    /// Not while the switch is as it is.
    Held(Held),
    /// Not under the policy as it is tightened: judge it again.
    Judge,
    /// Never in this run: the agent does not act any more.
    Denied(&'static str),
}

/// What a call denied because of [`AgentSwitch::Fallback`] or [`AgentSwitch::Person`] is told.
const AGENT_OFF: &str = "the agent is switched off";

/// Why a run that was accepted then waits for an operator: the tables were restored since, so the run may have acted on what its journal
/// does not hold any more, and would do it again.
pub fn restored(settings: &Settings, run: RunId, accepted_at: Timestamp) -> Option<Held> {
    let restored = settings.restored.as_ref()?;
    (accepted_at < restored.at && !restored.released.contains(&run))
        .then(|| format!("the tables were restored at {}, and the run waits to be released", restored.at))
}

/// Whether the model may be asked.
pub fn ask(settings: &Settings) -> Ask {
    match (&settings.agent, settings.model, settings.prompt) {
        (AgentSwitch::Off, ..) => Ask::Held("the agent is switched off".to_owned()),
        (AgentSwitch::Fallback, ..) => Ask::Fallback(settings.fallback()),
        (AgentSwitch::Person { role }, ..) => Ask::Person(role.clone(), settings.fallback()),
        (AgentSwitch::On, Switch::Off, _) => Ask::Held("the model is switched off".to_owned()),
        (AgentSwitch::On, Switch::On, PromptSwitch::Off) => Ask::Held("the prompt is switched off".to_owned()),
        (AgentSwitch::On, Switch::On, _) => Ask::Yes,
    }
}

/// Whether `call`, which has been permitted, may be made. `reads` says that it has no effect.
pub fn act(settings: &Settings, call: &Call, reads: bool) -> Act {
    match undo(settings, &call.tool) {
        None => {}
        Some(held) => return Act::Held(held),
    }
    if matches!(settings.agent, AgentSwitch::Fallback | AgentSwitch::Person { .. }) {
        return Act::Denied(AGENT_OFF);
    }
    match settings.policy {
        Tightening::Deny if !reads => Act::Judge,
        // A person has seen it.
        Tightening::Approve if !reads && call.approvals == 0 => Act::Judge,
        Tightening::None | Tightening::Approve | Tightening::Deny => Act::Yes,
    }
}

/// Why a call of `tool` may not be undone now. Undoing is an effect of the tool too; a tightened policy and an agent that has been
/// replaced do not stop it, since leaving a wrong effect standing is not safer.
pub fn undo(settings: &Settings, tool: &ToolName) -> Option<Held> {
    if settings.agent == AgentSwitch::Off {
        return Some(AGENT_OFF.to_owned());
    }
    settings.tools_off.contains(tool).then(|| format!("the tool `{tool}` is switched off"))
}
