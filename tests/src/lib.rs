//! What the test binaries of this folder share.

pub mod conformance;
pub mod simulation;
