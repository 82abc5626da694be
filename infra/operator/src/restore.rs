//! `windlass restore`: holds the runs of before a restore until an operator releases them (`docs/restore.md`).

use std::time::Duration;

use clap::Subcommand;
use windlass::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    ids::RunId,
    queue::Sleeper,
};

use crate::{
    cli::By,
    console::Console,
    controls::{edit, hand, tell},
    failure::Failure,
    ports::Ports,
};

/// `windlass restore`.
#[derive(Debug, Subcommand)]
pub enum Restore {
    /// Hold every run that was accepted until now, before the functions work on restored tables
    #[command(after_help = "\
A held run asks no model, makes no call and undoes nothing. `windlass runs list --held` lists each once its time comes.

Examples:
  windlass restore begin --why 'runs restored to 09:40' --by olga")]
    Begin {
        /// Hold the runs that were accepted before this instead; not later than now
        #[arg(long, value_name = "TIME")]
        before: Option<Timestamp>,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Let runs go on that were looked at
    #[command(
        after_help = "Examples:\n  windlass restore release 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --why 'not paid yet' --by olga"
    )]
    Release {
        /// The runs
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<RunId>,
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
    /// Let every run go on
    #[command(after_help = "Examples:\n  windlass restore end --why 'all are looked at' --by olga")]
    End {
        /// Why; it is kept with the change
        #[arg(long)]
        why: String,
        /// Who does it.
        #[command(flatten)]
        by: By,
    },
}

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(command: &Restore, ports: &Ports, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let (settings, why, by) = match command {
        Restore::Begin { before, why, by } => {
            let now = ports.clock.now();
            let at = before.unwrap_or(now);
            if at > now + CLOCK_SKEW_MAX {
                return Err(Failure::Usage {
                    message: format!("{at} has not come yet; runs that are taken on until then would be held as well"),
                    hint: "leave --before out to hold every run of before now",
                });
            }
            (vec![format!("restored={at}")], why, by)
        }
        Restore::Release { runs, why, by } => {
            (runs.iter().map(|run| format!("restored.{run}=released")).collect(), why, by)
        }
        Restore::End { why, by } => (vec!["restored=none".to_owned()], why, by),
    };
    let made = hand(ports, &by.by, why).change(None, |now| edit(now, &settings)).await?;
    if let Restore::Release { runs, .. } = command {
        wake(runs, ports, console).await?;
    }
    tell(&made, ports, json, console).await
}

/// Wakes the runs that were released: nothing else of what is held may go on.
async fn wake(runs: &[RunId], ports: &Ports, console: &mut Console<'_>) -> Result<(), Failure> {
    for run in runs {
        let woken = match ports.heads.head(*run).await {
            Ok(Some(head)) => {
                let sleeper = Sleeper { run: *run, tenant: head.tenant, delay: Duration::ZERO };
                ports.wake_ups.send_batch(&[sleeper]).await.map(|unsent| unsent.is_empty()).unwrap_or(false)
            }
            _ => false,
        };
        if !woken {
            console.note(format!("{run} was not woken; it looks again within ten minutes"))?;
        }
    }
    Ok(())
}
