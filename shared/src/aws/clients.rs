//! SDK clients from the usual AWS environment, over one shared HTTP client.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

/// How long connecting may take. The endpoints are in the same region: a connection that takes longer is lost.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one attempt at an operation may take. DynamoDB answers in single-digit milliseconds
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html>).
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an operation may take with all its attempts: well below a lease.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at an operation, the first included, in the SDK's standard mode
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>).
pub const ATTEMPTS_MAX: u32 = 3;

/// The authorities that issue the certificates of AWS endpoints (<https://www.amazontrust.com/repository/>). Reading five
/// instead of the platform's 144 is most of what a cold start saves.
const AMAZON_ROOTS: &str = include_str!("amazon_roots.pem");

/// The variables that send the clients elsewhere
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
const ENDPOINT_VARIABLES: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];

/// What all clients share.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
}

impl Clients {
    /// Clients for the region, endpoint and credentials that the process environment names.
    pub async fn from_environment() -> Clients {
        let transport = Transport::of(|name| std::env::var(name).ok());
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(transport.client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Clients { config: config.load().await }
    }

    /// Clients for a local endpoint without TLS, such as `http://127.0.0.1:4566`, which takes any credentials.
    pub fn at(endpoint_url: &str) -> Clients {
        let credentials = Credentials::new("local", "local", None, None, "local endpoint");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(endpoint_url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Transport::Plain.client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Clients { config }
    }

    /// As whom and in which region AWS is asked, for services that have no client here; `None` when either is unknown.
    pub fn identity(&self) -> Option<(SharedCredentialsProvider, String)> {
        Some((self.config.credentials_provider()?, self.config.region()?.to_string()))
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}

/// An attempt ends when its time is up, so that no answer, all of which are small, is watched for stalls as well.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Every endpoint is `http:`, so nothing is set up for TLS.
    Plain,
    /// The endpoints are AWS's own.
    TlsToAws,
    /// Some endpoint is named and may be anybody's.
    TlsToAnybody,
}

impl Transport {
    fn of(lookup: impl Fn(&str) -> Option<String>) -> Transport {
        let named: Vec<String> =
            ENDPOINT_VARIABLES.into_iter().filter_map(&lookup).filter(|url| !url.is_empty()).collect();
        let covers_all = lookup(ENDPOINT_VARIABLES[0]).is_some_and(|url| !url.is_empty());
        match named.as_slice() {
            [] => Transport::TlsToAws,
            urls if covers_all && urls.iter().all(|url| url.starts_with("http://")) => Transport::Plain,
            _ => Transport::TlsToAnybody,
        }
    }

    fn client(self) -> SharedHttpClient {
        let over_tls = |roots: TrustStore| {
            let context = TlsContext::builder().with_trust_store(roots).build();
            let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
            // Building a context does not fail: certificates are read when the first connection is made.
            context.map_or_else(|_| Builder::new().build_http(), |context| builder.tls_context(context).build_https())
        };
        match self {
            Transport::Plain => Builder::new().build_http(),
            Transport::TlsToAws => over_tls(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS)),
            Transport::TlsToAnybody => over_tls(TrustStore::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_set_up_unless_every_endpoint_is_plain() {
        let of = |set: &[(&str, &str)]| {
            Transport::of(|name| set.iter().find(|(of, _)| *of == name).map(|(_, url)| (*url).to_owned()))
        };
        let local = ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");
        assert_eq!(of(&[]), Transport::TlsToAws);
        assert_eq!(of(&[("AWS_ENDPOINT_URL", "")]), Transport::TlsToAws);
        assert_eq!(of(&[local]), Transport::Plain);
        assert_eq!(of(&[local, ("AWS_ENDPOINT_URL_SQS", "https://sqs.example")]), Transport::TlsToAnybody);
        assert_eq!(of(&[("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")]), Transport::TlsToAnybody);
        assert_eq!(of(&[("AWS_ENDPOINT_URL", "https://vpce.example")]), Transport::TlsToAnybody);
    }
}
