//! Windlass: durable agent runs on Lambda, SQS and DynamoDB.
//!
//! Read in this order: [`run`] (what a run is, what comes next, the loop), [`journal`] and [`lease`] (the ports the loop
//! stands on), [`agent`] (what a user supplies), then the rest.
#![deny(missing_docs)]

pub mod agent;
pub mod approval;
pub mod audit;
pub mod aws;
pub mod budgets;
pub mod clock;
pub mod config;
pub mod controls;
pub mod dead_letter;
pub mod door;
pub mod idempotency;
pub mod ids;
pub mod journal;
pub mod json;
pub mod json_bounds;
pub mod lease;
pub mod memory;
pub mod principal;
pub mod prompts;
pub mod queue;
pub mod redaction;
pub mod retrieval;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod secrets;
pub mod startup;
pub mod telemetry;
pub mod windows;
