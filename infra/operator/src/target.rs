//! Where commands connect to: what is said, else the local stack of this directory, else AWS.

use std::path::{Path, PathBuf};

use crate::{
    cli::{Api, Options},
    local::Address,
};

/// The most bytes of the file by which a local stack says where it is.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where AWS requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aws {
    /// To this endpoint, as the local stack of this directory says.
    Local(String),
    /// To this endpoint without TLS, as was said; it takes any credentials.
    Plain(String),
    /// To AWS, as its usual environment says.
    Environment,
}

/// Where the HTTP API is, and as whom to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiTarget {
    /// Its address, without a final slash.
    pub url: String,
    /// A bearer token.
    pub token: String,
    /// Whether either is the local stack's.
    pub local: bool,
}

/// It is not known where to connect to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The local stack's file cannot be read.
    #[error("`{}` cannot be read: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An endpoint with TLS has to be in the environment, where the SDK finds its credentials too.
    #[error("`{url}` has to be in the environment")]
    Tls {
        /// The endpoint.
        url: String,
    },
    /// Nobody says where the API is.
    #[error("it is not known where the HTTP API is")]
    NoApi,
    /// Nobody says as whom to use it.
    #[error("there is no token for the HTTP API")]
    NoToken,
}

impl TargetError {
    /// One thing to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            TargetError::File { .. } => "start `windlass local` again, or delete the file",
            TargetError::Tls { .. } => "set AWS_ENDPOINT_URL to it; --endpoint-url is for `http://`",
            TargetError::NoApi => "give --api-url or WINDLASS_API_URL, or start `windlass local` here",
            TargetError::NoToken => "give --token or WINDLASS_TOKEN",
        }
    }
}

/// What the local stack of this directory says of itself; `None` when there is none.
///
/// # Errors
/// When it says something that cannot be read.
pub fn local_stack(path: &Path) -> Result<Option<Address>, TargetError> {
    let unreadable = |problem: String| TargetError::File { path: path.to_owned(), problem };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
        Ok(file) if file.len() > FILE_BYTES_MAX => return Err(unreadable("it is too large".to_owned())),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

/// Where AWS requests go; `environment` is the endpoint that the SDK would find by itself.
///
/// # Errors
/// When the local stack's file counts and cannot be read, or an endpoint with TLS is named outside of the environment.
pub fn aws(options: &Options, environment: Option<&str>) -> Result<Aws, TargetError> {
    match options.endpoint_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) if url.starts_with("http://") => Ok(Aws::Plain(url.to_owned())),
        Some(url) if environment == Some(url) => Ok(Aws::Environment),
        Some(url) => Err(TargetError::Tls { url: url.to_owned() }),
        None => Ok(local_stack(&options.local_file)?.map_or(Aws::Environment, |stack| Aws::Local(stack.aws))),
    }
}

/// Where the HTTP API is.
///
/// # Errors
/// When nobody says where it is or as whom to use it. The local stack's token goes to the local stack only.
pub fn api(options: &Options, api: &Api) -> Result<ApiTarget, TargetError> {
    let said = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (url, token) = (said(&api.api_url), said(&api.token));
    let plain = |url: &str| url.trim_end_matches('/').to_owned();
    match url {
        Some(url) => Ok(ApiTarget { url: plain(&url), token: token.ok_or(TargetError::NoToken)?, local: false }),
        None => {
            let stack = local_stack(&options.local_file)?.ok_or(TargetError::NoApi)?;
            let token = token.unwrap_or(stack.tokens.approver);
            Ok(ApiTarget { url: plain(&stack.api), token, local: true })
        }
    }
}
