//! Every port on AWS. Nothing else imports `aws_sdk_*`.
//!
//! A conditional write that is refused brings the item along (`ALL_OLD`), so that a lost race is told apart without a read.
//! Requests ask for nothing that costs: the capacity they consume is read from the metrics.

pub mod clients;
pub mod tables;

mod answers;
mod attributes;
mod buckets;
mod budgets;
mod controls;
mod errors;
mod function;
mod head_item;
mod heads;
mod http;
mod idempotency;
mod journal;
mod lease;
mod prompts;
mod queue;
mod replay_plans;
mod retention;
mod schedule;
mod search;
mod secrets;
mod snapshots;
mod windows;

pub use answers::AnswerTable;
pub use buckets::RateBuckets;
pub use budgets::Accounts;
pub use controls::{COPIES as CONTROLS_COPIES, LiveControls};
pub use head_item::read_head;
pub use idempotency::Records;
pub use journal::Runs;
pub use prompts::PromptVersions;
pub use queue::{DeadLetterQueue, StepQueue, queue_url};
pub use replay_plans::Plans;
pub use retention::ExpiredItems;
pub use schedule::Jobs;
pub use secrets::SecretsManager;
pub use windows::Counters;
