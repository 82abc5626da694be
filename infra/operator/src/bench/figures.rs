//! Figures and the report they make.

use std::{path::Path, time::Duration};

use serde::Serialize;

use crate::{console::Paint, table::Table};

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    /// What was done.
    workload: String,
    /// What was measured of it.
    measure: String,
    value: f64,
    unit: &'static str,
    /// What it should be, if there is an aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<Aim>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(super) fn new(
        workload: impl Into<String>,
        measure: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure { workload: workload.into(), measure: measure.into(), value, unit, aim: None }
    }

    pub(super) fn aim(self, aim: Aim) -> Figure {
        Figure { aim: Some(aim), ..self }
    }
}

/// The 50th, 95th and 99th of a hundred, in milliseconds.
pub(super) fn spread(workload: &str, measure: &str, mut spans: Vec<Duration>) -> Vec<Figure> {
    spans.sort_unstable();
    let at = |percent: usize| {
        let index = (spans.len() * percent).div_ceil(100).saturating_sub(1);
        spans.get(index).copied().unwrap_or_default()
    };
    [50, 95, 99]
        .into_iter()
        .map(|percent| Figure::new(workload, format!("{measure}, p{percent}"), at(percent).as_secs_f64() * 1e3, "ms"))
        .collect()
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// How the binaries were built: the folder's name.
    profile: String,
    /// Whether workloads were cut down.
    quick: bool,
    /// How many processors there are.
    processors: usize,
    figures: Vec<Figure>,
}

impl Report {
    pub(super) fn new(binaries: &Path, quick: bool) -> Report {
        let profile = binaries.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Report { profile, quick, processors, figures: Vec::new() }
    }

    pub(super) fn add(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    pub(super) fn write(&self, file: &Path) -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(self)?)
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let mut table = Table::new(&["workload", "measure", "value", "unit", "aim"]);
        for Figure { workload, measure, value, unit, aim } in &self.figures {
            let aim = match aim {
                None => String::new(),
                Some(Aim::AtLeast(wanted)) => format!("≥ {wanted}{}", if value < wanted { ", missed" } else { "" }),
                Some(Aim::AtMost(wanted)) => format!("≤ {wanted}{}", if value > wanted { ", missed" } else { "" }),
            };
            table.row([workload.clone(), measure.clone(), rounded(*value), (*unit).to_owned(), aim]);
        }
        let quick = if self.quick { ", cut down" } else { "" };
        format!("{} build, {} processors{quick}\n\n{}", self.profile, self.processors, table.text(paint))
    }
}

fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
