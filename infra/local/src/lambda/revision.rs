//! What a version is made of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{package::Code, refusal::Refusal};
use crate::pool::Pool;

/// The most bytes of all environment variables together.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const ENVIRONMENT_BYTES_MAX: usize = 4 * 1024;

/// What Lambda sets itself and lets nobody set.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
const RESERVED: [&str; 12] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_ACCESS_KEY_ID",
    "LAMBDA_TASK_ROOT",
];

/// Code and settings. Publishing copies them.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) code: Code,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) memory_mib: u32,
    pub(crate) description: String,
}

impl Configuration {
    /// Whether publishing this would make the version that `other` is; a description makes none.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.code.sha256 == other.code.sha256
            && self.env == other.env
            && self.timeout == other.timeout
            && self.memory_mib == other.memory_mib
    }

    /// Refuses an environment that Lambda refuses.
    pub(crate) fn check_environment(env: &BTreeMap<String, String>) -> Result<(), Refusal> {
        const UNABLE: &str = "Lambda was unable to configure your environment variables because the environment variables you have \
                              provided";
        let reserved: Vec<&str> = env.keys().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
        if !reserved.is_empty() {
            return Err(Refusal::invalid(format!(
                "{UNABLE} contains reserved keys that are currently not supported for modification. Reserved keys used in this \
                 request: {}",
                reserved.join(", ")
            )));
        }
        let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > ENVIRONMENT_BYTES_MAX {
            return Err(Refusal::invalid(format!("{UNABLE} exceeded the 4KB limit.")));
        }
        Ok(())
    }
}

/// One state of a function, with its processes.
#[derive(Clone)]
pub(crate) struct Revision {
    pub(crate) configuration: Configuration,
    /// Changes with every change.
    pub(crate) revision_id: String,
    /// When it became so, since the epoch.
    pub(crate) modified: Duration,
    pub(crate) pool: Arc<Pool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_a_size_and_no_reserved_names() {
        let check = |name: &str, value: &str| {
            let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            Configuration::check_environment(&env).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(check("RELEASE", "r2"), Ok(()));
        assert_eq!(check("A", &"x".repeat(ENVIRONMENT_BYTES_MAX - 1)), Ok(()));
        assert!(
            check("A", &"x".repeat(ENVIRONMENT_BYTES_MAX)).is_err_and(|text| text.ends_with("exceeded the 4KB limit."))
        );
        assert!(check("AWS_REGION", "x").is_err_and(|text| text.ends_with("used in this request: AWS_REGION")));
    }
}
