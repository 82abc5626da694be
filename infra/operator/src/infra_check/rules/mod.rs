//! The rules, each in the file named for what it is about.

use serde_json::Value;

use super::{Subject, deployments::Deployment, finding::Findings, stack::Stack};

mod aliases;
mod calls;
mod environment;
mod functions;
mod metrics;
mod openapi;
mod permissions;
mod queues;
mod routes;
mod schedules;
mod tables;

/// What a rule looks at.
pub(super) struct View<'a> {
    /// The stack as the deployment makes it.
    pub stack: &'a Stack,
    /// The deployment.
    pub deployment: &'a Deployment,
    /// The rest.
    pub subject: &'a Subject,
}

impl View<'_> {
    fn is_production(&self) -> bool {
        self.deployment.name == "production"
    }
}

/// Rules about the template as it is written.
pub(super) fn of_template(template: &Value, findings: &mut Findings) {
    aliases::check_declarations(template, findings);
    environment::check_literals(template, findings);
}

/// Rules that are the same for every deployment.
pub(super) fn of_code(subject: &Subject, findings: &mut Findings) {
    openapi::check(subject, findings);
    permissions::check_calls(&subject.code, findings);
}

/// Rules about what a deployment makes of it.
pub(super) fn of_stack(view: &View<'_>, findings: &mut Findings) {
    functions::check(view, findings);
    aliases::check_uses(view, findings);
    queues::check(view, findings);
    routes::check(view, findings);
    environment::check(view, findings);
    permissions::check(view, findings);
    tables::check(view, findings);
    schedules::check(view, findings);
    metrics::check(view, findings);
}
