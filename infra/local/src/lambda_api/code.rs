//! Changing `$LATEST`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::{Answer, LambdaApi, answered, description, read};
use crate::lambda::{Code, Configuration, Refusal, Target, UPLOAD_BYTES_MAX};

/// Bounds of the settings.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html>
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=900;
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 128..=10_240;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateFunctionCode {
    zip_file: Option<String>,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    dry_run: bool,
    revision_id: Option<String>,
}

pub(super) async fn update_code(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.UpdateFunctionCode");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let asked: UpdateFunctionCode = read(body, ("UpdateFunctionCode", UPLOAD_BYTES_MAX))?;
    let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    if let Some(wanted) = asked.architectures.as_ref().filter(|wanted| *wanted != &[here]) {
        return Err(Refusal::invalid(format!("this machine runs {here}, not {}", wanted.join(", "))));
    }
    let zip = asked.zip_file.ok_or_else(|| Refusal::invalid("Please provide a source for function code."))?;
    let unpacked = tokio::task::spawn_blocking(move || unpack(&zip)).await;
    let code = unpacked.map_err(|error| Refusal::Service { message: error.to_string() })??;
    let revision_id = asked.revision_id.as_deref();
    if asked.dry_run {
        let would_be = function.with_code(revision_id, code)?;
        return Ok(answered(200, &description::configuration(&api.functions, &function, &would_be)));
    }
    let mut changed = function.change_latest(revision_id, |configuration| configuration.code = code)?;
    if asked.publish {
        changed = function.publish(None, None, None)?;
    }
    Ok(answered(200, &description::configuration(&api.functions, &function, &changed)))
}

fn unpack(zip: &str) -> Result<Code, Refusal> {
    let zip = BASE64_STANDARD.decode(zip).map_err(|_| Refusal::invalid("`ZipFile` is not base64"))?;
    Code::unpack(&zip)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateFunctionConfiguration {
    description: Option<String>,
    timeout: Option<u64>,
    memory_size: Option<u32>,
    environment: Option<Environment>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Environment {
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

pub(super) async fn update_configuration(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.UpdateFunctionConfiguration");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let asked: UpdateFunctionConfiguration = read(body, ("UpdateFunctionConfiguration", UPLOAD_BYTES_MAX))?;
    if let Some(seconds) = asked.timeout.filter(|seconds| !TIMEOUT_SECONDS.contains(seconds)) {
        let constraint = "Member must have value between 1 and 900";
        return Err(Refusal::Validation { value: seconds.to_string(), at: "timeout", constraint });
    }
    if let Some(mib) = asked.memory_size.filter(|mib| !MEMORY_MIB.contains(mib)) {
        let constraint = "Member must have value between 128 and 10240";
        return Err(Refusal::Validation { value: mib.to_string(), at: "memorySize", constraint });
    }
    if let Some(environment) = &asked.environment {
        Configuration::check_environment(&environment.variables)?;
    }
    let changed = function.change_latest(asked.revision_id.as_deref(), |configuration| {
        if let Some(description) = asked.description {
            configuration.description = description;
        }
        if let Some(seconds) = asked.timeout {
            configuration.timeout = Duration::from_secs(seconds);
        }
        if let Some(mib) = asked.memory_size {
            configuration.memory_mib = mib;
        }
        if let Some(environment) = asked.environment {
            configuration.env = environment.variables;
        }
    })?;
    Ok(answered(200, &description::configuration(&api.functions, &function, &changed)))
}
