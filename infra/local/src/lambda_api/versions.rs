//! Functions and their versions.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::BytesRejection},
    http::{Response, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Asking, LambdaApi, answered, description, page, read};
use crate::lambda::{Qualifier, Refusal, Target, UPLOAD_BYTES_MAX, Version};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PublishVersion {
    description: Option<String>,
    code_sha256: Option<String>,
    revision_id: Option<String>,
}

pub(super) async fn publish(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.PublishVersion");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let asked: PublishVersion = read(body, ("PublishVersion", UPLOAD_BYTES_MAX))?;
    let published = function.publish(asked.description, asked.code_sha256.as_deref(), asked.revision_id.as_deref())?;
    Ok(answered(201, &description::configuration(&api.functions, &function, &published)))
}

pub(super) async fn list(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
) -> Answer {
    api.counts.request("Lambda.ListVersionsByFunction");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let (versions, next) = page(function.versions(), &asking)?;
    let described = versions.iter().map(|version| {
        let mut described = description::configuration(&api.functions, &function, version);
        if version.version == Version::Latest {
            described["FunctionArn"] = json!(function.qualified_arn(Version::Latest));
        }
        described
    });
    Ok(answered(200, &json!({ "Versions": described.collect::<Vec<Value>>(), "NextMarker": next })))
}

pub(super) async fn list_functions(State(api): State<Arc<LambdaApi>>, Query(asking): Query<Asking>) -> Answer {
    api.counts.request("Lambda.ListFunctions");
    let (functions, next) = page(api.functions.all().collect(), &asking)?;
    let latest = Qualifier::Version(Version::Latest);
    let mut described = Vec::with_capacity(functions.len());
    for function in functions {
        described.push(description::configuration(&api.functions, function, &function.find(&latest)?));
    }
    Ok(answered(200, &json!({ "Functions": described, "NextMarker": next })))
}

pub(super) async fn get_configuration(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
) -> Answer {
    api.counts.request("Lambda.GetFunctionConfiguration");
    Ok(answered(200, &described(&api, &function, &asking)?.1))
}

pub(super) async fn get_function(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
) -> Answer {
    api.counts.request("Lambda.GetFunction");
    let (target, configuration) = described(&api, &function, &asking)?;
    let body = json!({
        "Configuration": configuration,
        "Code": { "RepositoryType": "S3" },
        "Concurrency": { "ReservedConcurrentExecutions": target.function.concurrency_max },
        "Tags": {},
    });
    Ok(answered(200, &body))
}

fn described(api: &LambdaApi, function: &str, asking: &Asking) -> Result<(Target, Value), Refusal> {
    let target = api.functions.asked(function, asking.qualifier.as_deref())?;
    let qualifier = target.qualifier.clone().unwrap_or(Qualifier::Version(Version::Latest));
    let published = target.function.find(&qualifier)?;
    let mut described = description::configuration(&api.functions, &target.function, &published);
    if let Some(qualifier) = &target.qualifier {
        described["FunctionArn"] = json!(target.function.qualified_arn(qualifier));
    }
    Ok((target, described))
}

/// Versions can be deleted; the functions themselves are those of the stack.
pub(super) async fn delete_function(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
) -> Answer {
    api.counts.request("Lambda.DeleteFunction");
    let Target { function, qualifier } = api.functions.asked(&function, asking.qualifier.as_deref())?;
    match qualifier {
        Some(Qualifier::Version(Version::Number(number))) => function.delete_version(number)?,
        Some(Qualifier::Version(Version::Latest)) => {
            return Err(Refusal::invalid("$LATEST version cannot be deleted without deleting the function."));
        }
        Some(Qualifier::Alias(_)) => {
            return Err(Refusal::invalid("Deletion of aliases is not currently supported."));
        }
        None => return Err(Refusal::invalid("a function of the stack cannot be deleted on this machine")),
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
