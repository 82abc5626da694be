//! Versions and aliases as answers describe them.

use serde_json::{Value, json};

use crate::{
    clock,
    lambda::{Alias, AliasName, Functions, Published, Version, Versioned},
};

/// <https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html>
pub(super) fn configuration(functions: &Functions, function: &Versioned, published: &Published) -> Value {
    let revision = &published.revision;
    let configuration = &revision.configuration;
    let arn = match published.version {
        Version::Latest => function.arn.clone(),
        version @ Version::Number(_) => function.qualified_arn(version),
    };
    json!({
        "FunctionName": function.name,
        "FunctionArn": arn,
        "Version": published.version.to_string(),
        "RevisionId": revision.revision_id,
        "Description": configuration.description,
        "LastModified": clock::written(revision.modified),
        "CodeSha256": configuration.code.sha256,
        "CodeSize": configuration.code.bytes,
        "Environment": { "Variables": configuration.env },
        "Timeout": configuration.timeout.as_secs().max(1),
        "MemorySize": configuration.memory_mib,
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Role": format!("arn:aws:iam::{}:role/local", functions.account),
        "PackageType": "Zip",
        "Architectures": [if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }],
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "TracingConfig": { "Mode": "PassThrough" },
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{}", function.name) },
        "EphemeralStorage": { "Size": 512 },
        "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
    })
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_AliasConfiguration.html>
pub(super) fn alias(function: &Versioned, name: &AliasName, alias: &Alias) -> Value {
    let mut described = json!({
        "AliasArn": function.qualified_arn(name.as_str()),
        "Name": name.as_str(),
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if let Some(weight) = alias.weight {
        described["RoutingConfig"] =
            json!({ "AdditionalVersionWeights": { weight.version.to_string(): weight.share } });
    }
    described
}
