//! One run of a job: locked, once per scheduled time, within the time of its lock, and recorded.

use std::time::Duration;

use serde::Serialize;

use super::{
    Job, JobBegun, JobLock, JobRecords, LastRun, ScheduleError, rescue, retention,
    retention::{Place, Retention},
};
use crate::{
    clock::{self, CLOCK_SKEW_MAX, Clock, Timestamp},
    ids::Random,
    journal::Heads,
    queue::WakeUps,
};

/// How long a job may take. The function's timeout (29 s) is no longer, so that a lock that is over has no owner at work; and well below
/// the minute after which the sweep comes again, so that one that died does not keep the next from running as well.
pub const LOCK_FOR: Duration = Duration::from_secs(30);

/// What came of a job's work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worked {
    /// How many things it dealt with.
    pub handled: u64,
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// For how long what is left has been waiting, if anything is left.
    pub behind: Option<Duration>,
    /// The cursor where the next run goes on, if it does not begin anew.
    pub next: Option<String>,
}

/// What came of asking for a job's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum JobRun {
    /// It ran; whether well is in the record.
    Ran(LastRun),
    /// It ran, but so late that somebody else has taken the job over; the record is theirs.
    Outlived(LastRun),
    /// Somebody else is at it.
    Locked {
        /// Until when at most.
        until: Timestamp,
    },
    /// It has been done for this scheduled time or a later one.
    Done,
}

/// A job was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Running it would keep every job until then from running.
    #[error("the job is scheduled for {scheduled_for}, which has not come yet")]
    InTheFuture {
        /// The time.
        scheduled_for: Timestamp,
    },
    /// Its record could not be read or written.
    #[error(transparent)]
    Records(#[from] ScheduleError),
}

/// What the jobs need.
pub struct Jobs<'a> {
    /// Locks and last runs.
    pub records: &'a dyn JobRecords,
    /// Where due runs are found.
    pub heads: &'a dyn Heads,
    /// How they are woken.
    pub wake_ups: &'a dyn WakeUps,
    /// Where expired items are found.
    pub retention: &'a dyn Retention,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For lock owners.
    pub random: &'a dyn Random,
}

impl Jobs<'_> {
    /// Runs `job` for `scheduled_for`.
    ///
    /// # Errors
    /// When it could not be locked or its end not be recorded.
    pub async fn run(&self, job: Job, scheduled_for: Timestamp) -> Result<JobRun, JobError> {
        let work = |stopped_at: Option<String>| async move {
            match job {
                Job::RescueRuns => {
                    let Jobs { heads, wake_ups, random, clock, .. } = *self;
                    let sweep = rescue::Sweeper { heads, wake_ups, random, clock }.sweep().await;
                    Worked { handled: sweep.woken, error: sweep.problem(), behind: sweep.behind, next: None }
                }
                Job::EnforceRetention => {
                    let place = stopped_at.as_deref().and_then(Place::parse);
                    let enforced = retention::enforce(self.retention, self.clock, scheduled_for, place).await;
                    Worked {
                        handled: enforced.deleted,
                        error: enforced.error.map(|error| error.to_string()),
                        behind: enforced.behind,
                        next: enforced.next.map(|place| place.cursor()),
                    }
                }
            }
        };
        run_job(self.records, self.clock, self.random, job.name(), scheduled_for, work).await
    }
}

/// Does `work`, which is told where the last run stopped, as the run of `job` for `scheduled_for`, unless it is done or somebody else is at it.
///
/// # Errors
/// When the job could not be locked or its end not be recorded; in the latter case the lock ends by itself.
pub async fn run_job<F: Future<Output = Worked>>(
    records: &dyn JobRecords,
    clock: &dyn Clock,
    random: &dyn Random,
    job: &str,
    scheduled_for: Timestamp,
    work: impl FnOnce(Option<String>) -> F,
) -> Result<JobRun, JobError> {
    let started = clock.now();
    if scheduled_for > started + CLOCK_SKEW_MAX {
        return Err(JobError::InTheFuture { scheduled_for });
    }
    let lock = JobLock { owner: format!("{:032x}", random.bits()), until: started + LOCK_FOR };
    let stopped_at = match records.begin(job, scheduled_for, &lock, started).await? {
        JobBegun::Started { stopped_at } => stopped_at,
        JobBegun::Locked { until } => return Ok(JobRun::Locked { until }),
        JobBegun::Done => return Ok(JobRun::Done),
    };
    let worked = clock::before(clock, lock.until, work(stopped_at)).await.unwrap_or_else(|| Worked {
        error: Some(format!("not done within {} s", LOCK_FOR.as_secs())),
        ..Worked::default()
    });
    let Worked { handled, error, behind, next } = worked;
    let behind_seconds = behind.map(|span| span.as_secs());
    let run = LastRun { scheduled_for, started, ended: clock.now(), handled, error, behind_seconds, next };
    Ok(match records.finish(job, &lock.owner, &run).await? {
        true => JobRun::Ran(run),
        false => JobRun::Outlived(run),
    })
}
