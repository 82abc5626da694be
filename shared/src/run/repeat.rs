//! Answering a repetition without taking anything on.

use super::accept::{AcceptError, Incoming, KEY_SCOPE, TakenOn};
use crate::{
    door::Requests,
    idempotency::{Key, PayloadHash},
    journal::Acceptance,
};

/// The run that a request was taken on as before, if it was. Its run is not woken: whoever asks this is turning requests away.
///
/// # Errors
/// What [`accept`](super::accept::accept) would say: the key is none, was used for something else, or the store does not answer.
pub async fn repeated(requests: &dyn Requests, incoming: &Incoming) -> Result<Option<TakenOn>, AcceptError> {
    let Incoming { request, client_key, .. } = incoming;
    request.check()?;
    let key = Key::of(KEY_SCOPE, &request.tenant, &request.actor, client_key)?;
    match requests.recorded(&key, &PayloadHash::of(request)).await? {
        None => Ok(None),
        Some(Acceptance::Repeated { run }) => Ok(Some(TakenOn::Repeated { run })),
        Some(Acceptance::Mismatch) => Err(AcceptError::Mismatch),
        // A record is never found as one that was just created.
        Some(Acceptance::InProgress | Acceptance::Created) => Err(AcceptError::InProgress),
    }
}
