//! SDK clients from the usual AWS environment, over one shared HTTP client.

use std::{sync::OnceLock, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::{
    config::{Credentials, SharedCredentialsProvider, SharedHttpClient},
    error::DisplayErrorContext,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{function, http::Http};

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

/// It is not known who the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not known whose credentials these are: {message}")]
pub struct UnknownCaller {
    /// What was seen.
    pub message: String,
}

/// What all clients share, and the clients, each made once when it is first asked for: making one reads the whole table of AWS partitions.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    sqs: OnceLock<aws_sdk_sqs::Client>,
    secrets_manager: OnceLock<aws_sdk_secretsmanager::Client>,
}

impl Clients {
    fn of(config: SdkConfig) -> Clients {
        Clients { config, dynamodb: OnceLock::new(), sqs: OnceLock::new(), secrets_manager: OnceLock::new() }
    }

    /// Clients for the region, endpoint and credentials that the SDK finds, wherever it looks: for a person's machine.
    pub async fn from_environment() -> Clients {
        let transport = Transport::of(|name| std::env::var(name).ok());
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(transport.client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Clients::of(config.load().await)
    }

    /// Clients of a function, for the region, endpoints and credentials that Lambda's variables name. Files, metadata services and roles to
    /// take on are not asked for any.
    pub fn of_function() -> Clients {
        let lookup: function::Lookup = |name| std::env::var(name).ok();
        let config = function::configuration(lookup)
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(Transport::of(lookup).client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Clients::of(config.build())
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
        Clients::of(config)
    }

    /// As whom and in which region AWS is asked, for services that have no client here; `None` when either is unknown.
    pub fn identity(&self) -> Option<(SharedCredentialsProvider, String)> {
        Some((self.config.credentials_provider()?, self.config.region()?.to_string()))
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.get_or_init(|| aws_sdk_dynamodb::Client::new(&self.config)).clone()
    }

    /// SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.sqs.get_or_init(|| aws_sdk_sqs::Client::new(&self.config)).clone()
    }

    /// Who the credentials belong to, as an ARN: what `sts:GetCallerIdentity` says, which takes no permission and cannot be denied
    /// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
    ///
    /// # Errors
    /// When there are no credentials, or STS does not answer.
    pub async fn caller(&self) -> Result<String, UnknownCaller> {
        let answer = aws_sdk_sts::Client::new(&self.config).get_caller_identity().send().await;
        let answer = answer.map_err(|error| UnknownCaller { message: DisplayErrorContext(&error).to_string() })?;
        answer.arn.ok_or_else(|| UnknownCaller { message: "STS names nobody".to_owned() })
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        self.secrets_manager.get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.config)).clone()
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
        let mut roots = RootCertStore::empty();
        match self {
            Transport::Plain => {}
            Transport::TlsToAws => {
                let certificates = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes());
                roots.add_parsable_certificates(certificates.filter_map(Result::ok));
            }
            Transport::TlsToAnybody => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        SharedHttpClient::new(Http::new(roots, CONNECT_TIMEOUT))
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

    #[test]
    fn every_root_of_amazon_is_one() {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        assert_eq!(roots.len(), 5);
    }
}
