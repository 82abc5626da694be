//! Lambda's functions with their versions and aliases.
//!
//! ```text
//! function ── $LATEST ── code and environment, may change
//!          ├─ version 1, 2, … ── what $LATEST was when it was published, never changes, processes of its own
//!          └─ alias ── one version, or two by weight ── decided anew for each invocation
//! ```
//!
//! All versions of a function share its concurrency, as on Lambda. Moving an alias ends nothing: what runs goes on, and idle
//! processes end when they have been idle for long.

mod alias;
mod aliases;
mod asynchronous;
mod functions;
mod invoke;
mod package;
mod qualifier;
mod refusal;
mod revision;
mod running;
mod versioned;

pub(crate) use self::{
    alias::{Alias, Weight},
    aliases::AliasChange,
    asynchronous::invoke_with_retries,
    functions::Functions,
    invoke::{Asked, Target},
    package::{Code, UPLOAD_BYTES_MAX},
    qualifier::{AliasName, Qualifier, Version},
    refusal::Refusal,
    revision::Configuration,
    versioned::{Published, Versioned},
};
