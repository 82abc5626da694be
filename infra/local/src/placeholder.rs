//! Placeholders in the environment of functions, for what is only known once the stack listens.

use std::collections::BTreeMap;

/// What the placeholders stand for.
pub(crate) struct Urls<'a> {
    pub(crate) aws: &'a str,
    pub(crate) api: &'a str,
    pub(crate) queue: &'a dyn Fn(&str) -> Option<String>,
}

/// A placeholder that stands for nothing; the text is what is between `${` and `}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

/// Replaces `${AWS_URL}`, `${API_URL}`, `${ISSUER_URL}` and `${QUEUE_URL:name}`. The issuer is named by the URL of the
/// API.
pub(crate) fn replace(env: &BTreeMap<String, String>, urls: &Urls<'_>) -> Result<BTreeMap<String, String>, Unknown> {
    env.iter().map(|(name, value)| Ok((name.clone(), replace_in(value, urls)?))).collect()
}

fn replace_in(text: &str, urls: &Urls<'_>) -> Result<String, Unknown> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        replaced.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| Unknown(after.to_owned()))?;
        let value = match name.split_once(':') {
            None if name == "AWS_URL" => Some(urls.aws.to_owned()),
            None if name == "API_URL" || name == "ISSUER_URL" => Some(urls.api.to_owned()),
            Some(("QUEUE_URL", queue)) => (urls.queue)(queue),
            _ => None,
        };
        replaced.push_str(&value.ok_or_else(|| Unknown(name.to_owned()))?);
        rest = after;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, Unknown> {
        let queue = |name: &str| (name == "wake-ups").then(|| "http://q/wake-ups".to_owned());
        replace_in(text, &Urls { aws: "http://aws", api: "http://api", queue: &queue })
    }

    #[test]
    fn every_placeholder_is_replaced() {
        let text = "${AWS_URL}/x ${QUEUE_URL:wake-ups} ${API_URL} ${ISSUER_URL} $HOME {}";
        assert_eq!(replaced(text).as_deref(), Ok("http://aws/x http://q/wake-ups http://api http://api $HOME {}"));
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        assert_eq!(replaced("${QUEUE_URL:other}"), Err(Unknown("QUEUE_URL:other".into())));
        assert_eq!(replaced("${HOME}"), Err(Unknown("HOME".into())));
        assert_eq!(replaced("${AWS_URL"), Err(Unknown("AWS_URL".into())));
    }
}
