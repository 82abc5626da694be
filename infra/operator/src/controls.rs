//! `windlass controls`: what may happen now.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};
use step::refund_desk::{
    ledger::Ledger,
    ledger_in_memory::LedgerInMemory,
    script::TASKS,
    tools::{Drills, tools},
};
use windlass::{
    controls::{
        ControlsError, Document, Initialised, Settings,
        change::{Hand, Made, wake_held},
        names::Names,
        setting::SETTINGS,
    },
    ids::Actor,
    retrieval::SEARCH_SOURCES,
};

use crate::{cli::By, console::Console, failure::Failure, ports::Ports, table::Table};

/// The most versions that one listing shows.
const HISTORY_MAX: u16 = 1_000;

/// `windlass controls`.
#[derive(Debug, Subcommand)]
pub enum Controls {
    /// Show what is not as it is by default
    #[command(after_help = "Examples:\n  windlass controls show\n  windlass controls show --json")]
    Show,
    /// Put version 0 in force after a deployment, or the newest version again if its number was lost; safe to repeat
    #[command(after_help = "Examples:\n  windlass controls init --by olga")]
    Init {
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Change settings, for every function at once; runs that a lifted switch held go on
    #[command(after_help = settings_help())]
    Set {
        /// What to change, each as NAME=VALUE
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Only if this version is in force
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Also names of tools and tasks that this release does not know, such as those of another one or of an MCP server
        #[arg(long)]
        anyway: bool,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// List changes, the newest first, with who and why
    #[command(after_help = "Examples:\n  windlass controls history --limit 50")]
    History {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=i64::from(HISTORY_MAX)))]
        limit: u16,
    },
    /// Put the settings of an earlier version in force again, as a new version; 0 is the default
    #[command(after_help = "Examples:\n  windlass controls revert 7 --why 'the provider is back' --by olga")]
    Revert {
        /// The version
        version: u64,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
}

fn settings_help() -> String {
    let settings: Vec<String> = SETTINGS.iter().map(|(name, takes)| format!("  {name:<20} {takes}")).collect();
    format!(
        "Settings:\n{}\n\nExamples:\n  windlass controls set tool.refund=off --why 'double refunds' --by olga\n  \
         windlass controls set policy=approve new-runs=off --why 'an incident' --by olga\n  \
         windlass controls set flag.letters=25% --why 'a first cohort' --by olga",
        settings.join("\n")
    )
}

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &Controls, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Controls::Show => show(ports.controls.read().await?.as_ref(), json, console),
        Controls::Init { by } => init(&by.by, ports, json, console).await,
        Controls::Set { settings, dry_run: true, anyway, .. } => {
            let before = ports.controls.history(1).await?.pop().ok_or(ControlsError::Missing)?;
            let edited =
                edit(before.settings.clone(), settings).map_err(windlass::controls::change::ChangeError::from)?;
            if !anyway {
                known_names().check(&before.settings, &edited)?;
            }
            differences(&before.settings, &edited, before.version, 0, json, console)
        }
        Controls::Set { settings, why, expect, by, anyway, .. } => {
            let before = ports.controls.history(1).await?.pop().ok_or(ControlsError::Missing)?.settings;
            if let (Ok(edited), false) = (edit(before.clone(), settings), *anyway) {
                known_names().check(&before, &edited)?;
            }
            let made = hand(ports, &by.by, why).change(*expect, |now| edit(now, settings)).await?;
            tell(&made, ports, json, console).await
        }
        Controls::History { limit } => history(usize::from(*limit), ports, json, console).await,
        Controls::Revert { version, why, by } => {
            let made = hand(ports, &by.by, why).revert(*version).await?;
            tell(&made, ports, json, console).await
        }
    }
}

async fn init(by: &Actor, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let (did, version) = match hand(ports, by, "the controls are made").init().await? {
        Initialised::Made => ("made", 0),
        Initialised::Restored { version } => ("restored", version),
        Initialised::There { version } => ("in force already", version),
    };
    match json {
        true => Ok(console.json(&json!({ "version": version, "did": did }))?),
        false => Ok(console.note(format!("version {version}: {did}"))?),
    }
}

