//! A head as an item.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    controls::admit::Admitted,
    ids::{Actor, Release, RunId, Tenant},
    journal::{DueQueue, Head, HeadStatus, Inbox, JournalError, Lease, due_shard},
    run::stored::{Body, Stored, Unreadable},
};

use super::attributes::{number, text};

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// A head's sort key.
pub(super) const HEAD: &str = "head";

/// The version of heads that this code writes: since 2, a head may carry the first entry. It reads this one and every older one.
pub(super) const HEAD_VERSION: u32 = 2;

/// The attribute with the envelope's version of the first entry, where the head carries it.
const FIRST_VERSION: &str = "ev";

/// Where dead and unreadable runs are listed.
pub(super) const TROUBLE: &str = "trouble";

/// The attributes. Times are in milliseconds, but for `expires`, which is in seconds as time to live wants it.
#[derive(Serialize, Deserialize)]
struct HeadItem {
    pk: RunId,
    sk: String,
    v: u32,
    tenant: Tenant,
    actor: Actor,
    task: String,
    release: Release,
    created: i64,
    expires: i64,
    /// The version of the controls that let it in.
    #[serde(rename = "cv", default, skip_serializing_if = "Option::is_none")]
    admitted_by: Option<u64>,
    /// When they were asked for.
    #[serde(rename = "ca", default, skip_serializing_if = "Option::is_none")]
    admitted_at: Option<i64>,
    /// `<tenant>#<actor>`: the key of the index by owner.
    owner: String,
    /// What `inbox` becomes when the run waits for approval: an update can copy it but not compose it.
    approval_inbox: String,
    #[serde(flatten)]
    standing: Standing,
}

/// What changes.
#[derive(Serialize, Deserialize)]
struct Standing {
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    epoch: u64,
    strikes: u32,
    interjections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_shard: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
}

/// Where the held runs of one part are listed.
pub(super) fn held_key(shard: u8) -> String {
    format!("held#{shard}")
}

/// A part of a queue of the due index.
pub(super) fn due_key(queue: DueQueue, shard: u8) -> String {
    match queue {
        DueQueue::Repair => format!("repair#{shard}"),
        DueQueue::Timer => format!("timer#{shard}"),
    }
}

/// Where an actor's runs are listed. Names cannot contain `#`.
pub(super) fn owner_key(tenant: &Tenant, actor: &Actor) -> String {
    format!("{tenant}#{actor}")
}

/// What every [`owner_key`] of a tenant begins with.
pub(super) fn tenant_prefix(tenant: &Tenant) -> String {
    format!("{tenant}#")
}

/// Where a tenant's runs that wait for approval are listed.
pub(super) fn approval_inbox(tenant: &Tenant) -> String {
    format!("approval#{tenant}")
}

