//! What Lambda refuses, in its words.

#[path = "support/releases.rs"]
mod releases;
mod support;

use std::collections::HashMap;

use aws_sdk_lambda::{
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{AliasRoutingConfiguration, Architecture, Environment},
};
use releases::{lambda, package, publish, route};
use support::{http, spec};
use windlass_local::{Stack, StackError, StackSpec};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:echo";

/// The exception's name and message.
fn said<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> (String, String) {
    match result {
        Ok(_) => panic!("it is not refused"),
        Err(SdkError::ServiceError(refused)) => {
            let refused = refused.into_err();
            (refused.code().unwrap_or_default().to_owned(), refused.message().unwrap_or_default().to_owned())
        }
        Err(_) => panic!("there is no answer"),
    }
}

fn refusal(code: &str, message: impl Into<String>) -> (String, String) {
    (code.to_owned(), message.into())
}

fn weights(weights: &[(&str, f64)]) -> AliasRoutingConfiguration {
    let weights: HashMap<_, _> = weights.iter().map(|(version, share)| ((*version).to_owned(), *share)).collect();
    AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights)).build()
}

async fn start() -> (Stack, aws_sdk_lambda::Client) {
    let stack = Stack::start(spec()).await.expect("the stack starts");
    let client = lambda(&stack.aws_url());
    (stack, client)
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (stack, client) = start().await;
    let not_found = |arn: &str| refusal("ResourceNotFoundException", format!("Function not found: {arn}"));
    let nobody = "arn:aws:lambda:us-east-1:000000000000:function:nobody";
    assert_eq!(said(client.get_function().function_name("nobody").send().await), not_found(nobody));
    assert_eq!(said(client.publish_version().function_name("nobody").send().await), not_found(nobody));
    let elsewhere = "arn:aws:lambda:eu-west-1:000000000000:function:echo";
    assert!(said(client.get_function().function_name(elsewhere).send().await).0 == "ResourceNotFoundException");
    let qualified = client.get_function_configuration().function_name("echo").qualifier("9").send().await;
    assert_eq!(said(qualified), not_found(&format!("{ARN}:9")));
    let invoked = client.invoke().function_name("echo:other").send().await;
    assert_eq!(said(invoked), not_found(&format!("{ARN}:other")));
    let alias = client.get_alias().function_name("echo").name("other").send().await;
    let no_alias = refusal("ResourceNotFoundException", format!("Cannot find alias arn: {ARN}:other"));
    assert_eq!(said(alias), no_alias);
    assert_eq!(said(client.update_alias().function_name("echo").name("other").send().await), no_alias);
    client.delete_alias().function_name("echo").name("other").send().await.expect("as on Lambda, no error");
    let missing = client.create_alias().function_name("echo").name("next").function_version("7").send().await;
    assert_eq!(said(missing), not_found(&format!("{ARN}:7")));
    stack.shutdown().await;
}

