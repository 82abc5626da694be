//! The policy as [Cedar](https://docs.cedarpolicy.com) text.
//!
//! Who asks is the principal, the tool is the action, the tenant whose data it touches is the resource. What is not permitted is
//! denied. [`schema`] derives from the tools what a policy may refer to; a policy that refers to anything else is not taken on.
//!
//! | in a policy | is |
//! |---|---|
//! | `principal` | an `Actor`, `in` its `Tenant`: `principal.name`, `principal.tenant`, `principal.roles`, and `principal.agent`, the task that the run was asked to do |
//! | `action` | the tool: `Action::"refund"` |
//! | `resource` | the `Tenant` whose data it is |
//! | `context.arguments` | the tool's arguments, typed by its JSON Schema; see [`arguments`] |
//! | `context.server` | the MCP server that the tool belongs to; `""` for the agent's own tools |
//! | `context.effect` | `Effect::"read"`, `"idempotent"`, `"queryable"` or `"irreversible"` |
//! | `context.environment` | `Environment::"dev"`, `"staging"` or `"production"` |
//! | `context.tightening` | `Tightening::"none"`, `"approve"` or `"deny"`: what the controls ask for; it holds whatever the policy says |
//! | `context.steps`, `.tokens`, `.cost_micro_usd` | what the run has used so far |
//! | `context.run.TOOL.count`, `.sum.ARGUMENT` | calls of the run before this one that may be made, are under way, took effect, or may have |
//! | `context.plan.TOOL.count`, `.sum.ARGUMENT` | calls after this one in the same plan |
//! | `context.windows.NAME` | what a declared window has counted over all runs, without this call |
//!
//! Every rule carries `@id("…")`, the name that journals record. `@reason("…")` says why, to whoever reads the decision.
//! `@approval("role")` on a permit makes it an approval. When several permits hold, one that needs an approval outranks one that
//! does not, and of several roles the one whose rule stands first in the text is asked: write the strictest first. `@windows("…")` declares
//! what is counted over runs ([`windlass::windows`]). There are no other annotations, so that a misspelt one cannot turn an approval into
//! a permission. `docs/policy.md` has all of it with examples.
#![deny(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

pub mod arguments;
pub mod cedar;
mod memory;
pub mod schema;
pub mod text;

pub use cedar::{CedarPolicy, PolicyTerms};
pub use text::{PolicyErrors, PolicyProblem, PolicyText};

/// Has Cedar build what it builds once in a process and every policy needs, such as the lexers of its grammar. Meant for a thread of its
/// own, beside a start that waits for something; without it, [`CedarPolicy::load`] takes that much longer.
pub fn warm_up() {
    // Of interest is only what they leave behind.
    let _ = "permit (principal, action, resource);".parse::<cedar_policy::PolicySet>();
    let _ = schema::schema(&BTreeMap::new(), &BTreeSet::new(), &[]);
}
