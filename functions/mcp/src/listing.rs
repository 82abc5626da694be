//! A server's list of tools, and whether it is still the one that was fixed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rmcp::model::{ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerResult, Tool as Listed};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use windlass::clock::{Clock, Timestamp};

use crate::connection::{Connection, Headers, RequestError};

/// How old the last look at the list may be for a call that only reads. Every other call looks first.
const LOOKED_AT_FOR: Duration = Duration::from_secs(30);

/// The most pages of a list.
const PAGES_MAX: u32 = 20;

/// The tools of a server, by name.
pub(crate) type Listing = BTreeMap<String, Listed>;

/// Asks a server for its tools; once more when the session or the connection is one that the server has given up while this function
/// was frozen. Asking is harmless.
pub(crate) async fn list(connection: &Connection) -> Result<Listing, RequestError> {
    match pages(connection).await {
        Err(RequestError::NotDone { .. } | RequestError::Unknown { .. }) => pages(connection).await,
        result => result,
    }
}

async fn pages(connection: &Connection) -> Result<Listing, RequestError> {
    let (mut listing, mut cursor) = (Listing::new(), None);
    for _ in 0..PAGES_MAX {
        let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let request = ListToolsRequest { params, ..Default::default() };
        let page = match connection.request(ClientRequest::ListToolsRequest(request), Headers::new()).await? {
            ServerResult::ListToolsResult(page) => page,
            _ => return Err(RequestError::Rejected { message: "not a list of tools".to_owned() }),
        };
        listing.extend(page.tools.into_iter().map(|tool| (tool.name.to_string(), tool)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(listing);
        }
    }
    Err(RequestError::Rejected { message: format!("a list of tools of more than {PAGES_MAX} pages") })
}

/// SHA-256, in hexadecimal, over what the tools `of` a listing say of themselves to a model and to us.
pub(crate) fn digest<'a>(listing: &Listing, of: impl IntoIterator<Item = &'a String>) -> String {
    let told = of.into_iter().map(|name| {
        let tool = listing.get(name);
        json!({
            "name": name,
            "description": tool.and_then(|tool| tool.description.as_deref()),
            "input": tool.map(|tool| &tool.input_schema),
            "output": tool.map(|tool| &tool.output_schema),
            "annotations": tool.map(|tool| &tool.annotations),
        })
    });
    // A `Value` prints its fields in order, so that equal lists print alike.
    let told: Vec<String> = told.map(|tool| tool.to_string()).collect();
    hex(&Sha256::digest(told.join("\n")))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    /// For what only reads.
    WillDo,
    /// For what has an effect.
    WillNotDo,
}
