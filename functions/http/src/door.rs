//! What the door says over HTTP: `RateLimit` and `RateLimit-Policy` as of
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/>, and refusals with `Retry-After`.

use windlass::door::{
    Refusal,
    rate::{Standing, Whose},
};

use crate::{Kind, Problem, Reply};

/// How the buckets stand, as headers: none when nothing is limited.
///
/// `q` is how many requests can be made at once, `w` in how many seconds an empty bucket is full, `r` how many are left, and `t` in how
/// many seconds the bucket is full if nobody takes anything.
pub fn headers(standings: &[Standing]) -> Vec<(&'static str, String)> {
    if standings.is_empty() {
        return Vec::new();
    }
    let list = |one: &dyn Fn(&Standing) -> String| standings.iter().map(one).collect::<Vec<_>>().join(", ");
    let policy = |standing: &Standing| {
        let window = standing.rate.refill().as_millis().div_ceil(1_000);
        format!("\"{}\";q={};w={window}", standing.whose.policy(), standing.rate.burst())
    };
    let level = |standing: &Standing| {
        let full_in = standing.full_in.as_millis().div_ceil(1_000);
        format!("\"{}\";r={};t={full_in}", standing.whose.policy(), standing.left)
    };
    vec![("ratelimit-policy", list(&policy)), ("ratelimit", list(&level))]
}

/// A reply that says how the buckets stand.
pub fn with_limits(reply: Reply, standings: &[Standing]) -> Reply {
    headers(standings).into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
}

/// What a request is told that the door does not let in.
pub fn turned_away(refusal: Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Limited { empty, after, standings } => {
            let violated: Vec<&str> = empty.iter().copied().map(Whose::policy).collect();
            let problem =
                Problem::new(Kind::RateLimited, detail).with("violated-policies", violated).retry_after(after);
            headers(&standings).into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
        }
        Refusal::Overloaded { after } => Problem::new(Kind::Overloaded, detail).retry_after(after),
        Refusal::Unknown(error) => {
            tracing::error!(%error, "the rate limits");
            crate::errors::unavailable("it cannot be said whether a limit is used up; try again")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass::door::rate::Limit;

    use super::*;

    #[test]
    fn the_headers_are_lists_of_structured_fields() {
        let Ok(Limit::Rate(rate)) = "60/10:30".parse() else { panic!("it is a rate") };
        let full_in = Duration::from_millis(1_200);
        let standing = |whose, left| Standing { whose, rate, left, full_in };
        assert_eq!(
            headers(&[standing(Whose::Actors, 7), standing(Whose::Tenants, 0)]),
            [
                ("ratelimit-policy", r#""actor";q=30;w=5, "tenant";q=30;w=5"#.to_owned()),
                ("ratelimit", r#""actor";r=7;t=2, "tenant";r=0;t=2"#.to_owned()),
            ]
        );
        assert_eq!(headers(&[]), []);
    }
}
