//! The services, as the official SDKs see them on one URL.

mod support;

use std::{collections::HashMap, os::unix::fs::PermissionsExt as _};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use support::{dynamodb, queue, secrets, spec, sqs, table};
use windlass_local::{SecretSpec, Stack, StackSpec};

fn item(key: &str, payload_bytes: usize) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(key.into())),
        ("payload".to_owned(), AttributeValue::S("x".repeat(payload_bytes))),
    ])
}

fn with_services() -> StackSpec {
    StackSpec {
        tables: vec![table("runs")],
        queues: vec![queue("jobs", 30)],
        secrets: vec![SecretSpec { name: "kit/key".into(), value: "first".into() }],
        ..spec()
    }
}

#[tokio::test]
async fn items_are_put_and_read_and_conditions_decide() {
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let client = dynamodb(&stack.aws_url());
    let put = || client.put_item().table_name("runs").set_item(Some(item("a", 10)));
    put().condition_expression("attribute_not_exists(pk)").send().await.expect("the first put");
    let lost = put().condition_expression("attribute_not_exists(pk)").send().await.expect_err("the second put");
    assert!(lost.into_service_error().is_conditional_check_failed_exception());
    let read =
        client.get_item().table_name("runs").key("pk", AttributeValue::S("a".into())).send().await.expect("a read");
    assert_eq!(read.item(), Some(&item("a", 10)));
    assert_eq!(read.consumed_capacity(), None);
    let missing = client.get_item().table_name("nothing").key("pk", AttributeValue::S("a".into())).send().await;
    assert!(missing.expect_err("no such table").into_service_error().is_resource_not_found_exception());
    stack.shutdown().await;
}

#[tokio::test]
async fn the_meter_counts_requests_and_the_units_that_they_consumed() {
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let client = dynamodb(&stack.aws_url());
    let before = stack.meter();
    // The item's size counts its names: `pk` + `a` + `payload` + text, in all 1,024 bytes.
    client.put_item().table_name("runs").set_item(Some(item("a", 1024 - 10))).send().await.expect("a put");
    let first = stack.meter();
    assert_eq!(first.since(&before).units_of("DynamoDB.PutItem"), 1.0);
    assert_eq!(first.since(&before).requests_of("DynamoDB.PutItem"), 1);
    let put = client.put_item().table_name("runs").set_item(Some(item("b", 1024 - 9)));
    let answer = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.expect("a put");
    let consumed = answer.consumed_capacity().expect("the client asked");
    assert!(consumed.table().is_some());
    assert_eq!(stack.meter().since(&first).capacity_units["DynamoDB.PutItem"]["runs"], 2.0);
    let refused = client.put_item().table_name("runs").set_item(Some(item("a", 1)));
    refused.condition_expression("attribute_not_exists(pk)").send().await.expect_err("it is there");
    let meter = stack.meter();
    assert_eq!(meter.errors["DynamoDB.PutItem ConditionalCheckFailedException"], 1);

    let http = plain_http();
    let text = http.get(format!("{}/_local/meter", stack.aws_url())).send().await.expect("an answer").text().await;
    let read: windlass_local::Meter = serde_json::from_str(&text.expect("text")).expect("a meter");
    assert_eq!(read, meter);
    let health = http.get(format!("{}/_local/health", stack.aws_url())).send().await.expect("an answer");
    assert!(health.status().is_success());
    stack.shutdown().await;
}

#[tokio::test]
async fn expired_items_are_swept() {
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let client = dynamodb(&stack.aws_url());
    let mut expired = item("old", 1);
    expired.insert("expires".into(), AttributeValue::N("1".into()));
    client.put_item().table_name("runs").set_item(Some(expired)).send().await.expect("a put");
    client.put_item().table_name("runs").set_item(Some(item("new", 1))).send().await.expect("a put");
    assert_eq!(stack.sweep_expired_items().await, 1);
    assert_eq!(client.scan().table_name("runs").send().await.expect("a scan").count(), 1);
    stack.shutdown().await;
}

