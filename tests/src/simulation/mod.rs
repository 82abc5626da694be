//! A deterministic world for the real loop: virtual time, schedules drawn from seeds, ports that fail, processes that die, freeze and
//! thaw, clocks that differ.

pub mod drive;
pub mod executor;
pub mod faults;
pub mod faulty;
pub mod flaws;
pub mod invariants;
pub mod order;
pub mod play;
pub mod processes;
pub mod schedule;
pub mod shrink;
pub mod world;

/// Every task that the sample knows, drills among them.
///
/// # Panics
/// Never: they are names.
pub fn tasks() -> windlass::run::tasks::Tasks {
    step::refund_desk::script::TASKS.join(",").parse().expect("tasks")
}