/// A status in the attributes `status`, `problem`, `cause` and `fingerprint`; what is `None` is absent.
pub(super) fn status_attributes(status: &HeadStatus) -> [(&'static str, Option<&str>); 4] {
    let (problem, cause, fingerprint) = match status {
        HeadStatus::Unreadable { problem } | HeadStatus::Held { reason: problem } => {
            (Some(problem.as_str()), None, None)
        }
        HeadStatus::Dead { fingerprint, cause } => (None, Some(cause.as_str()), Some(fingerprint.as_str())),
        HeadStatus::Ready | HeadStatus::Waiting | HeadStatus::AwaitingApproval | HeadStatus::Finished { .. } => {
            (None, None, None)
        }
    };
    [("status", Some(status.word())), ("problem", problem), ("cause", cause), ("fingerprint", fingerprint)]
}

/// The item of a new head, which nobody holds and which is in no inbox.
///
/// # Errors
/// Never for what a head can hold; the serializer's word otherwise.
pub(super) fn new_item(head: &Head) -> Result<Item, JournalError> {
    let [_, problem, cause, fingerprint] = status_attributes(&head.status).map(|(_, value)| value.map(str::to_owned));
    let item = HeadItem {
        pk: head.run,
        sk: HEAD.to_owned(),
        v: HEAD_VERSION,
        tenant: head.tenant.clone(),
        actor: head.actor.clone(),
        task: head.task.clone(),
        release: head.release.clone(),
        created: head.created.as_millis(),
        expires: head.expires.as_seconds(),
        admitted_by: head.admitted.map(|admitted| admitted.controls),
        admitted_at: head.admitted.map(|admitted| admitted.at.as_millis()),
        owner: owner_key(&head.tenant, &head.actor),
        approval_inbox: approval_inbox(&head.tenant),
        standing: Standing {
            status: head.status.word().to_owned(),
            problem,
            cause,
            fingerprint,
            epoch: head.epoch,
            strikes: head.strikes,
            interjections: head.interjections,
            lease_holder: None,
            lease_until: None,
            ready_from: head.ready_from.map(Timestamp::as_millis),
            due_shard: head.due.map(|_| due_key(DueQueue::Repair, due_shard(head.run))),
            due_at: head.due.map(Timestamp::as_millis),
        },
    };
    let item = serde_dynamo::to_item(item).map_err(|error| JournalError::Refused { message: error.to_string() });
    let mut item: Item = item?;
    if let Some(first) = &head.first {
        item.extend([(FIRST_VERSION.to_owned(), number(first.version)), body_attribute(&first.body)]);
    }
    Ok(item)
}

/// The first entry that a head carries, if it does.
pub(super) fn read_first(head: &Item) -> Option<Stored> {
    read_stored(head, FIRST_VERSION).ok()
}

/// The attribute that holds an entry's bytes.
pub(super) fn body_attribute(body: &Body) -> (String, AttributeValue) {
    match body {
        Body::Json(json) => ("e".to_owned(), text(json)),
        Body::Deflated(bytes) => ("z".to_owned(), AttributeValue::B(Blob::new(bytes.clone()))),
    }
}

/// The entry that an item holds, with its envelope's version in the attribute `version`.
///
/// # Errors
/// When there is no version. What else is wrong, decoding says.
pub(super) fn read_stored(item: &Item, version: &str) -> Result<Stored, Unreadable> {
    let no_version = || Unreadable::Malformed { problem: "no version".to_owned() };
    let version = item.get(version).and_then(|v| v.as_n().ok()?.parse().ok()).ok_or_else(no_version)?;
    let body = match (item.get("e"), item.get("z")) {
        (Some(AttributeValue::S(json)), None) => Body::Json(json.clone()),
        (None, Some(AttributeValue::B(bytes))) => Body::Deflated(bytes.as_ref().to_vec()),
        // A later version may keep it elsewhere, and decoding says so.
        _ => Body::Json(String::new()),
    };
    Ok(Stored { version, body })
}

/// Reads a head as the table holds it.
///
/// # Errors
/// [`JournalError::DamagedHead`].
pub fn read_head(mut item: HashMap<String, AttributeValue>) -> Result<Head, JournalError> {
    let first = read_first(&item);
    item.retain(|name, _| !["e", "z", FIRST_VERSION].contains(&name.as_str()));
    let run = item.get("pk").and_then(|pk| pk.as_s().ok()).cloned().unwrap_or_default();
    let damaged = |problem: String| JournalError::DamagedHead { run: run.clone(), problem };
    let item: HeadItem = serde_dynamo::from_item(item).map_err(|error| damaged(error.to_string()))?;
    if item.v > HEAD_VERSION {
        return Err(damaged(format!("version {}; this release reads up to {HEAD_VERSION}", item.v)));
    }
    let standing = item.standing;
    let lease = match (standing.lease_holder.clone(), standing.lease_until) {
        (Some(holder), Some(until)) => {
            Some(Lease { epoch: standing.epoch, holder, until: Timestamp::from_millis(until) })
        }
        (None, None) => None,
        _ => return Err(damaged("half a lease".to_owned())),
    };
    let admitted = item.admitted_by.zip(item.admitted_at);
    Ok(Head {
        run: item.pk,
        tenant: item.tenant,
        actor: item.actor,
        task: item.task,
        release: item.release,
        created: Timestamp::from_millis(item.created),
        due: standing.due_at.map(Timestamp::from_millis),
        ready_from: standing.ready_from.map(Timestamp::from_millis),
        epoch: standing.epoch,
        strikes: standing.strikes,
        interjections: standing.interjections,
        lease,
        expires: Timestamp::from_millis(item.expires.saturating_mul(1000)),
        status: standing.status().map_err(damaged)?,
        first,
        admitted: admitted.map(|(controls, at)| Admitted { controls, at: Timestamp::from_millis(at) }),
    })
}

impl Standing {
    fn status(self) -> Result<HeadStatus, String> {
        let of = |part: Option<String>| part.unwrap_or_default();
        match self.status.as_str() {
            "ready" => Ok(HeadStatus::Ready),
            "waiting" => Ok(HeadStatus::Waiting),
            "awaiting_approval" => Ok(HeadStatus::AwaitingApproval),
            "held" => Ok(HeadStatus::Held { reason: of(self.problem) }),
            "unreadable" => Ok(HeadStatus::Unreadable { problem: of(self.problem) }),
            "dead" => Ok(HeadStatus::Dead { fingerprint: of(self.fingerprint), cause: of(self.cause) }),
            // A later release may know more ends, but a run that can be claimed has not ended.
            _ if self.ready_from.is_none() => Ok(HeadStatus::Finished { outcome: self.status }),
            word => Err(format!("status `{word}` of a run that is not over")),
        }
    }
}

/// Whether `head` is still where its inbox's index had it.
pub(super) fn is_in(head: &Head, inbox: Inbox) -> bool {
    head.status.inbox() == Some(inbox)
}
