//! Why CloudWatch refuses a request.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html>

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{message}")]
    Serialization { message: String },
    #[error("The parameter {name} is required.")]
    Missing { name: String },
    #[error("The value {value} for parameter {name} is invalid.{}", .hint.map(|hint| format!(" {hint}")).unwrap_or_default())]
    InvalidValue { name: String, value: String, hint: Option<&'static str> },
    #[error("{message}")]
    Validation { message: String },
    #[error("{message}")]
    NotFound { message: String },
    #[error("the limit of alarms is reached")]
    TooManyAlarms,
    #[error("CloudWatch on this machine does not answer `{operation}`")]
    UnknownOperation { operation: String },
}

impl Refusal {
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::Validation { message: message.into() }
    }

    pub(super) fn invalid(name: impl Into<String>, value: impl std::fmt::Display, hint: Option<&'static str>) -> Self {
        Self::InvalidValue { name: name.into(), value: value.to_string().chars().take(256).collect(), hint }
    }

    /// Its name in the model.
    pub(super) const fn shape(&self) -> &'static str {
        match self {
            Self::Serialization { .. } => "SerializationException",
            Self::Missing { .. } => "MissingRequiredParameterException",
            Self::InvalidValue { .. } => "InvalidParameterValueException",
            Self::Validation { .. } => "ValidationError",
            Self::NotFound { .. } => "ResourceNotFound",
            Self::TooManyAlarms => "LimitExceededFault",
            Self::UnknownOperation { .. } => "UnknownOperationException",
        }
    }

    /// Its name in the query protocol.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "MissingParameter",
            Self::InvalidValue { .. } => "InvalidParameterValue",
            Self::TooManyAlarms => "LimitExceeded",
            other => other.shape(),
        }
    }

    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            _ => 400,
        }
    }
}
