//! Aliases.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::BytesRejection},
    http::{Response, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Asking, LambdaApi, alias_name, answered, description, page, read};
use crate::lambda::{AliasChange, Refusal, Target, UPLOAD_BYTES_MAX, Version, Weight};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Request {
    /// In the path of an update.
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingConfig>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RoutingConfig {
    #[serde(default)]
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

impl Request {
    fn change(self) -> Result<AliasChange, Refusal> {
        let version = self.function_version.as_deref().map(|text| version(text, "functionVersion")).transpose()?;
        let weight = self.routing_config.map(RoutingConfig::weight).transpose()?;
        Ok(AliasChange { version, weight, description: self.description, revision_id: self.revision_id })
    }
}

impl RoutingConfig {
    /// No weights take the second version away.
    fn weight(self) -> Result<Option<Weight>, Refusal> {
        let weights = self.additional_version_weights.unwrap_or_default();
        if weights.len() > 1 {
            return Err(Refusal::invalid("Number of items in AdditionalVersionWeights cannot be greater than 1"));
        }
        let Some((text, share)) = weights.into_iter().next() else { return Ok(None) };
        let at = "routingConfig.additionalVersionWeights";
        if !(0.0..=1.0).contains(&share) {
            let constraint = "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must \
                              have value greater than or equal to 0.0, Member must not be null]";
            return Err(Refusal::Validation { value: format!("{{{text}={share}}}"), at, constraint });
        }
        Ok(Some(Weight { version: version(&text, at)?, share }))
    }
}

fn version(text: &str, at: &'static str) -> Result<Version, Refusal> {
    Version::parse(text).ok_or_else(|| Refusal::Validation {
        value: text.chars().take(128).collect(),
        at,
        constraint: "Member must satisfy regular expression pattern: (\\$LATEST|[0-9]+)",
    })
}

pub(super) async fn create(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.CreateAlias");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let asked: Request = read(body, ("CreateAlias", UPLOAD_BYTES_MAX))?;
    let name = alias_name(asked.name.as_deref().unwrap_or_default())?;
    let alias = function.create_alias(name.clone(), asked.change()?)?;
    Ok(answered(201, &description::alias(&function, &name, &alias)))
}

pub(super) async fn get(State(api): State<Arc<LambdaApi>>, Path((function, name)): Path<(String, String)>) -> Answer {
    api.counts.request("Lambda.GetAlias");
    let (Target { function, .. }, name) = (api.functions.asked(&function, None)?, alias_name(&name)?);
    Ok(answered(200, &description::alias(&function, &name, &function.alias(&name)?)))
}

pub(super) async fn update(
    State(api): State<Arc<LambdaApi>>,
    Path((function, name)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    api.counts.request("Lambda.UpdateAlias");
    let (Target { function, .. }, name) = (api.functions.asked(&function, None)?, alias_name(&name)?);
    let asked: Request = read(body, ("UpdateAlias", UPLOAD_BYTES_MAX))?;
    let alias = function.update_alias(&name, asked.change()?)?;
    Ok(answered(200, &description::alias(&function, &name, &alias)))
}

pub(super) async fn delete(
    State(api): State<Arc<LambdaApi>>,
    Path((function, name)): Path<(String, String)>,
) -> Answer {
    api.counts.request("Lambda.DeleteAlias");
    let (Target { function, .. }, name) = (api.functions.asked(&function, None)?, alias_name(&name)?);
    function.delete_alias(&name);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub(super) async fn list(
    State(api): State<Arc<LambdaApi>>,
    Path(function): Path<String>,
    Query(asking): Query<Asking>,
) -> Answer {
    api.counts.request("Lambda.ListAliases");
    let Target { function, .. } = api.functions.asked(&function, None)?;
    let mut aliases = function.aliases();
    if let Some(text) = &asking.function_version {
        let version = version(text, "functionVersion")?;
        aliases.retain(|(_, alias)| alias.names(version));
    }
    let (aliases, next) = page(aliases, &asking)?;
    let described = aliases.iter().map(|(name, alias)| description::alias(&function, name, alias));
    Ok(answered(200, &json!({ "Aliases": described.collect::<Vec<Value>>(), "NextMarker": next })))
}
