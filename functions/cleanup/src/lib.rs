//! The cleanup function: the jobs of the kit, and runs that start on a schedule.
//!
//! | event | does |
//! |---|---|
//! | `{"job": "rescue-runs", "scheduled_for": "…"}` | wakes due runs, those with expired approvals among them |
//! | `{"job": "enforce-retention", "scheduled_for": "…"}` | deletes what is long expired |
//! | `{"job": "start-run", "schedule": "…", "scheduled_for": "…", "request": {…}}` | starts a run, once |
//!
//! A job that fails fails the invocation, so that the scheduler tries again and alarms count it. One that is done, or that
//! somebody else is at, does not.
#![deny(missing_docs)]

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use windlass::{
    clock::{Clock, Timestamp},
    ids::Random,
    journal::Heads,
    queue::{Message, Share, WakeUps},
    schedule::{
        JobRecords, LastRun,
        retention::Retention,
        run_job::{JobError, JobRun, Jobs, Worked, run_job},
    },
};

pub mod event;

use event::{Firing, InvalidEvent, START_RUN, Task};

/// What the function works with.
pub struct Cleanup {
    /// Locks and last runs.
    pub records: Arc<dyn JobRecords>,
    /// Where due runs are found.
    pub heads: Arc<dyn Heads>,
    /// Where wake-ups and requests are sent.
    pub wake_ups: Arc<dyn WakeUps>,
    /// Where expired items are found.
    pub retention: Arc<dyn Retention>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For lock owners.
    pub random: Arc<dyn Random>,
}

/// An invocation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The event is not a firing of a schedule.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// The job was not run, or its end not recorded.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The job ran and failed.
    #[error("the job failed after {handled}: {error}")]
    Failed {
        /// How many things it dealt with.
        handled: u64,
        /// What went wrong.
        error: String,
    },
}

impl CleanupError {
    /// The error's name, as Lambda reports it.
    pub const fn kind(&self) -> &'static str {
        match self {
            CleanupError::Event(_) => "InvalidEvent",
            CleanupError::Job(_) => "JobNotRun",
            CleanupError::Failed { .. } => "JobFailed",
        }
    }
}

impl Cleanup {
    /// Handles one event.
    ///
    /// # Errors
    /// When the event is malformed, or the job could not be run to its end.
    pub async fn handle(&self, event: Value) -> Result<JobRun, CleanupError> {
        let firing = Firing::read(event)?;
        let scheduled_for = firing.scheduled_for;
        let (name, ran) = match firing.task {
            Task::Job(job) => (job.name().to_owned(), self.jobs().run(job, scheduled_for).await?),
            Task::StartRun { schedule, message } => {
                let name = format!("{START_RUN}/{schedule}");
                let ran = self.start(&name, scheduled_for, &message).await?;
                (name, ran)
            }
        };
        report(&name, &ran);
        match ran {
            JobRun::Ran(LastRun { handled, error: Some(error), .. })
            | JobRun::Outlived(LastRun { handled, error: Some(error), .. }) => {
                Err(CleanupError::Failed { handled, error })
            }
            ran => Ok(ran),
        }
    }

    fn jobs(&self) -> Jobs<'_> {
        Jobs {
            records: self.records.as_ref(),
            heads: self.heads.as_ref(),
            wake_ups: self.wake_ups.as_ref(),
            retention: self.retention.as_ref(),
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
        }
    }

    async fn start(&self, name: &str, scheduled_for: Timestamp, message: &Message) -> Result<JobRun, JobError> {
        let send = |_: Option<String>| async {
            match self.wake_ups.send(message, &share(message), Duration::ZERO).await {
                Ok(()) => Worked { handled: 1, ..Worked::default() },
                Err(error) => Worked { error: Some(error.to_string()), ..Worked::default() },
            }
        };
        run_job(self.records.as_ref(), self.clock.as_ref(), self.random.as_ref(), name, scheduled_for, send).await
    }
}

/// In whose share of the queue a request waits.
fn share(message: &Message) -> Share {
    match message {
        Message::Start { request, .. } => Share::Of(request.tenant.clone()),
        Message::WakeUp { .. } => Share::Nobodys,
    }
}

fn report(job: &str, ran: &JobRun) {
    match ran {
        // The metrics of `infra/template.yaml` are read from this line.
        JobRun::Ran(run) => {
            let behind_seconds = run.behind_seconds.unwrap_or(0);
            let more = run.next.is_some();
            tracing::info!(job, handled = run.handled, more, behind_seconds, error = run.error, "ran");
        }
        JobRun::Outlived(run) => tracing::warn!(job, handled = run.handled, "ran for longer than its lock"),
        JobRun::Locked { until } => tracing::info!(job, %until, "somebody else is at it"),
        JobRun::Done => tracing::info!(job, "done before"),
    }
}

#[cfg(test)]
mod tests;
