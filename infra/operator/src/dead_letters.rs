//! `windlass dead-letters`: list, plan, replay, discard.

use std::{sync::Mutex, time::Duration};

use serde_json::json;
use windlass::{
    clock::Timestamp,
    dead_letter::{
        DeadLetter, ItemStatus, Origin, Plan as ReplayPlan,
        audit::Trail,
        discard::discard,
        group::group,
        keys::Keys,
        list::{RUNS_MAX, list},
        plan::{Forecast, Selection, Would, forecast, make},
        replay::{OutsideMemory, Pace, Replay, Report},
    },
    ids::Actor,
};

use crate::{
    cli::{DeadLetters, Plan},
    console::Console,
    failure::Failure,
    ports::Ports,
    redacted,
    table::{Table, cut},
};

/// What is said of requests that a replay leaves.
const OUTSIDE_MEMORY: &str =
    "left: outside the memory of keys, so that one which was taken on before would be a second run; --again sends them";

/// The most items of a plan of which each is told; of a larger one only how far it is.
const ITEMS_TOLD_MAX: usize = 100;

/// How often that is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The most characters of a cause in a table.
const CAUSE_CHARS_MAX: usize = 100;

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &DeadLetters, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        DeadLetters::List { group, limit } => list_all(*group, usize::from(*limit), ports, json, console).await,
        DeadLetters::Show { key } => show(key, ports, json, console).await,
        DeadLetters::Plan(wanted) => plan(wanted, ports, json, console).await,
        DeadLetters::Replay { plan, rate, failures_max, again, by } => {
            let pace = Pace { per_second: *rate, failures_max: *failures_max, ..Pace::default() };
            let outside_memory = if *again { OutsideMemory::Send } else { OutsideMemory::Leave };
            replay(plan, (pace, outside_memory), &by.by, ports, json, console).await
        }
        DeadLetters::Discard { key, reason, by } => {
            let body = discard(ports.dead_messages.as_ref(), trail(ports, &by.by), key, reason).await?;
            match json {
                true => console.json(&json!({ "discarded": key, "body": redacted::text(&body) }))?,
                false => console.line(format!("discarded {key}; its text is in the audit trail"))?,
            }
            Ok(())
        }
        DeadLetters::Audit { limit } => audit(usize::from(*limit), ports, json, console).await,
    }
}

fn keys(ports: &Ports) -> Keys<'_> {
    Keys {
        requests: ports.requests.as_ref(),
        kept_for: ports.key_kept_for,
        tasks: &ports.tasks,
        clock: ports.clock.as_ref(),
    }
}

fn trail<'a>(ports: &'a Ports, by: &'a Actor) -> Trail<'a> {
    Trail { plans: ports.plans.as_ref(), clock: ports.clock.as_ref(), random: ports.random.as_ref(), by }
}

async fn list_all(
    grouped: bool,
    limit: usize,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let dead = list(ports.dead_messages.as_ref(), ports.heads.as_ref(), keys(ports), limit).await?;
    let groups = group(&dead.letters);
    match (json, grouped) {
        (true, true) => console.json(&json!({ "groups": groups, "more": dead.more }))?,
        (true, false) => {
            let letters: Vec<_> = dead.letters.iter().map(letter_json).collect();
            console.json(&json!({ "dead_letters": letters, "more": dead.more }))?;
        }
        (false, _) if dead.letters.is_empty() => console.note("no dead letters")?,
        (false, true) => {
            let mut table = Table::new(&["FINGERPRINT", "COUNT", "REPLAYABLE", "NEWEST", "EXAMPLE", "CAUSE"]);
            for group in groups {
                table.row([
                    group.fingerprint,
                    group.count.to_string(),
                    group.replayable.to_string(),
                    group.newest.to_string(),
                    group.example,
                    cut(&group.cause, CAUSE_CHARS_MAX),
                ]);
            }
            console.text(table.text(console.paint()))?;
        }
        (false, false) => {
            let mut table = Table::new(&["KEY", "AT", "FINGERPRINT", "REPLAYABLE", "CAUSE"]);
            for letter in &dead.letters {
                table.row([
                    letter.origin.key(),
                    letter.at.to_string(),
                    letter.fingerprint.clone(),
                    if letter.replayable { "yes" } else { "no" }.to_owned(),
                    cut(&letter.cause, CAUSE_CHARS_MAX),
                ]);
            }
            console.text(table.text(console.paint()))?;
        }
    }
    if dead.more && !json {
        console.note("there may be more than is listed; see --limit")?;
    }
    Ok(())
}

