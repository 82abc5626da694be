//! The front of an API Gateway HTTP API, payload format 2.0.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

mod event;
mod response;
mod route;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, Request, Response, StatusCode, header, request::Parts},
    routing::get,
};
use serde_json::Value;

use self::{event::Event, route::Routes};
use crate::{
    authorizer::{Authorizer, Claims},
    clock::Clock,
    function::InvokeError,
    identifier,
    issuer::Issuer,
    lambda::Functions,
    pool::Patience,
    spec::{Authorization, RouteSpec},
};

/// The largest request body. <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// How long an integration may take; the same page.
const INTEGRATION_LIMIT: Duration = Duration::from_secs(30);

/// How long a request waits for a free process before it is refused.
const SLOT_WAIT: Duration = Duration::from_secs(1);

/// What the front needs to answer.
pub(crate) struct Front {
    pub(crate) routes: Routes,
    pub(crate) functions: Arc<Functions>,
    pub(crate) authorizer: Authorizer,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Front {
    pub(crate) fn new(
        routes: &[RouteSpec],
        functions: Arc<Functions>,
        issuer: Arc<Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { routes: Routes::new(routes), functions, authorizer: Authorizer::new(Arc::clone(&issuer)), issuer, clock }
    }
}

pub(crate) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/.well-known/jwks.json", get(keys))
        .fallback(answer)
        .with_state(front)
}

async fn configuration(State(front): State<Arc<Front>>) -> Json<Value> {
    Json(front.issuer.configuration())
}

async fn keys(State(front): State<Arc<Front>>) -> Json<Value> {
    Json(front.issuer.keys())
}

async fn answer(State(front): State<Arc<Front>>, request: Request<Body>) -> Response<Body> {
    let request_id = identifier::uuid();
    let (parts, body) = request.into_parts();
    let mut response = match respond(&front, parts, body, &request_id).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("apigw-requestid", id);
    }
    response
}

async fn respond(front: &Front, parts: Parts, body: Body, request_id: &str) -> Result<Response<Body>, Refusal> {
    let now = front.clock.since_epoch();
    let (route, parameters) = front.routes.find(&parts.method, parts.uri.path()).ok_or(Refusal::NotFound)?;
    let claims: Option<Claims> = match route.authorization {
        Authorization::None => None,
        Authorization::Jwt => {
            // Two of them say two things.
            let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
            let only = given.next().filter(|_| given.next().is_none());
            let authorization = only.and_then(|value| value.to_str().ok());
            Some(front.authorizer.claims(authorization, now.as_secs()).map_err(|_| Refusal::Unauthorized)?)
        }
    };
    let body: Bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| Refusal::of_body(&error))?;
    let event = Event {
        parts: &parts,
        body: &body,
        route_key: &route.key,
        parameters: &parameters,
        claims: claims.as_deref(),
        request_id,
        account: &front.functions.account,
        time: now,
    };
    let target = front.functions.traffic_target(&route.function).ok_or(Refusal::Failed)?;
    let invocation = target.invoke(event.to_json().ok_or(Refusal::Failed)?, Patience::Until(SLOT_WAIT));
    match tokio::time::timeout(INTEGRATION_LIMIT, invocation).await {
        Ok(Ok(payload)) => response::from_payload(&payload).ok_or_else(|| {
            tracing::warn!(function = route.function, "the function's response is malformed");
            Refusal::Failed
        }),
        Ok(Err(error)) => {
            tracing::warn!(function = route.function, %error, "the function failed");
            Err(error.into())
        }
        Err(_) => Err(Refusal::TimedOut),
    }
}

/// What API Gateway answers by itself.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Unauthorized,
    NotFound,
    TooLarge,
    Malformed,
    Failed,
    Unavailable,
    TimedOut,
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::TooManyRequests { .. } | InvokeError::ShuttingDown => Self::Unavailable,
            InvokeError::PayloadTooLarge { .. } => Self::TooLarge,
            InvokeError::UnknownFunction { .. }
            | InvokeError::InitFailed { .. }
            | InvokeError::TimedOut { .. }
            | InvokeError::Exited { .. }
            | InvokeError::Function { .. }
            | InvokeError::Malformed { .. } => Self::Failed,
        }
    }
}

impl Refusal {
    /// A body is too large, or cannot be read as the request says.
    fn of_body(error: &axum::Error) -> Self {
        match std::error::Error::source(error) {
            Some(source) if source.to_string() == "length limit exceeded" => Self::TooLarge,
            _ => Self::Malformed,
        }
    }

    fn response(self) -> Response<Body> {
        let (status, body) = match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, r#"{"message":"Unauthorized"}"#),
            Self::NotFound => (StatusCode::NOT_FOUND, r#"{"message":"Not Found"}"#),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, r#"{"message":"Request Entity Too Large"}"#),
            Self::Malformed => (StatusCode::BAD_REQUEST, r#"{"message":"Bad Request"}"#),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, r#"{"message":"Internal Server Error"}"#),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, r#"{"message":"Service Unavailable"}"#),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, r#"{"message":"Endpoint request timed out"}"#),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
