//! Tools of MCP servers over streamable HTTP, as tools of an agent.
//!
//! Which servers, and what of them an agent may use, is configuration ([`servers`]). At start-up every server is asked for its tools
//! and the answer is fixed ([`catalogue`]): what a release was judged with is what it calls. A server that does not answer then is away, and
//! only runs that want its tools wait for it. A call is one request on the wire, made for one tenant and actor ([`identity`], [`tokens`]),
//! and never repeated here; whether it is repeated is the run's decision, by the tool's effect class.
#![deny(missing_docs)]

pub mod catalogue;
pub mod configured;
pub mod identity;
pub mod pins;
pub mod servers;
pub mod tokens;

mod away;
mod bounded;
mod connection;
mod failure;
mod listing;
mod tool;
