//! Secrets in Secrets Manager.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use secrecy::SecretString;

use super::errors::Fault;
use crate::secrets::{SecretError, Secrets};

/// The stage of the version that is in force
/// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>).
const CURRENT: &str = "AWSCURRENT";

/// Secrets in Secrets Manager, by name or ARN; the current version of each.
#[derive(Clone)]
pub struct SecretsManager {
    client: Client,
}

impl SecretsManager {
    /// Secrets that this client can read.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Secrets for SecretsManager {
    async fn get(&self, name: &str) -> Result<SecretString, SecretError> {
        let owned = || name.to_owned();
        match self.client.get_secret_value().secret_id(name).send().await {
            Ok(answer) => answer
                .secret_string
                .map(SecretString::from)
                .ok_or_else(|| SecretError::Malformed { name: owned(), problem: "it is binary, not text".to_owned() }),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
                Err(SecretError::Missing { name: owned() })
            }
            Err(error) => Err(match Fault::of("GetSecretValue", &error) {
                Fault::Unavailable(message) => SecretError::Unavailable { name: owned(), message },
                Fault::Refused(message) => SecretError::Refused { name: owned(), message },
            }),
        }
    }

    async fn exists(&self, name: &str) -> Result<(), SecretError> {
        let missing = || SecretError::Missing { name: name.to_owned() };
        match self.client.describe_secret().secret_id(name).send().await {
            Ok(found) => {
                let mut stages = found.version_ids_to_stages.iter().flatten().flat_map(|(_, stages)| stages);
                let has_text = stages.any(|stage| stage == CURRENT) && found.deleted_date.is_none();
                has_text.then_some(()).ok_or_else(missing)
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
                Err(missing())
            }
            Err(error) => Err(match Fault::of("DescribeSecret", &error) {
                Fault::Unavailable(message) => SecretError::Unavailable { name: name.to_owned(), message },
                Fault::Refused(message) => SecretError::Refused { name: name.to_owned(), message },
            }),
        }
    }
}
