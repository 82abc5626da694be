//! The HTTP API as a port: one request, one answer.

use std::{future::Future, pin::Pin, time::Duration};

use serde_json::Value;

use crate::target::ApiTarget;

/// How long an answer may take: API Gateway's own limit
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The API did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It could not be reached.
    #[error("the API at `{url}` cannot be reached: {message}")]
    Unreachable {
        /// Where.
        url: String,
        /// What was seen.
        message: String,
    },
    /// It said no, with a problem document (RFC 9457).
    #[error("the API answered {status}: {detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// Its answer is not what it should be.
    #[error("the API's answer cannot be read: {problem}")]
    Unreadable {
        /// What is wrong.
        problem: String,
    },
    /// The approval is not one that the caller can decide.
    #[error("approval `{approval}` cannot be decided: {why}")]
    CannotDecide {
        /// Which.
        approval: String,
        /// Why.
        why: String,
    },
}

impl ApiError {
    /// One thing to do about it.
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            ApiError::Unreachable { .. } => "check --api-url; is the stack running?",
            ApiError::Problem { status: 401, .. } => "the token may have expired: give a new one with --token",
            ApiError::Problem { status: 403, .. } => "use the token of somebody who holds the role that it names",
            ApiError::Problem { status: 404, .. } => "list what is open with `windlass approvals list`",
            ApiError::Problem { status: 409 | 410, .. } => "see how it stands with `windlass approvals show`",
            ApiError::CannotDecide { .. } => "see who may with `windlass approvals show`",
            ApiError::Problem { .. } | ApiError::Unreadable { .. } => return None,
        })
    }
}

/// What a request is answered with.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;

/// The HTTP API.
pub trait Api: Send + Sync {
    /// Answers `GET path`.
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a>;
    /// Answers `POST path`.
    fn post<'a>(&'a self, path: &'a str, body: &'a Value) -> Answer<'a>;
}

/// The API over HTTP.
pub struct HttpApi {
    client: reqwest::Client,
    target: ApiTarget,
}

impl HttpApi {
    /// The API at `target`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(target: ApiTarget) -> Result<HttpApi, ApiError> {
        let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build();
        let client =
            client.map_err(|error| ApiError::Unreachable { url: target.url.clone(), message: deepest(&error) })?;
        Ok(HttpApi { client, target })
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, ApiError> {
        let unreachable =
            |error: reqwest::Error| ApiError::Unreachable { url: self.target.url.clone(), message: deepest(&error) };
        let response = request.bearer_auth(&self.target.token).send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let body: Result<Value, _> = serde_json::from_str(&text);
        match (status.is_success(), body) {
            (true, Ok(body)) => Ok(body),
            (true, Err(error)) => Err(ApiError::Unreadable { problem: error.to_string() }),
            (false, body) => {
                let body = body.unwrap_or_default();
                let said = ["detail", "title", "message"].iter().find_map(|field| body[*field].as_str());
                let detail = said.or(status.canonical_reason()).unwrap_or("no reason").to_owned();
                Err(ApiError::Problem { status: status.as_u16(), detail })
            }
        }
    }
}

impl Api for HttpApi {
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a> {
        let url = format!("{}{path}", self.target.url);
        Box::pin(async move { self.answer(self.client.get(url)).await })
    }

    fn post<'a>(&'a self, path: &'a str, body: &'a Value) -> Answer<'a> {
        let url = format!("{}{path}", self.target.url);
        Box::pin(async move { self.answer(self.client.post(url).json(body)).await })
    }
}

/// The cause at the bottom, which is the one that says something.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
