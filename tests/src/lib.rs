//! What the test binaries of this folder share.

pub mod any_agent;
pub mod any_json;
pub mod caller;
pub mod chaos;
pub mod conformance;
pub mod fuzz;
pub mod live;
pub mod local_kit;
pub mod mcp;
pub mod model_server;
pub mod people;
pub mod planted;
pub mod python;
pub mod refund_desk;
pub mod signals;
pub mod simulation;
