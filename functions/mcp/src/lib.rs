//! Tools of MCP servers over streamable HTTP, as tools of an agent.
//!
//! Which servers, and what of them an agent may use, is configuration ([`servers`]). At start-up every server is asked for its tools
//! and the answer is fixed ([`catalogue`]): what a release was judged with is what it calls. A call is one request on the wire and
//! never repeated here ([`connection`]); whether it is repeated is the run's decision, by the tool's effect class.
#![deny(missing_docs)]

pub mod catalogue;
pub mod configured;
pub mod connection;
pub mod servers;

mod listing;
mod tool;
