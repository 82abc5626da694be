//! Asynchronous invocations: nobody waits for them, and a failed one is repeated.

use std::time::Duration;

use axum::body::Bytes;

use super::invoke::Target;
use crate::{function::InvokeError, pool::Patience};

/// Retries of a failed asynchronous invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>
const RETRIES_MAX: u32 = 2;

/// The wait before the first retry; it doubles. Lambda waits a minute, which helps nobody on one machine.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// Invokes until it succeeds or has been tried often enough. Each attempt meets the version that its alias then chooses.
pub(crate) async fn invoke_with_retries(target: &Target, event: &Bytes) {
    for attempt in 0..=RETRIES_MAX {
        match target.invoke(event.clone(), Patience::Endless).await {
            Ok(_) | Err(InvokeError::ShuttingDown) => return,
            Err(error) => tracing::warn!(function = %target, attempt, %error, "an asynchronous invocation failed"),
        }
        if attempt < RETRIES_MAX {
            tokio::time::sleep(RETRY_WAIT * 2u32.pow(attempt)).await;
        }
    }
}
