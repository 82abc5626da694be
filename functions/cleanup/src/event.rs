//! What a schedule says: which job, and for when.

use serde::Deserialize;
use serde_json::Value;
use windlass::{
    clock::{InvalidTimestamp, Timestamp},
    idempotency::{InvalidKey, check_client_key},
    queue::Message,
    run::request::{InvalidRequest, RunRequest, Source},
    schedule::{Job, UnknownJob},
};

/// The job that starts a run.
pub const START_RUN: &str = "start-run";

/// The most characters of a schedule's name
/// (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>).
pub const SCHEDULE_CHARS_MAX: usize = 64;

/// One firing of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// What it is for.
    pub task: Task,
    /// The time it was scheduled for.
    pub scheduled_for: Timestamp,
}

/// What a schedule is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// A job of the kit.
    Job(Job),
    /// Starting a run.
    StartRun {
        /// The schedule's name.
        schedule: String,
        /// The message that starts it.
        message: Box<Message>,
    },
}

/// The event is not a firing.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEvent {
    /// It has not the shape of one.
    #[error("the event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// There is no such job.
    #[error("the event's `job`: {0}, {START_RUN}")]
    Job(#[from] UnknownJob),
    /// The time is not one.
    #[error("the event's `scheduled_for`: {0}")]
    ScheduledFor(#[from] InvalidTimestamp),
    /// The schedule's name is not one.
    #[error("the event's `schedule` must be 1 to {SCHEDULE_CHARS_MAX} of A-Z a-z 0-9 . _ -")]
    Schedule,
    /// A job of the kit with what only a run needs, or the other way round.
    #[error("the event: `{job}` {problem}")]
    Fields {
        /// The job.
        job: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The idempotency key that follows from the event is not one.
    #[error("the event's idempotency key: {0}")]
    Key(#[from] InvalidKey),
    /// The request is not acceptable.
    #[error("the event's `request`: {0}")]
    Request(#[from] InvalidRequest),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    job: String,
    scheduled_for: String,
    schedule: Option<String>,
    request: Option<RunRequest>,
}

impl Firing {
    /// Reads an event.
    ///
    /// # Errors
    /// What makes it not a firing.
    pub fn read(event: Value) -> Result<Firing, InvalidEvent> {
        let Event { job, scheduled_for, schedule, request } = serde_json::from_value(event)?;
        let scheduled_for: Timestamp = scheduled_for.parse()?;
        let fields = |problem| InvalidEvent::Fields { job: job.clone(), problem };
        let task = match (job.as_str(), schedule, request) {
            (START_RUN, Some(schedule), Some(request)) => start_run(schedule, scheduled_for, request)?,
            (START_RUN, _, _) => return Err(fields("needs `schedule` and `request`")),
            (name, None, None) => Task::Job(name.parse()?),
            (name, _, _) => {
                name.parse::<Job>()?;
                return Err(fields("takes neither `schedule` nor `request`"));
            }
        };
        Ok(Firing { task, scheduled_for })
    }
}

/// The key is the schedule and the time in its one canonical form, so that a firing delivered twice starts one run.
fn start_run(schedule: String, scheduled_for: Timestamp, request: RunRequest) -> Result<Task, InvalidEvent> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if schedule.is_empty() || schedule.len() > SCHEDULE_CHARS_MAX || !schedule.chars().all(allowed) {
        return Err(InvalidEvent::Schedule);
    }
    request.check_unproven()?;
    request.check()?;
    let idempotency_key = format!("{schedule}/{scheduled_for}");
    check_client_key(&idempotency_key)?;
    let message = Box::new(Message::Start { idempotency_key, source: Source::Schedule, request });
    Ok(Task::StartRun { schedule, message })
}
