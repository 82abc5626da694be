//! What a function knows of AWS: the variables that Lambda sets, and nothing else.
//!
//! The SDK's loader also looks into files, asks the container's and the machine's metadata services and takes on roles. A function has
//! none of these, and the code for it, a client of STS included, would be a twentieth of a function that is loaded at every start.

use aws_config::{Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_types::{
    sdk_config::Builder,
    service_config::{LoadServiceConfig, ServiceConfigKey},
};

/// The region (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>).
const REGION: &str = "AWS_REGION";
/// Whether endpoints are those of FIPS 140 (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html>).
const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
/// Whether endpoints are those that IPv6 reaches as well (see the same page).
const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";

/// Looks a variable up.
pub(super) type Lookup = fn(&str) -> Option<String>;

/// The SDK's configuration from what `lookup` says of region and endpoints; credentials are in the process environment.
pub(super) fn configuration(lookup: Lookup) -> Builder {
    let switch = |name: &str| lookup(name).map(|value| value.eq_ignore_ascii_case("true"));
    let credentials = EnvironmentVariableCredentialsProvider::new();
    let mut builder = SdkConfig::builder()
        .region(set(lookup(REGION)).map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .service_config(PerService(lookup));
    builder.set_use_fips(switch(FIPS)).set_use_dual_stack(switch(DUAL_STACK));
    builder
}

fn set(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

/// Settings of one service, such as `AWS_ENDPOINT_URL_DYNAMODB`, which goes before `AWS_ENDPOINT_URL`
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
#[derive(Debug)]
struct PerService(Lookup);

impl LoadServiceConfig for PerService {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let of_service = format!("{}_{}", key.env(), key.service_id().to_uppercase().replace(' ', "_"));
        set((self.0)(&of_service)).or_else(|| set((self.0)(key.env())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(name: &str) -> Option<String> {
        let url = match name {
            "AWS_ENDPOINT_URL" => "http://127.0.0.1:1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER" => "http://127.0.0.1:2",
            "AWS_ENDPOINT_URL_SQS" => "",
            _ => return None,
        };
        Some(url.to_owned())
    }

    #[test]
    fn the_endpoint_of_a_service_goes_before_that_of_all() {
        let config = configuration(endpoints).build();
        let of = |service: &str| {
            let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
            config.service_config().expect("it is there").load_config(key.build().expect("a key"))
        };
        assert_eq!(of("Secrets Manager").as_deref(), Some("http://127.0.0.1:2"));
        assert_eq!(of("SQS").as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(of("DynamoDB").as_deref(), Some("http://127.0.0.1:1"));
    }

    #[test]
    fn region_and_kinds_of_endpoints_are_read_and_none_is_made_up() {
        let config = configuration(|name| {
            let value = match name {
                REGION => "eu-central-1",
                FIPS => "True",
                DUAL_STACK => "false",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let config = config.build();
        assert_eq!(config.region().map(Region::as_ref), Some("eu-central-1"));
        assert_eq!((config.use_fips(), config.use_dual_stack()), (Some(true), Some(false)));
        let nothing = configuration(|_| None).build();
        assert_eq!((nothing.region(), nothing.use_fips(), nothing.endpoint_url()), (None, None, None));
    }
}
