//! Who asks: what API Gateway's JWT authorizer has verified, and nothing else
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).

use std::collections::BTreeSet;

use windlass::{config, ids::Role, principal::Principal};

use crate::{Kind, Problem, Request};

/// The most roles of one person.
const ROLES_MAX: usize = 64;

/// A claim without a value, as it is passed on.
const NULL: &str = "null";

/// Which claims say what. The actor is always `sub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Names the tenant.
    pub tenant: String,
    /// Lists the roles: `[a b]` as API Gateway writes lists, `a b`, `a,b`, or a JSON array.
    pub roles: String,
}

impl From<&config::Http> for Claims {
    fn from(http: &config::Http) -> Claims {
        Claims { tenant: http.tenant_claim.clone(), roles: http.roles_claim.clone() }
    }
}

/// Who asks. Headers, query and body have no say in it.
///
/// # Errors
/// A 401 when the authorizer's claims are missing or do not name one actor of one tenant.
pub fn identify(request: &Request, claims: &Claims) -> Result<Principal, Problem> {
    let claim = |name: &str| request.claims().get(name).map(String::as_str);
    // Claims come as text, and one without a value as `null`: that names nobody.
    let of = |name: &str| claim(name).filter(|value| *value != NULL).unwrap_or_default();
    let actor = of("sub").parse().map_err(|_| refused("the token's `sub` does not name anybody"))?;
    let tenant =
        of(&claims.tenant).parse().map_err(|_| refused(&format!("the token's `{}` names no tenant", claims.tenant)))?;
    let roles = roles(of(&claims.roles)).ok_or_else(|| {
        refused(&format!("the token's `{}` is not a list of at most {ROLES_MAX} roles", claims.roles))
    })?;
    Ok(Principal { tenant, actor, roles })
}

fn refused(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail).header("www-authenticate", "Bearer")
}

/// The roles in a claim. A claim of which any part is no role is refused as a whole: nothing in it can be trusted then.
fn roles(claim: &str) -> Option<BTreeSet<Role>> {
    let listed: Vec<String> = match serde_json::from_str(claim) {
        Ok(listed) => listed,
        Err(_) => {
            let bare = claim.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(claim);
            let parts = bare.split([' ', ',']).filter(|part| !part.is_empty());
            parts.map(ToOwned::to_owned).collect()
        }
    };
    let roles: BTreeSet<Role> = listed.iter().map(|role| role.parse().ok()).collect::<Option<_>>()?;
    (roles.len() <= ROLES_MAX).then_some(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_however_the_list_is_written() {
        for (claim, wanted) in [
            ("[approver finance]", vec!["approver", "finance"]),
            ("approver finance", vec!["approver", "finance"]),
            ("approver, finance", vec!["approver", "finance"]),
            (r#"["approver","finance"]"#, vec!["approver", "finance"]),
            ("finance", vec!["finance"]),
            ("[]", vec![]),
            ("", vec![]),
        ] {
            let found = roles(claim).expect(claim);
            assert_eq!(found.iter().map(Role::as_str).collect::<Vec<_>>(), wanted, "{claim}");
        }
    }

    #[test]
    fn a_claim_that_is_not_a_list_of_roles_is_refused_as_a_whole() {
        let many: Vec<String> = (0..=ROLES_MAX).map(|n| format!("r{n}")).collect();
        for claim in ["[approver \"finance\"]", "map[approver:true]x{", "ro#le", &many.join(" ")] {
            assert_eq!(roles(claim), None, "{claim}");
        }
    }
}
