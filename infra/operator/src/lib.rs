//! The `windlass` command.
#![deny(missing_docs)]

pub mod scenario;
pub mod stack;
