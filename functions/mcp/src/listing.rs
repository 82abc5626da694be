//! A server's list of tools, and whether it is still the one that was fixed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rmcp::model::Tool as Listed;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use windlass::{
    clock::{Clock, Timestamp},
    json::canonical,
};

use crate::{
    connection::{Connection, Headers},
    failure::RequestError,
    tokens::Whose,
};

/// How old the last look at the list may be for a call that only reads. Every other call looks first.
const LOOKED_AT_FOR: Duration = Duration::from_secs(30);

/// The most pages of a list.
const PAGES_MAX: usize = 20;

/// How many hexadecimal digits a digest has: 128 bits, which nobody finds a second list for.
pub(crate) const DIGEST_DIGITS: usize = 32;

/// The tools of a server, by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) tools: BTreeMap<String, Listed>,
    /// Those that cannot be read, and why.
    pub(crate) malformed: BTreeMap<String, String>,
}

/// Asks a server for its tools; once more when the session or the connection is one that the server has given up while this function
/// was frozen. Asking is harmless.
pub(crate) async fn list(connection: &Connection) -> Result<Listing, RequestError> {
    match pages(connection).await {
        Err(RequestError::NotDone { .. } | RequestError::Unknown { .. }) => pages(connection).await,
        result => result,
    }
}

async fn pages(connection: &Connection) -> Result<Listing, RequestError> {
    let (mut listing, mut params, mut followed) = (Listing::default(), json!({}), BTreeSet::new());
    for _ in 0..PAGES_MAX {
        let page = connection.request(&Whose::Server, "tools/list", params, &Headers::new()).await?;
        let Some(tools) = page["tools"].as_array() else {
            return Err(RequestError::Rejected { message: "not a list of tools".to_owned() });
        };
        for (place, tool) in tools.iter().enumerate() {
            listing.take(place, tool);
        }
        // A cursor that was followed before leads nowhere new.
        let next = page["nextCursor"].as_str().filter(|cursor| followed.insert((*cursor).to_owned()));
        let Some(cursor) = next else { return Ok(listing) };
        params = json!({ "cursor": cursor });
    }
    Err(RequestError::Rejected { message: format!("a list of tools of more than {PAGES_MAX} pages") })
}

impl Listing {
    /// One malformed tool is no reason to do without the others.
    fn take(&mut self, place: usize, tool: &Value) {
        let name = tool["name"].as_str().map_or_else(|| format!("#{}", place + 1), str::to_owned);
        match serde_json::from_value::<Listed>(tool.clone()) {
            Ok(tool) => {
                self.tools.insert(name, tool);
            }
            Err(error) => {
                self.malformed.insert(name, error.to_string());
            }
        }
    }

    /// A tool, or why there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Listed, String> {
        match (self.tools.get(name), self.malformed.get(name)) {
            (Some(tool), _) => Ok(tool),
            (None, Some(problem)) => Err(format!("what its server says of it cannot be read: {problem}")),
            (None, None) => Err("there is no such tool".to_owned()),
        }
    }
}

/// SHA-256, in hexadecimal and cut, over what the tools `of` a listing say of themselves to a model and to us.
pub(crate) fn digest<'a>(listing: &Listing, of: impl IntoIterator<Item = &'a String>) -> String {
    let told = of.into_iter().map(|name| {
        let tool = listing.tools.get(name);
        // In one order, whatever order the server says it in.
        canonical(&json!({
            "name": name,
            "description": tool.and_then(|tool| tool.description.as_deref()),
            "input": tool.map(|tool| &tool.input_schema),
            "output": tool.map(|tool| &tool.output_schema),
            "annotations": tool.map(|tool| &tool.annotations),
        }))
    });
    let told: Vec<String> = told.collect();
    Sha256::digest(told.join("\n")).iter().take(DIGEST_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// The part of a list that a release was started with.
pub(crate) struct Fixed {
    /// The tools that may be used.
    pub(crate) names: BTreeSet<String>,
    /// What they said of themselves.
    pub(crate) digest: String,
    looked_at: Mutex<Option<Timestamp>>,
}

/// Whether a tool may be called as it was fixed.
pub(crate) enum Held {
    /// Yes.
    Unchanged,
    /// The server says something else of its tools now.
    Changed,
}

impl Fixed {
    pub(crate) fn new(listing: &Listing, names: BTreeSet<String>, now: Timestamp) -> Self {
        Self { digest: digest(listing, &names), names, looked_at: Mutex::new(Some(now)) }
    }

    /// Looks at the list again, unless a look of a moment ago will do.
    pub(crate) async fn look(
        &self,
        connection: &Connection,
        clock: &dyn Clock,
        a_moment_ago_will_do: Recent,
    ) -> Result<Held, RequestError> {
        let lock = || self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        let recent = lock().is_some_and(|looked_at| now.since(looked_at) < LOOKED_AT_FOR);
        if recent && a_moment_ago_will_do == Recent::WillDo {
            return Ok(Held::Unchanged);
        }
        let same = digest(&list(connection).await?, &self.names) == self.digest;
        *lock() = same.then_some(now);
        Ok(if same { Held::Unchanged } else { Held::Changed })
    }
}

/// Whether a look at the list that was made a moment ago will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recent {
    /// For what only reads, and for a call that was looked after right before.
    WillDo,
    /// For what has an effect.
    WillNotDo,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Listing {
        let mut listing = Listing::default();
        listing.take(0, &serde_json::from_str(text).expect("JSON"));
        listing
    }

    #[test]
    fn the_order_in_which_a_server_says_it_does_not_change_the_digest() {
        let names = ["a".to_owned()];
        let one = listing(
            r#"{"name":"a","inputSchema":{"type":"object","properties":{"x":{"type":"string","minLength":1}}}}"#,
        );
        let other = listing(
            r#"{"inputSchema":{"properties":{"x":{"minLength":1,"type":"string"}},"type":"object"},"name":"a"}"#,
        );
        assert_eq!(digest(&one, &names), digest(&other, &names));
        let another = listing(
            r#"{"name":"a","inputSchema":{"type":"object","properties":{"x":{"type":"string","minLength":2}}}}"#,
        );
        assert_ne!(digest(&one, &names), digest(&another, &names));
        assert_eq!(digest(&one, &names).len(), DIGEST_DIGITS);
    }

    #[test]
    fn a_tool_that_cannot_be_read_is_left_out_with_its_name() {
        for tool in [
            r#"{"name":"x"}"#,
            r#"{"name":"x","inputSchema":null}"#,
            r#"{"name":"x","inputSchema":{"type":"object"},"title":7}"#,
            r#"{"name":"x","inputSchema":{"type":"object"},"description":7}"#,
            r#"{"name":"x","inputSchema":{"type":"object"},"annotations":"readonly"}"#,
        ] {
            let listing = listing(tool);
            assert!(listing.tools.is_empty() && listing.malformed.contains_key("x"), "{tool}");
        }
        assert!(listing("7").malformed.contains_key("#1"));
    }
}
