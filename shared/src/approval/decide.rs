//! Deciding an approval: who may, until when, and once.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    ApprovalRequest, CallResult, Subject, Verdict,
    token::{ApprovalKeys, Token, TokenError},
};
use crate::{
    clock::Timestamp,
    ids::{Actor, ApprovalId, Role},
    journal::JournalError,
    principal::{Decisions, Principal},
    redaction::cut,
    retry::Retry,
    run::{
        entry::Event,
        outside::{History, InterjectError, Outside, Proposal},
    },
    secrets::{SecretCache, SecretError},
};

/// The most characters of the note with a decision.
pub const NOTE_CHARS_MAX: usize = 2_000;

/// A question as its run's journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What was asked.
    pub request: ApprovalRequest,
    /// What has become of it.
    pub standing: Standing,
    /// What was decided before in its run about calls of the same tool, newest first, at most [`EARLIER_MAX`].
    pub earlier: Vec<Earlier>,
}

/// The most earlier decisions that are shown with a question.
pub const EARLIER_MAX: usize = 10;

/// A decision about another call of the same tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// Which question.
    pub approval: ApprovalId,
    /// Whether the action was the same one, by its digest.
    pub same_action: bool,
    /// How it was decided.
    pub verdict: Verdict,
    /// By whom; `None` when time did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// When.
    pub at: Timestamp,
    /// What they wrote with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What was decided in a run about calls of the tool that `request` is about.
fn earlier(history: &History, request: &ApprovalRequest) -> Vec<Earlier> {
    let mut asked: BTreeMap<ApprovalId, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, event) in history.events() {
        match event {
            Event::ApprovalRequested(other) if other.action.tool == request.action.tool && other.id != request.id => {
                asked.insert(other.id, other.digest == request.digest);
            }
            Event::ApprovalDecided { approval, verdict, by, note, .. } => {
                found.extend(asked.get(approval).map(|same_action| Earlier {
                    approval: *approval,
                    same_action: *same_action,
                    verdict: *verdict,
                    by: by.clone(),
                    at,
                    note: note.clone(),
                }));
            }
            _ => {}
        }
    }
    found.into_iter().rev().take(EARLIER_MAX).collect()
}

/// What has become of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It can be answered.
    Open,
    /// It was answered.
    Decided {
        /// How.
        verdict: Verdict,
        /// By whom; `None` when time did.
        by: Option<Actor>,
        /// When.
        at: Timestamp,
    },
    /// Its time is over, though nobody has recorded that yet.
    Late,
    /// Its run ended, or is ending, without an answer.
    Closed,
}

impl Question {
    /// The question of that id, as it stands at `now`; `None` when it was never asked.
    pub fn find(history: &History, id: ApprovalId, now: Timestamp) -> Option<Question> {
        let request = history.events().find_map(|(_, event)| match event {
            Event::ApprovalRequested(request) if request.id == id => Some(request.as_ref().clone()),
            _ => None,
        })?;
        let decided = history.events().find_map(|(at, event)| match event {
            Event::ApprovalDecided { approval, verdict, by, .. } if *approval == id => {
                Some(Standing::Decided { verdict: *verdict, by: by.clone(), at })
            }
            _ => None,
        });
        let standing = match decided {
            Some(decided) => decided,
            None if history.state.open_approval(id).is_none() => Standing::Closed,
            None if request.expires_at <= now => Standing::Late,
            None => Standing::Open,
        };
        let earlier = earlier(history, &request);
        Some(Question { request, standing, earlier })
    }

    /// Whether `principal` may answer it, as far as who they are goes: the role, a person where tokens name persons, and not a request of
    /// their own, through whichever client they made it.
    ///
    /// # Errors
    /// Why not.
    pub fn permits(&self, history: &History, principal: &Principal) -> Result<(), Forbidden> {
        let reminded = history
            .events()
            .any(|(_, event)| matches!(event, Event::ApprovalReminded { approval } if *approval == self.request.id));
        let escalated = self.request.escalate_to.as_ref().filter(|_| reminded);
        if !principal.holds(self.request.role.as_str()) && !escalated.is_some_and(|role| principal.holds(role.as_str()))
        {
            return Err(Forbidden::Role { role: self.request.role.clone() });
        }
        if principal.decisions == Decisions::OfPeople && principal.person.is_none() {
            return Err(Forbidden::NoPerson);
        }
        // Four eyes: what one asks for, another permits.
        if principal.is(&history.state.request.actor, history.state.person.as_ref()) {
            return Err(Forbidden::OwnRequest);
        }
        Ok(())
    }
}

