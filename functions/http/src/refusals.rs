//! Refusals as events: who tried what, so that an attack can be attributed.

use tracing::warn;
use windlass::principal::Principal;

use crate::{Kind, Problem, Request};

/// Tells of a request that its caller may not make: somebody else's run or approval, a wrong or foreign token, a role that they lack, a
/// decision about their own request, a decision that was made or is late. What is malformed, and what our side cannot do, is no refusal.
///
/// The line's message is `a request is refused`, which the metric `RequestsRefused` of `infra/template.yaml` counts; `reason` is
/// the problem's name, and `why` its detail, without what must not be shown.
pub fn tell(request: &Request, caller: &Principal, problem: &Problem) {
    let kind = match problem.kind() {
        kind @ (Kind::Forbidden
        | Kind::TokenRefused
        | Kind::NotFound
        | Kind::Expired
        | Kind::AlreadyDecided
        | Kind::RunOver
        | Kind::KeyReused) => kind,
        _ => return,
    };
    let document = problem.document(request.path());
    let (path, why) = (document["instance"].as_str(), document["detail"].as_str());
    warn!(
        event = "request_refused",
        sub = %caller.actor,
        person = caller.person.as_ref().map(tracing::field::display),
        tenant = %caller.tenant,
        method = request.target().method,
        path,
        reason = kind.parts().1,
        why,
        trace = %request.trace(),
        "a request is refused"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass::{memory::SeededRandom, principal::Decisions};

    use super::*;
    use crate::written::lines_of;

    #[test]
    fn a_refusal_names_who_was_refused_what_and_why() {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/approvals/1", "rawQueryString": "", "headers": {},
            "requestContext": { "stage": "$default", "http": { "method": "POST", "path": "/approvals/1" } },
            "isBase64Encoded": false,
        });
        let request = Request::read(serde_json::from_value(event).expect("an event"), &SeededRandom::new(1));
        let caller = Principal {
            tenant: "acme".parse().expect("a tenant"),
            actor: "mallory".parse().expect("an actor"),
            person: None,
            roles: [].into(),
            decisions: Decisions::OfSubjects,
        };
        let lines = lines_of(|| {
            tell(&request, &caller, &Problem::new(Kind::TokenRefused, "the token is another's"));
            tell(&request, &caller, &Problem::new(Kind::Malformed, "no JSON"));
            tell(&request, &caller, &Problem::new(Kind::Unavailable, "the store does not answer"));
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["message"], "a request is refused");
        assert_eq!((&line["sub"], &line["tenant"]), (&json!("mallory"), &json!("acme")));
        assert_eq!((&line["reason"], &line["path"]), (&json!("token-refused"), &json!("/approvals/1")));
    }
}
