//! The `windlass` command.
#![deny(missing_docs)]

pub mod aws_endpoint;
pub mod cost;
pub mod demo;
pub mod functions;
pub mod local;
pub mod scenario;
pub mod stack;
pub mod timeline;
