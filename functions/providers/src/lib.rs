//! Models behind HTTP, for the step function: Anthropic's Messages API, OpenAI's Chat Completions API and whatever speaks it,
//! and Amazon Bedrock's Converse API.
//!
//! ```text
//! Routed ─ breaker ─ Provider ─ dialect (what is sent and read) ─ transport: Http | Recording ─ Http | Replay
//!        └ breaker ─ fallback …
//! ```
//!
//! A [`Question`](windlass::agent::model::Question) becomes a [`conversation`], a [`dialect`] writes it down in one provider's
//! format, a [`transport`] carries it, and the [`reply`] becomes a proposal. Nothing of a provider leaves this crate.
#![deny(missing_docs)]

pub mod assembly;
pub mod breaker;
pub mod cassette;
pub mod conversation;
pub mod dialect;
pub mod fault;
pub mod offer;
pub mod provider;
pub mod reply;
pub mod routed;
pub mod tool_names;
pub mod transport;
