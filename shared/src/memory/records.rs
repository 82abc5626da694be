//! Idempotency records.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::Timestamp,
    idempotency::{Begun, IdempotencyRecords, Key, PayloadHash, RecordError, Turn},
    ids::RunId,
    journal::{JournalError, NewRun, Recorded},
};

/// Idempotency records in memory. Clones share them.
#[derive(Clone, Default)]
pub struct Records {
    records: Arc<Mutex<HashMap<String, Record>>>,
}

pub(super) struct Record {
    owner: String,
    validation: PayloadHash,
    pub(super) expires: Timestamp,
    stage: Stage,
}

enum Stage {
    InProgress { until: Timestamp },
    Completed { data: String },
    Accepted { run: RunId },
}

impl Records {
    /// No records yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        locked(&self.records)
    }
}

impl Record {
    pub(super) fn accepted(new: &NewRun) -> Record {
        Record {
            owner: new.run.to_string(),
            validation: new.payload_hash.clone(),
            expires: new.key_expires,
            stage: Stage::Accepted { run: new.run },
        }
    }

    /// Whether it counts as absent.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        let out_of_time = matches!(self.stage, Stage::InProgress { until } if until < now);
        self.expires.has_expired(now) || out_of_time
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.has_expired(now)
    }

    pub(super) fn recorded(&self, key: &Key, hash: &PayloadHash) -> Result<Recorded, JournalError> {
        match &self.stage {
            _ if self.validation != *hash => Ok(Recorded::Mismatch),
            Stage::InProgress { .. } => Ok(Recorded::InProgress),
            Stage::Accepted { run } => Ok(Recorded::As { run: *run }),
            Stage::Completed { .. } => {
                let message = format!("idempotency record `{}` names no run", key.as_str());
                Err(JournalError::Refused { message })
            }
        }
    }

    fn begun(&self, hash: &PayloadHash, owner: &str) -> Begun {
        match &self.stage {
            _ if self.validation != *hash => Begun::Mismatch,
            Stage::InProgress { .. } if self.owner == owner => Begun::Started,
            Stage::InProgress { until } => Begun::InProgress { until: *until },
            Stage::Completed { data } => Begun::Completed { data: data.clone() },
            Stage::Accepted { run } => Begun::Completed { data: format!(r#"{{"run_id":"{run}"}}"#) },
        }
    }
}

#[async_trait]
impl IdempotencyRecords for Records {
    async fn begin(&self, key: &Key, hash: &PayloadHash, turn: &Turn) -> Result<Begun, RecordError> {
        let mut records = self.lock();
        if let Some(record) = records.get(key.as_str()).filter(|record| !record.is_free(turn.now)) {
            return Ok(record.begun(hash, &turn.owner));
        }
        let record = Record {
            owner: turn.owner.clone(),
            validation: hash.clone(),
            expires: turn.expires,
            stage: Stage::InProgress { until: turn.in_progress_until },
        };
        records.insert(key.as_str().to_owned(), record);
        Ok(Begun::Started)
    }

    async fn complete(&self, key: &Key, owner: &str, data: &str, expires: Timestamp) -> Result<bool, RecordError> {
        let mut records = self.lock();
        let Some(record) = records.get_mut(key.as_str()).filter(|record| record.owner == owner) else {
            return Ok(false);
        };
        match &record.stage {
            Stage::InProgress { .. } => {}
            Stage::Completed { data: recorded } if recorded == data => {}
            Stage::Completed { .. } | Stage::Accepted { .. } => return Ok(false),
        }
        record.stage = Stage::Completed { data: data.to_owned() };
        record.expires = expires;
        Ok(true)
    }

    async fn release(&self, key: &Key, owner: &str) -> Result<bool, RecordError> {
        let mut records = self.lock();
        let owned = |record: &&Record| record.owner == owner && matches!(record.stage, Stage::InProgress { .. });
        let held = records.get(key.as_str()).is_some_and(|record| owned(&record));
        if held {
            records.remove(key.as_str());
        }
        Ok(held)
    }
}
