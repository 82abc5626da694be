//! The sample agent: a refund desk. It looks up an order (`Read`), refunds it (`Idempotent`) and writes to the customer
//! (`Irreversible`). Small refunds pass; larger ones need the finance role. Questions are answered from a handbook, with citations.
//!
//! Replace this module with your own agent: a [`Model`](windlass::agent::model::Model), tools, a policy and a prompt.

pub mod handbook;
pub mod ledger;
pub mod ledger_in_dynamodb;
pub mod ledger_in_memory;
pub mod policy;
pub mod script;
pub mod tools;

/// The version of [`INSTRUCTIONS`].
pub const PROMPT_VERSION: &str = "refund-desk-1";

/// What a model is told about its job here. The script knows it by heart.
pub const INSTRUCTIONS: &str = include_str!("instructions.md");
