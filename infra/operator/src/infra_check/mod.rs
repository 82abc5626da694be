//! `windlass infra check`: what linters cannot see in `infra/template.yaml`, because it takes the code to know.
//!
//! The template is read as each deployment of `samconfig.toml` sees it, offline, and held against the code: what functions are told,
//! what they call, which routes they answer, which tables they use, what they log. Everything that is wrong is reported at once.
//!
//! | whoever adds | also changes |
//! |---|---|
//! | a required variable | `Globals` in the template |
//! | an SDK call, or a function's use of one | `rules/calls.rs`, and the function's role |
//! | a route | the template (route, throttling, `DependsOn`) and `infra/openapi.yaml` |
//! | a problem | `infra/openapi.yaml` |
//! | a job | a schedule, a metric filter on its end, an alarm on its absence |
//! | a table, key or index | the template |
//! | an alarm | `docs/runbook.md` |
//! | another text for a log line that a metric is read from | the metric filter |

use std::path::Path;

use serde_json::Value;

pub mod code;
pub mod deployments;
pub mod finding;
mod rules;
pub mod stack;
pub mod yaml;

use code::Code;
use deployments::Deployment;
use finding::{Finding, Findings};
use stack::Stack;
use yaml::{Document, YamlError};

/// Where the template is.
pub const TEMPLATE: &str = "infra/template.yaml";
/// Where the contract of the HTTP API is.
pub const OPENAPI: &str = "infra/openapi.yaml";
/// Where deployments are configured.
pub const SAMCONFIG: &str = "samconfig.toml";

/// The check cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what CloudFormation or OpenAPI takes.
    #[error("`{path}`: {source}")]
    Malformed {
        /// The file.
        path: &'static str,
        /// What is wrong.
        source: YamlError,
    },
}

/// What is checked, and what it is checked against.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The template.
    pub template: Document,
    /// The contract of the HTTP API.
    pub openapi: Value,
    /// The deployments.
    pub deployments: Vec<Deployment>,
    /// The code.
    pub code: Code,
}

impl Subject {
    /// Reads everything below `root`.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn read(root: &Path) -> Result<Subject, CheckError> {
        let document = |path: &'static str| {
            let text = read(&root.join(path))?;
            Document::parse(&text).map_err(|source| CheckError::Malformed { path, source })
        };
        Ok(Subject {
            template: document(TEMPLATE)?,
            openapi: document(OPENAPI)?.value,
            deployments: deployments::read(&read(&root.join(SAMCONFIG))?),
            code: Code::read(root)?,
        })
    }

    /// Everything that is wrong, in every deployment.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        deployments::check(&self.deployments, &mut findings);
        rules::of_template(&self.template.value, &mut findings);
        rules::of_code(self, &mut findings);
        for deployment in &self.deployments {
            let stack = Stack::of(&self.template.value, &deployment.parameters);
            rules::of_stack(&rules::View { stack: &stack, deployment, subject: self }, &mut findings);
        }
        findings.sorted(|resource| {
            let known = self.template.value["Resources"].get(resource).is_some();
            known.then(|| self.template.line(&format!("/Resources/{resource}")))
        })
    }
}

fn read(path: &Path) -> Result<String, CheckError> {
    std::fs::read_to_string(path).map_err(|source| CheckError::Unreadable { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests;
