//! Records of scheduled jobs.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::Timestamp,
    schedule::{JobBegun, JobLock, JobRecord, JobRecords, LastRun, ScheduleError},
};

/// Job records in memory.
#[derive(Default)]
pub struct Jobs {
    records: Mutex<BTreeMap<String, JobRecord>>,
}

impl Jobs {
    /// No records yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl JobRecords for Jobs {
    async fn begin(
        &self,
        job: &str,
        scheduled_for: Timestamp,
        lock: &JobLock,
        now: Timestamp,
    ) -> Result<JobBegun, ScheduleError> {
        let mut records = locked(&self.records);
        let unseen = || JobRecord { job: job.to_owned(), lock: None, last: None };
        let record = records.entry(job.to_owned()).or_insert_with(unseen);
        if record.last.as_ref().is_some_and(|last| last.scheduled_for >= scheduled_for) {
            return Ok(JobBegun::Done);
        }
        match &record.lock {
            Some(held) if held.until > now && held.owner != lock.owner => Ok(JobBegun::Locked { until: held.until }),
            _ => {
                record.lock = Some(lock.clone());
                Ok(JobBegun::Started { stopped_at: record.last.as_ref().and_then(|last| last.next.clone()) })
            }
        }
    }

    async fn finish(&self, job: &str, owner: &str, run: &LastRun) -> Result<bool, ScheduleError> {
        let mut records = locked(&self.records);
        let locked_by_owner = |record: &&mut JobRecord| record.lock.as_ref().is_some_and(|lock| lock.owner == owner);
        let Some(record) = records.get_mut(job).filter(locked_by_owner) else { return Ok(false) };
        let done_until = record.last.as_ref().map(|last| last.scheduled_for).unwrap_or_default();
        let scheduled_for = if run.error.is_some() { done_until } else { run.scheduled_for };
        record.last = Some(LastRun { scheduled_for, ..run.clone() });
        record.lock = None;
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<JobRecord>, ScheduleError> {
        Ok(locked(&self.records).values().cloned().collect())
    }
}