fn letter_json(letter: &DeadLetter) -> serde_json::Value {
    let mut shown = json!(letter);
    shown["key"] = json!(letter.origin.key());
    shown
}

async fn show(key: &str, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let dead = list(ports.dead_messages.as_ref(), ports.heads.as_ref(), keys(ports), RUNS_MAX).await?;
    let found = dead.letters.iter().find(|letter| letter.origin.key() == key);
    let letter = found.ok_or_else(|| Failure::MissingLetter { key: key.to_owned() })?;
    if json {
        return Ok(console.json(&letter_json(letter))?);
    }
    let mut table = Table::new(&[]);
    table.row(["key", key]);
    table.row(["cause", letter.cause.as_str()]);
    table.row(["fingerprint", letter.fingerprint.as_str()]);
    table.row(["at", letter.at.to_string().as_str()]);
    table.row(["replayable", if letter.replayable { "yes" } else { "no" }]);
    match &letter.origin {
        Origin::Message { body, receive_count, .. } => {
            table.row(["received", receive_count.to_string().as_str()]);
            table.row(["body", body.as_str()]);
        }
        Origin::Run { release, .. } => table.row(["release", release.as_str()]),
    }
    Ok(console.text(table.text(console.paint()))?)
}

async fn plan(wanted: &Plan, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let selection = match &wanted.fingerprint {
        Some(fingerprint) => Selection::Fingerprint(fingerprint.clone()),
        None if wanted.all => Selection::All,
        None => Selection::Keys(wanted.keys.iter().cloned().collect()),
    };
    let dead = list(ports.dead_messages.as_ref(), ports.heads.as_ref(), keys(ports), RUNS_MAX).await?;
    let forecasts = forecast(&dead.letters, &selection)?;
    let made = match wanted.dry_run {
        true => None,
        false => {
            let reason = wanted.reason.as_deref().unwrap_or_default();
            Some(make(trail(ports, &wanted.by.by), &forecasts, reason).await?)
        }
    };
    if json {
        return Ok(console.json(&json!({ "plan": made.as_ref().map(|plan| &plan.id), "forecast": forecasts }))?);
    }
    if !forecasts.is_empty() {
        console.text(forecast_table(&forecasts).text(console.paint()))?;
    }
    Ok(console.note(planned_words(&forecasts, made.as_ref()))?)
}

fn forecast_table(forecasts: &[Forecast]) -> Table {
    let mut table = Table::new(&["KEY", "WOULD", "CAUSE"]);
    for forecast in forecasts {
        let would = match forecast.would {
            Would::ReviveRun => "revive the run",
            Would::SendAgain => "send again",
            Would::StartAgain => "start again, only with --again: outside the memory of keys",
            Would::LeaveForeign => "leave: foreign",
            Would::LeaveUnreadable => "leave: unreadable",
        };
        table.row([forecast.key.as_str(), would, &cut(&forecast.cause, CAUSE_CHARS_MAX)]);
    }
    table
}

fn planned_words(forecasts: &[Forecast], made: Option<&ReplayPlan>) -> String {
    let acts = forecasts.iter().filter(|forecast| forecast.would.acts()).count();
    match made {
        None => format!("dry run: {acts} of {} would be replayed; nothing was written", forecasts.len()),
        Some(plan) => format!(
            "plan {} of {} items; replay it with `windlass dead-letters replay {}`",
            plan.id,
            plan.items.len(),
            plan.id
        ),
    }
}

/// How far the replay of a large plan is.
struct Progress {
    items: usize,
    begun: usize,
    recovered: usize,
    failed: usize,
    told: Timestamp,
}

