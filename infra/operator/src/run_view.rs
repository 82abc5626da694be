//! `windlass runs show`: everything about one run.

use serde_json::{Value, json};
use windlass::{
    ids::RunId,
    journal::{Head, HeadStatus},
    run::{
        entry::{Entry, Seq},
        outside::History,
        state::{Call, Phase, RunState},
    },
};

use crate::{console::Console, failure::Failure, journal_lines, ports::Ports, redacted, runs::head_json, table::Table};

/// Shows one run. One whose journal cannot be read is shown as far as its head tells, and the command fails.
pub(crate) async fn show(run: RunId, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let head = ports.heads.head(run).await?.ok_or(Failure::MissingRun { run })?;
    let history = History::load(ports.journal.as_ref(), run).await.map_err(Failure::from).and_then(redacted::history);
    if json {
        console.json(&run_json(&head, history.as_ref().ok()))?;
    } else {
        console.text(head_table(&head, history.as_ref().ok()).text(console.paint()))?;
        if let Ok(history) = &history {
            for table in [calls_table(&history.state), journal_table(&history.entries)] {
                if !table.is_empty() {
                    console.line("")?;
                    console.text(table.text(console.paint()))?;
                }
            }
        }
    }
    history.map(|_| ())
}

fn head_table(head: &Head, history: Option<&History>) -> Table {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("run", head.run.to_string());
    row("status", head.status.word().to_owned());
    if let Some(cause) = cause(head, history) {
        row("cause", cause);
    }
    row("tenant", head.tenant.to_string());
    row("actor", head.actor.to_string());
    row("task", redacted::text(&head.task));
    row("release", head.release.to_string());
    row("created", head.created.to_string());
    if let Some(due) = head.due {
        row("due", due.to_string());
    }
    if let Some(lease) = &head.lease {
        row("leased until", lease.until.to_string());
    }
    row("claims", format!("{}, {} since it was last left in order", head.epoch, head.strikes));
    if let Some(History { state, .. }) = history {
        let used = &state.totals;
        row("used", format!("{} steps, {} tokens, {}", used.steps, used.tokens, cost(state)));
        row("trace", state.trace.to_string());
        if let Phase::Finished(outcome) = &state.phase {
            row("ended", format!("{}: {}", outcome.at, journal_lines::stop_words(&outcome.reason)));
            row("answer", outcome.response.to_string());
        }
        for call in state.left() {
            row("left", journal_lines::left(call));
        }
    }
    table
}

/// Why a run is as it is: what its journal says, else its head.
fn cause(head: &Head, history: Option<&History>) -> Option<String> {
    let said = match &head.status {
        HeadStatus::Dead { cause, .. } => Some(cause),
        HeadStatus::Unreadable { problem } | HeadStatus::Held { reason: problem } => Some(problem),
        HeadStatus::Ready | HeadStatus::Waiting | HeadStatus::AwaitingApproval | HeadStatus::Finished { .. } => None,
    };
    let told = history.and_then(|history| history.state.cause());
    said.cloned().or(told).map(|cause| redacted::text(&cause))
}

/// What a run has cost, as far as that is known.
fn cost(state: &RunState) -> String {
    let dollars = state.totals.cost_micro_usd as f64 / 1e6;
    let unpriced: Vec<String> = state.unpriced.iter().map(|model| format!("`{model}`")).collect();
    match (unpriced.is_empty(), state.totals.cost_micro_usd) {
        (true, _) => format!("{dollars:.6} USD"),
        (false, 0) => format!("cost unknown (no price for {})", unpriced.join(", ")),
        (false, _) => format!("{dollars:.6} USD and what is unknown (no price for {})", unpriced.join(", ")),
    }
}

fn calls_table(state: &RunState) -> Table {
    // Messages are rare, and a column of them is wide.
    let with_messages = state.calls.iter().any(|call| call.message().is_some());
    let heads = ["CALL", "TOOL", "STATUS", "EFFECT", "ATTEMPTS", "ARGUMENTS", "MESSAGE"];
    let heads = if with_messages { &heads[..] } else { &heads[..heads.len() - 1] };
    let mut table = Table::new(heads);
    for call in &state.calls {
        let cells = [
            call.id.to_string(),
            call.tool.to_string(),
            call.status.word().to_owned(),
            effect(call),
            call.attempts.to_string(),
            call.arguments.to_string(),
            call.message().unwrap_or_default().to_owned(),
        ];
        table.row(cells.into_iter().take(heads.len()));
    }
    table
}

/// What repeating a call does is known once it was attempted.
fn effect(call: &Call) -> String {
    match call.attempts {
        0 => "-".to_owned(),
        _ => format!("{:?}", call.effect).to_lowercase(),
    }
}

fn journal_table(entries: &[Entry]) -> Table {
    let mut table = Table::new(&["SEQ", "AT", "WRITER", "WHAT HAPPENED"]);
    for (seq, entry) in (1..).zip(entries) {
        table.row(journal_lines::cells(seq, entry));
    }
    table
}

fn run_json(head: &Head, history: Option<&History>) -> Value {
    let mut shown = head_json(head, cause(head, history).as_deref());
    if let Some(History { entries, state }) = history {
        let calls: Vec<Value> = state.calls.iter().map(call_json).collect();
        let used = &state.totals;
        shown["totals"] = json!({ "steps": used.steps, "tokens": used.tokens, "cost_micro_usd": used.cost_micro_usd,
            "no_price_for": state.unpriced });
        shown["trace"] = json!(state.trace);
        shown["calls"] = Value::Array(calls);
        shown["journal"] = (1..).zip(entries).map(|(seq, entry)| entry_json(seq, entry)).collect();
        if let Phase::Finished(outcome) = &state.phase {
            shown["outcome"] = json!({ "reason": outcome.reason, "response": outcome.response, "at": outcome.at,
                "standing": outcome.standing, "in_doubt": outcome.in_doubt });
        }
    }
    shown
}

fn call_json(call: &Call) -> Value {
    json!({ "call": call.id, "tool": call.tool, "status": call.status.word(),
        "effect": (call.attempts > 0).then_some(call.effect), "attempts": call.attempts, "arguments": call.arguments,
        "message": call.message() })
}

/// An entry for machines.
pub(crate) fn entry_json(seq: Seq, entry: &Entry) -> Value {
    json!({ "seq": seq, "at": entry.at, "writer": entry.writer, "release": entry.release, "events": entry.events })
}
