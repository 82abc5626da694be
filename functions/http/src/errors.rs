//! What the errors of the kit mean over HTTP. Details of the stores stay in the log.

use std::time::Duration;

use windlass::{
    approval::{
        decide::{DecideError, Forbidden},
        token::TokenError,
    },
    clock::Timestamp,
    controls::{admit::NotAdmitted, names::UnknownName},
    idempotency::InvalidKey,
    ids::InvalidId,
    journal::JournalError,
    retry::Retry,
    run::{accept::AcceptError, outside::InterjectError, request::InvalidRequest},
    secrets::SecretError,
};

use crate::{Kind, Problem};

/// When to try again after something did not answer: SDK retries have taken a few seconds by then.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl From<InvalidId> for Problem {
    fn from(error: InvalidId) -> Problem {
        Problem::new(Kind::InvalidId, error.to_string())
    }
}

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Problem {
        Problem::new(Kind::InvalidKey, error.to_string())
    }
}

impl From<UnknownName> for Problem {
    fn from(error: UnknownName) -> Problem {
        let problem = Problem::new(Kind::UnknownTask, error.to_string());
        match error.nearest {
            Some(nearest) => problem.with("nearest", nearest),
            None => problem,
        }
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Problem {
        let kind = match &error {
            InvalidRequest::PayloadTooLarge { .. } | InvalidRequest::PayloadTooDense => Kind::TooLarge,
            InvalidRequest::PayloadTooDeep | InvalidRequest::PayloadNotAnObject | InvalidRequest::RolesUnproven => {
                Kind::Malformed
            }
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Problem {
        match &error {
            JournalError::Missing { .. } => {}
            JournalError::Unavailable { .. } => tracing::warn!(%error, "the journal"),
            _ => tracing::error!(%error, "the journal"),
        }
        match error {
            JournalError::Unavailable { .. } => unavailable("the store does not answer; try again"),
            JournalError::Missing { run } => Problem::new(Kind::NotFound, format!("there is no run `{run}`")),
            JournalError::Unreadable { run, seq, source } => {
                unreadable(&run.to_string(), &format!("entry {seq}: {source}")).with("seq", seq)
            }
            JournalError::Illegal { run, source } => unreadable(&run.to_string(), &source.to_string()),
            JournalError::DamagedHead { run, .. } => unreadable(&run, "its head is damaged"),
            JournalError::TooLarge(error) => Problem::new(Kind::TooLarge, error.to_string()),
            JournalError::Full { .. } => unavailable("the run has reached the end of its journal and is being ended"),
            JournalError::Refused { .. } => Problem::new(Kind::Internal, "the store refused"),
        }
    }
}

impl From<InterjectError> for Problem {
    fn from(error: InterjectError) -> Problem {
        match error {
            InterjectError::Journal(error) => error.into(),
            InterjectError::Contended { .. } => unavailable(&error.to_string()),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Problem {
        match error {
            AcceptError::Request(error) => error.into(),
            AcceptError::Key(error) => error.into(),
            AcceptError::Journal(error) => error.into(),
            AcceptError::Mismatch => Problem::new(Kind::KeyReused, error.to_string()),
            AcceptError::InProgress => {
                Problem::new(Kind::KeyInProgress, error.to_string()).retry_after(Duration::from_secs(1))
            }
        }
    }
}

/// What a request is told that is not taken on now.
pub fn not_admitted(refusal: NotAdmitted, now: Timestamp) -> Problem {
    let kind = match &refusal {
        NotAdmitted::Paused => Kind::NewRunsPaused,
        NotAdmitted::Exhausted { .. } => Kind::BudgetExhausted,
        NotAdmitted::Controls(_) | NotAdmitted::Budgets(_) => {
            tracing::error!(error = %refusal, "a request is not taken on");
            return unavailable("it cannot be said whether runs are taken on; try again");
        }
    };
    let problem = Problem::new(kind, refusal.to_string());
    let problem = match &refusal {
        NotAdmitted::Exhausted { renews_at, .. } => problem.with("renews_at", renews_at.to_string()),
        _ => problem,
    };
    match refusal.retry(now) {
        Retry::Transient { after } => problem.retry_after(after),
        Retry::Terminal => problem,
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Problem {
        tracing::error!(%error, "a secret");
        match error {
            SecretError::Unavailable { .. } => unavailable("the secret store does not answer; try again"),
            SecretError::Missing { .. } | SecretError::Refused { .. } | SecretError::Malformed { .. } => {
                Problem::new(Kind::Internal, "a secret cannot be read")
            }
        }
    }
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Problem {
        match error {
            DecideError::Interject(error) => error.into(),
            DecideError::Keys(error) => error.into(),
        }
    }
}

impl From<Forbidden> for Problem {
    fn from(error: Forbidden) -> Problem {
        Problem::new(Kind::Forbidden, error.to_string())
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Problem {
        let kind = match error {
            TokenError::Malformed => Kind::Malformed,
            TokenError::UnknownKey | TokenError::Altered => Kind::TokenRefused,
            TokenError::Expired { .. } => Kind::Expired,
        };
        Problem::new(kind, error.to_string())
    }
}

pub(crate) fn unavailable(detail: &str) -> Problem {
    Problem::new(Kind::Unavailable, detail).retry_after(RETRY_AFTER)
}

fn unreadable(run: &str, why: &str) -> Problem {
    let detail = format!("run `{run}` cannot be read and is left as it is: {why}");
    Problem::new(Kind::Unreadable, detail).with("run_id", run)
}
