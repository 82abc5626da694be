//! Secrets Manager, from the `rustack-secretsmanager` crates, kept in a file when the stack has a data directory.
//!
//! The crate keeps secrets in memory only and exports nothing, so after each change all of them are read through its
//! own operations and written to one file. Kept are the names, descriptions, tags and every version that has a stage; a
//! secret that is scheduled for deletion is gone after a restart, and the random end of an ARN changes.

use std::{path::PathBuf, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Response},
};
use rustack_secretsmanager_core::{
    config::SecretsManagerConfig, handler::RustackSecretsManagerHandler, provider::RustackSecretsManager,
};
use rustack_secretsmanager_http::{
    dispatch::SecretsManagerHandler as _, response::error_to_response, router::resolve_operation,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{data_directory, identifier, meter::Counts, spec::SecretSpec};

/// Operations that change nothing; all others are followed by a save.
const READS: [&str; 8] = [
    "GetSecretValue",
    "BatchGetSecretValue",
    "DescribeSecret",
    "ListSecrets",
    "ListSecretVersionIds",
    "GetRandomPassword",
    "GetResourcePolicy",
    "ValidateResourcePolicy",
];

/// Secrets in one page of `ListSecrets`.
const PAGE: usize = 100;

/// Pages read at most, so 100,000 secrets.
const PAGES_MAX: usize = 1_000;

/// Secrets could not be kept or restored.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file could not be read or written.
    #[error("cannot access the secrets file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold secrets.
    #[error("cannot read the secrets in {path}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Secrets Manager refused an operation.
    #[error("secrets manager refused `{operation}`: {message}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// Its answer.
        message: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedSecret {
    /// Fields of `CreateSecret` but the value.
    create: Value,
    /// `PutSecretValue` requests, the current version last.
    versions: Vec<Value>,
}

/// The secrets of one stack.
pub(crate) struct Secrets {
    provider: Arc<RustackSecretsManager>,
    handler: RustackSecretsManagerHandler,
    counts: Arc<Counts>,
    /// Held from a change until it is saved, so that saves never go back in time.
    file: Mutex<Option<PathBuf>>,
}

impl Secrets {
    /// Restores what `file` holds, if it exists.
    pub(crate) fn open(
        region: &str,
        account: &str,
        file: Option<PathBuf>,
        counts: Arc<Counts>,
    ) -> Result<Self, SecretsError> {
        let provider = Arc::new(RustackSecretsManager::new(SecretsManagerConfig {
            skip_signature_validation: true,
            default_region: region.to_owned(),
            default_account_id: account.to_owned(),
        }));
        let saved = match &file {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        for secret in saved {
            create(&provider, secret.create)?;
            for version in secret.versions {
                let input = input("PutSecretValue", version)?;
                provider.handle_put_secret_value(input).map_err(|error| refused("PutSecretValue", &error))?;
            }
        }
        Ok(Self {
            handler: RustackSecretsManagerHandler::new(Arc::clone(&provider)),
            provider,
            counts,
            file: Mutex::new(file),
        })
    }

    /// Creates a secret unless there is one of that name.
    pub(crate) async fn ensure(&self, secret: &SecretSpec) -> Result<(), SecretsError> {
        let file = self.file.lock().await;
        let input = input("DescribeSecret", json!({ "SecretId": secret.name }))?;
        if self.provider.handle_describe_secret(&input).is_ok() {
            return Ok(());
        }
        create(&self.provider, json!({ "Name": secret.name, "SecretString": secret.value }))?;
        self.save(file.as_ref())
    }

    /// Answers one request; `operation` is what follows `secretsmanager.` in `X-Amz-Target`, which `headers` hold.
    pub(crate) async fn answer(&self, operation: &str, headers: &HeaderMap, body: Bytes) -> Response<Body> {
        let result = match resolve_operation(headers) {
            Ok(known) => {
                self.counts.request(&format!("SecretsManager.{operation}"));
                if READS.contains(&operation) {
                    self.handler.handle_operation(known, body).await
                } else {
                    let file = self.file.lock().await;
                    let result = self.handler.handle_operation(known, body).await;
                    if result.is_ok()
                        && let Err(error) = self.save(file.as_ref())
                    {
                        tracing::error!(%error, "a change of a secret will not survive a restart");
                    }
                    result
                }
            }
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| error_to_response(&error, &identifier::uuid())).map(Body::new)
    }

    fn save(&self, file: Option<&PathBuf>) -> Result<(), SecretsError> {
        let Some(path) = file else { return Ok(()) };
        let saved = self.export()?;
        let json =
            serde_json::to_vec(&saved).map_err(|source| SecretsError::Malformed { path: path.clone(), source })?;
        data_directory::write_private(path, &json).map_err(|source| SecretsError::File { path: path.clone(), source })
    }

    fn export(&self) -> Result<Vec<SavedSecret>, SecretsError> {
        let mut saved = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = input("ListSecrets", json!({ "MaxResults": PAGE, "NextToken": token }))?;
            let listed = self.provider.handle_list_secrets(&page).map_err(|error| refused("ListSecrets", &error))?;
            for secret in &listed.secret_list {
                let Some(name) = &secret.name else { continue };
                saved.push(SavedSecret {
                    create: json!({
                        "Name": name,
                        "Description": secret.description,
                        "KmsKeyId": secret.kms_key_id,
                        "Tags": secret.tags,
                    }),
                    versions: self.export_versions(name)?,
                });
            }
            token = listed.next_token;
            if token.is_none() {
                break;
            }
        }
        Ok(saved)
    }

    fn export_versions(&self, name: &str) -> Result<Vec<Value>, SecretsError> {
        let listed = self
            .provider
            .handle_list_secret_version_ids(&input(
                "ListSecretVersionIds",
                json!({ "SecretId": name, "MaxResults": PAGE }),
            )?)
            .map_err(|error| refused("ListSecretVersionIds", &error))?;
        let mut versions = Vec::with_capacity(listed.versions.len());
        for version in listed.versions {
            let get = input("GetSecretValue", json!({ "SecretId": name, "VersionId": version.version_id }))?;
            let held =
                self.provider.handle_get_secret_value(&get).map_err(|error| refused("GetSecretValue", &error))?;
            let binary =
                held.secret_binary.map(|bytes| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes));
            let current = version.version_stages.iter().any(|stage| stage == "AWSCURRENT");
            let put = json!({
                "SecretId": name,
                "ClientRequestToken": version.version_id,
                "SecretString": held.secret_string,
                "SecretBinary": binary,
                "VersionStages": version.version_stages,
            });
            versions.push((current, put));
        }
        // Making a version current would relabel the one that was; so that one must not exist yet.
        versions.sort_by_key(|(current, _)| *current);
        Ok(versions.into_iter().map(|(_, put)| put).collect())
    }
}

fn create(provider: &RustackSecretsManager, request: Value) -> Result<(), SecretsError> {
    let input = input("CreateSecret", request)?;
    provider.handle_create_secret(input).map(|_| ()).map_err(|error| refused("CreateSecret", &error))
}

/// Requests are written as JSON because the crate that holds their types is not a dependency.
fn input<T: serde::de::DeserializeOwned>(operation: &'static str, request: Value) -> Result<T, SecretsError> {
    serde_json::from_value(request).map_err(|error| SecretsError::Refused { operation, message: error.to_string() })
}

fn refused(operation: &'static str, error: &impl std::fmt::Display) -> SecretsError {
    SecretsError::Refused { operation, message: error.to_string() }
}

fn read(path: &PathBuf) -> Result<Vec<SavedSecret>, SecretsError> {
    match std::fs::read(path) {
        Ok(json) => {
            serde_json::from_slice(&json).map_err(|source| SecretsError::Malformed { path: path.clone(), source })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SecretsError::File { path: path.clone(), source }),
    }
}
