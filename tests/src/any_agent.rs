//! Parts of an agent for tests that are about something else.

use std::time::Duration;

use serde_json::json;
use windlass::{
    agent::{
        policy::{Policy, PolicyQuestion, Ruling},
        redaction::Redaction,
        schema::ArgumentSchema,
        tool::{Effect, ErrorsMean, ToolSpec},
    },
    ids::{Role, ToolName},
    retry::RetryPolicy,
    run::entry::Decision,
};

/// A policy that allows everything.
pub struct AllowAll;

impl Policy for AllowAll {
    fn version(&self) -> &str {
        "all"
    }
    fn approval_expires_after(&self) -> Duration {
        Duration::from_secs(60)
    }
    fn doubt_role(&self) -> Role {
        "operator".parse().expect("a role")
    }
    fn decide(&self, _: &PolicyQuestion<'_>) -> Ruling {
        Ruling { decision: Decision::Allow { reason: "a test".to_owned() }, policies: Vec::new() }
    }
}

/// A tool that takes any object, within five seconds, and whose errors mean that nothing happened.
///
/// # Panics
/// Never: its schema is one.
pub fn spec(name: ToolName, effect: Effect) -> ToolSpec {
    ToolSpec {
        name,
        description: "a test's tool".to_owned(),
        schema: ArgumentSchema::compile(json!({ "type": "object" })).expect("a schema"),
        effect,
        owner: "tests".to_owned(),
        timeout: Duration::from_secs(5),
        retry: RetryPolicy::PATIENT,
        errors_mean: ErrorsMean::NotDone,
        compensable: false,
        approval: None,
        redaction: Redaction::default(),
        cache: None,
    }
}
