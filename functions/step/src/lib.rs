//! The step function: advances runs that the step queue names.
#![deny(missing_docs)]

pub mod handler;
pub mod refund_desk;
