//! `windlass runs compare`: two releases side by side, from the events that were told of their runs.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use serde_json::json;
use windlass::{
    ids::Release,
    telemetry::event::{Body, TelemetryEvent},
};

use crate::{
    console::Console,
    failure::Failure,
    table::Table,
    trace::{Told, read},
};

/// What is known of one release.
#[derive(Debug, Default, Serialize)]
struct Side {
    runs_accepted: u64,
    runs_ended: BTreeMap<String, u64>,
    run_ms: Percentiles,
    model_ms: Percentiles,
    tool_ms: Percentiles,
    input_tokens: u64,
    output_tokens: u64,
    cost_micro_usd: u64,
    tools: BTreeMap<String, u64>,
    policy: BTreeMap<String, u64>,
    approvals: BTreeMap<String, u64>,
    evals: BTreeMap<String, u64>,
}

/// Values, of which percentiles are told.
#[derive(Debug, Default)]
struct Percentiles(Vec<u64>);

impl Percentiles {
    /// The smallest value that so many of a hundred do not exceed.
    fn at(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.max(1) - 1).copied()
    }

    fn words(&self) -> String {
        match (self.at(50), self.at(95), self.at(99)) {
            (Some(p50), Some(p95), Some(p99)) => format!("{p50} / {p95} / {p99}"),
            _ => "-".to_owned(),
        }
    }
}

impl Serialize for Percentiles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (count, [p50, p95, p99]) = (self.0.len(), [50, 95, 99].map(|percent| self.at(percent)));
        json!({ "count": count, "p50": p50, "p95": p95, "p99": p99 }).serialize(serializer)
    }
}

impl Side {
    fn of<'e>(events: impl Iterator<Item = &'e TelemetryEvent>) -> Side {
        let mut side = Side::default();
        events.for_each(|event| side.add(&event.body));
        side
    }

    fn add(&mut self, body: &Body) {
        fn count(counts: &mut BTreeMap<String, u64>, word: &str) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        match body {
            Body::Run(run) => {
                self.runs_accepted += u64::from(run.status == "accepted");
                if let Some(outcome) = &run.outcome {
                    count(&mut self.runs_ended, outcome);
                }
                self.run_ms.0.extend(run.totals.map(|totals| totals.duration_ms));
            }
            Body::Model(model) => {
                self.input_tokens = self.input_tokens.saturating_add(model.input_tokens);
                self.output_tokens = self.output_tokens.saturating_add(model.output_tokens);
                self.cost_micro_usd = self.cost_micro_usd.saturating_add(model.cost_micro_usd);
                self.model_ms.0.extend(model.duration_ms);
            }
            Body::Tool(tool) if matches!(tool.status.as_str(), "attempted" | "undoing") => {}
            Body::Tool(tool) => {
                count(&mut self.tools, &format!("{} {}", tool.tool, tool.status));
                self.tool_ms.0.extend(tool.duration_ms);
            }
            Body::Policy(policy) => count(&mut self.policy, &policy.decision),
            Body::Approval(approval) => count(&mut self.approvals, &approval.result),
            Body::Eval(eval) => count(&mut self.evals, if eval.passed { "passed" } else { "failed" }),
            Body::Retrieval(_) | Body::Memory(_) => {}
        }
    }

    /// The mean cost of a run that ended, in US dollars.
    fn usd_per_run(&self) -> String {
        match self.runs_ended.values().sum::<u64>() {
            0 => "-".to_owned(),
            ended => format!("{:.6}", self.cost_micro_usd as f64 / 1e6 / ended as f64),
        }
    }
}

/// Shows two releases.
pub(crate) fn show(
    before: &Release,
    after: &Release,
    files: &[PathBuf],
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let is_of = |event: &TelemetryEvent, release: &Release| event.envelope.release == *release;
    let Told { mut events, lines } = read(files, |event| is_of(event, before) || is_of(event, after))?;
    // The same line may have been collected twice.
    events.sort_by_key(|event| (event.envelope.run_id, event.envelope.seq, event.envelope.index));
    events.dedup_by_key(|event| (event.envelope.run_id, event.envelope.seq, event.envelope.index));
    let side = |release: &Release| match events.iter().any(|event| is_of(event, release)) {
        true => Ok(Side::of(events.iter().filter(|event| is_of(event, release)))),
        false => Err(Failure::NoEvents { of: format!("release `{release}`"), lines }),
    };
    let sides = [side(before)?, side(after)?];
    if json {
        let of = |release: &Release, side: &Side| json!({ "release": release, "told": side });
        return Ok(console.json(&json!([of(before, &sides[0]), of(after, &sides[1])]))?);
    }
    let mut table = Table::new(&["WHAT", "BEFORE", "AFTER"]);
    table.row(["release".to_owned(), before.to_string(), after.to_string()]);
    let mut row = |name: &str, of: &dyn Fn(&Side) -> String| {
        table.row([name.to_owned(), of(&sides[0]), of(&sides[1])]);
    };
    row("runs accepted", &|side| side.runs_accepted.to_string());
    counted(&mut row, &sides, "runs", |side| &side.runs_ended);
    row("run, p50 / p95 / p99 ms", &|side| side.run_ms.words());
    row("model, p50 / p95 / p99 ms", &|side| side.model_ms.words());
    row("tool, p50 / p95 / p99 ms", &|side| side.tool_ms.words());
    row("tokens in", &|side| side.input_tokens.to_string());
    row("tokens out", &|side| side.output_tokens.to_string());
    row("USD per run", &Side::usd_per_run);
    counted(&mut row, &sides, "tool", |side| &side.tools);
    counted(&mut row, &sides, "policy", |side| &side.policy);
    counted(&mut row, &sides, "approval", |side| &side.approvals);
    counted(&mut row, &sides, "eval", |side| &side.evals);
    Ok(console.text(table.text(console.paint()))?)
}

/// One row for each word that either side counted.
fn counted(
    row: &mut impl FnMut(&str, &dyn Fn(&Side) -> String),
    sides: &[Side; 2],
    what: &str,
    counts: fn(&Side) -> &BTreeMap<String, u64>,
) {
    let words: std::collections::BTreeSet<&String> = sides.iter().flat_map(|side| counts(side).keys()).collect();
    for word in words {
        row(&format!("{what} {word}"), &|side| counts(side).get(word).copied().unwrap_or(0).to_string());
    }
}
