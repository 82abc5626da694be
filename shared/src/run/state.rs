//! What a run is now: the fold of its entries.
//!
//! [`RunState::apply`] is pure and total. An event that does not follow from what came before is an
//! [`IllegalEntry`], never a guess.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    entry::{Decision, Epoch, Event, Seq, StopReason, UnknownCause, Writer},
    limits::Limits,
    request::{RunRequest, Source},
};
use crate::{
    agent::{
        model::{Echo, Usage},
        policy::Authorization,
        redaction::Redaction,
        tool::Effect,
    },
    approval::{Action, ApprovalRequest, Verdict},
    clock::Timestamp,
    ids::{Actor, ApprovalId, CallId, Role, ToolName, TraceId},
};

mod bounds;
mod cause;
mod fold;
mod hold;
mod kept;
mod transitions;

use self::transitions::Said;

pub use bounds::{END_ENTRIES, JOURNAL_BYTES_MAX, OUTSIDE_ENTRIES, UNDO_BYTES_MAX, UNDO_ENTRIES};
pub use hold::{HOLD_ENTRIES_MAX, Hold};
pub use kept::{CALLS_BYTES_MAX, LEFT_OUT, SHORT_ARGUMENTS_BYTES, short_arguments};

/// A run as its journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The last entry's place.
    pub seq: Seq,
    /// What was asked.
    pub request: RunRequest,
    /// The run's trace.
    pub trace: TraceId,
    /// What it may use.
    pub limits: Limits,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Every call planned so far, in order.
    pub calls: Vec<Call>,
    /// What it has used.
    pub totals: Totals,
    /// Why it is being abandoned, once it is.
    pub abandoned: Option<Abandonment>,
    /// When the last entry was appended.
    pub appended_at: Timestamp,
    /// The epoch of the last claim that moved it on.
    pub progress_epoch: Epoch,
    /// What was wrong with the model's last answer, when it could not be used.
    pub problem: Option<String>,
    /// What has gone wrong with its model since that last said something of use.
    pub trouble: Trouble,
    /// Why it is held, while it is.
    pub held: Option<Hold>,
    /// The version of the prompt that its model was first asked with.
    pub prompt_version: Option<String>,
    /// How many entries were appended from outside the loop, the first one apart.
    pub interjections: u64,
    /// The person behind the request's actor, where one is known.
    pub person: Option<Actor>,
    /// Where in the request's payload a text addresses the model, as JSON pointers.
    pub suspected: Vec<String>,
    /// How the request came in.
    pub source: Source,
    /// Bytes of all entries so far, as JSON.
    pub journal_bytes: u64,
    /// The epoch of the last claim whose holder appended.
    pub last_holder: Epoch,
    /// Bytes of the arguments of calls that are remembered in short and may have to be undone.
    pub undo_bytes: u64,
    /// The models that it asked and that have no price: what they cost is not in its totals. At most [`UNPRICED_MAX`].
    pub unpriced: BTreeSet<String>,
}

/// The most models without a price whose names a run keeps. A release asks two.
pub const UNPRICED_MAX: usize = 8;

/// Why a run is given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Abandonment {
    /// The first reason.
    pub reason: StopReason,
    /// Since when what it did is being undone.
    pub since: Timestamp,
}

/// What has gone wrong with the model of a run since that last said something of use. Rests grow with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trouble {
    /// Failures in a row.
    pub failures: u32,
    /// Times in a row that it was asked and did not answer.
    pub unanswered: u32,
    /// Answers in a row that could not be used.
    pub unusable: u32,
    /// What was seen last.
    pub reason: String,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// The model is to be asked.
    Planning,
    /// The last plan's calls are under way.
    Acting,
    /// The model asked to wait.
    Waiting {
        /// Until when.
        until: Timestamp,
    },
    /// There is an answer to give.
    Answering {
        /// The answer.
        response: Value,
    },
    /// It is over.
    Finished(Outcome),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why.
    pub reason: StopReason,
    /// The answer; null when there is none.
    pub response: Value,
    /// When.
    pub at: Timestamp,
    /// Calls whose effect stands although the run was abandoned.
    pub standing: Vec<CallId>,
    /// Calls of which nobody knows whether they took effect.
    pub in_doubt: Vec<CallId>,
    /// Where it stood before; a dead run that is replayed goes on there.
    pub stopped_in: Box<Phase>,
}

/// What a run has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Questions to the model, answered or not.
    pub steps: u32,
    /// Tokens in and out.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
}

impl Totals {
    /// With what one answer of a model took. As much as can be counted: a provider's number must not start the count again.
    pub fn spent(&mut self, usage: &Usage) {
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(usage.cost_micro_usd);
    }
}

