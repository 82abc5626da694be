//! Every port in memory, really storing: for simulations, fast tests and harnesses.
//!
//! What is kept here behaves as what is kept on AWS does; one conformance suite runs over both. Locks are never held
//! across an await, so futures may be polled in any order.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod answers;
mod buckets;
mod clock;
mod controls;
mod heads;
mod jobs;
mod leases;
mod plans;
mod queue;
mod random;
mod records;
mod retention;
mod runs;
mod secrets;
mod sources;
mod windows;

pub use answers::Answers;
pub use buckets::Buckets;
pub use clock::ManualClock;
pub use controls::{Accounts, Controls, Prompts};
pub use jobs::Jobs;
pub use plans::Plans;
pub use queue::{Queue, Received};
pub use random::SeededRandom;
pub use records::Records;
pub use runs::Runs;
pub use secrets::SecretValues;
pub use sources::{Shelf, Sources, Text};
pub use windows::Windows;

/// Locks; a panic elsewhere leaves what it had written, as a crash leaves a table.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
