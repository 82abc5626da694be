//! `windlass bench`: what the kit takes, measured on this machine. Every figure that is compared with another is measured beside it,
//! in the same run: machines differ, ratios less so.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use windlass_local::StackError;

use self::figures::{Figure, Report};
use crate::{console::Console, failure::Failure, functions};

mod batch;
mod cold_start;
mod ends;
mod engine;
mod figures;
mod growth;
mod load;
mod recovery;
mod rig;
mod usage;

/// `windlass bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure; everything when nothing is named
    #[arg(value_name = "PART", value_enum)]
    pub parts: Vec<Part>,
    /// Smaller workloads: to see that it works, not to compare
    #[arg(long)]
    pub quick: bool,
    /// Where the figures go as JSON
    #[arg(long, default_value = ".windlass/bench.json", value_name = "FILE")]
    pub out: PathBuf,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The loop on the store, beside raw conditional writes to it
    Engine,
    /// Requests to answers through the whole stack, in memory, in a file and in a synced one, with cost and use of the
    /// processes
    Stack,
    /// Approvals to the end of their runs
    Approvals,
    /// A killed worker to the end of its run
    Recovery,
    /// Ten waiting runs in one invocation, beside ten invocations
    Batch,
    /// What a step, a claim and a sweep take as runs and tables grow
    Growth,
    /// From the start of a process to its first poll, beside a function that does nothing
    ColdStart,
}

/// The benchmark could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The stack did not start.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The kit did not start.
    #[error(transparent)]
    Local(#[from] crate::local::LocalError),
    /// The HTTP API could not be reached.
    #[error("the HTTP API: {0}")]
    Api(#[from] reqwest::Error),
    /// Something did not do what it is measured at.
    #[error("{0}")]
    Unexpected(String),
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// How large the workloads are.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Everything is divided by it.
    divisor: usize,
}

impl Size {
    fn of(self, whole: usize) -> usize {
        (whole / self.divisor).max(1)
    }
}

/// What anything here may take before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(300);

fn unexpected(what: impl std::fmt::Display) -> BenchError {
    BenchError::Unexpected(what.to_string())
}

/// Carries out the command.
///
/// # Errors
/// When something could not be measured.
pub async fn run(bench: &Bench, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let binaries = functions::build().await?;
    let size = Size { divisor: if bench.quick { 20 } else { 1 } };
    let wanted = |part: Part| bench.parts.is_empty() || bench.parts.contains(&part);
    let mut report = Report::new(&binaries, bench.quick);
    for part in Part::value_variants().iter().copied().filter(|part| wanted(*part)) {
        console.note(format!(
            "measuring: {}",
            part.to_possible_value().map_or_else(String::new, |it| it.get_name().into())
        ))?;
        let figures: Vec<Figure> = match part {
            Part::Engine => engine::measure(size).await?,
            Part::Stack => load::steps(&binaries, size).await?,
            Part::Approvals => load::approvals(&binaries, size).await?,
            Part::Recovery => recovery::measure(&binaries, size).await?,
            Part::Batch => batch::measure(&binaries, size).await?,
            Part::Growth => growth::measure(size).await?,
            Part::ColdStart => cold_start::measure(&binaries, size).await?,
        };
        report.add(figures);
    }
    report.write(&bench.out).map_err(BenchError::from)?;
    match json {
        true => console.json(&report)?,
        false => console.text(report.text(console.paint()))?,
    }
    console.note(format!("the figures are in {}", bench.out.display()))?;
    Ok(())
}
