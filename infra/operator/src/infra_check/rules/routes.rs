//! The door: every route that a function answers, and no other; authorized and throttled.

use serde_json::Value;

use super::{View, functions::resource};
use crate::infra_check::{
    finding::Findings,
    stack::{fields, items},
};

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let routes: Vec<_> = view.stack.of_type("AWS::ApiGatewayV2::Route").collect();
    let keys: Vec<String> =
        routes.iter().filter_map(|(_, route)| route["RouteKey"].as_str()).map(ToOwned::to_owned).collect();
    let answered: Vec<String> = view.subject.code.routes.iter().map(|route| route.key.clone()).collect();
    findings.differ("routes", "HttpApi", &answered, &keys, ("has no route", "is a route that no function answers"));
    for (name, route) in &routes {
        check_route(view, name, route, findings);
    }
    for (name, stage) in view.stack.of_type("AWS::ApiGatewayV2::Stage") {
        check_throttling(name, stage, &keys, findings);
        let first: Vec<&str> =
            items(&view.stack.resources[name]["DependsOn"]).into_iter().filter_map(Value::as_str).collect();
        for (route, _) in &routes {
            findings.unless(first.contains(route), "routes", name, || {
                format!("does not wait for `{route}`, whose throttling cannot be set before it exists")
            });
        }
    }
    check_permissions(view, &keys, findings);
    for (name, integration) in view.stack.of_type("AWS::ApiGatewayV2::Integration") {
        let waits = integration["TimeoutInMillis"].as_u64().unwrap_or(30_000);
        let takes = view.stack.behind_live(&integration["IntegrationUri"]).and_then(|(_, one)| one["Timeout"].as_u64());
        findings.unless(takes.is_none_or(|takes| takes * 1_000 <= waits), "routes", name, || {
            format!("gives up after {waits} ms, while its function works for {} s", takes.unwrap_or_default())
        });
    }
}

/// The API may call a function for its routes, and for nothing else.
fn check_permissions(view: &View<'_>, keys: &[String], findings: &mut Findings) {
    let permissions: Vec<(&str, &Value, &str)> = view
        .stack
        .of_type("AWS::Lambda::Permission")
        .filter(|(_, permission)| permission["Principal"] == "apigateway.amazonaws.com")
        .map(|(name, permission)| {
            let source = permission["SourceArn"].as_str().unwrap_or_default();
            (name, permission, source.split_once("${HttpApi}/*/").map_or("", |(_, route)| route))
        })
        .collect();
    for (name, route) in view.stack.of_type("AWS::ApiGatewayV2::Route") {
        let key = route["RouteKey"].as_str().unwrap_or_default();
        let integration = route["Target"].as_str().and_then(|target| target.strip_prefix("integrations/"));
        let integration = view.stack.named("AWS::ApiGatewayV2::Integration", &Value::from(integration));
        let function = integration.map(|(_, integration)| &integration["IntegrationUri"]);
        let allowed = permissions
            .iter()
            .any(|(_, permission, allows)| Some(&permission["FunctionName"]) == function && covers(allows, key));
        findings.unless(allowed, "routes", name, || format!("may not call its function for `{key}`"));
    }
    for (name, _, allows) in permissions {
        let used = keys.iter().any(|key| covers(allows, key));
        // A method, then the path: what is between a route's parts is a parameter.
        let narrow = allows.split('/').next().is_some_and(|method| !method.contains('*'));
        findings.unless(used && narrow, "routes", name, || format!("lets more in than routes: `{allows}`"));
    }
}

/// Whether a permission for `METHOD/path`, with `*` for anything, is one for the route `METHOD /path`.
fn covers(allows: &str, key: &str) -> bool {
    let Some((method, path)) = key.split_once(" /") else { return false };
    let Some((allowed, allowed_path)) = allows.split_once('/') else { return false };
    let mut parts = allowed_path.split('/').peekable();
    let mut wanted = path.split('/').peekable();
    while let (Some(part), Some(one)) = (parts.peek(), wanted.peek()) {
        if part != one && *part != "*" {
            return false;
        }
        let last = *part == "*";
        parts.next();
        wanted.next();
        if last && parts.peek().is_none() {
            return allowed == method;
        }
    }
    allowed == method && parts.peek().is_none() && wanted.peek().is_none()
}

fn check_route(view: &View<'_>, name: &str, route: &Value, findings: &mut Findings) {
    let key = route["RouteKey"].as_str().unwrap_or_default();
    let Some(answered) = view.subject.code.routes.iter().find(|answered| answered.key == key) else { return };
    let authorizer = view.stack.named("AWS::ApiGatewayV2::Authorizer", &route["AuthorizerId"]);
    let verified = route["AuthorizationType"] == "JWT" && authorizer.is_some_and(|(_, one)| is_sound(one));
    findings.unless(answered.is_open || verified, "routes", name, || {
        format!("`{key}` takes requests without a token of a named issuer for a named audience")
    });
    findings.unless(!answered.is_open || route["AuthorizationType"] == "NONE", "routes", name, || {
        format!("`{key}` takes a token, which whoever watches the service does not have")
    });
    let integration =
        route["Target"].as_str().and_then(|target| target.strip_prefix("integrations/")).unwrap_or_default();
    let integration = view.stack.named("AWS::ApiGatewayV2::Integration", &Value::from(integration));
    let function =
        integration.and_then(|(_, one)| view.stack.behind_live(&one["IntegrationUri"])).map(|(name, _)| name);
    findings.unless(function == Some(resource(&answered.function).as_str()), "routes", name, || {
        format!("`{key}` goes to {}, and `{}` answers it", function.unwrap_or("nothing"), answered.function)
    });
}

fn is_sound(authorizer: &Value) -> bool {
    let jwt = &authorizer["JwtConfiguration"];
    let audience = items(&jwt["Audience"]);
    authorizer["AuthorizerType"] == "JWT"
        && jwt["Issuer"].as_str().is_some_and(|issuer| issuer.starts_with("https://"))
        && !audience.is_empty()
        && audience.iter().all(|one| one.as_str().is_some_and(|one| !one.is_empty()))
}

fn check_throttling(name: &str, stage: &Value, keys: &[String], findings: &mut Findings) {
    let throttled = |settings: &Value| {
        settings["ThrottlingRateLimit"].as_f64().is_some_and(|rate| rate > 0.0)
            && settings["ThrottlingBurstLimit"].as_u64().is_some_and(|burst| burst > 0)
    };
    findings.unless(throttled(&stage["DefaultRouteSettings"]), "routes", name, || {
        "has no throttling by default".to_owned()
    });
    for key in keys {
        findings
            .unless(throttled(&stage["RouteSettings"][key]), "routes", name, || format!("does not throttle `{key}`"));
    }
    for (key, _) in fields(&stage["RouteSettings"]) {
        findings.unless(keys.contains(key), "routes", name, || format!("throttles `{key}`, which is no route"));
    }
    findings.unless(stage["AccessLogSettings"]["DestinationArn"].is_string(), "logs", name, || {
        "logs no accesses".to_owned()
    });
}
