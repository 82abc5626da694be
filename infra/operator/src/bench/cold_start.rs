//! From the start of a process to its first poll, beside a function that does nothing.

use std::{path::Path, time::Duration};

use windlass_local::{FunctionSpec, Stack};

use super::{
    BenchError, Size,
    figures::{Aim, Figure},
    unexpected,
};
use crate::{
    functions,
    stack::{FUNCTIONS, Options, kit},
};

const STARTS: usize = 20;
const BARE: &str = "bare";

/// All take turns, so that what else the machine does falls on all of them.
pub(super) async fn measure(binaries: &Path, size: Size) -> Result<Vec<Figure>, BenchError> {
    let mut spec = kit(&Options::new(binaries.to_owned()));
    let bare = functions::build_bare().await.map_err(unexpected)?;
    let like = spec.functions.first().cloned().ok_or_else(|| unexpected("no functions"))?;
    spec.functions.push(FunctionSpec { name: BARE.to_owned(), program: bare.clone(), ..like });
    let stack = Stack::start(spec).await?;
    stack.pause_schedules();
    let names: Vec<&str> = FUNCTIONS.into_iter().chain([BARE]).collect();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    // One more than counts: the first one reads the binary from the disk.
    for start in 0..=size.of(STARTS) {
        for (name, times) in names.iter().zip(&mut times) {
            let took = stack.cold_start(name).await.map_err(unexpected)?;
            times.extend((start > 0).then_some(took));
        }
    }
    stack.shutdown().await;
    let median = |times: &Vec<Duration>| {
        let mut sorted = times.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    };
    let beside = times.last().map_or(f64::NAN, median);
    let mut figures = Vec::new();
    for (name, times) in names.iter().zip(&times) {
        let program = if *name == BARE { bare.clone() } else { binaries.join(name) };
        let workload = format!("cold start of {name}");
        figures.push(Figure::new(&workload, "to the first poll, median", median(times), "ms"));
        if *name != BARE {
            figures.push(Figure::new(&workload, "beside bare", median(times) / beside, "").aim(Aim::AtMost(2.0)));
        }
        figures.push(Figure::new(
            &workload,
            "binary",
            std::fs::metadata(program)?.len() as f64 / 1024.0 / 1024.0,
            "MiB",
        ));
    }
    Ok(figures)
}
