//! Commands typed in process, over the stores in memory.

mod alarms;
mod approvals;
mod controls;
mod dead_letters;
mod help;
mod pages;
mod policy;
mod runbook;
mod runs;
mod schedules;
mod target;
mod world;
