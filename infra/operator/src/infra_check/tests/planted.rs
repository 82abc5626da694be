//! Defects, one test each: planted in memory, and found.

use serde_json::{Value, json};

use super::{listed, place, subject, yaml};
use crate::infra_check::Subject;

/// The defect is found under this rule at this place, in these words, and the template is right without it.
fn finds(plant: impl FnOnce(&mut Subject), rule: &str, at: &str, words: &str) {
    let mut planted = subject();
    plant(&mut planted);
    let findings = planted.check();
    let found = findings.iter().any(|one| one.rule == rule && one.at == at && one.problem.contains(words));
    assert!(found, "wanted `{words}` at {at} ({rule}), found{}", listed(&findings));
}

/// Sets a place of the template.
fn set(pointer: &'static str, value: Value) -> impl FnOnce(&mut Subject) {
    move |subject| *place(subject, pointer) = value
}

/// Removes a field of the template.
fn remove(pointer: &'static str) -> impl FnOnce(&mut Subject) {
    move |subject| {
        let (around, field) = pointer.rsplit_once('/').expect("a place in something");
        let around = place(subject, around).as_object_mut().expect("an object");
        assert!(around.remove(&field.replace("~1", "/")).is_some(), "{pointer} is not there");
    }
}

/// Adds to a list of the template.
fn push(pointer: &'static str, value: Value) -> impl FnOnce(&mut Subject) {
    move |subject| place(subject, pointer).as_array_mut().expect("a list").push(value)
}

/// One plant after the other.
fn both(first: impl FnOnce(&mut Subject), second: impl FnOnce(&mut Subject)) -> impl FnOnce(&mut Subject) {
    |subject| {
        first(subject);
        second(subject);
    }
}

/// Sets a variable of all functions.
fn model(variable: &'static str, value: &'static str) -> impl FnOnce(&mut Subject) {
    move |subject| *place(subject, &format!("/Globals/Function/Environment/Variables/{variable}")) = json!(value)
}

/// Sets a parameter of every deployment.
fn deploy(parameter: &'static str, value: &'static str) -> impl FnOnce(&mut Subject) {
    move |subject| {
        for deployment in &mut subject.deployments {
            deployment.parameters.insert(parameter.to_owned(), value.to_owned());
        }
    }
}

const KEY_ARN: &str = "arn:aws:secretsmanager:us-east-1:111122223333:secret:windlass/model-key-AbCdEf";

/// The statement of the step function's role that reads the model's key.
const STATEMENT: &str = "/Resources/StepRole/Properties/Policies/0/PolicyDocument/Statement/11/Fn::If/1";

/// A model with a key, as `docs/deploy.md` says how.
fn with_model() -> impl FnOnce(&mut Subject) {
    let prices = r#"{"openai:gpt":{"input":0.5,"output":1.5}}"#;
    let variables = both(model("MODEL", "openai:gpt"), model("MODEL_PRICES", prices));
    both(both(variables, model("MODEL_SECRET", "windlass/model-key")), deploy("ModelSecretArn", KEY_ARN))
}

#[test]
fn models_tools_and_bedrock_with_the_permissions_that_they_want_are_right() {
    let mut planted = subject();
    with_model()(&mut planted);
    both(model("MCP_SERVERS_SECRET", "windlass/servers"), deploy("McpSecretArns", "arn:a:b,arn:c:d"))(&mut planted);
    both(
        model("MODEL_FALLBACK", "bedrock:nova"),
        deploy("BedrockModelArns", "arn:aws:bedrock:::m,arn:aws:bedrock:::p"),
    )(&mut planted);
    model("MODEL_PRICES", r#"{"openai:gpt":{"input":1,"output":1},"bedrock:nova":{"input":1,"output":1}}"#)(
        &mut planted,
    );
    let findings = planted.check();
    assert!(findings.is_empty(), "{}", listed(&findings));
}