#[tokio::test]
async fn messages_are_sent_received_and_deleted() {
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let client = sqs(&stack.aws_url());
    let url = stack.queue_url("jobs");
    assert_eq!(client.get_queue_url().queue_name("jobs").send().await.expect("a URL").queue_url(), Some(url.as_str()));
    client.send_message().queue_url(&url).message_body("hello").send().await.expect("a send");
    let received = client.receive_message().queue_url(&url).wait_time_seconds(1).send().await.expect("a receive");
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some("hello"));
    let handle = message.receipt_handle().expect("a handle");
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.expect("a delete");
    assert_eq!(support::depth(&client, &url).await, (0, 0));
    assert_eq!(stack.meter().requests_of("SQS.SendMessage"), 1);
    let none = client.send_message().queue_url(stack.queue_url("nothing")).message_body("x").send().await;
    assert!(none.expect_err("no such queue").into_service_error().is_queue_does_not_exist());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_standard_queue_takes_message_groups_and_says_of_which_a_message_is() {
    use aws_sdk_sqs::types::MessageSystemAttributeName as Name;
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let (client, url) = (sqs(&stack.aws_url()), stack.queue_url("jobs"));
    let send = |group: &str| client.send_message().queue_url(&url).message_body("hello").message_group_id(group);
    send("acme").send().await.expect("a send");
    let receive = client.receive_message().queue_url(&url).wait_time_seconds(1);
    let received = receive.message_system_attribute_names(Name::MessageGroupId).send().await.expect("a receive");
    let attributes = received.messages()[0].attributes().expect("attributes");
    assert_eq!(attributes.get(&Name::MessageGroupId).map(String::as_str), Some("acme"));
    assert_eq!(attributes.len(), 1, "only what was asked for");
    send("not a group").send().await.expect_err("a group has no spaces");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_was_said_and_a_long_poll_is_woken() {
    let stack = Stack::start(with_services()).await.expect("the stack starts");
    let (client, url) = (sqs(&stack.aws_url()), stack.queue_url("jobs"));
    let begun = std::time::Instant::now();
    client.send_message().queue_url(&url).message_body("later").delay_seconds(1).send().await.expect("a send");
    let received = client.receive_message().queue_url(&url).wait_time_seconds(5).send().await.expect("a receive");
    assert_eq!(received.messages()[0].body(), Some("later"));
    let took = begun.elapsed().as_millis();
    assert!((1_000..1_500).contains(&took), "{took} ms");
    let (received, _) = tokio::join!(
        async { client.receive_message().queue_url(&url).wait_time_seconds(5).send().await.expect("a receive") },
        async { client.send_message().queue_url(&url).message_body("now").send().await.expect("a send") },
    );
    assert_eq!(received.messages()[0].body(), Some("now"));
    stack.shutdown().await;
}

#[tokio::test]
async fn tables_and_secrets_survive_a_restart_and_only_their_owner_can_read_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let kept = || StackSpec { data: Some(data.clone()), ..with_services() };
    let value = async |stack: &Stack, stage: &str| {
        let secret =
            secrets(&stack.aws_url()).get_secret_value().secret_id("kit/key").version_stage(stage).send().await;
        secret.expect("a secret").secret_string().map(str::to_owned)
    };

    let stack = Stack::start(kept()).await.expect("the stack starts");
    let client = secrets(&stack.aws_url());
    assert_eq!(value(&stack, "AWSCURRENT").await.as_deref(), Some("first"));
    client.put_secret_value().secret_id("kit/key").secret_string("second").send().await.expect("a put");
    let pending = client.put_secret_value().secret_id("kit/key").secret_string("third").version_stages("AWSPENDING");
    pending.send().await.expect("a put");
    client.create_secret().name("gone").secret_string("x").send().await.expect("a secret");
    client.delete_secret().secret_id("gone").force_delete_without_recovery(true).send().await.expect("a delete");
    dynamodb(&stack.aws_url()).put_item().table_name("runs").set_item(Some(item("a", 5))).send().await.expect("a put");
    let keys = stack.issuer().token("ada", serde_json::Map::new(), support::LIMIT);
    stack.shutdown().await;

    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in ["secrets.json", "issuer-key.der"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }

    let stack = Stack::start(kept()).await.expect("the stack starts again");
    assert_eq!(value(&stack, "AWSCURRENT").await.as_deref(), Some("second"));
    assert_eq!(value(&stack, "AWSPREVIOUS").await.as_deref(), Some("first"));
    assert_eq!(value(&stack, "AWSPENDING").await.as_deref(), Some("third"));
    let gone = secrets(&stack.aws_url()).get_secret_value().secret_id("gone").send().await;
    assert!(gone.expect_err("deleted").into_service_error().is_resource_not_found_exception());
    let client = dynamodb(&stack.aws_url());
    let read =
        client.get_item().table_name("runs").key("pk", AttributeValue::S("a".into())).send().await.expect("a read");
    assert_eq!(read.item(), Some(&item("a", 5)));
    // Signing is randomised in nothing but time, so the key is the same if both tokens name it alike.
    let again = stack.issuer().token("ada", serde_json::Map::new(), support::LIMIT);
    assert_eq!(again.split('.').next(), keys.split('.').next());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_stack_that_names_what_is_not_there_does_not_start() {
    let route = support::route("GET", "/", windlass_local::Authorization::None);
    let lost = windlass_local::RouteSpec { function: "nobody".into(), ..route };
    let error = Stack::start(StackSpec { routes: vec![lost], ..spec() }).await.err().expect("an error");
    assert_eq!(error.to_string(), "the route `GET /` names the function `nobody`, which is not in the stack");
    let redriven = vec![support::redriven("jobs", "dead", 3)];
    let error = Stack::start(StackSpec { queues: redriven, ..spec() }).await.err().expect("an error");
    assert_eq!(error.to_string(), "the redrive policy of `jobs` names the queue `dead`, which is not in the stack");
}

fn plain_http() -> reqwest::Client {
    support::http()
}
