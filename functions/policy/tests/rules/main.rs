//! The policy of a small bank: what it decides, what no arguments get past, and which mistakes it is not taken on with.

mod bank;
mod decisions;
mod errors;
mod fuzz;
mod remembering;