#[tokio::test]
async fn an_alias_has_one_name_and_two_versions_at_most() {
    let (stack, client) = start().await;
    publish(&client, "r2").await;
    publish(&client, "r3").await;
    let create =
        |name: &str, version: &str| client.create_alias().function_name("echo").name(name).function_version(version);
    let exists = refusal("ResourceConflictException", format!("Alias already exists: {ARN}:live"));
    assert_eq!(said(create("live", "1").send().await), exists);
    assert_eq!(said(create("7", "1").send().await).0, "ValidationException");
    let invalid = |message: &str| refusal("InvalidParameterValueException", message);
    let latest = create("next", "$LATEST").routing_config(weights(&[("2", 0.1)])).send().await;
    assert_eq!(said(latest), invalid("$LATEST is not supported for an alias pointing to more than 1 version"));
    let update = || client.update_alias().function_name("echo").name("live");
    let three = update().routing_config(weights(&[("2", 0.1), ("3", 0.1)])).send().await;
    assert_eq!(said(three), invalid("Number of items in AdditionalVersionWeights cannot be greater than 1"));
    let twice = update().routing_config(weights(&[("1", 0.1)])).send().await;
    let text = "Invalid function version 1. Function version 1 is already included in routing configuration.";
    assert_eq!(said(twice), invalid(text));
    let (code, text) = said(update().routing_config(weights(&[("2", 1.5)])).send().await);
    assert_eq!(code, "ValidationException");
    assert!(text.starts_with("1 validation error detected: Value '{2=1.5}' at 'routingConfig.additional"), "{text}");

    let weighted = create("next", "1").routing_config(weights(&[("2", 0.25)])).description("d").send().await;
    let weighted = weighted.expect("an alias");
    assert_eq!(weighted.alias_arn(), Some(format!("{ARN}:next").as_str()));
    let kept = client.update_alias().function_name("echo").name("next").description("e").send().await.expect("changed");
    assert_eq!(kept.routing_config(), Some(&weights(&[("2", 0.25)])), "what is not mentioned stays");
    let none = client.update_alias().function_name("echo").name("next").routing_config(weights(&[])).send().await;
    assert_eq!(none.expect("changed").routing_config(), None);
    let listed = client.list_aliases().function_name("echo").function_version("1").send().await.expect("a list");
    let names: Vec<&str> = listed.aliases().iter().filter_map(|alias| alias.name()).collect();
    assert_eq!(names, ["live", "next"]);
    client.delete_alias().function_name("echo").name("next").send().await.expect("deleted");
    assert_eq!(said(client.get_alias().function_name("echo").name("next").send().await).0, "ResourceNotFoundException");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_version_is_deleted_only_when_no_alias_names_it() {
    let (stack, client) = start().await;
    publish(&client, "r2").await;
    route(&client, "1", Some(("2", 0.0))).await;
    let delete = |version: &str| client.delete_function().function_name("echo").qualifier(version);
    let (code, text) = said(delete("2").send().await);
    assert_eq!(code, "ResourceConflictException");
    assert!(text.contains("[live]"), "{text}");
    route(&client, "1", None).await;
    delete("2").send().await.expect("it is deleted");
    delete("2").send().await.expect("as on Lambda, no error");
    assert_eq!(said(client.invoke().function_name("echo:2").send().await).0, "ResourceNotFoundException");
    assert_eq!(publish(&client, "r3").await, "3", "a number is never given twice");
    assert_eq!(said(delete("$LATEST").send().await).0, "InvalidParameterValueException");
    assert_eq!(said(client.delete_function().function_name("echo").send().await).0, "InvalidParameterValueException");
    stack.shutdown().await;
}

#[tokio::test]
async fn code_and_settings_have_their_limits() {
    let (stack, client) = start().await;
    let invalid = |message: &str| refusal("InvalidParameterValueException", message);
    let code = || client.update_function_code().function_name("echo");
    let unreadable = "Could not unzip uploaded file. Please check your file, then try to upload again.";
    assert_eq!(said(code().zip_file(Blob::new("no zip")).send().await), invalid(unreadable));
    assert_eq!(said(code().send().await), invalid("Please provide a source for function code."));
    let (kind, text) = said(code().s3_bucket("b").s3_key("k").send().await);
    assert_eq!(kind, "InvalidParameterValueException");
    assert!(text.contains("unknown field `S3Bucket`"), "{text}");
    let other = if cfg!(target_arch = "aarch64") { Architecture::X8664 } else { Architecture::Arm64 };
    let foreign = code().zip_file(Blob::new(package("a"))).architectures(other).send().await;
    assert_eq!(said(foreign).0, "InvalidParameterValueException");
    let dry = code().zip_file(Blob::new(package("a"))).dry_run(true).send().await.expect("it could be done");
    let now = client.get_function_configuration().function_name("echo").send().await.expect("a configuration");
    assert_ne!(dry.code_sha256(), now.code_sha256());

    let configure = || client.update_function_configuration().function_name("echo");
    let environment = |name: &str, value: String| Environment::builder().variables(name, value).build();
    let large = configure().environment(environment("A", "x".repeat(5_000))).send().await;
    assert!(said(large).1.ends_with("exceeded the 4KB limit."));
    let reserved = configure().environment(environment("AWS_REGION", "x".into())).send().await;
    assert!(said(reserved).1.ends_with("Reserved keys used in this request: AWS_REGION"));
    assert_eq!(said(configure().timeout(901).send().await).0, "ValidationException");
    assert_eq!(said(configure().memory_size(64).send().await).0, "ValidationException");
    assert_eq!(said(configure().handler("other").send().await).0, "InvalidParameterValueException");
    let changed = configure().timeout(7).memory_size(512).description("d").send().await.expect("it changes");
    assert_eq!((changed.timeout(), changed.memory_size(), changed.description()), (Some(7), Some(512), Some("d")));

    let stale = "00000000-0000-4000-8000-000000000000";
    assert_eq!(said(configure().revision_id(stale).send().await).0, "PreconditionFailedException");
    assert_eq!(
        said(code().zip_file(Blob::new(package("a"))).revision_id(stale).send().await).0,
        "PreconditionFailedException"
    );
    let publish = client.publish_version().function_name("echo");
    assert_eq!(said(publish.clone().revision_id(stale).send().await).0, "PreconditionFailedException");
    let (kind, text) = said(publish.code_sha256("other").send().await);
    assert_eq!(kind, "InvalidParameterValueException");
    assert!(text.starts_with("CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ("), "{text}");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_package_without_a_program_is_taken_and_does_not_start() {
    let (stack, client) = start().await;
    let empty = zip::ZipWriter::new(std::io::Cursor::new(Vec::new())).finish().expect("a zip").into_inner();
    client.update_function_code().function_name("echo").zip_file(Blob::new(empty)).send().await.expect("it is taken");
    let failed = client.invoke().function_name("echo").send().await.expect("an answer");
    assert_eq!(failed.function_error(), Some("Unhandled"));
    assert_eq!(releases::payload(&failed)["errorType"], "Runtime.ExitError");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_web_page_cannot_reach_the_endpoint() {
    let (stack, _) = start().await;
    let url = format!("{}/2015-03-31/functions/echo/invocations", stack.aws_url());
    let status = async |name: &str, value: &str| {
        http().post(&url).header(name, value).body("{}").send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status("origin", "https://elsewhere.example").await, 403);
    assert_eq!(status("host", "elsewhere.example").await, 403);
    assert_eq!(status("host", "localhost:1").await, 200);
    stack.shutdown().await;
}

#[tokio::test]
async fn traffic_needs_an_alias_that_is_there() {
    let unknown = Stack::start(StackSpec { traffic_alias: "other".into(), ..spec() }).await;
    assert!(matches!(unknown.err(), Some(StackError::UnknownAlias { alias }) if alias == "other"));
    let aliases = vec!["live".to_owned(), "1".to_owned()];
    let number = Stack::start(StackSpec { aliases, ..spec() }).await;
    assert!(matches!(number.err(), Some(StackError::AliasName { alias }) if alias == "1"));
}
