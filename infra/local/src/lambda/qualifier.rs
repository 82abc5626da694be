//! How requests name functions, versions and aliases.

use std::fmt;

/// The longest name of an alias.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html>
const ALIAS_BYTES_MAX: usize = 128;

/// What a function is before anything of it is published.
pub(crate) const LATEST: &str = "$LATEST";

/// The state of a function that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The one that can change.
    Latest,
    /// A published one; they are numbered from 1.
    Number(u64),
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            LATEST => Some(Self::Latest),
            _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().map(Self::Number)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// The name of an alias: letters, digits, `-` and `_`, not digits alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AliasName(String);

impl AliasName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=ALIAS_BYTES_MAX).contains(&text.len())
            && text.bytes().all(letters)
            && !text.bytes().all(|byte| byte.is_ascii_digit());
        is_name.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands behind the name of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Version(Version),
    Alias(AliasName),
}

impl Qualifier {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Version::parse(text).map(Self::Version).or_else(|| AliasName::parse(text).map(Self::Alias))
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(name) => f.write_str(name.as_str()),
        }
    }
}

/// A function as a request names it: by name, partial or whole ARN, each with or without a qualifier.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionRef<'a> {
    /// Region and account, where the request says them.
    pub(crate) place: (Option<&'a str>, Option<&'a str>),
    pub(crate) name: &'a str,
    pub(crate) qualifier: Option<&'a str>,
}

impl<'a> FunctionRef<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (place, rest) = match parts.as_slice() {
            ["arn", "aws", "lambda", region, account, "function", rest @ ..] => ((Some(*region), Some(*account)), rest),
            [account, "function", rest @ ..] => ((None, Some(*account)), rest),
            rest => ((None, None), rest),
        };
        match rest {
            [name] if !name.is_empty() => Some(Self { place, name, qualifier: None }),
            [name, qualifier] if !name.is_empty() => Some(Self { place, name, qualifier: Some(qualifier) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qualifier_is_a_version_or_an_alias() {
        let written = |text: &str| Qualifier::parse(text).map(|qualifier| qualifier.to_string());
        for text in ["$LATEST", "1", "live", "v1", "blue-green_2"] {
            assert_eq!(written(text).as_deref(), Some(text));
        }
        let long = "a".repeat(ALIAS_BYTES_MAX + 1);
        for text in ["", "$latest", "a b", "a:b", "-1.5", "99999999999999999999999", &long] {
            assert_eq!(written(text), None, "{text}");
        }
        assert_eq!(Qualifier::parse("12"), Some(Qualifier::Version(Version::Number(12))));
    }

    #[test]
    fn a_function_is_named_in_six_ways() {
        for prefix in ["", "000000000000:function:", "arn:aws:lambda:us-east-1:000000000000:function:"] {
            let (bare, qualified) = (format!("{prefix}step"), format!("{prefix}step:live"));
            let bare = FunctionRef::parse(&bare).expect("a function");
            assert_eq!((bare.name, bare.qualifier), ("step", None));
            let qualified = FunctionRef::parse(&qualified).expect("a function");
            assert_eq!((qualified.name, qualified.qualifier), ("step", Some("live")));
        }
        for text in ["", ":live", "a:b:c", "arn:aws:s3:::bucket"] {
            assert_eq!(FunctionRef::parse(text), None, "{text}");
        }
    }
}