impl Progress {
    const fn of(items: usize, now: Timestamp) -> Progress {
        Progress { items, begun: 0, recovered: 0, failed: 0, told: now }
    }

    const fn count(&mut self, status: &ItemStatus) {
        match status {
            ItemStatus::Pending => {}
            ItemStatus::Replayed { .. } => self.begun += 1,
            ItemStatus::Recovered => self.recovered += 1,
            ItemStatus::Failed { .. } => self.failed += 1,
        }
    }

    /// What to say now, if it is time to.
    fn due(&mut self, now: Timestamp) -> Option<String> {
        if now.since(self.told) < PROGRESS_EVERY {
            return None;
        }
        self.told = now;
        let Progress { items, begun, recovered, failed, .. } = self;
        Some(format!("{begun} of {items} replayed, {recovered} recovered, {failed} failed"))
    }
}

async fn replay(
    plan: &str,
    (pace, outside_memory): (Pace, OutsideMemory),
    by: &Actor,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let items = ports.plans.plan(plan).await?.map_or(0, |plan| plan.items.len());
    let shared = Mutex::new((console, Progress::of(items, ports.clock.now())));
    let observe = |key: &str, status: &ItemStatus| {
        let Ok(mut shared) = shared.lock() else { return };
        let (console, progress) = &mut *shared;
        let now = ports.clock.now();
        // Progress that cannot be written does not stop a replay.
        if items > ITEMS_TOLD_MAX {
            progress.count(status);
            let _ = progress.due(now).map(|words| console.note(format!("{now}  {words}")));
        } else if !json {
            let _ = console.note(format!("{now}  {key}  {}", status_words(status)));
        }
    };
    let replay = Replay {
        trail: trail(ports, by),
        messages: ports.dead_messages.as_ref(),
        wake_ups: ports.wake_ups.as_ref(),
        journal: ports.journal.as_ref(),
        heads: ports.heads.as_ref(),
        keys: keys(ports),
        outside_memory,
        release: &ports.release,
        observe: &observe,
    };
    let report = replay.replay(plan, pace).await?;
    let (console, _) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match json {
        true => console.json(&report)?,
        false => console.text(report_table(&report).text(console.paint()))?,
    }
    if report.outside_memory > 0 && !json {
        console.note(format!("{} {OUTSIDE_MEMORY}", report.outside_memory))?;
    }
    match report.stopped {
        Some(why) => Err(Failure::Stopped { why }),
        None => Ok(()),
    }
}

fn report_table(report: &Report) -> Table {
    let mut table = Table::new(&[]);
    for (name, count) in [
        ("replayed now", report.acted_on),
        ("recovered", report.recovered),
        ("failed", report.failed),
        ("undecided", report.undecided),
        ("pending", report.pending),
    ] {
        table.row([name.to_owned(), count.to_string()]);
    }
    table
}

fn status_words(status: &ItemStatus) -> String {
    match status {
        ItemStatus::Pending => "pending".to_owned(),
        ItemStatus::Replayed { .. } => "replayed".to_owned(),
        ItemStatus::Recovered => "recovered".to_owned(),
        ItemStatus::Failed { message } => format!("failed: {}", redacted::text(message)),
    }
}

async fn audit(limit: usize, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut records = ports.plans.audit_trail(limit).await?;
    // Reasons were typed by people, and a discarded message is quoted.
    records.iter_mut().for_each(|record| record.detail = redacted::text(&record.detail));
    if json {
        return Ok(console.json(&json!({ "audit": records }))?);
    }
    let mut table = Table::new(&["AT", "BY", "PRINCIPAL", "ACTION", "SUBJECT", "DETAIL"]);
    for record in records {
        let (at, by) = (record.at.to_string(), record.by.to_string());
        let principal = record.principal.unwrap_or_else(|| "-".to_owned());
        table.row([at, by, principal, record.action, record.subject, cut(&record.detail, CAUSE_CHARS_MAX)]);
    }
    match table.is_empty() {
        true => console.note("no audit records")?,
        false => console.text(table.text(console.paint()))?,
    }
    Ok(())
}