/// Why somebody may not answer a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// They lack the role.
    #[error("deciding this takes the role `{role}`")]
    Role {
        /// Which.
        role: Role,
    },
    /// Their token names no person, where tokens of people do.
    #[error("deciding this takes a token that names a person")]
    NoPerson,
    /// They asked for it themselves.
    #[error("nobody decides about their own request")]
    OwnRequest,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// To which question.
    pub approval: ApprovalId,
    /// The token that they were shown with it.
    pub token: Token,
    /// The answer.
    pub verdict: Verdict,
    /// What they wrote with it; cut to [`NOTE_CHARS_MAX`].
    pub note: Option<String>,
    /// What the call came to: a value with `happened`, a message with `happened_and_failed`.
    pub result: Option<CallResult>,
}

/// What came of an answer. Only the first is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It is in the journal, and the run goes on.
    Recorded,
    /// There is no such question, or it is another tenant's.
    NotFound,
    /// They may not answer it.
    Forbidden(Forbidden),
    /// The token is not good for it.
    BadToken(TokenError),
    /// The question cannot be answered so.
    DoesNotFit {
        /// What is asked.
        subject: Subject,
    },
    /// It was answered before.
    AlreadyDecided {
        /// How.
        verdict: Verdict,
        /// By whom; `None` when time did.
        by: Option<Actor>,
    },
    /// Its time is over.
    Late {
        /// Since when.
        expired_at: Timestamp,
    },
    /// Its run ended, or is ending, without an answer.
    Closed,
}

/// Why an answer could be neither recorded nor refused.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The journal could not be read or written.
    #[error(transparent)]
    Interject(#[from] InterjectError),
    /// The keys could not be had.
    #[error(transparent)]
    Keys(#[from] SecretError),
}

impl DecideError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            DecideError::Interject(error) => error.retry(),
            DecideError::Keys(error) => error.retry(),
        }
    }
}

/// Records `principal`'s answer, if they may give it, and wakes the run. All that can change is checked again each time somebody
/// else appended first.
///
/// # Errors
/// When it could be neither recorded nor refused.
pub async fn decide(
    outside: &Outside<'_>,
    keys: &SecretCache<ApprovalKeys>,
    principal: &Principal,
    answer: &Answer,
) -> Result<Decided, DecideError> {
    let mut known = keys.get().await?;
    if !known.know(&answer.token) {
        // It may have been signed by a function that has seen a rotation before us.
        known = keys.refresh().await?;
    }
    let result = outside
        .interject(answer.approval.run, |history, now| match refuse(history, &known, principal, answer, now) {
            Some(refusal) => Proposal::Leave(refusal),
            None => {
                let note = answer.note.as_ref().map(|text| cut(text, NOTE_CHARS_MAX).to_owned());
                let (approval, verdict, by) = (answer.approval, answer.verdict, Some(principal.actor.clone()));
                let result = answer.result.clone();
                let decided = Event::ApprovalDecided { approval, verdict, by, note, result, signature: None };
                let digest = history.state.open_approval(approval).map(|request| request.digest.as_str());
                let signed = known.sign(decided, digest.unwrap_or_default(), &principal.tenant, now);
                Proposal::Append(signed, Decided::Recorded)
            }
        })
        .await;
    match result {
        Err(InterjectError::Journal(JournalError::Missing { .. })) => Ok(Decided::NotFound),
        other => Ok(other?),
    }
}

/// Why the answer is not to be recorded. What somebody may not see comes first, then who they are, then what they bring.
fn refuse(
    history: &History,
    keys: &ApprovalKeys,
    principal: &Principal,
    answer: &Answer,
    now: Timestamp,
) -> Option<Decided> {
    let question =
        Question::find(history, answer.approval, now).filter(|_| history.state.request.tenant == principal.tenant);
    let Some(question) = question else { return Some(Decided::NotFound) };
    if let Err(forbidden) = question.permits(history, principal) {
        return Some(Decided::Forbidden(forbidden));
    }
    if let Err(error) = keys.verify(&answer.token, &question.request, principal, now) {
        return Some(Decided::BadToken(error));
    }
    let request = question.request;
    let fits = match &answer.result {
        None => true,
        Some(CallResult::Value(_)) => answer.verdict == Verdict::Happened,
        Some(CallResult::Message(_)) => answer.verdict == Verdict::HappenedAndFailed,
    };
    if !fits || !answer.verdict.answers(request.subject) {
        return Some(Decided::DoesNotFit { subject: request.subject });
    }
    match question.standing {
        Standing::Open => None,
        Standing::Decided { verdict, by, .. } => Some(Decided::AlreadyDecided { verdict, by }),
        Standing::Late => Some(Decided::Late { expired_at: request.expires_at }),
        Standing::Closed => Some(Decided::Closed),
    }
}
