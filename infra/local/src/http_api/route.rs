//! Routes of an HTTP API and which of them a request takes.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>

use std::collections::BTreeMap;

use axum::http::Method;

use crate::spec::{Authorization, RouteSpec};

/// A part of a path between slashes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter(String),
    /// `{name+}`: this part and all that follow.
    Greedy(String),
}

#[derive(Debug)]
pub(crate) struct Route {
    /// For example `POST /runs`.
    pub(crate) key: String,
    pub(crate) function: String,
    pub(crate) authorization: Authorization,
    /// `None` matches any.
    method: Option<String>,
    segments: Vec<Segment>,
}

/// Routes, the most specific first.
#[derive(Debug)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(specs: &[RouteSpec]) -> Self {
        let mut routes: Vec<_> = specs
            .iter()
            .map(|spec| Route {
                key: format!("{} {}", spec.method, spec.path),
                function: spec.function.clone(),
                authorization: spec.authorization,
                method: (spec.method != "ANY").then(|| spec.method.clone()),
                segments: spec.path.trim_matches('/').split('/').map(segment).collect(),
            })
            .collect();
        // A literal beats a parameter, a parameter a greedy one, and a method beats `ANY`.
        routes.sort_by(|a, b| a.segments.cmp(&b.segments).then(b.method.is_some().cmp(&a.method.is_some())));
        Self(routes)
    }

    /// The route of a request and its decoded path parameters.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<(&Route, BTreeMap<&str, String>)> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        self.0.iter().filter(|route| route.method.as_deref().is_none_or(|own| own == method.as_str())).find_map(
            |route| {
                let parameters = matches(&route.segments, &parts)?;
                Some((route, parameters))
            },
        )
    }
}

fn segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => match name.strip_suffix('+') {
            Some(name) => Segment::Greedy(name.to_owned()),
            None => Segment::Parameter(name.to_owned()),
        },
        None => Segment::Literal(text.to_owned()),
    }
}

fn matches<'a>(segments: &'a [Segment], parts: &[&str]) -> Option<BTreeMap<&'a str, String>> {
    let mut parameters = BTreeMap::new();
    for (index, segment) in segments.iter().enumerate() {
        let part = *parts.get(index)?;
        match segment {
            Segment::Literal(literal) if literal == part => {}
            Segment::Literal(_) => return None,
            Segment::Parameter(_) | Segment::Greedy(_) if part.is_empty() => return None,
            Segment::Parameter(name) => {
                parameters.insert(name.as_str(), decode(part, Plus::Literal));
            }
            Segment::Greedy(name) => {
                parameters.insert(name.as_str(), decode(&parts[index..].join("/"), Plus::Literal));
                return Some(parameters);
            }
        }
    }
    (segments.len() == parts.len()).then_some(parameters)
}

/// What a plus sign stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Literal,
    Space,
}

/// Decodes percent encoding; what is not encoded properly stays as it is.
pub(super) fn decode(text: &str, plus: Plus) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digit = |offset: usize| bytes.get(index + offset).and_then(|byte| char::from(*byte).to_digit(16));
        let encoded = digit(1).zip(digit(2)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match (bytes[index], encoded) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
                continue;
            }
            (b'+', _) if plus == Plus::Space => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[&str]) -> Routes {
        let spec = |key: &&str| {
            let (method, path) = key.split_once(' ').expect("a method and a path");
            RouteSpec {
                method: method.into(),
                path: path.into(),
                function: "f".into(),
                authorization: Authorization::None,
            }
        };
        Routes::new(&keys.iter().map(spec).collect::<Vec<_>>())
    }

    fn found(routes: &Routes, method: Method, path: &str) -> Option<(String, Vec<(String, String)>)> {
        let (route, parameters) = routes.find(&method, path)?;
        Some((route.key.clone(), parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = routes(&["ANY /{rest+}", "GET /runs/{id}", "GET /runs/latest", "POST /runs"]);
        let key = |method, path| found(&routes, method, path).map(|(key, _)| key);
        assert_eq!(key(Method::GET, "/runs/latest").as_deref(), Some("GET /runs/latest"));
        assert_eq!(key(Method::GET, "/runs/1").as_deref(), Some("GET /runs/{id}"));
        assert_eq!(key(Method::DELETE, "/runs/1").as_deref(), Some("ANY /{rest+}"));
        assert_eq!(key(Method::POST, "/runs/").as_deref(), Some("POST /runs"));
        assert_eq!(key(Method::GET, "/"), None);
    }

    #[test]
    fn parameters_are_decoded() {
        let routes = routes(&["GET /runs/{id}/files/{path+}"]);
        let (_, parameters) = found(&routes, Method::GET, "/runs/a%20b+c/files/x/y%2Fz").expect("a route");
        assert_eq!(parameters, [("id".to_owned(), "a b+c".to_owned()), ("path".to_owned(), "x/y/z".to_owned())]);
        assert_eq!(found(&routes, Method::GET, "/runs//files/x"), None);
    }

    #[test]
    fn broken_percent_encoding_stays_as_it_is() {
        assert_eq!(decode("100%+1%4", Plus::Space), "100% 1%4");
        assert_eq!(decode("%ff", Plus::Literal), "%ff");
    }
}
