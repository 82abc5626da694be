//! `windlass runs trace`: one run, rebuilt from the events that were told of it.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass::{
    clock::Timestamp,
    ids::RunId,
    redaction::Redactions,
    telemetry::{
        Narrative, Narrator,
        event::{Authorization, Body, TelemetryEvent},
    },
};

use crate::{
    console::Console,
    failure::Failure,
    ports::Ports,
    table::{Table, cut},
};

/// The most characters of arguments in a line.
const ARGUMENT_CHARS_MAX: usize = 80;

/// What was told, and how many lines it was found in.
pub(crate) struct Told {
    pub(crate) events: Vec<TelemetryEvent>,
    pub(crate) lines: usize,
}

/// Shows one run.
pub(crate) async fn show(
    run: RunId,
    files: &[PathBuf],
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let events = if files.is_empty() { from_journal(run, ports).await? } else { from_files(run, files)? };
    if json {
        return Ok(events.iter().try_for_each(|event| console.json_line(event))?);
    }
    let [first, ..] = events.as_slice() else { return Ok(()) };
    let envelope = &first.envelope;
    let mut head = Table::new(&[]);
    for (name, value) in [
        ("run", envelope.run_id.to_string()),
        ("trace", envelope.trace_id.to_string()),
        ("tenant", envelope.tenant.to_string()),
        ("environment", envelope.environment.clone()),
        ("release", releases(&events)),
    ] {
        head.row([name.to_owned(), value]);
    }
    console.text(head.text(console.paint()))?;
    console.line("")?;
    console.text(table(&events, envelope.at).text(console.paint()))?;
    Ok(())
}

async fn from_journal(run: RunId, ports: &Ports) -> Result<Vec<TelemetryEvent>, Failure> {
    let entries = ports.journal.load(run, 1).await?;
    if entries.is_empty() {
        return Err(Failure::MissingRun { run });
    }
    // A journal does not say where its functions ran.
    let narrator = Narrator { environment: "unknown", redactions: Arc::new(Redactions::default()) };
    Ok(Narrative::tell_all(run, &entries, &narrator))
}

fn from_files(run: RunId, files: &[PathBuf]) -> Result<Vec<TelemetryEvent>, Failure> {
    let Told { mut events, lines } = read(files, |event| event.envelope.run_id == run)?;
    if events.is_empty() {
        return Err(Failure::NoEvents { of: format!("run `{run}`"), lines });
    }
    events.sort_by_key(|event| (event.envelope.seq, event.envelope.index));
    // The same line may have been collected twice.
    events.dedup_by_key(|event| (event.envelope.seq, event.envelope.index));
    Ok(events)
}

/// The wanted events of these files; other lines are passed over.
pub(crate) fn read(files: &[PathBuf], wanted: impl Fn(&TelemetryEvent) -> bool) -> Result<Told, Failure> {
    let mut told = Told { events: Vec::new(), lines: 0 };
    for file in files {
        let failed = |source| Failure::Events { file: file.display().to_string(), source };
        let input: Box<dyn Read> = match file == Path::new("-") {
            true => Box::new(std::io::stdin()),
            false => Box::new(std::fs::File::open(file).map_err(failed)?),
        };
        for line in BufReader::new(input).split(b'\n') {
            let line = line.map_err(failed)?;
            told.lines += 1;
            told.events.extend(TelemetryEvent::parse(&String::from_utf8_lossy(&line)).filter(&wanted));
        }
    }
    Ok(told)
}

fn releases(events: &[TelemetryEvent]) -> String {
    let mut releases: Vec<String> = events.iter().map(|event| event.envelope.release.to_string()).collect();
    releases.dedup();
    releases.join(", then ")
}

fn table(events: &[TelemetryEvent], began: Timestamp) -> Table {
    let mut table = Table::new(&["SEQ", "AFTER", "EVENT", "STATUS", "TOOK", "WHAT"]);
    for event in events {
        let (kind, status, took, what) = cells(&event.body);
        table.row([
            event.envelope.seq.to_string(),
            format!("{} ms", event.envelope.at.since(began).as_millis()),
            kind.to_owned(),
            status,
            took.map_or_else(|| "-".to_owned(), |took| format!("{took} ms")),
            what,
        ]);
    }
    table
}

/// Kind, status, how long it took, and the rest in words.
fn cells(body: &Body) -> (&'static str, String, Option<u64>, String) {
    match body {
        Body::Run(run) => {
            let why = run.reason.iter().filter(|reason| Some(*reason) != run.outcome.as_ref()).cloned();
            let totals = run.totals.map(|used| format!("{} steps, {} tokens", used.steps, used.tokens));
            let who = (run.status == "accepted").then(|| format!("`{}` of {}", run.task, run.actor));
            let what: Vec<String> = who.into_iter().chain(why).chain(totals).collect();
            let status = run.outcome.as_ref().unwrap_or(&run.status).clone();
            ("run", status, run.totals.map(|used| used.duration_ms), what.join(", "))
        }
        Body::Model(model) => {
            let tokens = format!("{} in, {} out", model.input_tokens, model.output_tokens);
            let what = format!("{}, prompt {}, {tokens}", model.model, model.prompt_version);
            ("model", model.output_status.clone(), model.duration_ms, what)
        }
        Body::Tool(tool) => {
            let arguments = cut(&tool.arguments.to_string(), ARGUMENT_CHARS_MAX);
            let by = match &tool.authorization {
                Authorization::None => "nobody".to_owned(),
                Authorization::Policy { version } => format!("policy {version}"),
                Authorization::Approval { id } => format!("approval {id}"),
            };
            let again = if tool.retry_count > 0 { format!(", retry {}", tool.retry_count) } else { String::new() };
            let what = format!("{} {arguments} (call {}, by {by}{again})", tool.tool, tool.call);
            let said = tool.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            ("tool", tool.status.clone(), tool.duration_ms, what + &said)
        }
        Body::Retrieval(found) => ("retrieval", found.access_decision.clone(), None, found.source_ids.join(", ")),
        Body::Memory(memory) => {
            let what = format!("{} read, {} written", memory.read_ids.len(), memory.write_ids.len());
            ("memory", memory.retention_class.clone(), None, what)
        }
        Body::Policy(policy) => {
            let what = format!("{} (call {}) by {}: {}", policy.tool, policy.call, policy.reason_code, policy.reason);
            ("policy", policy.decision.clone(), None, what)
        }
        Body::Approval(approval) => {
            let arguments = cut(&approval.action.arguments.to_string(), ARGUMENT_CHARS_MAX);
            let by = approval.decided_by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
            let what = format!("{} {arguments} for `{}`{by}", approval.action.tool, approval.approver_role);
            ("approval", approval.result.clone(), approval.waited_ms, what)
        }
        Body::Eval(eval) => {
            let status = if eval.passed { "passed" } else { "failed" };
            ("eval", status.to_owned(), None, format!("{}: {}", eval.case_id, eval.score))
        }
    }
}
