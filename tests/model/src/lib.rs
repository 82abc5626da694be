//! The protocol of `ARCHITECTURE.md` as a small model: one run of one call, two step functions, a queue, a sweep, an approver, a
//! canceller and an operator, in every order, with every mix of a few faults. [`stateright`] explores all of it.
//!
//! What a process does between two of its calls to store, queue or tool is one step of the model; everything can come between
//! two steps. What the model leaves out: several calls in one plan, several runs, the model's and the tool's own failures apart from
//! "it did not happen" and "nobody knows", limits of a run, and the wall clock's date. The simulation has those.
#![deny(missing_docs)]

pub mod heal;
pub mod mistake;
pub mod outside;
pub mod properties;
pub mod protocol;
pub mod run;
pub mod scenes;
pub mod ticks;
pub mod turn;
pub mod world;
