//! Where something is within a value.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A JSON pointer (RFC 6901) in which a `*` stands for any one field or item: `/customer/email`, `/lines/*/recipient`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Vec<String>);

/// A text that is no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a JSON pointer such as `/customer/email`")]
pub struct InvalidPointer {
    /// The text.
    pub text: String,
}

impl Pointer {
    /// Whether it points at `path`.
    pub(super) fn is(&self, path: &[String]) -> bool {
        let fits = |(wanted, found): (&String, &String)| wanted == "*" || wanted == found;
        self.0.len() == path.len() && self.0.iter().zip(path).all(fits)
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPointer { text: text.to_owned() };
        let segments = text.strip_prefix('/').filter(|rest| !rest.is_empty()).ok_or_else(invalid)?;
        Ok(Pointer(segments.split('/').map(|one| one.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl TryFrom<String> for Pointer {
    type Error = InvalidPointer;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> String {
        pointer.to_string()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}
