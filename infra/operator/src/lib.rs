//! The `windlass` command.
#![deny(missing_docs)]

use windlass::ids::Release;

pub mod api;
pub mod approvals;
pub mod attributed;
pub mod aws_endpoint;
pub mod bench;
pub mod cli;
pub mod command;
mod compare;
pub mod console;
pub mod controls;
pub mod cost;
pub mod dead_letters;
pub mod demo;
pub mod failure;
pub mod functions;
pub mod infra;
pub mod infra_check;
pub mod journal_lines;
pub mod local;
pub mod package;
pub mod policy;
pub mod ports;
pub mod prompts;
mod redacted;
pub mod restore;
mod run_view;
pub mod runs;
pub mod scenario;
pub mod schedules;
pub mod signals;
pub mod stack;
pub mod table;
pub mod target;
mod trace;
pub mod variables;

/// What entries that this command writes are marked with.
pub fn release() -> Release {
    let name = concat!("windlass-", env!("CARGO_PKG_VERSION"));
    name.parse().unwrap_or_else(|_| unreachable!("a package version is a release's name"))
}

#[cfg(test)]
mod tests;
