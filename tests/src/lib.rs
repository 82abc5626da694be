//! What the test binaries of this folder share.

pub mod conformance;
pub mod local_kit;
pub mod mcp;
pub mod planted;
pub mod simulation;
