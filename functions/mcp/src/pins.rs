//! What a release was judged with: a digest for each server.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::listing::DIGEST_DIGITS;

/// The digest of each server's tools, by the server's name: `shop=1f…  crm=0a…` in text, `none` for no servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolDigests(pub(crate) BTreeMap<String, String>);

/// A text is not such a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not of the form `<server>=<{DIGEST_DIGITS} hexadecimal digits>`, one for each server, with blanks between them"
)]
pub struct InvalidDigests;

const NONE: &str = "none";

impl FromStr for ToolDigests {
    type Err = InvalidDigests;

    fn from_str(text: &str) -> Result<Self, InvalidDigests> {
        if text == NONE {
            return Ok(ToolDigests::default());
        }
        let mut digests = BTreeMap::new();
        for part in text.split_whitespace() {
            let (name, digest) = part.split_once('=').ok_or(InvalidDigests)?;
            let sound = digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !sound || digests.insert(name.to_owned(), digest.to_ascii_lowercase()).is_some() {
                return Err(InvalidDigests);
            }
        }
        if digests.is_empty() { Err(InvalidDigests) } else { Ok(ToolDigests(digests)) }
    }
}

impl fmt::Display for ToolDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        let told: Vec<String> = self.0.iter().map(|(name, digest)| format!("{name}={digest}")).collect();
        f.write_str(&told.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_as_they_were_written() {
        let text = format!("crm={} shop={}", "a".repeat(DIGEST_DIGITS), "0".repeat(DIGEST_DIGITS));
        assert_eq!(text.parse::<ToolDigests>().map(|digests| digests.to_string()), Ok(text));
        assert_eq!("none".parse::<ToolDigests>().map(|digests| digests.to_string()), Ok(NONE.to_owned()));
        for wrong in ["", "shop", "shop=1", &"e".repeat(64)] {
            assert!(wrong.parse::<ToolDigests>().is_err(), "{wrong}");
        }
    }
}
