//! Taking on a run: the same for HTTP, queue and schedule.

use std::time::Duration;

use super::{
    entry::{Accepted, Entry, Event},
    limits::Limits,
    outside::Outside,
    request::{InvalidRequest, RunRequest, Source},
};
use crate::{
    controls::admit::Admitted,
    idempotency::{InvalidKey, Key},
    ids::{Actor, RunId, TraceId},
    journal::{Acceptance, JournalError, NewRun},
    retry::Retry,
};

/// The operation under which keys of requests for runs are kept.
pub const KEY_SCOPE: &str = "runs";

/// One request for a run, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// What is asked, by whom.
    pub request: RunRequest,
    /// How it came in.
    pub source: Source,
    /// Under which its sender may repeat it.
    pub client_key: String,
    /// The person behind the request's actor, where one is known.
    pub person: Option<Actor>,
    /// The trace that its sender named. The run has a trace of its own, with a link to it: who could choose a run's trace could write
    /// into another tenant's.
    pub trace: Option<TraceId>,
    /// By which controls it was let in; `None` where they were not asked.
    pub admitted: Option<Admitted>,
}

/// On which terms runs are taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What a run may use.
    pub limits: Limits,
    /// How long a repetition is recognised.
    pub key_kept_for: Duration,
    /// How long a run's items are kept, from its acceptance. Longer than it can take.
    pub run_kept_for: Duration,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOn {
    /// It is a new run.
    New {
        /// The run.
        run: RunId,
        /// Its trace.
        trace: TraceId,
    },
    /// It had been taken on before.
    Repeated {
        /// As this run.
        run: RunId,
    },
}

impl TakenOn {
    /// The run.
    pub const fn run(&self) -> RunId {
        match self {
            TakenOn::New { run, .. } | TakenOn::Repeated { run } => *run,
        }
    }
}

/// Why a request was not taken on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It is not acceptable. Nothing has been written.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    /// Its key is not one. Nothing has been written.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    Mismatch,
    /// Somebody is working under the key.
    #[error("a request with this idempotency key is under way")]
    InProgress,
    /// The store did not do as asked. It may have taken the request on: a repetition under the key will tell.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AcceptError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            AcceptError::Request(_) | AcceptError::Key(_) | AcceptError::Mismatch => Retry::Terminal,
            AcceptError::InProgress => Retry::SOON,
            AcceptError::Journal(error) => error.retry(),
        }
    }
}

/// Takes on a request, once however often it is repeated, and wakes its run.
///
/// A repetition wakes the run too: it may have been sent because nothing happened.
///
/// # Errors
/// Why it was not taken on.
pub async fn accept(outside: &Outside<'_>, terms: &Terms, incoming: Incoming) -> Result<TakenOn, AcceptError> {
    let Incoming { request, source, client_key, person, trace: linked_trace, admitted } = incoming;
    request.check()?;
    let key = Key::of(KEY_SCOPE, &request.tenant, &request.actor, &client_key)?;
    let payload_hash = request.hash();
    let tenant = request.tenant.clone();
    let trace = TraceId::generate(outside.random);
    let (run, now) = (RunId::generate(outside.clock, outside.random), outside.clock.now());
    let accepted = Accepted { person, linked_trace, ..Accepted::new(request, source, trace, terms.limits) };
    if !accepted.suspected.is_empty() {
        tracing::warn!(%run, suspected = ?accepted.suspected, "the payload holds texts that address the model");
    }
    let accepted = Event::Accepted(Box::new(accepted)).bounded();
    let new = NewRun {
        run,
        key,
        payload_hash,
        key_expires: now + terms.key_kept_for,
        expires: now + terms.run_kept_for,
        entry: Entry { at: now, writer: outside.writer(), release: outside.release.clone(), events: vec![accepted] },
        admitted,
    };
    let taken_on = match outside.journal.accept(&new).await? {
        // Its first entry is this one, whoever recorded it.
        Acceptance::Created { run } => {
            if let Some(teller) = outside.telemetry {
                teller.accepted(run, &new.entry);
            }
            TakenOn::New { run, trace }
        }
        Acceptance::Repeated { run } => TakenOn::Repeated { run },
        Acceptance::Mismatch => return Err(AcceptError::Mismatch),
        Acceptance::InProgress => return Err(AcceptError::InProgress),
    };
    outside.wake(taken_on.run(), &tenant).await;
    Ok(taken_on)
}

#[cfg(test)]
mod tests;