/// A planned call and what has become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its number.
    pub id: CallId,
    /// Which answer of the model planned it: 1 for the first. Calls of one plan share it.
    pub step: u32,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    pub arguments: Value,
    /// What of it is not shown.
    pub redaction: Redaction,
    /// What its model's provider wants back with it.
    pub echo: Option<Echo>,
    /// Where it stands.
    pub status: CallStatus,
    /// What its last attempt said about itself; `Read` until there is one.
    pub effect: Effect,
    /// Whether it can be undone.
    pub compensable: bool,
    /// Attempts made so far.
    pub attempts: u32,
    /// Attempts that came back without success so far. What a dying worker never answered is not among them: strikes count that.
    pub failures: u32,
    /// Questions asked about it so far.
    pub approvals: u32,
    /// Where in its last answer a text addresses the model, as JSON pointers.
    pub suspected: Vec<String>,
    /// The last question about it of which somebody was reminded.
    pub reminded: u32,
    /// The roles whose approval it has.
    pub approved_as: BTreeSet<Role>,
    /// When its last attempt was made.
    pub attempted_at: Option<Timestamp>,
    /// How it fails, since it does.
    pub failing: Option<Failing>,
    /// A person's refusal of it.
    pub denied: Option<Denial>,
    /// On whose say it is made.
    pub authorization: Authorization,
    /// How much of it is remembered.
    pub detail: Detail,
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// Since when it may have taken effect; `None` when it is known that it did not.
    pub unknown_since: Option<Timestamp>,
    /// The last attempt that did.
    pub attempt: u32,
    /// How that one's outcome came to be unknown, if it is.
    pub cause: Option<UnknownCause>,
    /// What was seen of it.
    pub message: String,
}

/// A person's refusal of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Denial {
    /// Who.
    pub by: Option<Actor>,
    /// When.
    pub at: Timestamp,
    /// What they wrote with it.
    pub note: Option<String>,
}

impl Denial {
    /// What the model reads of it.
    pub fn told(&self) -> String {
        match &self.note {
            Some(note) => format!("denied by a person: {note}"),
            None => "denied by a person".to_owned(),
        }
    }
}

/// How much of a call is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Detail {
    /// Everything.
    #[default]
    Whole,
    /// What it was and what came of it; its answer and most of its arguments are in the journal only.
    Short,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CallStatus {
    /// The policy has not judged it.
    Proposed,
    /// It may be attempted, at the earliest then.
    Allowed {
        /// When.
        from: Timestamp,
    },
    /// A person is to permit it.
    AwaitingApproval(Box<ApprovalRequest>),
    /// There is an intent and no outcome.
    Attempted {
        /// Before then only its holder may resolve it.
        deadline: Timestamp,
        /// The claim under which it was attempted.
        epoch: Epoch,
    },
    /// It may have taken effect, and neither repeating nor asking its tool will tell.
    Uncertain,
    /// A person is to say whether it took effect.
    InDoubt(Box<ApprovalRequest>),
    /// It took effect.
    Succeeded {
        /// What the tool answered.
        value: Value,
    },
    /// It did not take effect and will not.
    Failed {
        /// Why.
        message: String,
    },
    /// It may have taken effect; nobody will find out.
    Doubtful {
        /// Why.
        message: String,
    },
    /// It is being undone.
    Compensating {
        /// The next attempt, at the earliest then.
        from: Timestamp,
        /// Attempts made so far.
        attempts: u32,
    },
    /// It was undone.
    Compensated,
    /// It took effect and could not be undone.
    Standing {
        /// Why.
        message: String,
    },
}

impl CallStatus {
    /// Whether nothing more will happen to the call while its run goes on.
    pub const fn is_settled(&self) -> bool {
        matches!(
            self,
            CallStatus::Succeeded { .. }
                | CallStatus::Failed { .. }
                | CallStatus::Doubtful { .. }
                | CallStatus::Compensated
                | CallStatus::Standing { .. }
        )
    }

    /// How often undoing the call has been attempted.
    pub const fn compensation_attempts(&self) -> u32 {
        match self {
            CallStatus::Compensating { attempts, .. } => *attempts,
            _ => 0,
        }
    }
}

/// An entry that does not follow from the ones before it. The run is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {problem}")]
pub struct IllegalEntry {
    /// The entry's place.
    pub seq: Seq,
    /// What is wrong.
    pub problem: String,
}

impl RunState {
    /// Takes in one event that is about to be appended by the same writer as part of the next entry.
    ///
    /// # Errors
    /// What is wrong with it; `self` may be changed then.
    pub fn note(&mut self, event: &Event, writer: &Writer, at: Timestamp) -> Result<(), String> {
        let was_acting = self.phase == Phase::Acting;
        self.take_in(event, writer, at)?;
        if was_acting && self.phase != Phase::Acting {
            self.shorten_the_oldest();
        }
        Ok(())
    }

