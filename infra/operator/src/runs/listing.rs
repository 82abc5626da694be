//! `windlass runs list`.

use std::{cmp::Reverse, collections::BTreeSet};

use futures::future::join_all;
use serde_json::{Value, json};
use windlass::{
    clock::Timestamp,
    ids::RunId,
    journal::{DUE_SHARDS, Found, Head, HeadStatus, KEYS_MAX, Listing, Reach, Search, Whose},
    run::snapshot::recall,
};

use super::head_json;
use crate::{
    cli::{ListRuns, Since},
    console::Console,
    failure::Failure,
    journal_lines,
    ports::Ports,
    redacted,
    table::{Table, cut},
};

/// The most characters of a cause in a table; `runs show` and `--json` have it whole.
const CAUSE_CHARS_MAX: usize = 160;

/// How many journals are read at once for what heads do not say.
const JOURNALS_AT_ONCE: usize = 8;

/// What was listed.
struct Listed {
    heads: Vec<Head>,
    /// Where the next page starts.
    next: Option<RunId>,
    /// Whether there may be more without a page of their own.
    more: bool,
    reach: Reach,
}

pub(super) async fn list(
    wanted: &ListRuns,
    ports: &Ports,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let limit = usize::from(wanted.limit);
    let Listed { heads, next, more, reach } = listed(wanted, limit, ports).await?;
    let mut causes = Vec::with_capacity(heads.len());
    for some in heads.chunks(JOURNALS_AT_ONCE) {
        causes.extend(join_all(some.iter().map(|head| cause(head, ports))).await);
    }
    if reach == Reach::Part {
        console.note(format!(
            "only {KEYS_MAX} runs were looked at, newer ones may be missing: give --tenant and --actor"
        ))?;
    }
    if json {
        let runs: Vec<Value> =
            heads.iter().zip(&causes).map(|(head, cause)| head_json(head, cause.as_deref())).collect();
        return Ok(console.json(&json!({ "runs": runs, "more": more || next.is_some(), "next": next }))?);
    }
    let mut table = Table::new(&["RUN", "STATUS", "TENANT", "ACTOR", "TASK", "CREATED", "DUE", "CLAIMS", "CAUSE"]);
    for (head, cause) in heads.iter().zip(&causes) {
        table.row([
            head.run.to_string(),
            head.status.word().to_owned(),
            head.tenant.to_string(),
            head.actor.to_string(),
            redacted::text(&head.task),
            head.created.to_string(),
            head.due.map_or_else(|| "-".to_owned(), |due| due.to_string()),
            head.epoch.to_string(),
            cut(cause.as_deref().unwrap_or_default(), CAUSE_CHARS_MAX),
        ]);
    }
    match table.is_empty() {
        true => console.note("no runs")?,
        false => console.text(table.text(console.paint()))?,
    }
    match next {
        Some(next) => console.note(format!("there may be more: --before {next}"))?,
        None if more => console.note(format!("there may be more than {limit}; see --limit"))?,
        None => {}
    }
    Ok(())
}

async fn listed(wanted: &ListRuns, limit: usize, ports: &Ports) -> Result<Listed, Failure> {
    if wanted.held {
        let heads = held(ports, limit).await?;
        return Ok(Listed { more: heads.len() >= limit, heads, next: None, reach: Reach::All });
    }
    let inbox = match (&wanted.tenant, wanted.awaiting, wanted.troubled) {
        (Some(tenant), true, _) => Some(Listing::AwaitingApproval { tenant: tenant.clone() }),
        (_, _, true) => Some(Listing::Troubled),
        _ => None,
    };
    if let Some(inbox) = inbox {
        let heads = ports.heads.list(&inbox, limit).await?;
        return Ok(Listed { more: heads.len() >= limit, heads, next: None, reach: Reach::All });
    }
    let whose = match (&wanted.tenant, &wanted.actor) {
        (None, _) => Whose::Everybody,
        (Some(tenant), None) => Whose::Tenant(tenant.clone()),
        (Some(tenant), Some(actor)) => Whose::Actor { tenant: tenant.clone(), actor: actor.clone() },
    };
    let statuses: BTreeSet<String> = wanted.statuses.iter().cloned().collect();
    let since = wanted.since.map(|since| since_when(since, ports.clock.now()));
    let search = Search { whose, since, before: wanted.before, statuses };
    let Found { heads, next, reach } = ports.search.search(&search, limit).await?;
    Ok(Listed { heads, next, more: false, reach })
}

/// What is held, of every part of the listing, the newest first.
async fn held(ports: &Ports, limit: usize) -> Result<Vec<Head>, Failure> {
    let mut heads = Vec::new();
    for shard in 0..DUE_SHARDS {
        heads.extend(ports.heads.list(&Listing::Held { shard }, limit).await?);
    }
    heads.sort_by_key(|head| Reverse(head.run));
    heads.truncate(limit);
    Ok(heads)
}

fn since_when(since: Since, now: Timestamp) -> Timestamp {
    match since {
        Since::At(at) => at,
        Since::Ago(span) => now - span,
    }
}

/// Why a run is as it is: what its head says, else what its journal does.
async fn cause(head: &Head, ports: &Ports) -> Option<String> {
    match &head.status {
        HeadStatus::Dead { cause: said, .. }
        | HeadStatus::Unreadable { problem: said }
        | HeadStatus::Held { reason: said } => Some(redacted::text(said)),
        HeadStatus::AwaitingApproval => None,
        HeadStatus::Finished { outcome } if outcome == "completed" => None,
        HeadStatus::Ready | HeadStatus::Waiting | HeadStatus::Finished { .. } => {
            let state = match recall(ports.journal.as_ref(), head.run).await {
                Ok(state) => state,
                Err(error) => return Some(format!("the journal: {}", redacted::text(&error.to_string()))),
            };
            let left: Vec<String> = state.left().map(journal_lines::left).collect();
            let causes: Vec<String> = state.cause().into_iter().chain(left).collect();
            (!causes.is_empty()).then(|| redacted::text(&causes.join("; ")))
        }
    }
}
