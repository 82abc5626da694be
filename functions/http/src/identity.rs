//! Who asks: what API Gateway's JWT authorizer has verified, and nothing else
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).
//!
//! The authorizer passes claims on as text: a list comes as `[a b]`, in which a group `Team finance` reads as two roles. So roles are
//! read from the payload of the token that the authorizer has verified, which is in the `authorization` header; its claims must be those
//! that the authorizer passed on. What could be read in two ways is refused.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use windlass::{
    config,
    ids::Role,
    principal::{Decisions, Principal},
};

use crate::{Kind, Problem, Request};

/// The most roles of one person.
const ROLES_MAX: usize = 64;

/// The most characters of a token: API Gateway takes 10,240 bytes of headers
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>).
const TOKEN_CHARS_MAX: usize = 10_240;

/// A claim without a value, as it is passed on.
const NULL: &str = "null";

/// Which claims say what. The actor is always `sub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Names the tenant.
    pub tenant: String,
    /// Lists the roles: a JSON array of strings, or one string that is one role.
    pub roles: String,
    /// Names the person behind the actor; the actor is the person without it.
    pub person: Option<String>,
}

impl From<&config::Http> for Claims {
    fn from(http: &config::Http) -> Claims {
        Claims { tenant: http.tenant_claim.clone(), roles: http.roles_claim.clone(), person: http.person_claim.clone() }
    }
}

/// Who asks. Query and body have no say in it, and headers none beyond the token that the authorizer has verified.
///
/// # Errors
/// A 401 when the authorizer's claims are missing or do not name one actor of one tenant; a 403 when their roles or their person
/// cannot be told for certain.
pub fn identify(request: &Request, claims: &Claims) -> Result<Principal, Problem> {
    let verified = Verified { passed: request, token: payload(request) };
    let actor = verified.text("sub")?.parse();
    let actor = actor.map_err(|_| unauthenticated("the token's `sub` does not name anybody"))?;
    let tenant = verified.text(&claims.tenant)?.parse();
    let tenant = tenant.map_err(|_| unauthenticated(&format!("the token's `{}` names no tenant", claims.tenant)))?;
    let roles = verified.roles(&claims.roles)?;
    let person = match claims.person.as_deref() {
        None => None,
        Some(claim) => match verified.text(claim)? {
            "" => None,
            named => Some(named.parse().map_err(|_| ambiguous(claim, "does not name a person"))?),
        },
    };
    let decisions = if claims.person.is_some() { Decisions::OfPeople } else { Decisions::OfSubjects };
    Ok(Principal { tenant, actor, person, roles, decisions })
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail).header("www-authenticate", "Bearer")
}

fn ambiguous(claim: &str, why: &str) -> Problem {
    Problem::new(Kind::Forbidden, format!("the token's `{claim}` {why}"))
}

/// What the authorizer has verified: the claims as it passed them on, and the token as its issuer wrote it.
struct Verified<'a> {
    passed: &'a Request,
    token: Option<Map<String, Value>>,
}

impl Verified<'_> {
    /// A claim as passed on. Claims come as text, and one without a value as `null`: that names nobody.
    fn passed(&self, claim: &str) -> &str {
        let passed = self.passed.claims().get(claim).map(String::as_str);
        passed.filter(|value| *value != NULL).unwrap_or_default()
    }

    /// A claim that is text.
    fn text(&self, claim: &str) -> Result<&str, Problem> {
        self.written(claim)?;
        Ok(self.passed(claim))
    }

    /// A claim as its issuer wrote it; `None` where the token is not at hand.
    fn written(&self, claim: &str) -> Result<Option<&Value>, Problem> {
        let Some(token) = &self.token else { return Ok(None) };
        let written = token.get(claim).unwrap_or(&Value::Null);
        let is_passed_on = flat(written).is_none_or(|flat| flat == self.passed(claim));
        is_passed_on
            .then_some(Some(written))
            .ok_or_else(|| ambiguous(claim, "is not what was verified: send one token, in `authorization`"))
    }

    fn roles(&self, claim: &str) -> Result<BTreeSet<Role>, Problem> {
        let roles = match self.written(claim)? {
            Some(written) => of_value(written),
            None => of_text(self.passed(claim)),
        };
        let roles = roles.ok_or_else(|| {
            ambiguous(
                claim,
                "does not say for certain which roles it lists: it is to be an array of strings, each a role",
            )
        })?;
        match roles.len() {
            ..=ROLES_MAX => Ok(roles),
            count => Err(ambiguous(claim, &format!("lists {count} roles; at most {ROLES_MAX} are read"))),
        }
    }
}