    fn take_in(&mut self, event: &Event, writer: &Writer, at: Timestamp) -> Result<(), String> {
        if let (Writer::Holder(epoch), true) = (writer, event.is_progress()) {
            self.progress_epoch = self.progress_epoch.max(*epoch);
        }
        if let Phase::Finished(outcome) = &self.phase {
            return match event {
                Event::Evaluated { .. } => Ok(()),
                Event::Replayed { .. } if matches!(outcome.reason, StopReason::Dead { .. }) => {
                    self.phase = outcome.stopped_in.as_ref().clone();
                    // What was not undone before its death has its whole time again.
                    self.abandoned.iter_mut().for_each(|abandoned| abandoned.since = at);
                    Ok(())
                }
                _ => Err("the run is over".to_owned()),
            };
        }
        if event.ends_a_hold() {
            self.held = None;
        }
        match event {
            Event::Accepted(_) => Err("accepted twice".to_owned()),
            Event::Held { reason, by, .. } => {
                self.held.get_or_insert_with(|| Hold::since(at)).tell(*by, reason);
                Ok(())
            }
            Event::Planned { plan, usage, prompt_version, model } => {
                if self.prompt_version.is_none() && !prompt_version.is_empty() {
                    self.prompt_version = Some(prompt_version.clone());
                }
                self.totals.steps += 1;
                self.spent(usage, model);
                self.planned(plan, at)
            }
            Event::Unanswered { questions, usage, reason, model } => {
                self.totals.steps = self.totals.steps.saturating_add(*questions);
                self.spent(usage, model);
                self.trouble.unanswered = self.trouble.unanswered.saturating_add(1);
                self.trouble.reason.clone_from(reason);
                Ok(())
            }
            Event::PolicyDecided { call, decision, policy_version, .. } => {
                self.judged(*call, decision, at)?;
                if let Decision::Allow { .. } = decision {
                    self.call_mut(*call)?.authorization = Authorization::Policy { version: policy_version.clone() };
                }
                Ok(())
            }
            Event::ApprovalRequested(request) => self.asked(request),
            Event::ApprovalDecided { approval, verdict, by, note, result, .. } => {
                let said = Said { by: by.as_ref(), note: note.as_ref(), result: result.as_ref() };
                self.answered(*approval, *verdict, said, at)?;
                if *verdict == Verdict::Approved {
                    self.call_mut(approval.call)?.authorization = Authorization::Approval { id: *approval };
                }
                Ok(())
            }
            Event::ApprovalReminded { approval } => {
                self.open_approval(*approval).ok_or_else(|| format!("question {approval} is not open"))?;
                self.call_mut(approval.call)?.reminded = approval.round;
                Ok(())
            }
            Event::ToolAttempted { call, attempt, effect, compensable, deadline } => {
                let epoch = match writer {
                    Writer::Holder(epoch) => *epoch,
                    Writer::Outside(_) => return Err("only a lease's holder attempts calls".to_owned()),
                };
                let abandoned = self.abandoned.is_some();
                let call = self.call_mut(*call)?;
                let repeatable = matches!(call.effect, Effect::Read | Effect::Idempotent);
                match call.status {
                    _ if abandoned => return Err(format!("call {} is attempted in an abandoned run", call.id)),
                    CallStatus::Allowed { .. } => {}
                    CallStatus::Attempted { .. } if repeatable => {}
                    _ => return Err(format!("call {} may not be attempted", call.id)),
                }
                if *attempt != call.attempts + 1 {
                    return Err(format!("attempt {attempt} of call {} after {}", call.id, call.attempts));
                }
                (call.attempts, call.effect, call.compensable) = (*attempt, *effect, *compensable);
                call.attempted_at = Some(at);
                call.status = CallStatus::Attempted { deadline: *deadline, epoch };
                Ok(())
            }
            Event::ToolReturned { call, attempt, outcome, suspected } => {
                self.returned(*call, *attempt, outcome, at)?;
                self.call_mut(*call)?.suspected.clone_from(suspected);
                Ok(())
            }
            Event::AnsweredFromCache { call, value, suspected, .. } => {
                self.answered_from_cache(*call, value, suspected)
            }
            Event::Waited { until, reason, failures } => {
                match &self.phase {
                    Phase::Planning => {}
                    Phase::Waiting { until: over } if *over <= at => {}
                    _ => return Err("a wait outside of planning".to_owned()),
                }
                self.phase = Phase::Waiting { until: *until };
                self.trouble.failures = *failures;
                self.trouble.reason.clone_from(reason);
                Ok(())
            }
            Event::Cancelled { .. } => self.abandon(StopReason::Cancelled, at),
            Event::Abandoned { reason } => self.abandon(reason.clone(), at),
            Event::CompensationAttempted { call, attempt, .. } => {
                if self.abandoned.is_none() {
                    return Err("a compensation in a run that is not abandoned".to_owned());
                }
                let call = self.call_mut(*call)?;
                let before = match &call.status {
                    CallStatus::Succeeded { .. } | CallStatus::Attempted { .. } | CallStatus::Uncertain
                        if call.compensable =>
                    {
                        0
                    }
                    CallStatus::Compensating { attempts, .. } => *attempts,
                    _ => return Err(format!("call {} has nothing to undo", call.id)),
                };
                if *attempt != before + 1 {
                    return Err(format!("compensation attempt {attempt} of call {} after {before}", call.id));
                }
                call.status = CallStatus::Compensating { from: at, attempts: *attempt };
                Ok(())
            }
            Event::Compensated { call, attempt, outcome } => self.compensated(*call, *attempt, outcome, at),
            Event::CompensationGivenUp { call, cause } => self.gave_up(*call, cause),
            Event::Responded { response } => match &self.phase {
                Phase::Answering { response: planned } if planned == response => Ok(()),
                _ => Err("a response that was not planned".to_owned()),
            },
            Event::Evaluated { .. } => Err("evaluated before the end".to_owned()),
            Event::Stopped { reason, standing, in_doubt } => {
                let response = match (&self.phase, reason) {
                    (Phase::Answering { response }, StopReason::Completed) => response.clone(),
                    (_, StopReason::Completed) => return Err("completed without an answer".to_owned()),
                    _ => Value::Null,
                };
                let stopped_in = Box::new(std::mem::replace(&mut self.phase, Phase::Planning));
                self.phase = Phase::Finished(Outcome {
                    reason: reason.clone(),
                    response,
                    at,
                    standing: standing.clone(),
                    in_doubt: in_doubt.clone(),
                    stopped_in,
                });
                Ok(())
            }
            Event::Replayed { .. } => Err("replayed although it is not dead".to_owned()),
        }
    }

