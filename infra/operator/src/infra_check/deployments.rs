//! The deployments of `samconfig.toml`.

use super::{finding::Findings, stack::Parameters};

/// The deployments that there must be.
const NAMES: [&str; 3] = ["dev", "staging", "production"];

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// What it is for: its `Environment`.
    pub name: String,
    /// The stack's name.
    pub stack: String,
    /// What it chooses.
    pub parameters: Parameters,
}

/// Reads the deployments: sections `<environment>.deploy.parameters` with `stack_name` and `parameter_overrides` on one line each.
pub fn read(samconfig: &str) -> Vec<Deployment> {
    let mut deployments: Vec<Deployment> = Vec::new();
    let mut inside = false;
    for line in samconfig.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = section.ends_with(".deploy.parameters");
            if inside {
                deployments.push(Deployment {
                    name: String::new(),
                    stack: String::new(),
                    parameters: Parameters::new(),
                });
            }
        }
        let (Some(last), Some((key, value))) = (deployments.last_mut(), line.split_once('=')) else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "stack_name" if inside => last.stack = value.to_owned(),
            "parameter_overrides" if inside => {
                let pairs = value.split_whitespace().filter_map(|pair| pair.split_once('='));
                last.parameters = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                last.name = last.parameters.get("Environment").cloned().unwrap_or_default();
            }
            _ => {}
        }
    }
    deployments
}

/// Each environment is deployed, to a stack of its own.
pub(super) fn check(deployments: &[Deployment], findings: &mut Findings) {
    for name in NAMES {
        let count = deployments.iter().filter(|deployment| deployment.name == name).count();
        findings
            .unless(count == 1, "deployments", name, || format!("`samconfig.toml` deploys it {count} times, not once"));
    }
    for deployment in deployments {
        let same = deployments.iter().filter(|other| other.stack == deployment.stack).count();
        findings.unless(same == 1 && !deployment.stack.is_empty(), "deployments", &deployment.name, || {
            format!("the stack `{}` is not its own", deployment.stack)
        });
    }
}