/// `name: plant, rule, place, words;`
macro_rules! planted {
    ($($name:ident: $plant:expr, $rule:literal, $at:literal, $words:literal;)*) => {
        $(#[test] fn $name() { finds($plant, $rule, $at, $words); })*
    };
}

planted! {
    // Queues.
    a_visibility_below_six_timeouts_behind_an_alias:
        set("/Resources/StepFunction/Properties/Timeout", json!(61)), "queues", "StepQueue", "take 366 s";
    a_batching_window_that_visibility_does_not_cover:
        set("/Resources/StepMapping/Properties/MaximumBatchingWindowInSeconds", json!(5)), "queues", "StepQueue", "take 365 s";
    a_reservation_below_the_maximum_concurrency:
        set("/Resources/StepFunction/Properties/ReservedConcurrentExecutions", json!(5)), "queues", "StepFunction", "uses up to 200";
    no_reservation_in_production:
        remove("/Resources/StepFunction/Properties/ReservedConcurrentExecutions"), "queues", "StepFunction", "in production";
    no_maximum_concurrency:
        remove("/Resources/StepMapping/Properties/ScalingConfig"), "queues", "StepMapping", "no maximum concurrency";
    no_redrive:
        remove("/Resources/StepQueue/Properties/RedrivePolicy"), "queues", "StepQueue", "no dead-letter queue";
    a_queue_that_is_its_own_dead_letter_queue:
        set("/Resources/StepQueue/Properties/RedrivePolicy/deadLetterTargetArn", yaml("!GetAtt StepQueue.Arn")),
        "queues", "StepQueue", "no dead-letter queue";
    one_receive_and_a_message_is_given_up:
        set("/Resources/StepQueue/Properties/RedrivePolicy/maxReceiveCount", json!(1)), "queues", "StepQueue", "after 1 receives";
    dead_letters_that_are_deleted_after_four_days:
        remove("/Resources/StepDeadLetters/Properties/MessageRetentionPeriod"), "queues", "StepDeadLetters", "14 days";
    no_report_of_single_failures:
        remove("/Resources/StepMapping/Properties/FunctionResponseTypes"), "queues", "StepMapping", "whole batch";
    a_queue_without_encryption:
        remove("/Resources/StepQueue/Properties/SqsManagedSseEnabled"), "queues", "StepQueue", "not encrypted";
    a_queue_without_tls:
        remove("/Resources/StepQueuePolicy"), "queues", "StepQueue", "without TLS";

    // Release.
    a_queue_that_feeds_the_candidate:
        set("/Resources/StepMapping/Properties/FunctionName", yaml("!Ref StepFunctionAliascandidate")),
        "release", "StepMapping", "no alias `live`";
    a_route_to_the_latest_code:
        set("/Resources/IntakeIntegration/Properties/IntegrationUri", yaml("!GetAtt IntakeFunction.Arn")),
        "release", "IntakeIntegration", "no alias `live`";
    a_schedule_that_fires_at_the_latest_code:
        set("/Resources/RescueRuns/Properties/Target/Arn", yaml("!GetAtt CleanupFunction.Arn")),
        "release", "RescueRuns", "no alias `live`";
    a_live_alias_on_the_version_that_a_deploy_makes:
        set("/Resources/StepLive/Properties/FunctionVersion", yaml("!GetAtt StepFunction.Version.Version")),
        "release", "StepLive", "CloudFormation would move it";
    a_live_alias_with_weights:
        set("/Resources/StepLive/Properties/RoutingConfig", json!({ "AdditionalVersionWeights": [] })),
        "release", "StepLive", "CloudFormation would move it";
    a_live_alias_with_a_description:
        set("/Resources/StepLive/Properties/Description", json!("takes the work")), "release", "StepLive", "and nothing else";
    a_live_alias_that_is_made_before_version_1:
        remove("/Resources/StepLive/DependsOn"), "release", "StepLive", "does not wait";
    a_function_that_publishes_to_live:
        set("/Resources/IntakeFunction/Properties/AutoPublishAlias", json!("live")), "release", "IntakeFunction", "candidate";
    a_function_whose_configuration_makes_no_version:
        remove("/Resources/IntakeFunction/Properties/AutoPublishAliasAllProperties"), "release", "IntakeFunction", "every change";
    a_function_with_a_fixed_name:
        set("/Resources/IntakeFunction/Properties/FunctionName", json!("intake")), "release", "IntakeFunction", "FunctionName";
    a_deployment_that_shifts_traffic_by_itself:
        set("/Resources/IntakeFunction/Properties/DeploymentPreference", json!({ "Type": "Canary10Percent5Minutes" })),
        "release", "IntakeFunction", "DeploymentPreference";
    a_release_that_is_a_parameter:
        set("/Globals/Function/Environment/Variables/RELEASE", yaml("!Ref Architecture")), "release", "Globals", "not a literal";
    a_variable_that_follows_a_parameter:
        set("/Globals/Function/Environment/Variables/SERVICE_NAME", yaml("!Sub x-${JwtAudience}")),
        "release", "Globals", "`SERVICE_NAME` follows `JwtAudience`";

    // The door.
    a_route_without_a_token:
        set("/Resources/StartRunRoute/Properties/AuthorizationType", json!("NONE")), "routes", "StartRunRoute", "without a token";
    a_look_at_readiness_that_takes_a_token:
        set("/Resources/ReadyRoute/Properties/AuthorizationType", json!("JWT")), "routes", "ReadyRoute", "takes a token";
    rate_buckets_under_every_key:
        remove("/Resources/IntakeRole/Properties/Policies/0/PolicyDocument/Statement/5/Condition"), "permissions", "IntakeRole", "under other keys";
    a_token_for_any_audience:
        set("/Resources/Authorizer/Properties/JwtConfiguration/Audience", json!([])), "routes", "StartRunRoute", "named audience";
    a_route_that_is_missing:
        remove("/Resources/CancelRunRoute"), "routes", "HttpApi", "`POST /runs/{id}/cancel` has no route";
    a_route_that_nobody_answers:
        set("/Resources/ShowRunRoute/Properties/RouteKey", json!("GET /run/{id}")), "routes", "HttpApi", "no function answers";
    a_route_to_the_wrong_function:
        set("/Resources/ListApprovalsRoute/Properties/Target", yaml("!Sub integrations/${IntakeIntegration}")),
        "routes", "ListApprovalsRoute", "`approval` answers it";
    a_route_without_throttling:
        remove("/Resources/HttpStage/Properties/RouteSettings/POST ~1runs"), "routes", "HttpStage", "does not throttle `POST /runs`";
    a_stage_that_does_not_wait_for_its_routes:
        remove("/Resources/HttpStage/DependsOn"), "routes", "HttpStage", "does not wait";
    an_integration_that_may_not_call:
        remove("/Resources/ApiMayStartRuns"), "routes", "StartRunRoute", "may not call";
    an_api_that_may_call_for_more_than_its_routes:
        set("/Resources/ApiMayStartRuns/Properties/SourceArn", yaml("!Sub arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}/*")),
        "routes", "ApiMayStartRuns", "lets more in";
    a_gateway_that_gives_up_before_its_function:
        set("/Resources/IntakeIntegration/Properties/TimeoutInMillis", json!(5_000)), "routes", "IntakeIntegration", "gives up";
    an_undocumented_route:
        |subject| { subject.openapi["paths"].as_object_mut().expect("paths").remove("/approvals"); },
        "openapi", "openapi.yaml", "`GET /approvals` is not documented";
    a_documented_route_that_is_none:
        |subject| { subject.openapi["paths"]["/runs/{id}/retry"] = json!({ "post": {} }); },
        "openapi", "openapi.yaml", "`POST /runs/{id}/retry` is documented, and no route";
    an_undocumented_limit:
        |subject| { subject.openapi["paths"]["/runs"]["post"]["responses"].as_object_mut().expect("responses").remove("429"); },
        "openapi", "openapi.yaml", "`POST /runs` does not document 429";

    // Environment.
    a_required_variable_that_is_not_set:
        remove("/Globals/Function/Environment/Variables/MEMORY_TABLE"), "environment", "StepFunction", "does not set `MEMORY_TABLE`";
    a_variable_that_nothing_reads:
        set("/Globals/Function/Environment/Variables/RUNS_TABEL", json!("x")), "environment", "StepFunction", "nothing reads";
    a_value_that_a_function_would_not_start_with:
        set("/Globals/Function/Environment/Variables/STRIKES_MAX", json!("500")), "environment", "StepFunction", "would not start";
    tasks_that_the_agent_does_not_know:
        set("/Globals/Function/Environment/Variables/TASKS", json!("refund,refnd")), "environment", "IntakeFunction", "the agent knows `refund,";
    a_table_variable_that_names_a_queue:
        set("/Globals/Function/Environment/Variables/RUNS_TABLE", yaml("!Ref StepQueue")), "environment", "StepFunction", "names no";

    a_step_function_that_has_another_timeout_than_it_is_told:
        set("/Resources/StepFunction/Properties/Timeout", json!(50)), "environment", "StepFunction", "it has 50";

    // Permissions that depend on a deployment.
    a_model_whose_key_the_role_may_not_read:
        model("MODEL_SECRET", "windlass/model-key"), "permissions", "StepRole", "which `MODEL_SECRET` wants: `ModelSecretArn` is empty";
    a_fallback_whose_key_the_role_may_not_read:
        model("MODEL_FALLBACK_SECRET", "windlass/fallback-key"), "permissions", "StepRole", "`ModelFallbackSecretArn` is empty";
    tool_servers_whose_list_the_role_may_not_read:
        model("MCP_SERVERS_SECRET", "windlass/servers"), "permissions", "StepRole", "`McpSecretArns` is empty";
    tool_servers_whose_tokens_the_role_may_not_read:
        model("MCP_SERVERS", r#"[{"name":"a","auth_secret":"t"}]"#), "permissions", "StepRole", "which `MCP_SERVERS` wants";
    a_model_of_bedrock_that_the_role_may_not_ask:
        model("MODEL", "bedrock:amazon.nova"), "permissions", "StepRole", "does not allow `bedrock:InvokeModel`, which `MODEL` wants";
    a_key_that_the_role_may_read_and_nothing_names:
        deploy("ModelSecretArn", KEY_ARN), "permissions", "StepRole", "by `ModelSecretArn`, and no variable wants it";
    a_model_of_bedrock_that_the_role_may_ask_and_nobody_does:
        deploy("BedrockModelArns", "arn:aws:bedrock:us-east-1::foundation-model/a"), "permissions", "StepRole", "no variable wants it";
    any_secret_by_parameter:
        both(model("MODEL_SECRET", "windlass/model-key"), deploy("ModelSecretArn", "arn:aws:secretsmanager:us-east-1:1:secret:*")),
        "permissions", "StepRole", "a wildcard";
    a_parameter_that_the_role_does_not_follow:
        both(with_model(), |subject| *place(subject, STATEMENT) = json!({ "Effect": "Deny" })),
        "permissions", "StepRole", "is called, and not allowed";
    a_secret_that_the_role_allows_whatever_is_said:
        push("/Resources/StepRole/Properties/Policies/0/PolicyDocument/Statement",
            json!({ "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": KEY_ARN })),
        "permissions", "StepRole", "is allowed, and never called";

    // Permissions.
    a_wildcard_resource:
        set("/Resources/IntakeRole/Properties/Policies/0/PolicyDocument/Statement/2/Resource", json!("*")),
        "permissions", "IntakeRole", "a wildcard";
    a_wildcard_action:
        set("/Resources/IntakeRole/Properties/Policies/0/PolicyDocument/Statement/2/Action", json!("dynamodb:*")),
        "permissions", "IntakeRole", "a wildcard";
    an_action_that_nothing_calls:
        push("/Resources/IntakeRole/Properties/Policies/0/PolicyDocument/Statement/2/Action", json!("dynamodb:DeleteItem")),
        "permissions", "IntakeRole", "`dynamodb:DeleteItem on ${RunsTable.Arn}` is allowed, and never called";
    an_action_that_is_called_and_not_allowed:
        set("/Resources/IntakeRole/Properties/Policies/0/PolicyDocument/Statement/2/Action", json!(["dynamodb:GetItem"])),
        "permissions", "IntakeRole", "`dynamodb:Query on ${RunsTable.Arn}` is called, and not allowed";
    everything_but_something_allowed:
        set("/Resources/StepRole/Properties/Policies/0/PolicyDocument/Statement/2/NotAction", json!("iam:PassRole")),
        "permissions", "StepRole", "a wildcard";
    an_index_that_is_opened_with_its_table:
        set("/Resources/CleanupRole/Properties/Policies/0/PolicyDocument/Statement/2/Resource", yaml("!GetAtt RunsTable.Arn")),
        "permissions", "CleanupRole", "/index/due` is called, and not allowed";
    a_controls_table_open_under_every_key:
        remove("/Resources/CleanupRole/Properties/Policies/0/PolicyDocument/Statement/4/Condition"),
        "permissions", "CleanupRole", "under other keys";
    two_functions_with_one_role:
        set("/Resources/ApprovalFunction/Properties/Role", yaml("!GetAtt IntakeRole.Arn")), "permissions", "IntakeRole", "two functions";
    a_managed_policy:
        set("/Resources/StepRole/Properties/ManagedPolicyArns", json!(["arn:aws:iam::aws:policy/AmazonSQSFullAccess"])),
        "permissions", "StepRole", "managed policies";
    a_call_that_is_new_in_the_code:
        |subject| { subject.code.sources.insert("shared/src/aws/new.rs".to_owned(), "client.scan().send()".to_owned()); },
        "calls", "rules/calls.rs", "`shared/src/aws/new.rs: scan` is called, and not in the table";

    // Tables and secrets.
    an_index_with_another_key:
        set("/Resources/RunsTable/Properties/GlobalSecondaryIndexes/0/KeySchema/1/AttributeName", json!("due")),
        "tables", "RunsTable", "GlobalSecondaryIndexes";
    an_index_that_copies_everything:
        set("/Resources/RunsTable/Properties/GlobalSecondaryIndexes/0/Projection", json!({ "ProjectionType": "ALL" })),
        "tables", "RunsTable", "GlobalSecondaryIndexes";
    a_table_that_deletes_by_another_attribute:
        set("/Resources/IdempotencyTable/Properties/TimeToLiveSpecification/AttributeName", json!("expires")),
        "tables", "IdempotencyTable", "`expiration`";
    a_table_without_recovery:
        remove("/Resources/RunsTable/Properties/PointInTimeRecoverySpecification"), "tables", "RunsTable", "point-in-time";
    a_production_table_that_can_be_deleted:
        set("/Resources/RunsTable/Properties/DeletionProtectionEnabled", json!(false)), "tables", "RunsTable", "in production";
    a_table_that_goes_with_its_stack:
        remove("/Resources/RunsTable/DeletionPolicy"), "tables", "RunsTable", "lost with its stack";
    a_secret_in_the_template:
        set("/Resources/ApprovalKeys/Properties/SecretString", json!("{}")), "secrets", "ApprovalKeys", "in the template";

    // Schedules.
    a_job_that_nothing_fires:
        remove("/Resources/RescueRuns"), "schedules", "rescue-runs", "not fired every 60 s";
    a_job_that_is_fired_too_rarely:
        set("/Resources/RescueRuns/Properties/ScheduleExpression", json!("rate(5 minutes)")), "schedules", "rescue-runs", "not fired";
    a_job_that_does_not_exist:
        set("/Resources/RescueRuns/Properties/Target/Input",
            json!(r#"{"job":"rescue","scheduled_for":"<aws.scheduler.scheduled-time>"}"#)),
        "schedules", "RescueRuns", "refuses";
    a_firing_without_its_time:
        set("/Resources/RescueRuns/Properties/Target/Input", json!(r#"{"job":"rescue-runs","scheduled_for":"2026-01-01T00:00:00Z"}"#)),
        "schedules", "RescueRuns", "would run again";
    a_schedule_without_dead_letters:
        remove("/Resources/RescueRuns/Properties/Target/DeadLetterConfig"), "schedules", "RescueRuns", "no dead-letter queue";
    a_schedule_that_shares_the_runs_dead_letters:
        set("/Resources/RescueRuns/Properties/Target/DeadLetterConfig/Arn", yaml("!GetAtt StepDeadLetters.Arn")),
        "schedules", "RescueRuns", "of the schedules' own";

    // Functions and logs.
    a_function_without_a_log_group:
        remove("/Resources/StepFunction/Properties/LoggingConfig"), "logs", "StepFunction", "does not declare";
    a_log_group_that_keeps_everything:
        remove("/Resources/StepLogs/Properties/RetentionInDays"), "logs", "StepLogs", "forever";
    a_step_function_that_lambda_stops:
        remove("/Resources/StepFunction/Properties/RecursiveLoop"), "recursion", "StepFunction", "after 16";
    another_function_that_may_loop:
        set("/Resources/CleanupFunction/Properties/RecursiveLoop", json!("Allow")), "recursion", "CleanupFunction", "allows recursion";
    a_function_that_is_built_from_another:
        set("/Resources/StepFunction/Metadata/BuildProperties/Binary", json!("intake")), "packages", "StepFunction", "binary `step`";

    // Alarms.
    an_alarm_on_a_metric_that_does_not_exist:
        set("/Resources/OldestMessageAlarm/Properties/MetricName", json!("AgeOfOldestMessage")),
        "alarms", "OldestMessageAlarm", "no metric `AgeOfOldestMessage`";
    an_alarm_on_a_log_metric_that_nothing_feeds:
        remove("/Resources/RunsDead"), "alarms", "RunsDeadAlarm", "no metric `RunsDead`";
    an_alarm_with_other_dimensions:
        set("/Resources/ServerErrorsAlarm/Properties/Metrics/1/MetricStat/Metric/Dimensions/0/Name", json!("ApiName")),
        "alarms", "ServerErrorsAlarm", "not published with the dimensions";
    an_alarm_on_a_queue_by_its_url:
        set("/Resources/OldestMessageAlarm/Properties/Dimensions/0/Value", yaml("!Ref StepQueue")),
        "alarms", "OldestMessageAlarm", "names no AWS::SQS::Queue";
    an_alarm_that_tells_nobody:
        remove("/Resources/RunsDeadAlarm/Properties/AlarmActions"), "alarms", "RunsDeadAlarm", "tells nobody";
    a_missed_job_that_silence_hides:
        set("/Resources/RescueMissedAlarm/Properties/TreatMissingData", json!("notBreaching")),
        "alarms", "RescueMissedAlarm", "takes silence for enough";
    an_outcome_that_nobody_is_told_of:
        remove("/Resources/RunsDeadAlarm"), "alarms", "RunsDead", "runs that are given up";
    a_log_metric_for_a_line_that_nobody_writes:
        set("/Resources/RunsOver/Properties/FilterPattern", json!(r#"{ $.message = "the run ended" }"#)),
        "metrics", "RunsOver", "no line has";
    a_log_metric_for_an_outcome_that_does_not_exist:
        set("/Resources/RunsDead/Properties/FilterPattern", json!(r#"{ $.message = "the run is over" && $.outcome = "died" }"#)),
        "metrics", "RunsDead", "`$.outcome` = `died`";
    a_dashboard_of_metrics_that_do_not_exist:
        |subject| {
            let body = place(subject, "/Resources/Dashboard/Properties/DashboardBody/Fn::Sub");
            *body = json!(body.as_str().expect("a body").replace("RunsCompleted", "RunsFinished"));
        },
        "alarms", "Dashboard", "no metric `RunsFinished`";

    // Deployments.
    a_deployment_that_is_missing:
        |subject| subject.deployments.retain(|one| one.name != "staging"), "deployments", "staging", "0 times";
    two_deployments_to_one_stack:
        |subject| subject.deployments[0].stack = subject.deployments[2].stack.clone(), "deployments", "dev", "not its own";
}