/// The payload of the request's bearer token. That it was verified is for the authorizer's claims to say.
fn payload(request: &Request) -> Option<Map<String, Value>> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// How API Gateway passes on a claim that is text or a list of texts; `None` for anything else, which names nobody and no role.
fn flat(written: &Value) -> Option<String> {
    match written {
        Value::Null => Some(String::new()),
        Value::String(text) if text == NULL => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.map(|items| format!("[{}]", items.join(" ")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The roles in a claim as its issuer wrote it. An item of a list that has not the form of a role is none: it may be any group's name.
fn of_value(written: &Value) -> Option<BTreeSet<Role>> {
    match written {
        Value::Null => Some(BTreeSet::new()),
        Value::String(text) => of_text(text),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().map(Value::as_str).collect::<Option<_>>()?;
            Some(items.into_iter().filter_map(|item| item.parse().ok()).collect())
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The role in a claim that is one text. A list that has become text is told from a name with blanks by nobody.
fn of_text(text: &str) -> Option<BTreeSet<Role>> {
    match text {
        "" | "[]" => Some(BTreeSet::new()),
        one => Some(BTreeSet::from([one.parse().ok()?])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass::memory::SeededRandom;

    use super::*;

    /// A request that bears `token`, with what the authorizer passed on of it.
    fn request(token: Option<&Value>, passed: &Value) -> Request {
        let bearer = token.map(|token| format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(token.to_string())));
        let headers = bearer.map_or(json!({}), |bearer| json!({ "authorization": bearer }));
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/approvals", "rawQueryString": "", "headers": headers,
            "requestContext": {
                "stage": "$default", "http": { "method": "GET", "path": "/approvals" },
                "authorizer": { "jwt": { "claims": passed, "scopes": null } },
            },
            "isBase64Encoded": false,
        });
        Request::read(serde_json::from_value(event).expect("an event"), &SeededRandom::new(1))
    }

    fn claims() -> Claims {
        Claims { tenant: "tenant".to_owned(), roles: "roles".to_owned(), person: Some("person".to_owned()) }
    }

    fn of(token: &Value, passed: &Value) -> Result<Principal, (Kind, String)> {
        let problem = |problem: Problem| (problem.kind(), problem.document("/")["detail"].to_string());
        identify(&request(Some(token), passed), &claims()).map_err(problem)
    }

    fn names(principal: &Principal) -> Vec<&str> {
        principal.roles.iter().map(Role::as_str).collect()
    }

    #[test]
    fn a_group_whose_name_ends_in_a_role_is_not_that_role() {
        for (roles, passed, wanted) in [
            (json!(["Team finance"]), "[Team finance]", vec![]),
            (json!(["not finance", "audit"]), "[not finance audit]", vec!["audit"]),
            (json!(["finance readers"]), "[finance readers]", vec![]),
            (json!(["a, finance"]), "[a, finance]", vec![]),
            (json!(["approver", "finance"]), "[approver finance]", vec!["approver", "finance"]),
            (json!("finance"), "finance", vec!["finance"]),
            (json!(["x] [finance"]), "[x] [finance]", vec![]),
            (json!([]), "[]", vec![]),
            (json!(null), "null", vec![]),
        ] {
            let token = json!({ "sub": "ada", "tenant": "acme", "roles": roles });
            let passed = json!({ "sub": "ada", "tenant": "acme", "roles": passed });
            let principal = of(&token, &passed).unwrap_or_else(|problem| panic!("{token}: {problem:?}"));
            assert_eq!(names(&principal), wanted, "{token}");
        }
    }

    #[test]
    fn a_claim_that_can_be_read_in_two_ways_is_refused() {
        let many: Vec<String> = (0..=ROLES_MAX).map(|n| format!("r{n}")).collect();
        let listed = format!("[{}]", many.join(" "));
        for (roles, passed) in [
            (json!("finance, audit"), "finance, audit"),
            (json!("finance audit"), "finance audit"),
            (json!("[finance]"), "[finance]"),
            (json!(r#"["finance"]"#), r#"["finance"]"#),
            (json!({ "finance": true }), "map[finance:true]"),
            (json!(["finance", 1]), "[finance 1]"),
            (json!(1), "1"),
            (json!(many), listed.as_str()),
        ] {
            let token = json!({ "sub": "ada", "tenant": "acme", "roles": roles });
            let passed = json!({ "sub": "ada", "tenant": "acme", "roles": passed });
            assert_eq!(of(&token, &passed).map_err(|problem| problem.0), Err(Kind::Forbidden), "{token}");
        }
    }

    #[test]
    fn without_the_token_only_one_plain_role_is_certain() {
        let roles = |text: &str| {
            let passed = json!({ "sub": "ada", "tenant": "acme", "roles": text });
            identify(&request(None, &passed), &claims()).ok().map(|principal| names(&principal).join(","))
        };
        assert_eq!(roles("finance").as_deref(), Some("finance"));
        assert_eq!(roles("").as_deref(), Some(""));
        assert_eq!(roles("null").as_deref(), Some(""));
        for ambiguous in ["[finance]", "[approver finance]", "approver finance", "a,b", r#"["finance"]"#] {
            assert_eq!(roles(ambiguous), None, "{ambiguous}");
        }
    }

    #[test]
    fn a_token_that_is_not_the_verified_one_says_nothing() {
        let passed = json!({ "sub": "ada", "tenant": "acme", "roles": "[submitter]", "person": "p-1" });
        let own = json!({ "sub": "ada", "tenant": "acme", "roles": ["submitter"], "person": "p-1" });
        assert_eq!(of(&own, &passed).map(|principal| names(&principal).join(",")), Ok("submitter".to_owned()));
        for (claim, other) in [
            ("sub", json!("eve")),
            ("tenant", json!("globex")),
            ("roles", json!(["finance"])),
            ("person", json!("p-2")),
        ] {
            let mut token = own.clone();
            token[claim] = other;
            assert_eq!(of(&token, &passed).map_err(|problem| problem.0), Err(Kind::Forbidden), "{claim}");
        }
    }

    #[test]
    fn a_person_is_who_the_configured_claim_names() {
        let named = json!({ "sub": "portal", "tenant": "acme", "person": "p-1" });
        let principal = of(&named, &named).expect("somebody");
        assert_eq!(principal.person.as_ref().map(|person| person.as_str()), Some("p-1"));
        let machine = json!({ "sub": "portal", "tenant": "acme" });
        assert_eq!(of(&machine, &machine).expect("somebody").person, None);
        let bad = json!({ "sub": "portal", "tenant": "acme", "person": "a b" });
        assert_eq!(of(&bad, &bad).map_err(|problem| problem.0), Err(Kind::Forbidden));
    }
}
