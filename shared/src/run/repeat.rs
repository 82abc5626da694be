//! Answering a repetition without taking anything on.

use super::accept::{AcceptError, Incoming, KEY_SCOPE, TakenOn};
use crate::{
    door::Requests,
    idempotency::Key,
    journal::{Journal, Recorded},
};

/// The run that a request was taken on as before, if it was. Its run is not woken: whoever asks this is turning requests away. One that
/// was recorded and never opened was not taken on: nobody was told of it, and a later repetition opens it.
///
/// # Errors
/// What [`accept`](super::accept::accept) would say: the key is none, was used for something else, or the store does not answer.
pub async fn repeated(
    requests: &dyn Requests,
    journal: &dyn Journal,
    incoming: &Incoming,
) -> Result<Option<TakenOn>, AcceptError> {
    let Incoming { request, client_key, .. } = incoming;
    request.check()?;
    let key = Key::of(KEY_SCOPE, &request.tenant, &request.actor, client_key)?;
    match requests.recorded(&key, &request.hash()).await? {
        None => Ok(None),
        Some(Recorded::As { run }) => Ok(journal.opened(run).await?.map(|_| TakenOn::Repeated { run })),
        Some(Recorded::Mismatch) => Err(AcceptError::Mismatch),
        Some(Recorded::InProgress) => Err(AcceptError::InProgress),
    }
}
