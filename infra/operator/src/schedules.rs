//! `windlass schedules`: how the jobs stand, and running one now.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    clock::Timestamp,
    schedule::{
        Job, JobRecord,
        run_job::{JobRun, Jobs},
        standing::Standing,
    },
};

use crate::{
    cli::Schedules,
    console::Console,
    failure::Failure,
    ports::Ports,
    redacted,
    table::{Table, cut},
};

/// The most characters of an error in a table.
const ERROR_CHARS_MAX: usize = 100;

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &Schedules, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Schedules::List => list(ports, json, console).await,
        Schedules::Run { job, scheduled_for } => {
            let scheduled_for = scheduled_for.unwrap_or_else(|| ports.clock.now());
            run_now(*job, scheduled_for, ports, json, console).await
        }
    }
}

/// A line of the list. How often a run's own schedule fires, only the scheduler knows.
struct Line<'a> {
    name: &'a str,
    every: Option<Duration>,
    record: Option<&'a JobRecord>,
}

impl Line<'_> {
    fn standing(&self, now: Timestamp) -> Standing {
        Standing::of(self.record, self.every.unwrap_or(Duration::MAX / 4), now)
    }
}

async fn list(ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let records = ports.records.list().await?;
    let now = ports.clock.now();
    let of = |name: &str| records.iter().find(|record| record.job == name);
    let mut lines: Vec<Line<'_>> = Job::ALL
        .iter()
        .map(|job| Line { name: job.name(), every: Some(job.every()), record: of(job.name()) })
        .collect();
    let others = records.iter().filter(|record| record.job.parse::<Job>().is_err());
    lines.extend(others.map(|record| Line { name: &record.job, every: None, record: Some(record) }));
    if json {
        let jobs: Vec<Value> = lines.iter().map(|line| line_json(line, now)).collect();
        return Ok(console.json(&json!({ "jobs": jobs }))?);
    }
    let mut table = Table::new(&["JOB", "EVERY", "STANDING", "ENDED", "HANDLED", "DETAIL"]);
    for line in &lines {
        let (word, detail) = words(&line.standing(now));
        let last = line.record.and_then(|record| record.last.as_ref());
        table.row([
            line.name.to_owned(),
            line.every.map_or_else(|| "-".to_owned(), |every| format!("{} s", every.as_secs())),
            word.to_owned(),
            last.map_or_else(|| "-".to_owned(), |last| last.ended.to_string()),
            last.map_or_else(|| "-".to_owned(), |last| last.handled.to_string()),
            detail,
        ]);
    }
    Ok(console.text(table.text(console.paint()))?)
}

fn words(standing: &Standing) -> (&'static str, String) {
    match standing {
        Standing::NeverRan => ("never ran", String::new()),
        Standing::Running { until } => ("running", format!("until {until} at most")),
        Standing::OnTime => ("on time", String::new()),
        Standing::Failed { error } => ("failed", cut(&redacted::text(error), ERROR_CHARS_MAX)),
        Standing::Behind { by } => ("behind", format!("{} s behind with what is left", by.as_secs())),
        Standing::Missed { late } => ("missed", format!("{} s late", late.as_secs())),
    }
}

fn line_json(line: &Line<'_>, now: Timestamp) -> Value {
    let (standing, _) = words(&line.standing(now));
    json!({
        "job": line.name,
        "every_seconds": line.every.map(|every| every.as_secs()),
        "standing": standing.replace(' ', "_"),
        "last": line.record.and_then(|record| record.last.as_ref()),
    })
}

async fn run_now(
    job: Job,
    scheduled_for: Timestamp,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let jobs = Jobs {
        records: ports.records.as_ref(),
        heads: ports.heads.as_ref(),
        wake_ups: ports.wake_ups.as_ref(),
        retention: ports.retention.as_ref(),
        clock: ports.clock.as_ref(),
        random: ports.random.as_ref(),
    };
    let ran = jobs.run(job, scheduled_for).await?;
    if json {
        console.json(&ran)?;
    } else {
        console.line(match &ran {
            JobRun::Ran(run) => format!("{}: handled {}", job.name(), run.handled),
            JobRun::Outlived(run) => {
                format!("{}: handled {}, after somebody else had taken over", job.name(), run.handled)
            }
            JobRun::Locked { until } => format!("{}: somebody else is at it, until {until} at most", job.name()),
            JobRun::Done => format!("{}: done for {scheduled_for} or later", job.name()),
        })?;
    }
    match ran {
        JobRun::Ran(run) | JobRun::Outlived(run) => match run.error {
            Some(error) => Err(Failure::JobFailed { error }),
            None => Ok(()),
        },
        JobRun::Locked { .. } | JobRun::Done => Ok(()),
    }
}
