//! AWS on this machine: what the kit's functions need of it, in one process on loopback.
//!
//! ```text
//!            ┌─ HTTP API ── JWT authorizer ─┐
//! callers ───┤                              ├── pools ── Runtime API ── function processes ──┐
//!            └─ Stack::invoke ──────────────┤                                               │ AWS_ENDPOINT_URL
//!               schedules ──────────────────┤                                               ▼
//!               event source mappings ──────┘◄── SQS ──────────────── AWS endpoint: DynamoDB · SQS · Secrets Manager
//!                                                                         · Lambda · CloudWatch
//! ```
//!
//! The functions are the programs that ship, run as Lambda runs them: one invocation at a time, killed when it takes
//! too long, started again when they die. Nothing listens outside 127.0.0.1, and no signature is checked: who can reach
//! the ports may do everything.
//!
//! Read it in this order: [`StackSpec`] says what a stack is made of, [`Stack`] runs it, `pool` and `process` are a
//! version of a function, `lambda` gives functions versions and aliases,
//! `event_source_mapping` and `scheduler` call it, `http_api` is API Gateway, and `aws_endpoint` is everything that
//! functions call.

mod alarms;
mod authorizer;
mod aws_endpoint;
mod clock;
mod cloudwatch;
mod cold_start;
mod data_directory;
mod delivery;
mod dice;
mod dynamodb;
mod event_source_mapping;
mod function;
mod http_api;
mod identifier;
mod issuer;
mod lambda;
mod lambda_api;
mod listener;
mod logs;
mod meter;
mod metrics;
mod monitoring;
mod placeholder;
mod pool;
mod process;
mod process_group;
mod query_protocol;
mod runtime_api;
mod scheduler;
mod secrets;
mod spec;
mod sqs;
mod stack;

pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    dice::{Dice, SeededDice},
    dynamodb::StoreError,
    function::{FunctionStatus, InvokeError, PAYLOAD_BYTES_MAX},
    issuer::{Issuer, IssuerError},
    meter::Meter,
    monitoring::{MetricFilterSpec, Monitoring},
    secrets::SecretsError,
    spec::{
        Authorization, FunctionSpec, Logs, MappingSpec, Order, QueueSpec, Redrive, RouteSpec, ScheduleSpec, SecretSpec,
        StackSpec, Synchronous, TableSpec,
    },
    stack::{Stack, StackError},
};
