//! What the functions behind the HTTP API share: payload format 2.0 in, RFC 9457 problems out
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).
//!
//! HTTP statuses appear here and in the handlers, nowhere else.
#![deny(missing_docs)]

pub mod door;
mod errors;
mod identity;
mod problem;
pub mod refusals;
mod reply;
mod request;
#[cfg(test)]
mod written;

pub use aws_lambda_events::apigw::{ApiGatewayV2httpRequest as Event, ApiGatewayV2httpResponse as Response};
pub use errors::not_admitted;
pub use identity::{Claims, identify};
pub use problem::{Kind, Problem};
pub use reply::{Reply, SLOW_AFTER, respond};
pub use request::{Request, Target};