    fn spent(&mut self, usage: &Usage, model: &str) {
        self.totals.spent(usage);
        if !usage.pricing.is_known() && self.unpriced.len() < UNPRICED_MAX {
            self.unpriced.insert(model.to_owned());
        }
    }

    /// The call of that number.
    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }

    /// The call of this run that is the same action as `call` and that a person denied.
    pub fn denied_before(&self, call: &Call) -> Option<(CallId, &Denial)> {
        let action = |call: &Call| Action {
            tenant: self.request.tenant.clone(),
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
        };
        let digest = std::cell::LazyCell::new(|| action(call).digest());
        self.calls.iter().filter(|before| before.id < call.id && before.tool == call.tool).find_map(|before| {
            let denial = before.denied.as_ref()?;
            (action(before).digest() == *digest).then_some((before.id, denial))
        })
    }

    /// The question that a person is to answer now, if it is still open.
    pub fn open_approval(&self, id: ApprovalId) -> Option<&ApprovalRequest> {
        self.open_approvals().find(|request| request.id == id)
    }

    /// Every question that a person is to answer now.
    pub fn open_approvals(&self) -> impl Iterator<Item = &ApprovalRequest> {
        let over = matches!(self.phase, Phase::Finished(_)) || self.abandoned.is_some();
        self.calls.iter().filter_map(move |call| match &call.status {
            CallStatus::AwaitingApproval(request) | CallStatus::InDoubt(request) if !over => Some(request.as_ref()),
            _ => None,
        })
    }

    /// What the run was doing last, in words that are the same for the same kind of trouble.
    pub fn last_seen_doing(&self) -> String {
        let unsettled = self.calls.iter().find(|call| !call.status.is_settled());
        let before = match (&self.phase, unsettled) {
            (Phase::Acting, Some(Call { tool, status: CallStatus::Attempted { .. }, .. })) => format!("`{tool}`"),
            (_, Some(Call { tool, status: CallStatus::Compensating { .. }, .. })) => format!("undoing `{tool}`"),
            (Phase::Acting, Some(call)) => format!("starting `{}`", call.tool),
            (Phase::Planning | Phase::Waiting { .. }, _) => "asking the model".to_owned(),
            _ => "recording the answer".to_owned(),
        };
        format!("the worker died or ran out of time in {before}")
    }

    /// The open question of which somebody is to be reminded next, and when.
    pub fn next_reminder(&self) -> Option<(Timestamp, ApprovalId)> {
        let silent = |request: &&ApprovalRequest| {
            self.call(request.id.call).is_some_and(|call| call.reminded < request.id.round)
        };
        self.open_approvals().filter(silent).filter_map(|request| Some((request.remind_at?, request.id))).min()
    }

    fn call_mut(&mut self, id: CallId) -> Result<&mut Call, String> {
        let index = usize::try_from(id.0).ok().and_then(|n| n.checked_sub(1));
        index.and_then(|index| self.calls.get_mut(index)).ok_or_else(|| format!("there is no call {id}"))
    }
}
