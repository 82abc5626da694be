//! Scheduled jobs: one at a time, once per scheduled time, with a record of the last run.
//!
//! Approvals have no job of their own. A run that waits for a person is due when its first question expires, so the sweep
//! that wakes due runs ([`rescue`]) wakes it then, and the step function records the expiry.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, retry::Retry};

pub mod rescue;
pub mod retention;
pub mod run_job;
pub mod standing;

/// A job of the cleanup function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Wake the runs that are due: crashed, forgotten, timed, and those with a question that nobody answered in time.
    RescueRuns,
    /// Delete what has outlived its retention.
    EnforceRetention,
}

impl Job {
    /// Every job.
    pub const ALL: [Job; 2] = [Job::RescueRuns, Job::EnforceRetention];

    /// The job's name, as in events and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Job::RescueRuns => "rescue-runs",
            Job::EnforceRetention => "enforce-retention",
        }
    }

    /// How often it runs.
    pub const fn every(self) -> Duration {
        match self {
            Job::RescueRuns => Duration::from_secs(60),
            Job::EnforceRetention => Duration::from_secs(3600),
        }
    }
}

/// The text does not name a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a job; the jobs are {}", Job::ALL.map(Job::name).join(", "))]
pub struct UnknownJob {
    name: String,
}

impl FromStr for Job {
    type Err = UnknownJob;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Job::ALL.into_iter().find(|job| job.name() == name);
        found.ok_or_else(|| UnknownJob { name: name.chars().take(64).collect() })
    }
}

/// The last run of a job and the lock on the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job's name.
    pub job: String,
    /// Who is at it, and until when at most.
    pub lock: Option<JobLock>,
    /// The last run that ended.
    pub last: Option<LastRun>,
}

/// Who is at a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLock {
    /// A mark that nobody else has.
    pub owner: String,
    /// Until when at most.
    pub until: Timestamp,
}

/// A job's last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The time it was scheduled for.
    pub scheduled_for: Timestamp,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How many things it dealt with.
    pub handled: u64,
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// For how many seconds the first thing that it left undone had been waiting; `None` when nothing was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_seconds: Option<u64>,
    /// The cursor where the next run goes on, if something was left undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What came of beginning a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobBegun {
    /// The caller is to do it.
    Started {
        /// The cursor at which the last run stopped, if it left something undone.
        stopped_at: Option<String>,
    },
    /// Somebody else is at it.
    Locked {
        /// Until when at most.
        until: Timestamp,
    },
    /// It has been done for this scheduled time or a later one.
    Done,
}

/// The records' store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It could not be reached or throttles.
    #[error("the schedule records are unavailable: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
    },
    /// It refuses, or a record cannot be read.
    #[error("the schedule records: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl ScheduleError {
    /// Whether asking again may help.
    pub const fn retry(&self) -> Retry {
        match self {
            ScheduleError::Unavailable { .. } => Retry::SOON,
            ScheduleError::Refused { .. } => Retry::Terminal,
        }
    }
}

/// Where job records are kept.
#[async_trait]
pub trait JobRecords: Send + Sync {
    /// Locks a job for its run at `scheduled_for`. A repeat by the same owner whose first answer was lost starts again.
    ///
    /// ```text
    /// A: update job IF (unlocked or lock over) AND last.scheduled_for < 10:01 ── started
    /// B: the same                                                              ── locked until …
    /// A: finish IF owner = a ── written
    /// B: the same (a repeated delivery)                                        ── done
    /// ```
    async fn begin(
        &self,
        job: &str,
        scheduled_for: Timestamp,
        lock: &JobLock,
        now: Timestamp,
    ) -> Result<JobBegun, ScheduleError>;

    /// Records a run's end and unlocks; false when `owner` lost the lock. A run that failed keeps `last.scheduled_for` as it was
    /// before (1970 when there was none), so that the same scheduled time can be tried again.
    async fn finish(&self, job: &str, owner: &str, run: &LastRun) -> Result<bool, ScheduleError>;

    /// Every job's record.
    async fn list(&self) -> Result<Vec<JobRecord>, ScheduleError>;
}

#[cfg(test)]
mod tests;
