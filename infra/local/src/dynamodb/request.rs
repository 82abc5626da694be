//! Decoding a request into dynoxide's types, and its refusals into DynamoDB's errors.

use dynoxide::DynoxideError;
use serde::de::DeserializeOwned;

/// The markers with which dynoxide's decoders name the class of a refusal.
const VALIDATION: &str = "VALIDATION:";
const VALIDATION_AS_READ: &str = "VALIDATION_AS_READ:";
const VALIDATION_REQUEST: &str = "VALIDATION_REQUEST:";
const SERIALIZATION: &str = "SERIALIZATION:";
const SERIALIZATION_AS_READ: &str = "SERIALIZATION_AS_READ:";

/// Decodes a request body.
pub(super) fn decode<T: DeserializeOwned>(operation: &str, body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| refusal(operation, &error.to_string()))
}

fn refusal(operation: &str, message: &str) -> DynoxideError {
    if let Some(rest) = message.strip_prefix(VALIDATION_REQUEST) {
        let rest = without_position(rest);
        return DynoxideError::ValidationException(match operation {
            "PutItem" | "UpdateItem" | "DeleteItem" => format!("1 validation error detected: {rest}"),
            _ => rest.to_owned(),
        });
    }
    if let Some(rest) = message.strip_prefix(VALIDATION).or_else(|| message.strip_prefix(VALIDATION_AS_READ)) {
        return DynoxideError::ValidationException(without_position(rest).to_owned());
    }
    if let Some(rest) = message.strip_prefix(SERIALIZATION).or_else(|| message.strip_prefix(SERIALIZATION_AS_READ)) {
        return DynoxideError::SerializationException(without_position(rest).to_owned());
    }
    let message = without_position(message);
    let names_a_value = ["missing field", "unknown variant", "invalid type: null", "AttributeValue"];
    if names_a_value.iter().any(|part| message.contains(part)) {
        DynoxideError::ValidationException(message.to_owned())
    } else {
        DynoxideError::SerializationException(message.to_owned())
    }
}

/// serde_json ends its messages with ` at line 1 column 42`.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}

#[cfg(test)]
mod tests {
    use dynoxide::actions::put_item::PutItemRequest;

    use super::*;

    fn refused(body: &str) -> DynoxideError {
        decode::<PutItemRequest>("PutItem", body.as_bytes()).expect_err("refused")
    }

    #[test]
    fn a_request_without_an_item_is_a_validation_error_without_markers() {
        let error = refused(r#"{"TableName":"runs"}"#);
        assert!(matches!(error, DynoxideError::ValidationException(_)), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("'item'"), "{message}");
        assert!(!message.contains("VALIDATION") && !message.contains("line 1"), "{message}");
    }

    #[test]
    fn a_body_that_is_not_json_is_a_serialization_error() {
        assert!(matches!(refused("{"), DynoxideError::SerializationException(_)));
    }
}
