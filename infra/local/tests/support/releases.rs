//! What the tests of versions and of metrics share: the official SDKs as clients.
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    collections::HashMap,
    io::{Cursor, Write as _},
    time::Duration,
};

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_sdk_lambda::{
    operation::invoke::InvokeOutput,
    primitives::Blob,
    types::{AliasRoutingConfiguration, Environment},
};
use serde_json::{Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::support::echo_program;

pub fn lambda(url: &str) -> aws_sdk_lambda::Client {
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(aws_sdk_lambda::config::BehaviorVersion::latest())
        .endpoint_url(url)
        .region(aws_sdk_lambda::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_lambda::config::Credentials::new("local", "local", None, None, "test"))
        .retry_config(aws_sdk_lambda::config::retry::RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_lambda::Client::from_conf(config)
}

pub fn cloudwatch(url: &str) -> aws_sdk_cloudwatch::Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(aws_sdk_cloudwatch::config::BehaviorVersion::latest())
        .endpoint_url(url)
        .region(aws_sdk_cloudwatch::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_cloudwatch::config::Credentials::new("local", "local", None, None, "test"))
        .retry_config(aws_sdk_cloudwatch::config::retry::RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
}

/// Publishes a version of `echo` whose environment says `RELEASE`; its number.
pub async fn publish(client: &aws_sdk_lambda::Client, release: &str) -> String {
    let environment = Environment::builder().variables("RELEASE", release).build();
    let changed = client.update_function_configuration().function_name("echo").environment(environment).send().await;
    changed.expect("the environment changes");
    let published = client.publish_version().function_name("echo").description(release).send().await;
    published.expect("a version").version().expect("a number").to_owned()
}

/// Points `live` at `version`, with a share of another.
pub async fn route(client: &aws_sdk_lambda::Client, version: &str, other: Option<(&str, f64)>) -> String {
    let weights = other.map(|(version, share)| HashMap::from([(version.to_owned(), share)])).unwrap_or_default();
    let routing = AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights)).build();
    let update = client.update_alias().function_name("echo").name("live").function_version(version);
    let alias = update.routing_config(routing).send().await.expect("the alias moves");
    alias.revision_id().expect("a revision").to_owned()
}

pub async fn invoke(client: &aws_sdk_lambda::Client, function: &str, event: Value) -> InvokeOutput {
    let invoked = client.invoke().function_name(function).payload(Blob::new(event.to_string())).send().await;
    invoked.unwrap_or_else(|error| panic!("{}", aws_sdk_lambda::error::DisplayErrorContext(error)))
}

pub fn payload(output: &InvokeOutput) -> Value {
    serde_json::from_slice(output.payload().expect("a payload").as_ref()).expect("JSON")
}

/// The function's name and what it was asked for as, with the version that ran.
pub fn behind_live(version: &str) -> Vec<(&'static str, String)> {
    vec![
        ("FunctionName", "echo".to_owned()),
        ("Resource", "echo:live".to_owned()),
        ("ExecutedVersion", version.to_owned()),
    ]
}

pub fn dimensions(named: &[(&str, String)]) -> Vec<Dimension> {
    named.iter().map(|(name, value)| Dimension::builder().name(*name).value(value).build()).collect()
}

/// One statistic over the last hour, all periods added up; `None` when there is no value.
pub async fn statistic(
    client: &aws_sdk_cloudwatch::Client,
    (namespace, name, stat): (&str, &str, &str),
    named: &[(&str, String)],
) -> Option<f64> {
    let metric =
        Metric::builder().namespace(namespace).metric_name(name).set_dimensions(Some(dimensions(named))).build();
    let stat = MetricStat::builder().metric(metric).period(3600).stat(stat).build();
    let query = MetricDataQuery::builder().id("m").metric_stat(stat).build();
    let now = std::time::SystemTime::now();
    let got = client
        .get_metric_data()
        .metric_data_queries(query)
        .start_time((now - Duration::from_secs(3600)).into())
        .end_time((now + Duration::from_secs(60)).into())
        .send()
        .await;
    let got = got.unwrap_or_else(|error| panic!("{}", aws_sdk_cloudwatch::error::DisplayErrorContext(error)));
    let values = got.metric_data_results()[0].values();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Of Lambda's own metrics.
pub async fn counted(client: &aws_sdk_cloudwatch::Client, name: &str, version: &str) -> Option<f64> {
    statistic(client, ("AWS/Lambda", name, "Sum"), &behind_live(version)).await
}

/// A package whose `bootstrap` sets `RELEASE` and becomes the echo program.
pub fn package(release: &str) -> Vec<u8> {
    let script = format!("#!/bin/sh\nRELEASE={release} exec {}\n", echo_program().display());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o755)).expect("a file");
    zip.write_all(script.as_bytes()).expect("its content");
    zip.finish().expect("a zip").into_inner()
}

/// A package that is the echo program itself, as it is built: larger than any other service takes.
pub fn binary_package() -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", stored).expect("a file");
    zip.write_all(&std::fs::read(echo_program()).expect("the program")).expect("its content");
    zip.finish().expect("a zip").into_inner()
}

/// An event that is answered with the version and the release that ran.
pub fn who() -> Value {
    json!({ "env": ["AWS_LAMBDA_FUNCTION_VERSION", "RELEASE"] })
}
