//! SDK errors as port errors. A message names the operation and the error's code, never what an item holds.

use std::fmt::Display;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::CancellationReason,
};

use crate::{
    budgets::BudgetError, controls::ControlsError, dead_letter::PlanError, door::rate::RateError,
    idempotency::RecordError, journal::JournalError, prompts::PromptError, queue::QueueError, schedule::ScheduleError,
    windows::WindowError,
};

/// Codes under which an operation that was refused may succeed later: throttling
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>) and transactions that met each other.
const TRANSIENT_CODES: [&str; 13] = [
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
];
const TRANSACTION_IN_PROGRESS: &str = "TransactionInProgressException";

/// A failed operation, before it is any port's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It could not be reached, throttles, or did not answer in time.
    Unavailable(String),
    /// It refuses.
    Refused(String),
}

impl Fault {
    /// What `error` means for `operation`.
    pub(super) fn of<E: ProvideErrorMetadata>(operation: &str, error: &SdkError<E, HttpResponse>) -> Fault {
        match error {
            SdkError::ConstructionFailure(_) => Fault::Refused(format!("{operation}: the request could not be built")),
            SdkError::TimeoutError(_) => Fault::Unavailable(format!("{operation}: no answer in time")),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Fault::Unavailable(format!("{operation}: no connection in time"))
            }
            SdkError::DispatchFailure(_) => Fault::Unavailable(format!("{operation}: no connection")),
            SdkError::ResponseError(_) => Fault::Unavailable(format!("{operation}: the answer could not be read")),
            SdkError::ServiceError(refusal) => {
                let status = refusal.raw().status().as_u16();
                Fault::of_code(operation, refusal.err().code().unwrap_or("no code"), status)
            }
            _ => Fault::Unavailable(format!("{operation}: an error of an unknown kind")),
        }
    }

    fn of_code(operation: &str, code: &str, status: u16) -> Fault {
        let transient = TRANSIENT_CODES.contains(&code) || code == TRANSACTION_IN_PROGRESS;
        let message = format!("{operation}: {code}");
        match status {
            429 | 500.. => Fault::Unavailable(message),
            _ if transient => Fault::Unavailable(message),
            _ => Fault::Refused(message),
        }
    }

    /// What a cancelled transaction means none of whose conditions failed.
    pub(super) fn of_cancelled(operation: &str, reasons: &[CancellationReason]) -> Fault {
        let codes = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None");
        let faults: Vec<Fault> = codes.map(|code| Fault::of_code(operation, code, 400)).collect();
        let refused = faults.iter().find(|fault| matches!(fault, Fault::Refused(_)));
        let first = refused.or(faults.first()).cloned();
        first.unwrap_or_else(|| Fault::Unavailable(format!("{operation}: cancelled without a reason")))
    }

    /// What could not be read, or written, for another reason than the service's.
    pub(super) fn refused(message: impl Display) -> Fault {
        Fault::Refused(message.to_string())
    }
}

/// Whether a transaction was cancelled because this part's condition failed.
pub(super) fn condition_failed(reason: Option<&CancellationReason>) -> bool {
    reason.and_then(CancellationReason::code) == Some("ConditionalCheckFailed")
}

macro_rules! fault_as {
    ($($error:ident),*) => {$(
        impl From<Fault> for $error {
            fn from(fault: Fault) -> $error {
                match fault {
                    Fault::Unavailable(message) => $error::Unavailable { message },
                    Fault::Refused(message) => $error::Refused { message },
                }
            }
        }
    )*};
}
fault_as!(
    BudgetError,
    ControlsError,
    PromptError,
    JournalError,
    RecordError,
    ScheduleError,
    PlanError,
    QueueError,
    RateError,
    WindowError
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_conflicts_and_server_errors_may_pass_and_refusals_do_not() {
        let unavailable = |code, status| matches!(Fault::of_code("PutItem", code, status), Fault::Unavailable(_));
        assert!(unavailable("ThrottlingException", 400));
        assert!(unavailable("TransactionConflict", 400));
        assert!(unavailable(TRANSACTION_IN_PROGRESS, 400));
        assert!(unavailable("anything", 503));
        assert!(!unavailable("ValidationException", 400));
        assert!(!unavailable("AccessDeniedException", 400));
    }

    #[test]
    fn a_cancelled_transaction_is_refused_when_any_part_of_it_always_will_be() {
        let reason = |code: &str| CancellationReason::builder().code(code).build();
        let conflict = [reason("None"), reason("TransactionConflict")];
        let invalid = [reason("TransactionConflict"), reason("ValidationError")];
        assert!(matches!(Fault::of_cancelled("TransactWriteItems", &conflict), Fault::Unavailable(_)));
        assert!(matches!(Fault::of_cancelled("TransactWriteItems", &invalid), Fault::Refused(_)));
    }
}
