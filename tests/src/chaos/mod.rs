//! Chaos on real processes: what kills, stops and misleads the processes of a kit, and who sees what came of it.

pub mod clocks;
pub mod proxy;
pub mod sandbox;
pub mod stack_process;
pub mod verdict;
pub mod watch;