/// The names of the release that this command was built with, and of the MCP servers in its environment.
fn known_names() -> Names {
    let ledger: Arc<dyn Ledger> = Arc::new(LedgerInMemory::default());
    let own = tools(&ledger, Drills::Available).unwrap_or_default();
    let own = own.iter().map(|tool| tool.spec().name.to_string());
    let servers = std::env::var("MCP_SERVERS").ok().and_then(|text| serde_json::from_str::<Vec<Value>>(&text).ok());
    let name = |server: Value| server["name"].as_str().map(str::to_owned);
    Names {
        tools: own.chain([SEARCH_SOURCES.to_owned()]).collect(),
        servers: servers.unwrap_or_default().into_iter().filter_map(name).collect(),
        tasks: TASKS.map(str::to_owned).into(),
    }
}

pub(crate) fn edit(now: Settings, typed: &[String]) -> Result<Settings, windlass::controls::setting::InvalidSetting> {
    typed.iter().try_fold(now, |settings, one| settings.set(one))
}

/// Somebody's hand at the controls.
pub(crate) fn hand<'a>(ports: &'a Ports, by: &'a Actor, why: &'a str) -> Hand<'a> {
    Hand { controls: ports.controls.as_ref(), clock: ports.clock.as_ref(), random: ports.random.as_ref(), by, why }
}

/// Says what was changed, and wakes what it may have lifted.
pub(crate) async fn tell(made: &Made, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let woken = match made.may_lift() {
        false => 0,
        // The change holds all the same, and held runs look again by themselves.
        true => match wake_held(ports.heads.as_ref(), ports.wake_ups.as_ref()).await {
            Ok(woken) => woken,
            Err(error) => {
                console.note(format!("held runs were not woken ({error}); they look again within ten minutes"))?;
                0
            }
        },
    };
    differences(&made.before.settings, &made.after.settings, made.after.version, woken, json, console)
}

fn show(document: &Document, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    if json {
        return Ok(console.json(document)?);
    }
    match &document.change {
        None => console.note("never changed: everything is on")?,
        Some(change) => {
            console.note(format!("version {} by {} at {}: {}", document.version, change.by, change.at, change.why))?;
        }
    }
    let mut table = Table::new(&["SETTING", "VALUE"]);
    for (name, value) in document.settings.lines() {
        table.row([name, value]);
    }
    Ok(console.text(table.text(console.paint()))?)
}

fn differences(
    before: &Settings,
    after: &Settings,
    version: u64,
    woken: usize,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let diff = before.diff(after);
    if json {
        let changes: Vec<Value> =
            diff.iter().map(|(name, from, to)| json!({ "setting": name, "from": from, "to": to })).collect();
        return Ok(console.json(&json!({ "version": version, "changes": changes, "runs_woken": woken }))?);
    }
    for (name, from, to) in &diff {
        if let Some(from) = from {
            console.line(format!("- {name}={from}"))?;
        }
        if let Some(to) = to {
            console.line(format!("+ {name}={to}"))?;
        }
    }
    let runs = if woken == 0 { String::new() } else { format!("; {woken} held runs were woken") };
    Ok(console.note(format!("version {version}{runs}"))?)
}

async fn history(limit: usize, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let versions = ports.controls.history(limit + 1).await?;
    if json {
        let shown: Vec<&Document> = versions.iter().take(limit).collect();
        return Ok(console.json(&json!({ "versions": shown, "more": versions.len() > limit }))?);
    }
    let mut table = Table::new(&["VERSION", "AT", "BY", "CHANGED", "WHY"]);
    for (place, document) in versions.iter().enumerate().take(limit) {
        let before = versions.get(place + 1).map(|earlier| earlier.settings.clone()).unwrap_or_default();
        let changed: Vec<String> = before
            .diff(&document.settings)
            .into_iter()
            .map(|(name, _, to)| format!("{name}={}", to.unwrap_or_else(|| "default".to_owned())))
            .collect();
        let (at, by, why) = match &document.change {
            Some(change) => (change.at.to_string(), change.by.to_string(), change.why.clone()),
            None => Default::default(),
        };
        table.row([document.version.to_string(), at, by, changed.join(" "), why]);
    }
    console.text(table.text(console.paint()))?;
    if versions.len() > limit {
        console.note(format!("there are more than {limit}; see --limit"))?;
    }
    Ok(())
}
