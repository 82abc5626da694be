//! Secrets by name.

use std::{collections::HashMap, sync::Mutex};

use async_trait::async_trait;
use secrecy::SecretString;

use super::locked;
use crate::secrets::{SecretError, Secrets};

/// Secrets in memory.
#[derive(Default)]
pub struct SecretValues {
    values: Mutex<HashMap<String, SecretString>>,
}

impl SecretValues {
    /// No secrets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a secret.
    pub fn set(&self, name: &str, value: &str) {
        locked(&self.values).insert(name.to_owned(), SecretString::from(value));
    }

    /// Removes a secret.
    pub fn remove(&self, name: &str) {
        locked(&self.values).remove(name);
    }
}

#[async_trait]
impl Secrets for SecretValues {
    async fn get(&self, name: &str) -> Result<SecretString, SecretError> {
        locked(&self.values).get(name).cloned().ok_or_else(|| SecretError::Missing { name: name.to_owned() })
    }

    async fn exists(&self, name: &str) -> Result<(), SecretError> {
        self.get(name).await.map(drop)
    }
}
