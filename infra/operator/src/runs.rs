//! `windlass runs`: list, cancel, follow.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    ids::{Actor, RunId},
    journal::{Head, HeadStatus, JournalError},
    redaction::Redactions,
    run::{
        cancel::{Cancellation, cancel},
        entry::{Entry, Seq},
        outside::InterjectError,
    },
};

use crate::{
    cli::Runs, compare, console::Console, failure::Failure, journal_lines, ports::Ports, redacted, run_view, trace,
};

mod listing;

/// How often a run is looked at while it is watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &Runs, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Runs::List(wanted) => listing::list(wanted, ports, json, console).await,
        Runs::Show { run } => run_view::show(*run, ports, json, console).await,
        Runs::Cancel { run, reason, by } => cancel_run(*run, reason, &by.by, ports, json, console).await,
        Runs::Trace { run, events } => trace::show(*run, events, ports, json, console).await,
        Runs::Compare { before, after, events } => compare::show(before, after, events, json, console),
        Runs::Watch { run, seconds } => watch(*run, *seconds, ports, json, console).await,
    }
}

/// A head for machines.
pub(crate) fn head_json(head: &Head, cause: Option<&str>) -> Value {
    let fingerprint = match &head.status {
        HeadStatus::Dead { fingerprint, .. } => Some(fingerprint),
        _ => None,
    };
    json!({
        "run": head.run,
        "status": head.status.word(),
        "over": head.status.is_over(),
        "cause": cause,
        "fingerprint": fingerprint,
        "tenant": head.tenant,
        "actor": head.actor,
        "task": redacted::text(&head.task),
        "release": head.release,
        "created": head.created,
        "due": head.due,
        "ready_from": head.ready_from,
        "claims": head.epoch,
        "strikes": head.strikes,
        "interjections": head.interjections,
        "leased_until": head.lease.as_ref().map(|lease| lease.until),
        "expires": head.expires,
    })
}

async fn cancel_run(
    run: RunId,
    reason: &str,
    by: &Actor,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let cancelled = cancel(&ports.outside(), run, by, Some(reason)).await.map_err(|error| match error {
        InterjectError::Journal(JournalError::Missing { run }) => Failure::MissingRun { run },
        other => other.into(),
    })?;
    let (word, detail) = match &cancelled {
        Cancellation::Requested => ("requested", "it undoes what it did and ends".to_owned()),
        Cancellation::AlreadyEnding { reason } => ("already_ending", journal_lines::stop_words(reason)),
        Cancellation::AlreadyOver { reason } => ("already_over", journal_lines::stop_words(reason)),
    };
    match json {
        true => console.json(&json!({ "run": run, "cancellation": word, "detail": detail }))?,
        false => console.line(format!("{run}: cancellation {}: {detail}", word.replace('_', " ")))?,
    }
    Ok(())
}

async fn watch(run: RunId, seconds: u64, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let give_up_at = ports.clock.now() + Duration::from_secs(seconds);
    let mut next: Seq = 1;
    let redactions = Redactions::default();
    let mut shown = redactions.in_order();
    loop {
        // The head first: what it says is over has its last entry in the journal.
        let head = ports.heads.head(run).await?.ok_or(Failure::MissingRun { run })?;
        for entry in ports.journal.load(run, next).await? {
            let entry = serde_json::from_value(shown.entry(&entry))?;
            write_entry(next, &entry, json, console)?;
            next += 1;
        }
        if head.status.is_over() {
            return Ok(());
        }
        let now = ports.clock.now();
        if now >= give_up_at {
            return Err(Failure::NotEnded { run, seconds });
        }
        ports.clock.sleep_until((now + LOOK_EVERY).min(give_up_at)).await;
    }
}

fn write_entry(seq: Seq, entry: &Entry, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    if json {
        return Ok(console.json_line(&run_view::entry_json(seq, entry))?);
    }
    let [seq, at, writer, events] = journal_lines::cells(seq, entry);
    Ok(console.line(format!("{seq:<4}  {at}  {writer:<9}  {events}"))?)
}
