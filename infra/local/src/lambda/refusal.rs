//! Why Lambda refuses a request, in its own words where they are known.
//! <https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html>

/// A refused request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Function not found: {arn}")]
    NoFunction { arn: String },
    #[error("Cannot find alias arn: {arn}")]
    NoAlias { arn: String },
    #[error("Alias already exists: {arn}")]
    AliasExists { arn: String },
    #[error("{message}")]
    Conflict { message: String },
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest \
         Revision Id"
    )]
    Stale,
    #[error("{message}")]
    InvalidParameter { message: String },
    #[error("1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: {constraint}")]
    Validation { value: String, at: &'static str, constraint: &'static str },
    #[error("Could not parse request body into json: {message}")]
    InvalidContent { message: String },
    #[error("Request must be smaller than {bytes_max} bytes for the {operation} operation")]
    TooLarge { bytes_max: usize, operation: &'static str },
    #[error("Rate Exceeded.")]
    TooManyRequests { reason: &'static str },
    #[error("{message}")]
    Service { message: String },
    #[error("no operation of Lambda on this machine answers this path and method")]
    UnknownOperation,
}

impl Refusal {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidParameter { message: message.into() }
    }

    /// The exception's name and the status of its answer.
    pub(crate) fn kind(&self) -> (&'static str, u16) {
        match self {
            Self::NoFunction { .. } | Self::NoAlias { .. } => ("ResourceNotFoundException", 404),
            Self::AliasExists { .. } | Self::Conflict { .. } => ("ResourceConflictException", 409),
            Self::Stale => ("PreconditionFailedException", 412),
            Self::InvalidParameter { .. } => ("InvalidParameterValueException", 400),
            Self::Validation { .. } => ("ValidationException", 400),
            Self::InvalidContent { .. } => ("InvalidRequestContentException", 400),
            Self::TooLarge { operation: "InvokeFunction", .. } => ("RequestTooLargeException", 413),
            Self::TooLarge { .. } => ("RequestEntityTooLargeException", 413),
            Self::TooManyRequests { .. } => ("TooManyRequestsException", 429),
            Self::Service { .. } => ("ServiceException", 500),
            Self::UnknownOperation => ("UnknownOperationException", 404),
        }
    }
}
